"""Saving and restoring of training states; the only file that imports orbax.

A checkpoint is complete or invisible: orbax writes under a temporary name and renames.
States are NumPy arrays here, the PRNG key its data, so that what any number of
processes has saved, any other can restore. With several processes all call every
method; the first one writes.

Saving goes on in the background. A save that failed is raised by the next call of
`save` or `close`; whoever uses `Checkpoints` in a `with` statement leaves it with all
saved.
"""

import contextlib
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lowlight_jax.runtime import parallel
from lowlight_jax.types import TrainState


class CheckpointError(ValueError):
    """The checkpoints of a workdir cannot be used; one plain sentence."""


class Checkpoints:
    """The newest two checkpoints of a workdir.

    Args:
      workdir: they lie in its folder `checkpoints`.
    """

    def __init__(self, workdir: str | Path):
        self._directory = (Path(workdir) / "checkpoints").absolute()
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(2)
            ),
        )
        self._saving: int | None = None  # step of the last save

    def __enter__(self):
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A save takes all processes: without the lost one it would never end.
        if error is None or not parallel.says_lost_process(error):
            self.close()

    def save(self, state: TrainState, about: dict[str, Any]) -> None:
        """Starts to save the state under its step, with `about` (JSON) beside it.

        The state may change as soon as this returns: orbax has copied its arrays.

        Raises:
          CheckpointError: it, or the one before it, could not be written; the ones
            before are kept.
        """
        self._wait()
        layout = _layout(state)
        state = _to_arrays(state)
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        about = about | {"layout": layout, "checksum": _checksum(state)}
        self._saving = step
        with self._failure_said():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about)
                ),
            )

    def close(self) -> None:
        """Waits until all is saved.

        Raises:
          CheckpointError: as for `save`.
        """
        self._wait()
        self._manager.close()

    def _wait(self) -> None:
        with self._failure_said():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _failure_said(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:  # tensorstore's are any
            if parallel.says_lost_process(error):  # nothing is wrong here
                raise
            kept = self._manager.latest_step()
            raise CheckpointError(
                f"the checkpoint of step {self._saving} could not be written to "
                f"{self._directory} ({_first_line(error)}); "
                + (f"that of step {kept} is kept" if kept else "there is none before")
                + ". Make room there, then repeat the command"
            ) from error

    def about_latest(self) -> dict[str, Any] | None:
        """What `save` was told of the newest state whose notes can be read."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            with contextlib.suppress(Exception):  # whatever a damaged file makes of it
                return self._about(step)
        return None

    def restore_latest(
        self, like: TrainState, model: dict[str, Any]
    ) -> TrainState | None:
        """The newest state that is undamaged, or None where none was ever saved.

        A damaged checkpoint is reported and moved aside, into `damaged_checkpoints`.

        Args:
          like: any state of the same structure, shapes and dtypes.
          model: the model's config now; must be what it was.
        Raises:
          CheckpointError: the model's config or the optimizer has changed, or every
            checkpoint is damaged.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._restore(step, like, model)
            except CheckpointError:
                raise
            except Exception as error:  # whatever a damaged file makes orbax raise
                self._move_aside(step, error)
        if steps:
            raise CheckpointError(
                f"all checkpoints in {self._directory} were damaged; they now lie in "
                "damaged_checkpoints beside it. Repeat the command to begin anew, or "
                "pass another --workdir"
            )
        return None

    def _restore(
        self, step: int, like: TrainState, model: dict[str, Any]
    ) -> TrainState:
        about = self._about(step)
        _check_same("model config", about["model"], model)
        layout = _layout(like)
        if about["layout"]["key"] != layout["key"]:
            raise CheckpointError(
                f"the checkpoints in {self._directory} are of an earlier version with "
                "other random streams; pass another --workdir to begin anew"
            )
        _check_same("training state", about["layout"], layout)
        like = _to_arrays(like)
        state = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
        )["state"]
        if _checksum(state) != about["checksum"]:
            raise ValueError("its checksum is wrong")
        return state.replace(key=jax.random.wrap_key_data(state.key))

    def _about(self, step: int) -> dict[str, Any]:
        args = ocp.args.Composite(about=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)["about"]

    def _move_aside(self, step: int, error: Exception) -> None:
        if parallel.is_main_process():
            print(
                f"the checkpoint of step {step} is damaged ({_first_line(error)}); "
                "the one before is used"
            )
            aside = self._directory.with_name("damaged_checkpoints") / str(step)
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            (self._directory / str(step)).rename(aside)
        parallel.gather(step)  # nobody looks at the folder before it is tidy
        self._manager.reload()


def _to_arrays(state: TrainState) -> TrainState:
    """In NumPy arrays, which a typed key cannot be."""
    return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def _check_same(what: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [
        f"{key}: {before.get(key)!r} in the checkpoint, {now.get(key)!r} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise CheckpointError(
            f"the workdir holds checkpoints of another {what} ({'; '.join(changed)}); "
            "pass the same config, or another --workdir"
        )


def _layout(state: TrainState) -> dict[str, str]:
    """Dtype and shape of every array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in leaves
    }


def _checksum(state: TrainState) -> int:
    checksum = 0
    for leaf in jax.tree.leaves(state):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
    return checksum


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
