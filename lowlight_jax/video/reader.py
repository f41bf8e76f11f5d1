"""Videos from files, devices and streams, as RGB frames with their times.

Colours are converted by a filter graph with an explicit matrix and range: what PyAV
does by itself darkens by one level, and takes a default matrix for one that is tagged.
Not here: what is done to frames (`steady`), files and streams that are written
(`writer`).
"""

import contextlib
import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lowlight_jax.images.kinds import VIDEO_SUFFIXES, missing_extra

if TYPE_CHECKING:
    import av

# Nearest in effect to a conversion by formula, measured: no bias of luma at all.
SCALING = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"

_UNSPECIFIED = 2
# AVColorSpace to what the filter `scale` calls it.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470", 6: "smpte170m", 7: "smpte240m"}
_MATRICES |= {9: "bt2020", 10: "bt2020"}
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_HDR = {16: "PQ (HDR10 or Dolby Vision)", 18: "HLG"}
_MOST_SOUGHT = 12  # frames that are decoded after a key frame
_SHORT = Fraction(1, 2)  # s; a file that ends so much before what it says was cut off


class VideoError(ValueError):
    """A video cannot be read or written; one plain sentence."""


class Frame(NamedTuple):
    """One picture of a video.

    Attributes:
      pixels: `[h, w, 3]` RGB of full range, uint8, or uint16 of a deeper source.
      pts: when it is shown, in ticks of `Format.time_base`; rises from frame to frame.
    """

    pixels: np.ndarray
    pts: int


class Format(NamedTuple):
    """What the frames of a video have in common, and its result keeps.

    Attributes:
      width, height: in pixels, as stored: before any rotation.
      bits: per channel.
      fps: frames per second, on average where it varies.
      time_base: a tick, in seconds.
      matrix, is_full_range: between RGB and the YUV that is stored.
      colour_tags: range, matrix, primaries and transfer as they are tagged.
      pixel_aspect: width of a pixel by its height; None where it is not told.
      display_matrix: of nine, how players turn it; None if they do not.
    """

    width: int
    height: int
    bits: int
    fps: Fraction
    time_base: Fraction
    matrix: str
    is_full_range: bool
    colour_tags: tuple[int, int, int, int]
    pixel_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None


def import_av() -> Any:
    """PyAV, whose libraries print nothing by themselves.

    Raises:
      VideoError: it is not installed.
    """
    os.environ.setdefault("SVT_LOG", "1")  # of AV1's encoder: errors alone
    try:
        import av
    except ImportError as error:
        raise VideoError(
            f"videos need PyAV, which is not installed: {missing_extra('.mp4')}"
        ) from error
    return av


class VideoReader:
    """An open video; `open_video` makes it and closes it.

    Attributes:
      name: of the file or address, in messages.
      container: of PyAV, for whoever copies the other streams.
      stream: the video among its streams.
      format: see `Format`.
      notes: a sentence for each thing that the result will not have.
      problem: after `frames`, what of the file could not be read, one sentence; None
        where all was.
    """

    def __init__(
        self, container: "av.container.InputContainer", name: str, address: str
    ):
        self.name, self._address = name, address
        self.container = container
        self.notes: list[str] = []
        self.problem: str | None = None
        self.stream = _video_stream(container, name)
        self.stream.thread_type = "AUTO"
        self._first = self._decoded_first()
        self.format = self._find_format()

    @property
    def count(self) -> int:
        """How many frames there are, as far as the file tells; 0 where it does not."""
        if self.stream.frames:
            return self.stream.frames
        return int(self.seconds * self.format.fps)

    @property
    def seconds(self) -> float:
        """How long it is, as far as the file tells; 0 where it does not."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return (self.container.duration or 0) / 1e6

    def last_ticks(self, times: Sequence[int]) -> int:
        """How long the last of all frames is shown, given when each is."""
        start, length = self.stream.start_time or 0, self.stream.duration or 0
        steps = [b - a for a, b in zip(times[-2:], times[-1:], strict=False)]
        usual = [*steps, round(1 / self.format.fps / self.format.time_base)]
        told = start + length - times[-1]
        return told if 0 < told <= 100 * usual[0] else max(1, usual[0])

    def reopened(self) -> "av.container.InputContainer":
        """The same file from its start, for its other streams."""
        return _open(self._address, None)

    @property
    def first_pts(self) -> int:
        """When the first frame is shown."""
        return self._first.pts or 0

    def first_pixels(self) -> np.ndarray:
        """The first frame, which `frames` gives again (interlaced: as it is)."""
        return _Converter(self.format)(self._first)

    def samples(self, count: int = 8) -> Iterator[np.ndarray]:
        """Frames from all over the video, roughly: what soon follows a key frame."""
        av = import_av()
        convert = _Converter(self.format)
        with contextlib.suppress(av.FFmpegError, VideoError), self.reopened() as again:
            stream = again.streams[self.stream.index]
            for i in range(count):
                time = i * self.seconds / count + (again.start_time or 0) / 1e6
                again.seek(int(time * 1e6))
                for frame in itertools.islice(again.decode(stream), _MOST_SOUGHT):
                    if (frame.time or 0) >= time:
                        break
                yield convert(frame)

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """All of them once, in the order in which they are shown.

        What is damaged is left out, or as the decoder mends it; `problem` then tells.

        Args:
          skip: so many are decoded and not given.
        """
        convert = _Converter(self.format)
        last = None
        for index, frame in enumerate(self._deinterlaced()):
            ticks = frame.pts
            if ticks is not None and frame.time_base != self.format.time_base:
                ticks = round(ticks * frame.time_base / self.format.time_base)
            if last is not None and (ticks is None or ticks <= last):
                ticks = last + max(
                    1, round(1 / self.format.fps / self.format.time_base)
                )
            last = ticks or 0
            if index >= skip:
                yield Frame(convert(frame), last)

    def _decoded_first(self) -> "av.VideoFrame":
        """The first frame, which alone tells some things; it is given again."""
        self._decoding = self._decode()
        first = next(self._decoding, None)
        if first is None:
            raise VideoError(
                f"{self.name} has no frame that can be decoded; expected a video that "
                "plays"
            )
        return first

    def _find_format(self) -> Format:
        stream, context, first = self.stream, self.stream.codec_context, self._first
        matrix, tags = _colours(first, context, self.name)
        components = first.format.components
        if any(component.is_alpha for component in components):
            self.notes.append("its transparency is dropped")
        fps = stream.average_rate or stream.guessed_rate or stream.base_rate or 25
        if self._is_interlaced(first):
            self.notes.append("it was interlaced, and is no more: bwdif, full frames")
        turns = _display_matrix(first)
        aspect = context.sample_aspect_ratio
        return Format(
            width=first.width,
            height=first.height,
            bits=max(component.bits for component in components),
            fps=Fraction(fps),
            time_base=stream.time_base,
            matrix=matrix,
            is_full_range=tags[0] == _FULL_RANGE,
            colour_tags=tags,
            pixel_aspect=Fraction(aspect) if aspect else None,
            display_matrix=None if turns == _UPRIGHT else turns,
        )

    def _is_interlaced(self, frame: "av.VideoFrame") -> bool:
        return frame.interlaced_frame or self.stream.codec_context.field_order > 1

    def _deinterlaced(self) -> Iterator["av.VideoFrame"]:
        graph = None
        for frame in self._all_decoded():
            if graph is None and self._is_interlaced(frame):
                filters = [("bwdif", "mode=send_frame:deint=interlaced")]
                graph = Graph(frame, filters, self.format.time_base)
            if graph is None:
                yield frame
            else:
                yield from graph(frame)
        if graph is not None:
            yield from graph(None)

    def _all_decoded(self) -> Iterator["av.VideoFrame"]:
        yield self._first
        yield from self._decoding

    def _decode(self) -> Iterator["av.VideoFrame"]:
        """Frames; what cannot be demuxed or decoded becomes `problem`."""
        av = import_av()
        damaged, end, reason = 0, Fraction(0), ""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                reason = f" ({error.strerror})"
                break
            if packet is None:
                break
            if packet.pts is not None:
                ticks = packet.pts + (packet.duration or 0)
                end = max(end, ticks * packet.time_base)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                damaged += frame.is_corrupt
                yield frame
        self.problem = self._describe(end, damaged, reason)

    def _describe(self, end: Fraction, damaged: int, reason: str) -> str | None:
        start = (self.stream.start_time or 0) * self.stream.time_base
        length = Fraction(self.seconds).limit_denominator(1000)
        if self.stream.duration is None:  # of the longest stream, and another's may be
            length = min(length, _told_length(self.stream) or Fraction(0))
        if reason or end - start < length - _SHORT:
            return (
                f"{self.name} is cut off or damaged after {float(end - start):.1f} of "
                f"{float(length):.1f} s{reason}; what could be decoded was used"
            )
        if damaged:
            return (
                f"{self.name} is damaged in {damaged} frames; they were left "
                "out, or are as the decoder mended them"
            )
        return None


def _colours(
    frame: "av.VideoFrame", context: "av.VideoCodecContext", name: str
) -> tuple[str, tuple[int, int, int, int]]:
    """`Format.matrix` and `colour_tags`, of the frame or else of the stream."""
    names = "color_range", "colorspace", "color_primaries", "color_trc"
    tags = []
    for attribute in names:
        tag = int(getattr(frame, attribute))
        is_told = tag not in (0, _UNSPECIFIED) or tag and attribute == "color_range"
        tags.append(tag if is_told else int(getattr(context, attribute)))
    if (transfer := tags[-1]) in _HDR:
        raise VideoError(
            f"{name} is HDR video, {_HDR[transfer]}: its values mean light on another "
            "scale than the networks know, and would come out wrong; expected SDR: "
            "convert it first (tone mapping)"
        )
    # The usual guess of players where nothing is told: by size.
    is_hd = frame.height > 576 or frame.width >= 1280
    usual = 1 if is_hd else 6
    if frame.format.is_rgb:
        tags[:2] = _LIMITED_RANGE, usual
    space = usual if tags[1] in (0, _UNSPECIFIED) else tags[1]
    if space not in _MATRICES:
        raise VideoError(
            f"the colours of {name} are stored in a way that is not read (colour space "
            f"{space} of H.273); convert it to BT.709 first"
        )
    return _MATRICES[space], tuple(tags)


_UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def _display_matrix(frame: "av.VideoFrame") -> tuple[int, ...] | None:
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return struct.unpack("=9i", bytes(data))
    return None


def _told_length(stream: "av.VideoStream") -> Fraction | None:
    """What Matroska tells of a single stream, in seconds."""
    text = stream.metadata.get("DURATION", "")
    with contextlib.suppress(ValueError):
        hours, minutes, seconds = text.strip("\0").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds[:12])
    return None


def _video_stream(
    container: "av.container.InputContainer", name: str
) -> "av.VideoStream":
    """The video that players show; no picture of a cover."""
    av = import_av()
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        raise VideoError(f"{name} holds no video; expected a file with a video stream")
    stream = next(
        (s for s in streams if s.disposition & av.stream.Disposition.default),
        streams[0],
    )
    if stream.codec_context is None:
        raise VideoError(
            f"{name} is coded in a way that is not known here; convert it to H.264"
        )
    return stream


@contextlib.contextmanager
def open_video(
    source: str | Path, container_format: str | None = None
) -> Iterator[VideoReader]:
    """Opens a video file, or a device or stream by its address.

    Args:
      source: a path, or an address like "rtsp://camera/1" or "/dev/video0".
      container_format: what FFmpeg calls it, like "v4l2"; None: found out.
    Raises:
      VideoError: it cannot be opened, holds no video, is HDR, or PyAV is not installed.
    """
    av = import_av()
    # A path may look like an address: 20:15.mp4.
    address = f"file:{source}" if isinstance(source, Path) else str(source)
    try:
        container = _open(address, container_format)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(
            f"{source} cannot be read as a video ({reason}); expected a file of "
            f"{' '.join(VIDEO_SUFFIXES)} that plays"
        ) from error
    with container:
        yield VideoReader(container, str(source), address)


def _open(address: str, container_format: str | None) -> "av.container.InputContainer":
    return import_av().open(address, format=container_format, metadata_errors="replace")


class Graph:
    """A chain of FFmpeg's filters, for frames of one kind."""

    def __init__(
        self,
        frame: "av.VideoFrame",
        filters: list[tuple[str, str]],
        time_base: Fraction,
    ):
        from av.filter import Graph

        self._graph = Graph()
        last = self._graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format.name,
            time_base=time_base,
        )
        for name, options in [*filters, ("buffersink", "")]:
            following = self._graph.add(name, options)
            last.link_to(following)
            last = following
        self._graph.configure()

    def __call__(self, frame: "av.VideoFrame | None") -> list["av.VideoFrame"]:
        """What comes out after a frame, or at the end."""
        av = import_av()
        self._graph.push(frame)
        ready = []
        with contextlib.suppress(av.BlockingIOError, av.EOFError):
            while True:
                ready.append(self._graph.pull())
        return ready


class _Converter:
    """Frames to RGB of full range, of the size and depth of `Format`."""

    def __init__(self, video: Format):
        self._format = video
        self._graphs: dict[Any, Graph] = {}

    def __call__(self, frame: "av.VideoFrame") -> np.ndarray:
        kind = frame.width, frame.height, frame.format.name
        if kind not in self._graphs:  # streams may change their size midway
            self._graphs[kind] = self._make(frame)
        (converted,) = self._graphs[kind](frame)
        return converted.to_ndarray()

    def _make(self, frame: "av.VideoFrame") -> Graph:
        video = self._format
        options = f"{video.width}:{video.height}:out_range=pc:{SCALING}"
        if not frame.format.is_rgb:
            source_range = "pc" if video.is_full_range else "tv"
            options += f":in_color_matrix={video.matrix}:in_range={source_range}"
        pixels = "rgb24" if video.bits <= 8 else "rgb48le"
        filters = [("scale", options), ("format", pixels)]
        return Graph(frame, filters, video.time_base)
