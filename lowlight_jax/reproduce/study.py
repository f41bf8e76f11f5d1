"""Methods on held-out images: results as PNG files, scores of those files.

A method is run by seed: a trained one for each seed that it was trained with, others
once. All seeds of a method share its name.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from lowlight_jax.data.pairs import Pair
from lowlight_jax.evaluation import scoring
from lowlight_jax.evaluation.scoring import Item, Scores
from lowlight_jax.images.files import Photo, read_rgb8, write_photo
from lowlight_jax.reproduce.parts import Part
from lowlight_jax.runtime.errors import of_item
from lowlight_jax.runtime.progress import listening
from lowlight_jax.runtime.whole_file import write_whole
from lowlight_jax.tasks.task import PairMethod


@dataclasses.dataclass(frozen=True)
class Run:
    """A method, or one seed of it.

    Attributes:
      method: its name.
      make: loads what it needs and returns it.
      seed: what tells it from other runs of the method, like "seed 0"; "": no seed.
    """

    method: str
    make: Callable[[], PairMethod]
    seed: str = ""

    @property
    def name(self) -> str:
        return f"{self.method}, {self.seed}" if self.seed else self.method


@dataclasses.dataclass(frozen=True)
class Study:
    """Some methods on some images.

    Attributes:
      output: folder; results go to `images/`, scores to `scores/`.
      pairs: the images, and what they should become.
      metrics: of the scores; full names.
      runs: in the order of tables.
    """

    output: Path
    pairs: Sequence[Pair]
    metrics: Sequence[str]
    runs: Sequence[Run]

    def parts(self) -> list[Part]:
        """A part for each run: all its images, then their scores."""
        return [
            Part(
                f"{run.name} on {len(self.pairs)} images",
                "scoring",
                self._scores_file(run),
                partial(self._run_and_score, run),
            )
            for run in self.runs
        ]

    @property
    def methods(self) -> list[str]:
        """Names, each once."""
        return list(dict.fromkeys(run.method for run in self.runs))

    @property
    def trained(self) -> list[str]:
        """Names of the methods that have seeds."""
        return list(dict.fromkeys(run.method for run in self.runs if run.seed))

    @property
    def about(self) -> str:
        """Which images, and which seeds, in one sentence each."""
        seeds = ", ".join(sorted({run.seed for run in self.runs if run.seed}))
        return (
            f"{len(self.pairs)} images that no network was trained on, results as "
            "saved in 8 bits, nothing rescaled by the truth. "
            f"Weights of the networks: {seeds}."
        )

    def scores(self, method: str) -> list[Scores]:
        """Those of each seed."""
        return [
            Scores(**json.loads(self._scores_file(run).read_text()))
            for run in self.runs
            if run.method == method
        ]

    def means(self, metric: str) -> dict[str, list[float]]:
        """By method, the mean over images for each seed."""
        return {
            method: [scores.mean(metric) for scores in self.scores(method)]
            for method in self.methods
        }

    def table(self) -> dict[str, Scores]:
        """Scores by method, of each image the mean over seeds."""
        return {method: mean_of_seeds(self.scores(method)) for method in self.methods}

    def picture(self, method: str, index: int) -> np.ndarray:
        """The result for an image, uint8 `[h, w, 3]`; of several seeds the first's."""
        run = next(run for run in self.runs if run.method == method)
        return read_rgb8(self._image_file(run, index))

    def _run_and_score(self, run: Run) -> None:
        method = run.make()
        failures = []
        with _progress() as progress:
            bar = progress.add_task(run.name, total=len(self.pairs))
            for index, pair in enumerate(self.pairs):
                file = self._image_file(run, index)
                if not file.exists():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    try:
                        with listening(partial(_advance, progress, bar, index)):
                            pixels = method(pair)
                        write_photo(file, Photo(pixels))
                    except Exception as error:
                        failures.append(of_item(error, pair.name))
                _advance(progress, bar, index, 1.0)
        if failures:  # the other pictures are kept
            raise ValueError("; ".join(failures))
        items = (
            Item(
                pair.name,
                read_rgb8(self._image_file(run, i)),
                pair.high,
                pair.low,
                pair.mask,
            )
            for i, pair in enumerate(self.pairs)
        )
        scores = dataclasses.asdict(scoring.score_items(items, self.metrics))
        write_whole(self._scores_file(run), json.dumps(scores, indent=1).encode())

    def _scores_file(self, run: Run) -> Path:
        return self.output / "scores" / f"{_slug(run.name)}.json"

    def _image_file(self, run: Run, index: int) -> Path:
        name = f"{index:04d}-{_slug(self.pairs[index].name)}.png"
        return self.output / "images" / _slug(run.name) / name


def mean_of_seeds(seeds: Sequence[Scores]) -> Scores:
    """Scores of which each is the mean of an image's; None where one seed has none."""

    def mean(values: Sequence[float | None]) -> float | None:
        return None if None in values else float(np.mean(values))

    columns = {
        column: [mean(v) for v in zip(*(s.columns[column] for s in seeds), strict=True)]
        for column in seeds[0].columns
    }
    notes = list(dict.fromkeys(note for scores in seeds for note in scores.notes))
    return Scores(seeds[0].names, columns, notes)


def cut_middle(pair: Pair, side_px: int) -> Pair:
    """The middle of a pair, at most `side_px` on each side; 0: all of it."""
    if not side_px:
        return pair
    h, w = pair.high.shape[:2]
    top, left = max(h - side_px, 0) // 2, max(w - side_px, 0) // 2
    window = slice(top, top + side_px), slice(left, left + side_px)
    cut = {
        side: np.ascontiguousarray(image[window])
        for side in ("low", "high", "mask")
        if (image := getattr(pair, side)) is not None
    }
    return dataclasses.replace(pair, **cut)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-")


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total:.0f} images"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _advance(progress: Progress, bar: TaskID, index: int, fraction: float) -> None:
    progress.update(bar, completed=index + fraction)


def classical_runs(methods: Mapping[str, PairMethod]) -> list[Run]:
    """Runs of methods that need nothing loaded."""
    return [Run(name, lambda method=method: method) for name, method in methods.items()]
