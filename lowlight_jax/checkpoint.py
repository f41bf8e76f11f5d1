"""Saving and restoring of training states; the only file that imports orbax.

A checkpoint is complete or invisible: orbax writes under a temporary name and renames.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from lowlight_jax.train_step import TrainState


class CheckpointError(ValueError):
    """The checkpoints of a workdir cannot be used; one plain sentence."""


class Checkpoints:
    """The newest two checkpoints of a workdir.

    Args:
      workdir: they lie in its folder `checkpoints`.
    """

    def __init__(self, workdir: str | Path):
        self._manager = ocp.CheckpointManager(
            (Path(workdir) / "checkpoints").absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2, enable_async_checkpointing=False
            ),
        )

    def save(self, state: TrainState, about: dict[str, Any]) -> None:
        """Saves the state under its step, with `about` (JSON) beside it."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about)
            ),
        )

    def restore_latest(
        self, like: TrainState, model: dict[str, Any]
    ) -> TrainState | None:
        """The newest state, or None where there is none yet.

        Args:
          like: any state of the same structure, shapes and dtypes.
          model: the model's config now; must be what it was.
        Raises:
          CheckpointError: the model's config has changed.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        about = self._manager.restore(
            step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
        )["about"]
        before = about["model"]
        changed = [
            f"{key}: {before.get(key)!r} in the checkpoint, {model.get(key)!r} now"
            for key in sorted(before.keys() | model.keys())
            if before.get(key) != model.get(key)
        ]
        if changed:
            raise CheckpointError(
                "the workdir holds checkpoints of another model config ("
                f"{'; '.join(changed)}); pass the same config, or another --workdir"
            )
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        )
        return restored["state"]

    def close(self) -> None:
        """Waits for whatever is being written."""
        self._manager.close()
