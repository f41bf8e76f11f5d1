"""Scores of a video, alone or beside the truth: read, measured, shown and written.

A video is a file, by PyAV (the extra `[video]`), or a folder of numbered frames. Frames
are paired by their number. Not here: what is measured (`metrics.video`, `scoring`).
"""

import contextlib
import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lowlight_jax.evaluation import scoring
from lowlight_jax.evaluation.report import (
    find_versions,
    heading,
    or_none,
    summary,
    write_rows,
)
from lowlight_jax.evaluation.scoring import Item, Scores
from lowlight_jax.images.alpha import is_opaque
from lowlight_jax.images.files import Photo, read_photo, search_images, to_uint8
from lowlight_jax.images.search import name_of, say_left_out
from lowlight_jax.metrics import METRICS
from lowlight_jax.metrics.video import VIDEO_MEASURES, VideoMeasures
from lowlight_jax.runtime.errors import of_item

WITH_TARGET = ("psnr_rgb", "ssim_rgb")
PROTOCOL = (
    "Frames paired by number. psnr_rgb, ssim_rgb and others of single frames: in 8 "
    "bits, all channels, nothing rescaled by the target; mean over frames. A level is "
    "1/255 of white, brightness Rec. 601 luma. flicker, warping_error: mean over "
    "successive frames, none across cuts; optical flow by OpenCV's DIS, of the target "
    "if there is one."
)


@dataclasses.dataclass
class VideoScores:
    """What was measured of a video.

    Attributes:
      frames: scores of single frames, a row for each.
      measures: of the video as a whole, and of the truth.
      notes: a sentence for each thing that is missing.
    """

    frames: Scores
    measures: VideoMeasures
    notes: list[str]


class FrameFolder:
    """Numbered frames in a folder, read like a video.

    Attributes:
      count: how many there are.
      problem: after `frames`, what could not be read, or None.
    Raises:
      ValueError: it holds no images.
    """

    def __init__(self, folder: Path):
        self._files, left_out = search_images(folder)
        if not self._files:
            raise ValueError(
                "\n  ".join([f"{folder} holds no images", *left_out.lines()])
            )
        expected, losses = left_out.parted()
        say_left_out(folder, expected)
        self.problem = "; ".join(losses.lines()) or None
        # 9.png comes before 10.png.
        self._files.sort(key=lambda file: _numbers(name_of(file, folder)))
        self.count = len(self._files)

    def frames(self) -> Iterator[Photo]:
        """Those up to the first that cannot be read."""
        for file in self._files:
            try:
                photo = read_photo(file)
                if not is_opaque(photo.alpha):
                    raise ValueError(f"{file} is transparent; expected opaque frames")
            except Exception as error:
                self.problem = f"{of_item(error, file)}; it ends before this frame"
                return
            yield photo


def _numbers(name: str) -> list[tuple[int, str]]:
    """What a name is sorted by, so that its numbers count as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))  # of gray ones too


def _open(path: Path) -> AbstractContextManager[Any]:
    """What has `frames()`, each with `pixels`, and `count` and `problem`."""
    if path.is_dir():
        return contextlib.nullcontext(FrameFolder(path))
    if not path.exists():
        raise ValueError(
            f"{path} does not exist; expected a video or a folder of frames"
        )
    from lowlight_jax.video.reader import open_video  # an extra, and only for this

    return open_video(path)


def score_video(
    result: Path,
    target: Path | None = None,
    metrics: Sequence[str] = (),
    *,
    gt_mean: bool = False,
) -> VideoScores:
    """Scores a video in one pass, in memory that does not grow with its pixels.

    Args:
      result: a video file or a folder of numbered frames.
      target: the truth, the same; None: only what needs none is measured.
      metrics: full names, of single frames; none: `WITH_TARGET`, if there is one.
      gt_mean: see `score_items`.
    Raises:
      ValueError: one cannot be opened, has no frames, both differ in size, or a metric
        needs what is not given.
    """
    given = {"target"} if target else set()
    lacking = [name for name in metrics if not given.issuperset(METRICS[name].needs)]
    if lacking:
        raise ValueError(
            f"{', '.join(lacking)}: expected metrics that compare with "
            f"{'the target alone' if target else 'nothing, or --target TRUTH'}"
        )
    if target and not metrics:
        metrics = WITH_TARGET
    paths = [path for path in (result, target) if path]
    measures, notes = VideoMeasures(), []
    with contextlib.ExitStack() as stack:
        videos = [stack.enter_context(_open(path)) for path in paths]

        def items() -> Iterator[Item]:
            count = min(video.count for video in videos)
            pairs = itertools.zip_longest(*(video.frames() for video in videos))
            for number, frames in enumerate(
                track(pairs, "Scoring", total=count or None, transient=True)
            ):
                if any(frame is None for frame in frames):
                    short = [frame is None for frame in frames].index(True)
                    notes.append(
                        f"{paths[short]} ends after {number} frames, "
                        f"{paths[1 - short]} goes on; the first {number} were scored, "
                        "by number: check that no frame was dropped before"
                    )
                    return
                pixels = [_rgb(frame.pixels) for frame in frames]
                measures.add(*pixels)
                yield Item(str(number), *map(to_uint8, pixels))

        scores = scoring.score_items(items(), metrics, gt_mean=gt_mean)
        notes += [video.problem for video in videos if video.problem]
    if not scores.names:
        raise ValueError("\n  ".join(["no frame could be scored", *notes]))
    notes += scores.notes
    notes += [
        f"no {name}: expected successive frames of one scene, and something to be seen "
        "in both"
        for name, value in measures.summary().items()
        if math.isnan(value)
    ]
    return VideoScores(scores, measures, notes)


def print_video(title: str, scores: VideoScores, *, per_frame: bool = False) -> None:
    """A row for each measure; the truth's own beside, which is what can be reached."""
    measures = scores.measures
    whole, truth = measures.summary(), _summary_of_truth(measures)
    table = Table(title=title)
    for name in ("", "result", *(["truth"] if truth else [])):
        table.add_column(name, justify="right" if name else "left")
    for column in scores.frames.columns:
        table.add_row(heading(column), summary(scores.frames, column))
    for name, value in whole.items():
        measure = VIDEO_MEASURES[name]
        shown = [value, *([truth[name]] if name in truth else [])]
        cells = ["" if math.isnan(v) else f"{v:.{measure.digits}f}" for v in shown]
        table.add_row(f"{name} ↓ ({measure.unit})", *cells)
    console = Console()
    console.print(table)
    if per_frame:
        _print_frames(console, _rows(scores))


def _print_frames(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    table = Table()
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        cells = ["" if value is None else f"{value:.5g}" for value in row.values()]
        table.add_row(*cells)
    console.width = max(console.width, 18 * len(table.columns))  # nothing is folded
    console.print(table)


def write_video(path: Path, scores: VideoScores, *, protocol: str = PROTOCOL) -> None:
    """Protocol, versions, the measures and a row for each frame; JSON or CSV."""
    frames = scores.frames
    means = {column: frames.mean(column) for column in frames.columns}
    about = {
        "protocol": protocol,
        "versions": find_versions() | {"opencv": cv2.__version__},
        "summary": {
            "frames": len(frames.names),
            "result": _without_nan(means | scores.measures.summary()),
            "truth": _without_nan(_summary_of_truth(scores.measures)),
        },
        "units": {name: measure.unit for name, measure in VIDEO_MEASURES.items()},
        "notes": scores.notes,
    }
    commented = ("protocol", "versions", "units", "summary")
    write_rows(path, _rows(scores), about, commented=commented)


def _summary_of_truth(measures: VideoMeasures) -> dict[str, float]:
    return measures.target.summary() if measures.target.brightness else {}


def _rows(scores: VideoScores) -> list[dict[str, Any]]:
    """A row for each frame; None where it has no score."""
    columns = dict(scores.frames.columns)
    tracks = {"": scores.measures.pred, "_truth": scores.measures.target}
    for ending, of_video in tracks.items():
        for name, values in dataclasses.asdict(of_video).items():
            if values:
                columns[name + ending] = [or_none(value) for value in values]
    return [
        {"frame": number} | dict(zip(columns, row, strict=True))
        for number, row in enumerate(zip(*columns.values(), strict=True))
    ]


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: or_none(value) for name, value in values.items()}
