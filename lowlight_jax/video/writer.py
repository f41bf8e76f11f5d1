"""Videos written: frames to segments, and segments to one file beside all else it had.

A segment is a Matroska file of its own, in which the time of a frame is its number in
the video: exact whatever the source's ticks are. Joining encodes nothing anew: packets
get the source's times back, and are put between the source's audio, subtitles and
other streams, which are copied.
Not here: when a segment ends (`files`), and how work that was cut off goes on
(`parts`).
"""

import dataclasses
import heapq
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lowlight_jax.images.kinds import WRITTEN_VIDEO_SUFFIXES
from lowlight_jax.video.reader import (
    SCALING,
    Format,
    Graph,
    VideoError,
    VideoReader,
    import_av,
)

if TYPE_CHECKING:
    import av


class Codec(NamedTuple):
    """What can be asked for by --codec.

    Attributes:
      encoder, options: of FFmpeg.
      crf: by default; chosen such that frames look the same side by side.
      most_crf: the highest that it takes.
      suffixes: of containers that hold it.
    """

    encoder: str
    options: Mapping[str, str]
    crf: int
    most_crf: int
    suffixes: tuple[str, ...]


_H26X = (".mp4", ".m4v", ".mov", ".mkv")
_QUIET = {"x265-params": "log-level=none"}
# With AVX-512 x264's mbtree reads memory that nothing wrote (core 165): the same frames
# give other bytes each time. SSE4.2 is as fast at this preset; jaxlib asks for more.
_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
_REPEATABLE = {"x264-params": "asm=SSE4.2"} if _IS_X86 else {}
CODECS = {
    "h264": Codec("libx264", {"preset": "veryfast", **_REPEATABLE}, 18, 51, _H26X),
    "h265": Codec("libx265", {"preset": "fast", **_QUIET}, 20, 51, _H26X),
    "av1": Codec(
        "libsvtav1", {"preset": "8"}, 24, 63, (".mp4", ".m4v", ".mkv", ".webm")
    ),
}
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm"}
_CONTAINERS |= {".mkv": "matroska"}
NUMBERING = Fraction(1, 1000)  # Matroska's tick, in which numbers of frames are exact


def default_codec(suffix: str) -> str:
    """H.264, which plays everywhere, unless the container does not hold it."""
    return next(name for name, codec in CODECS.items() if suffix in codec.suffixes)


@dataclasses.dataclass(frozen=True)
class Coding:
    """How a result is encoded.

    Attributes:
      codec: of `CODECS`.
      crf: quality, lower is better; None: the codec's default.
      options: of FFmpeg's encoder, over those of `CODECS`.
    """

    codec: str
    crf: float | None = None
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Encoder:
    """One video stream in an open container, fed with RGB frames.

    Args:
      container: of PyAV, to be written.
      video: what frames are like.
      coding: see there.
      time_base: a tick of the times given to `encode`, in seconds.
      is_numbered: those times are numbers of frames, and are written as `NUMBERING`.
    """

    def __init__(
        self,
        container: "av.container.OutputContainer",
        video: Format,
        coding: Coding,
        time_base: Fraction,
        is_numbered: bool = False,
    ):
        codec = CODECS[coding.codec]
        crf = codec.crf if coding.crf is None else coding.crf
        self._container, self._video = container, video
        self._stream = stream = container.add_stream(codec.encoder, rate=video.fps)
        stream.options = {**codec.options, "crf": f"{crf:g}", **coding.options}
        stream.width, stream.height = video.width, video.height
        stream.pix_fmt = self._pixels = _pixel_format(video, coding.codec)
        context = stream.codec_context
        context.time_base = self._time_base = time_base
        self._stored_base = NUMBERING if is_numbered else time_base
        stream.time_base = self._stored_base
        if video.pixel_aspect:
            context.sample_aspect_ratio = video.pixel_aspect
        tags = video.colour_tags
        context.color_range, context.colorspace, *rest = tags
        context.color_primaries, context.color_trc = rest
        self._graph: Graph | None = None

    def encode(self, pixels: np.ndarray, time: int) -> None:
        """Adds a frame `[h, w, 3]`, uint8 or uint16, shown at `time` ticks."""
        av = import_av()
        layout = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), layout)
        frame.pts, frame.time_base = time, self._time_base
        if self._graph is None:
            video = self._video
            target_range = "pc" if video.is_full_range else "tv"
            options = (
                f"out_color_matrix={video.matrix}:out_range={target_range}:"
                f"in_range=pc:{SCALING}"
            )
            filters = [("scale", options), ("format", self._pixels)]
            self._graph = Graph(frame, filters, self._time_base)
        (converted,) = self._graph(frame)
        self._mux(self._stream.encode(converted))

    def finish(self) -> None:
        """Writes what the encoder still holds."""
        self._mux(self._stream.encode(None))

    def _mux(self, packets: Iterable["av.Packet"]) -> None:
        for packet in packets:
            packet.time_base = self._stored_base
            self._container.mux(packet)


def _pixel_format(video: Format, codec: str) -> str:
    """4:2:0 as all players have it; H.264 and H.265 halve no odd side."""
    is_odd = video.width % 2 or video.height % 2
    sampling = "444" if is_odd and codec != "av1" else "420"
    return f"yuv{sampling}p" + ("10le" if video.bits > 8 else "")


def _reordering(order: Sequence[int]) -> int:
    """How many places a packet comes before its turn at most.

    Args:
      order: times of packets in the order of decoding.
    """
    rank = {time: i for i, time in enumerate(sorted(order))}
    return max((i - rank[time] for i, time in enumerate(order)), default=0)


def check_container(reader: VideoReader, target: Path, coding: Coding) -> None:
    """Whether a container holds all streams of a video.

    Raises:
      VideoError: it does not, or not this codec; says which would.
    """
    suffix = target.suffix.lower()
    if suffix not in WRITTEN_VIDEO_SUFFIXES:
        raise VideoError(
            f"{target}: no video is written as {suffix}; expected "
            f"{' '.join(WRITTEN_VIDEO_SUFFIXES)}"
        )
    holding = CODECS[coding.codec].suffixes
    if suffix not in holding:
        raise VideoError(
            f"{target}: {suffix} does not hold {coding.codec}; expected --codec "
            f"{default_codec(suffix)}, or a name ending in {' or '.join(holding)}"
        )
    if lost := _foreign_streams(reader, suffix):
        raise VideoError(
            f"{target}: {suffix} does not hold what {reader.name} has, "
            f"{' and '.join(lost)}; expected a name ending in .mkv"
        )


def _foreign_streams(reader: VideoReader, suffix: str) -> list[str]:
    """What a container does not hold of a video's other streams."""
    av = import_av()
    with av.open(os.devnull, "w", format=_CONTAINERS[suffix]) as container:
        known = container.supported_codecs
    return [
        f"{stream.type} coded as {stream.codec_context.name}"
        for stream in _copied_streams(reader)
        if stream.codec_context.codec.canonical_name not in known
    ]


def _copied_streams(reader: VideoReader) -> list["av.stream.Stream"]:
    """All that go into the result as they are: audio, subtitles, covers."""
    return [
        stream
        for stream in reader.container.streams
        if stream.type in ("audio", "subtitle", "video")
        and stream is not reader.stream
        and stream.codec_context is not None
    ]


def not_copied(reader: VideoReader) -> list[str]:
    """A sentence for each kind of stream that no container can be given."""
    copied = [*_copied_streams(reader), reader.stream]
    kept = {stream.index for stream in copied}
    has_chapters = bool(reader.container.chapters())
    left = [
        stream.type
        for stream in reader.container.streams
        if stream.index not in kept
        and stream.type != "attachment"
        # QuickTime keeps the titles of chapters in a stream, which is written anew.
        and not (has_chapters and stream.type == "data")
    ]
    return [f"its {kind} streams are not copied" for kind in dict.fromkeys(left)]


def join(
    reader: VideoReader,
    segments: Sequence[Path],
    times: Sequence[int],
    target: Path,
) -> int:
    """Writes the result: encoded segments, and what else the source has.

    Args:
      reader: of the source; its file is opened once more.
      segments: in order, as `Encoder` wrote them with times 0, 1, 2, ...
      times: of all frames, in ticks of `Format.time_base`.
      target: is written, and is not whole before this returns.
    Returns:
      How many packets of other streams are so damaged that they are left out.
    """
    av = import_av()
    suffix = target.suffix.lower()
    options, refused = {}, 0
    if suffix not in (".mkv", ".webm"):
        options["movflags"] = "+faststart"
        if any("." in key for key in reader.container.metadata):
            options["movflags"] += "+use_metadata_tags"  # com.apple.quicktime...
    with (
        av.open(f"file:{segments[0]}") as first,
        reader.reopened() as source,
        av.open(
            f"file:{target}", "w", format=_CONTAINERS[suffix], options=options
        ) as result,
    ):
        ours = _add_copy(result, first.streams.video[0], reader.stream)
        ours.time_base = reader.format.time_base
        if ours.codec_context.name == "hevc" and suffix != ".mkv":
            ours.codec_context.codec_tag = "hvc1"  # or Apple's players show nothing
        if reader.format.display_matrix:
            ours.set_display_matrix(reader.format.display_matrix)
        theirs = {
            stream.index: _add_copy(result, source.streams[stream.index], stream)
            for stream in _copied_streams(reader)
        }
        for stream in source.streams:
            if stream.type == "attachment":
                result.add_attachment(stream.name, stream.mimetype, stream.data)
        result.metadata.update(source.metadata)
        chapters = source.chapters()
        for number, chapter in enumerate(chapters, 1):
            chapter["id"] = number  # from 0 in mp4, which Matroska refuses
        if chapters:
            result.set_chapters(chapters)
        both = heapq.merge(
            _our_packets(segments, times, reader, ours),
            _their_packets(source, theirs),
            key=_when,
        )
        for packet in both:
            try:
                result.mux(packet)
            except av.FFmpegError:
                if packet.stream is ours:
                    raise
                refused += 1
    return refused


def _when(packet: "av.Packet") -> float:
    ticks = packet.pts if packet.dts is None else packet.dts
    return float((ticks or 0) * packet.time_base)


def _add_copy(
    result: "av.container.OutputContainer",
    template: "av.stream.Stream",
    described: "av.stream.Stream",
) -> "av.stream.Stream":
    """A stream of coded packets, tagged as another one."""
    stream = result.add_stream_from_template(template, opaque=True)  # as it is
    stream.metadata.update(described.metadata)
    stream.disposition = described.disposition
    return stream


def _our_packets(
    segments: Sequence[Path], times: Sequence[int], reader: VideoReader, stream: Any
) -> Iterator["av.Packet"]:
    """With the source's times, and those of decoding that go with them."""
    av = import_av()
    packets = []
    for path in segments:
        with av.open(f"file:{path}") as segment:
            packets += [p.pts for p in segment.demux(video=0) if p.size]
    delay = _reordering(packets)
    last = reader.last_ticks(times)
    durations = [*map(int, np.diff(times)), last]
    count = 0
    for path in segments:
        with av.open(f"file:{path}") as segment:
            for packet in segment.demux(video=0):
                if not packet.size:
                    continue
                number = packet.pts
                early = count - delay
                packet.dts = times[early] if early >= 0 else times[0] + early * last
                packet.pts, packet.duration = times[number], durations[number]
                # The stream's own tick changes when the container's head is written.
                packet.time_base, packet.stream = reader.format.time_base, stream
                count += 1
                yield packet


def _their_packets(
    source: "av.container.InputContainer", streams: dict[int, Any]
) -> Iterator["av.Packet"]:
    if not streams:
        return
    av = import_av()
    packets = source.demux([s for s in source.streams if s.index in streams])
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return  # told by who read the video
        if packet is None:
            return
        if packet.dts is not None or packet.size:
            packet.stream = streams[packet.stream_index]
            yield packet
