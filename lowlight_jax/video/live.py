"""A camera or stream, enhanced as it comes.

Frames that come while one is being enhanced are dropped, but for the newest: what is
written is never further behind than the time of two frames and the encoder's, however
slow the machine. The result's times are the source's, so that it plays at the right
speed.
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lowlight_jax.video.reader import Frame, VideoError, import_av, open_video
from lowlight_jax.video.steady import START, FrameMethod, enhanced
from lowlight_jax.video.writer import Coding, Encoder

# By the scheme of an address, or the suffix of a file: FFmpeg's name of a container
# that can be read while it is written, and when its end is missing.
_BY_SCHEME = {"rtsp": "rtsp", "rtmp": "flv", "rtmps": "flv", "pipe": "matroska"}
_BY_SCHEME |= dict.fromkeys(("udp", "tcp", "srt", "rtp"), "mpegts")
_BY_SUFFIX = {".mkv": "matroska", ".ts": "mpegts"}
STDOUT = "-"
# An encoder that holds no frame back; a key frame every two seconds or so, for who
# tunes in.
_LOW_LATENCY = {
    "h264": {"preset": "veryfast", "tune": "zerolatency", "g": "50"},
    "h265": {"preset": "ultrafast", "tune": "zerolatency", "g": "50"},
    "av1": {"preset": "12", "svtav1-params": "pred-struct=1", "g": "50"},
}
_KEPT_LATENCIES = 1000


@dataclasses.dataclass
class Progress:
    """What has happened so far.

    Attributes:
      written, dropped: frames.
      latencies: of the last frames, seconds from decoded to given to the output.
    """

    written: int = 0
    dropped: int = 0
    latencies: list[float] = dataclasses.field(default_factory=list)

    def summary(self) -> str:
        """One line."""
        if not self.written:
            return "no frame written"
        median, late = np.percentile(self.latencies, [50, 95]) * 1000
        return (
            f"{self.written} frames written, {self.dropped} dropped; latency "
            f"{median:.0f} ms (95 % within {late:.0f} ms) from decoded to written"
        )


def enhance_live(
    source: str,
    target: str,
    method: FrameMethod,
    coding: Coding,
    *,
    input_format: str | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Progress, str | None]:
    """Enhances until the source ends, or until KeyboardInterrupt, which ends it well.

    Args:
      source: an address like "rtsp://camera/1", or a device like "/dev/video0".
      target: a file ending in .mkv or .ts, an address, or "-" for the standard output.
      method: for each frame.
      coding: of the result.
      input_format: what FFmpeg calls it, like "v4l2"; None: found out.
      on_progress: told after each frame.
    Returns:
      What has happened, and a sentence if the source broke off.
    Raises:
      VideoError: it cannot be read, or not be written so.
    """
    av = import_av()
    container_format = format_of(target, coding.codec)
    if input_format is None and source.startswith("/dev/video"):
        input_format = "v4l2"
    coding = dataclasses.replace(
        coding, options={**_LOW_LATENCY[coding.codec], **coding.options}
    )
    progress = Progress()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(open_video(source, input_format, is_live=True))
        ticks = reader.format.time_base
        address = target if "://" in target else f"file:{target}"
        address = "pipe:1" if target == STDOUT else address
        try:
            result = stack.enter_context(av.open(address, "w", format=container_format))
        except (av.FFmpegError, OSError) as error:
            raise VideoError(
                f"{target} cannot be written ({error.strerror})"
            ) from error
        encoder = Encoder(result, reader.format, coding, ticks)
        stack.callback(encoder.finish)
        newest = stack.enter_context(_newest(reader.frames()))
        with contextlib.suppress(KeyboardInterrupt):
            method(START, reader.first_pixels(), 0.0)  # compiles, while frames pass by
            newest.dropped = 0
            for result in enhanced(newest, method, ticks):
                encoder.encode(result.pixels, result.pts)
                progress.written += 1
                progress.dropped = newest.dropped
                progress.latencies.append(time.monotonic() - newest.came)
                del progress.latencies[:-_KEPT_LATENCIES]
                on_progress(progress)
    return progress, reader.problem


def format_of(target: str, codec: str) -> str:
    """FFmpeg's name of the container for a live output.

    Raises:
      VideoError: none can be read while it is written, or it does not hold the codec.
    """
    if target == STDOUT:
        return _BY_SCHEME["pipe"]
    scheme, found, _ = target.partition("://")
    known = _BY_SCHEME if found else _BY_SUFFIX
    name = known.get(scheme if found else Path(target).suffix.lower())
    if name is None:
        raise VideoError(
            f"--output {target}: a camera or stream is written to a file ending in "
            f"{' or '.join(_BY_SUFFIX)}, which can be read while it grows, to - (the "
            f"standard output), or to an address of {' '.join(_BY_SCHEME)}"
        )
    if codec == "av1" and name != _BY_SUFFIX[".mkv"]:
        raise VideoError(
            f"--output {target}: its container, {name}, does not hold av1; expected "
            "--codec h264, or a file ending in .mkv"
        )
    return name


class _Newest:
    """Iterates over frames that come by themselves, and skips those that are late.

    Attributes:
      dropped: how many were.
      came: `time.monotonic` when the one that was given last came.
    """

    def __init__(self, frames: Iterator[Frame]):
        self.dropped = 0
        self.came = 0.0
        self._frames = frames
        self._changed = threading.Condition()
        self._waiting: tuple[Frame, float] | None = None
        self._error: BaseException | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    if self._is_over:
                        return
                    self.dropped += self._waiting is not None
                    self._waiting = frame, time.monotonic()
                    self._changed.notify()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_over)
                arrived, self._waiting = self._waiting, None
            if arrived is None:
                break
            frame, self.came = arrived
            yield frame
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Waits for the thread, which ends with the frame that comes next."""
        with self._changed:
            self._is_over = True
        self._thread.join()


@contextlib.contextmanager
def _newest(frames: Iterator[Frame]) -> Iterator[_Newest]:
    newest = _Newest(frames)
    try:
        yield newest
    finally:
        newest.stop()
