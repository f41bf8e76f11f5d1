"""What a training says of itself: metrics.jsonl, TensorBoard, progress, divergence."""

import importlib.util
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

EVENTS_FOLDER = "tensorboard"  # in the workdir


class TrainingDiverged(FloatingPointError):
    """A loss or gradient is no longer finite; one plain sentence."""


def check_finite(
    phase: str, step: int, metrics: dict[str, float], *, may_skip: int = 0
) -> None:
    """Checks a step's metrics.

    Args:
      phase, step: where training stands.
      metrics: as `train_step` returns them.
      may_skip: so many steps in a row that the optimizer has skipped are no error.
    Raises:
      TrainingDiverged: names the phase, the step and what is not finite.
    """
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad and not 0 < metrics.get("skipped_in_a_row", 0) <= may_skip:
        raise TrainingDiverged(
            f"training diverged in phase {phase!r} at step {step}: "
            f"{', '.join(bad)} not finite; the last checkpoint is kept. Lower "
            f"--config.phases.{phase}.learning_rate or --config.optimizer.clip_norm"
        )


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, with phase and step.

    Args:
      path: of the file.
      last_step: rows of later steps, left by a run that was cut off behind its last
        checkpoint, are dropped: they will be written again.
      is_writer: False in a process that leaves writing to another.
      events: where scalars go too, as "phase/name", see `open_events`.
    """

    def __init__(
        self,
        path: Path,
        last_step: int,
        *,
        is_writer: bool = True,
        events: "SummaryWriter | None" = None,
    ):
        self._path = path
        self._is_writer = is_writer
        self._events = events
        if not is_writer or not path.exists():
            return
        kept = [
            line
            for line in path.read_text().splitlines(keepends=True)
            if line.endswith("\n") and json.loads(line)["step"] <= last_step
        ]
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text("".join(kept))
        unfinished.replace(path)

    def history(self, phase: str, name: str, *, last_step: int) -> list[float]:
        """Values of a column in the rows of a phase up to a step."""
        if not self._path.exists():
            return []
        rows = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [
            row[name]
            for row in rows
            if row["phase"] == phase and name in row and row["step"] <= last_step
        ]

    def write(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Appends a row; what is not finite becomes null, as JSON knows no NaN."""
        if not self._is_writer:
            return
        values = {k: v if math.isfinite(v) else None for k, v in values.items()}
        row = {"phase": phase, "step": step, **values}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self._events:
            for name, value in values.items():
                if value is not None:
                    self._events.add_scalar(f"{phase}/{name}", value, step)


def check_tensorboard() -> None:
    """Raises an ImportError where tensorboardX is missing; one plain sentence."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise ImportError(
            "config.tensorboard needs tensorboardX: pip install "
            "'lowlight_jax[tensorboard]', or leave it out"
        )


def open_events(workdir: Path, last_step: int) -> "SummaryWriter":
    """Event files for TensorBoard beside metrics.jsonl, which stays the record.

    TensorBoard hides what a run that was cut off has told of steps after `last_step`:
    they come again.
    """
    from tensorboardX import SummaryWriter

    return SummaryWriter(
        str(workdir / EVENTS_FOLDER),
        purge_step=last_step + 1,
        flush_secs=1,  # what a killed process has not written is lost
        filename_suffix=f".{last_step}",  # else by the second alone
    )


def show_picture(workdir: Path, step: int, picture: np.ndarray) -> None:
    """The picture grid, uint8 `[h, w, 3]`, for TensorBoard; earlier ones are hidden.

    In a folder of its own, since hiding goes by steps, and scalars of this one stay.
    """
    from tensorboardX import SummaryWriter

    folder = workdir / EVENTS_FOLDER / "pictures"
    with SummaryWriter(str(folder), purge_step=0) as events:
        events.add_image("results", picture, step, dataformats="HWC")


class ProgressLine:
    """Phase, step, loss, images/s, share of time spent waiting for data, ETA.

    A bar on a terminal; elsewhere a line each time `log` is called.

    Args:
      batch_size: images per step.
      done, total: steps of the whole run, those done before and all; None: nobody
        knows.
      quiet: says nothing at all.
    """

    def __init__(
        self, batch_size: int, done: int, total: int | None, *, quiet: bool = False
    ):
        self._console = Console(stderr=True, quiet=quiet)
        self._batch_size = batch_size
        self._total = total
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[line]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=done, line="")
        self._steps = 0
        self._busy_s = self._waiting_s = 0.0

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exc):
        self._bar.stop()

    def count(self, busy_s: float, waiting_s: float) -> None:
        """One step that took `busy_s`, of which `waiting_s` were waiting for data."""
        self._steps += 1
        self._busy_s += busy_s
        self._waiting_s += waiting_s
        self._bar.advance(self._task)

    def compiled(self, phase: str, seconds: float) -> None:
        """The first step of a phase, most of it compilation."""
        self._console.print(f"{phase}: first step after {seconds:.1f} s")
        self._bar.advance(self._task)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text)

    def note(self, phase: str, step: int, scores: dict[str, float]) -> None:
        """Scores of an evaluation."""
        text = " ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self._console.print(f"{phase} step {step}: {text}")

    def log(
        self,
        phase: str,
        step: int,
        metrics: dict[str, float],
        eta_s: float | None = None,
    ) -> float:
        """Shows the state of the run; returns images per second since the last time.

        Args:
          phase, step, metrics: where training stands.
          eta_s: seconds to its end; None: as long as the steps to come will take.
        """
        seconds = max(self._busy_s, 1e-9)
        rate = self._steps * self._batch_size / seconds
        if eta_s is None:
            eta_s = (self._total - step) * seconds / max(self._steps, 1)
        of_total = f"/{self._total}" if self._total else ""
        line = (
            f"step {step}{of_total} loss {metrics['loss']:.4f} {rate:.0f} images/s "
            f"data {self._waiting_s / seconds:.0%} eta {_duration(eta_s)}"
        )
        if skipped := metrics.get("skipped"):
            line += f" skipped {skipped:.0f} not finite"
        self._bar.update(self._task, description=phase, line=line)
        if self._bar.disable:
            self._console.print(f"{phase} {line}", soft_wrap=True)
        self._steps = 0
        self._busy_s = self._waiting_s = 0.0
        return rate


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


class Stopwatch:
    """Seconds since it was last read."""

    def __init__(self):
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds
