"""A video file to a video file: read, enhanced and encoded at once.

Whatever ends it, the same command goes on after the last whole segment (`parts`), and
the result is the same.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lowlight_jax.ops.letterbox import inside_bars
from lowlight_jax.runtime.ahead import ahead
from lowlight_jax.runtime.lock import locked
from lowlight_jax.video import writer
from lowlight_jax.video.parts import Parts, folder_of, forget
from lowlight_jax.video.reader import VideoReader, import_av, open_video
from lowlight_jax.video.steady import START, FrameMethod, Result, enhanced

SEGMENT_SECONDS = 10

# Told how many frames are done, of how many, and how many a second took.
Listener = Callable[[int, int, float], None]


def enhance_video(
    source: Path,
    target: Path,
    method: FrameMethod,
    coding: writer.Coding,
    on_progress: Listener = lambda done, total, fps: None,
    *,
    is_remembered: bool = False,
) -> tuple[list[str], str | None]:
    """Enhances a video file; all but its pixels is kept.

    Args:
      source: to be read.
      target: to be written; it is there whole or not at all.
      method: for each frame; black bars are found here.
      coding: of the result.
      on_progress: told after each frame.
      is_remembered: the next call with the same finds it done, until `parts.forget`.
    Returns:
      A sentence for each thing that the result does not have, and one if not all of
      the source could be read.
    Raises:
      VideoError: it cannot be read, or not be written so.
      InUseError: another process writes the same.
    """
    with open_video(source) as reader:
        writer.check_container(reader, target, coding)
        if not method.method.needs_mask:  # which is for the whole frame
            method = dataclasses.replace(method, inside=_find_inside(reader))
        folder = folder_of(target)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            parts = Parts(folder, _job(source, reader, method, coding))
            if outcome := parts.outcome(target):
                return outcome
            _write_segments(reader, method, coding, parts, on_progress)
            whole = folder / f"whole{target.suffix}"
            refused = writer.join(reader, parts.segments, parts.times, whole)
            os.replace(whole, target)
            notes, problem = reader.notes + writer.not_copied(reader), reader.problem
            if refused and not problem:
                problem = (
                    f"{source} is damaged in its sound or subtitles: {refused} packets "
                    "were left out"
                )
            parts.finish(target, notes, problem)
        if not is_remembered:
            forget(target)
        return notes, problem


def _write_segments(
    reader: VideoReader,
    method: FrameMethod,
    coding: writer.Coding,
    parts: Parts,
    on_progress: Listener,
) -> None:
    last = parts.times[-1] if parts.times else None
    with (
        ahead(reader.frames(skip=len(parts.times))) as frames,
        ahead(
            enhanced(frames, method, reader.format.time_base, parts.state, last)
        ) as results,
    ):
        _encode(results, reader, coding, parts, on_progress)


def _encode(
    results: Iterable[Result],
    reader: VideoReader,
    coding: writer.Coding,
    parts: Parts,
    on_progress: Listener,
) -> None:
    av = import_av()
    started, done_before = time.monotonic(), len(parts.times)
    for _, group in itertools.groupby(results, functools.partial(_number, reader)):
        times = []
        with av.open(f"file:{parts.unfinished}", "w", format="matroska") as segment:
            encoder = writer.Encoder(
                segment, reader.format, coding, 1 / reader.format.fps, is_numbered=True
            )
            for result in group:
                encoder.encode(result.pixels, len(parts.times) + len(times))
                times.append(result.pts)
                done = len(parts.times) + len(times)
                rate = (done - done_before) / (time.monotonic() - started)
                on_progress(done, max(reader.count, done), rate)
            encoder.finish()
        parts.keep(times, result.state)


def _number(reader: VideoReader, result: Result) -> int:
    """Of the segment that a frame belongs to, whenever the work began."""
    seconds = (result.pts - reader.first_pts) * reader.format.time_base
    return int(seconds // SEGMENT_SECONDS)


def _job(
    source: Path, reader: VideoReader, method: FrameMethod, coding: writer.Coding
) -> dict[str, Any]:
    """All that decides what the result is; whether it is the same method, its result
    for the first frame tells.
    """
    _, first = method(START, reader.first_pixels(), 0.0)
    status = source.stat()
    return {
        "source": str(source.resolve()),
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "codec": coding.codec,
        "crf": coding.crf,
        "smooth_seconds": method.smooth_seconds,
        "temporal_denoise": method.temporal_denoise,
        "first_frame": hashlib.sha256(np.ascontiguousarray(first)).hexdigest(),
    }


def _find_inside(reader: VideoReader) -> tuple[slice, slice]:
    """Where the picture lies, if there are black bars in the whole video."""
    h, w = reader.format.height, reader.format.width
    ends = []
    for pixels in reader.samples():
        if pixels.max() > np.iinfo(pixels.dtype).max // 16:  # one without light has no
            rows, columns = inside_bars(pixels)  # bars that one could see
            ends.append((*rows.indices(h)[:2], *columns.indices(w)[:2]))
    if not ends:
        return slice(0, h), slice(0, w)
    tops, bottoms, lefts, rights = zip(*ends, strict=True)
    return slice(min(tops), max(bottoms)), slice(min(lefts), max(rights))
