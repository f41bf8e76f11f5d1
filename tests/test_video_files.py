"""Videos from file to file: what is kept, what is refused, how broken work goes on."""

import os
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from video_clips import moving_picture, packets_of, planes_of, write_clip

from lowlight_jax.enhance import __main__ as command
from lowlight_jax.enhance import videos
from lowlight_jax.images.files import read_photo, write_photo
from lowlight_jax.inference.batch import Outcome
from lowlight_jax.inference.jobs import Job
from lowlight_jax.inference.methods import ClassicalMethod
from lowlight_jax.runtime import allocator
from lowlight_jax.runtime.ahead import ahead

av = pytest.importorskip("av", reason="needs the extra video")

from lowlight_jax.video import files  # noqa: E402
from lowlight_jax.video.reader import Frame, VideoError, open_video  # noqa: E402
from lowlight_jax.video.steady import FrameMethod, enhanced  # noqa: E402
from lowlight_jax.video.writer import Coding  # noqa: E402

LOSSLESS = Coding("h264", 0, {"qp": "0"})


def as_is(function=lambda image: image, temporal_denoise=False):
    """A method that changes nothing, or does what a function does."""
    method = ClassicalMethod("as is", function)
    return FrameMethod(method, temporal_denoise=temporal_denoise)


def brighter(image):
    return np.minimum(image.astype(int) * 2, 255).astype(np.uint8)


def read(path):
    with open_video(path) as reader:
        return [frame.pixels for frame in reader.frames()], reader


UNEVEN = [0, 3600, 7000, 11117, 14400, 18001, 26000, 29600, 33200, 33201]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_all_but_pixels_is_kept(tmp_path, suffix):
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    tick = Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 90000)
    times = [time // 90 for time in UNEVEN] if suffix == ".mkv" else UNEVEN
    times[-1] += suffix == ".mkv"
    write_clip(
        source,
        moving_picture(10),
        times=times,
        tick=tick,
        tags=(1, 1, 1, 1),
        aspect=Fraction(4, 3),
        rotation=90,
        audio=2,
        chapters=True,
        title="Nacht",
    )
    notes, problem = files.enhance_video(source, target, as_is(), Coding("h264"))
    assert (notes, problem) == ([], None)
    before, after = packets_of(source), packets_of(target)
    sounds = [key for key, (kind, _) in before.items() if kind == "audio"]
    assert len(sounds) == 2
    for key in sounds:
        assert after[key] == before[key]
    shown = [sorted(packet[0] for packet in each[0][1]) for each in (before, after)]
    assert shown[0] == shown[1]
    with av.open(str(source)) as a, av.open(str(target)) as b:
        assert b.metadata["title"] == "Nacht"
        told = [[s.metadata.get("language") for s in f.streams.audio] for f in (a, b)]
        assert told[0] == told[1] and (suffix == ".mov" or told[0] == ["eng", "deu"])
        for ours, theirs in zip(b.streams, a.streams, strict=True):
            assert ours.disposition == theirs.disposition
        titles = [chapter["metadata"]["title"] for chapter in b.chapters()]
        assert titles == ["dusk", "night"]
        starts = [[c["start"] * c["time_base"] for c in f.chapters()] for f in (a, b)]
        assert starts[0] == starts[1]
        first, ours = next(a.decode(video=0)), next(b.decode(video=0))
        assert ours.rotation == first.rotation == 90
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            assert getattr(ours, name) == getattr(first, name) == 1
        aspects = [f.streams.video[0].sample_aspect_ratio for f in (a, b)]
        assert aspects[0] == aspects[1] == Fraction(4, 3)
    assert not list(tmp_path.glob(".*"))


def test_subtitles_and_attachments_are_kept(tmp_path):
    clip = write_clip(tmp_path / "clip.mkv", moving_picture(10), audio=1)
    text = tmp_path / "words.srt"
    text.write_text("1\n00:00:00,100 --> 00:00:00,300\nGood night\n\n")
    source, target = tmp_path / "a.mkv", tmp_path / "b.mkv"
    with (
        av.open(str(clip)) as a,
        av.open(str(text)) as b,
        av.open(str(source), "w") as result,
    ):
        streams = [*a.streams, *b.streams]
        copies = [result.add_stream_from_template(stream) for stream in streams]
        result.add_attachment("font.ttf", "application/x-truetype-font", b"letters")
        for container, offset in ((a, 0), (b, len(a.streams))):
            for packet in container.demux():
                if packet.size:
                    packet.stream = copies[offset + packet.stream_index]
                    result.mux(packet)
    files.enhance_video(source, target, as_is(), Coding("h265"))
    before, after = packets_of(source), packets_of(target)
    for key, (kind, packets) in before.items():
        assert after[key][0] == kind
        if kind != "video":
            assert after[key][1] == packets
    with av.open(str(target)) as container:
        (font,) = (s for s in container.streams if s.type == "attachment")
        assert (font.name, font.data) == ("font.ttf", b"letters")
    with pytest.raises(VideoError, match="subtitle coded as srt; expected .* .mkv"):
        files.enhance_video(source, tmp_path / "b.mp4", as_is(), Coding("h264"))


@pytest.mark.parametrize(
    "pixels, tags",
    [
        ("yuv420p", ()),
        ("yuv420p", (1, 1, 1, 1)),
        ("yuv420p", (1, 5, 5, 6)),
        ("yuvj420p", (2, 6, 1, 1)),
        ("yuv420p10le", (1, 9, 9, 14)),
        ("yuv444p", (1, 1, 1, 1)),
        ("gray", ()),
    ],
)
def test_colours_are_not_shifted(tmp_path, pixels, tags):
    """Luma before and after, against what an encoder without loss makes of it."""
    source, target = tmp_path / "a.mkv", tmp_path / "b.mkv"
    write_clip(source, moving_picture(3), pixels=pixels, tags=tags)
    files.enhance_video(source, target, as_is(), LOSSLESS)
    (before, _), (after, _) = planes_of(source), planes_of(target)
    full = 4 if "10le" in pixels else 1  # of 8-bit levels
    assert abs((after - before).mean()) / full < 0.1
    assert np.abs(after - before).mean() / full < 0.3
    _, reader = read(target)
    assert reader.format.bits == (10 if full > 1 else 8)


@pytest.mark.parametrize("name, tag", [("ITU601", 6), ("ITU709", 1)])
@pytest.mark.parametrize("color_range", ["MPEG", "JPEG"])
def test_colours_are_read_as_they_are_tagged(tmp_path, name, tag, color_range):
    """Of a coloured picture that swscale made YUV of by another way."""
    patches = np.uint8([[200, 40, 30], [30, 160, 60], [40, 60, 190], [90, 90, 90]])
    picture = np.repeat(patches, 16, 0)[None].repeat(48, 0)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        full = color_range == "JPEG"
        stream.codec_context.color_range = 2 if full else 1
        stream.codec_context.colorspace = tag
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(
            format="yuv420p",
            dst_colorspace=name,
            src_color_range="JPEG",
            dst_color_range=color_range,
        )
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (got,), reader = read(path)
    assert reader.format.is_full_range == full
    for column in (8, 24, 40, 56):
        np.testing.assert_allclose(got[24, column], picture[24, column], atol=3)


def test_pyav_alone_darkens(tmp_path):
    """The trap that the filter graph is for, or it could go."""
    source = write_clip(tmp_path / "a.mkv", moving_picture(2), tags=(1, 6, 6, 6))
    with av.open(str(source)) as container:
        plain = next(container.decode(video=0)).to_ndarray(format="rgb24")
    ours = read(source)[0][0]
    assert plain.mean() < ours.mean() - 0.3


@pytest.mark.parametrize(
    "height, width, codec, pixels",
    [
        (47, 63, "h264", "yuv444p"),
        (47, 64, "h265", "yuv444p"),
        (65, 67, "av1", "yuv420p"),
        (2, 2, "h264", "yuv420p"),
    ],
)
def test_odd_and_tiny_sizes(tmp_path, height, width, codec, pixels):
    source, target = tmp_path / "a.mkv", tmp_path / "b.mp4"
    write_clip(
        source,
        moving_picture(3, height, width),
        codec="ffv1",
        pixels="bgr0",
        options={},
    )
    files.enhance_video(source, target, as_is(), Coding(codec))
    frames, reader = read(target)
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 3
    assert reader.stream.codec_context.pix_fmt == pixels
    tags = {"h264": "avc1", "h265": "hvc1", "av1": "av01"}
    assert reader.stream.codec_context.codec_tag == tags[codec]
    assert abs(frames[0].mean() - read(source)[0][0].mean()) < 3


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
def test_same_frames_same_bytes(tmp_path, codec):
    """Whatever memory held before: what goes on later must not differ."""
    source = tmp_path / "a.mp4"
    write_clip(source, moving_picture(60, 168, 224))
    results, held = [], []
    for i in range(3):
        held += [np.full(size, 17 * i + 3, np.uint8) for size in range(1000, 9000, 7)]
        del held[::2]  # holes, which the encoder gets as they are
        target = tmp_path / f"{i}.mkv"
        files.enhance_video(source, target, as_is(brighter), Coding(codec))
        results.append(packets_of(target))
    assert results[0] == results[1] == results[2]


def test_one_frame(tmp_path, monkeypatch):
    """Here with a name that FFmpeg would take for an address."""
    monkeypatch.chdir(tmp_path)
    source, target = Path("a.mp4"), Path("20:15.mp4")
    write_clip(source, moving_picture(1))
    files.enhance_video(source, target, as_is(brighter), Coding("h264"))
    (frame,), _ = read(target)
    (given,), _ = read(source)
    assert abs(frame.mean() / given.mean() - 2) < 0.05


def test_interlaced_becomes_full_frames(tmp_path):
    source, target = tmp_path / "a.mkv", tmp_path / "b.mkv"
    options = {"crf": "5", "x264-params": "tff=1"}
    write_clip(source, moving_picture(12), options=options)
    notes, _ = files.enhance_video(source, target, as_is(), Coding("h264"))
    assert notes == ["it was interlaced, and is no more: bwdif, full frames"]
    with av.open(str(target)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 12 and not any(frame.interlaced_frame for frame in frames)
    assert planes_of(source)[1] == planes_of(target)[1]


@pytest.mark.parametrize("transfer, name", [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(tmp_path, transfer, name):
    source = write_clip(
        tmp_path / "a.mkv",
        moving_picture(2),
        pixels="yuv420p10le",
        tags=(1, 9, 9, transfer),
    )
    with pytest.raises(VideoError, match=f"HDR video, {name}.* expected SDR"):
        files.enhance_video(source, tmp_path / "b.mkv", as_is(), Coding("h264"))
    assert not (tmp_path / "b.mkv").exists()


def test_what_a_container_cannot_hold(tmp_path):
    source = write_clip(
        tmp_path / "a.mkv", moving_picture(5), audio=1, audio_codec="pcm_s16le"
    )
    for name, codec, reason in (
        ("b.webm", "h264", "does not hold h264; expected --codec av1"),
        ("b.webm", "av1", "audio coded as pcm_s16le; expected a name ending in .mkv"),
        ("b.mov", "av1", "does not hold av1"),
        ("b.avi", "h264", "no video is written as .avi"),
    ):
        with pytest.raises(VideoError, match=reason):
            files.enhance_video(source, tmp_path / name, as_is(), Coding(codec))
        assert not list(tmp_path.glob("*b.*"))


class Stopped(Exception):
    pass


def stopping_after(count, **options):
    """A method that fails in the frame after so many, the first one more included."""
    left = iter(range(count + 1))

    def function(image):
        if next(left, None) is None:
            raise Stopped
        return brighter(image)

    return as_is(function, **options)


@pytest.mark.parametrize("stops, done", [([3], 0), ([31, 2], 30), ([12, 0, 13], 20)])
def test_goes_on_with_the_same_frames(tmp_path, monkeypatch, stops, done):
    """Whenever it ends; the first frame is always made once more, to know the method.
    The frame in which it ends is made while those before it are encoded.
    """
    monkeypatch.setattr(files, "SEGMENT_SECONDS", Fraction(2, 5))  # 10 frames
    source, whole, target = (tmp_path / name for name in ("a.mp4", "w.mp4", "b.mp4"))
    write_clip(source, moving_picture(35), audio=1)
    options = {"temporal_denoise": True}  # each frame depends on those before
    files.enhance_video(source, whole, as_is(brighter, **options), Coding("h264"))
    for count in stops:
        stopping = stopping_after(count, **options)
        with pytest.raises(Stopped):
            files.enhance_video(source, target, stopping, Coding("h264"))
        assert not target.exists()
    made = []

    def counted(image):
        made.append(0)
        return brighter(image)

    files.enhance_video(source, target, as_is(counted, **options), Coding("h264"))
    assert packets_of(target) == packets_of(whole)
    assert len(made) == 1 + 35 - done
    assert not list(tmp_path.glob(".*"))


class Timed(FrameMethod):
    """Writes down how long after the last one a frame is shown."""

    seconds = []

    def __call__(self, state, frame, seconds):
        self.seconds.append(seconds)
        return state, frame


def test_goes_on_at_the_same_pace():
    frames = [Frame(frame, 3600 * i) for i, frame in enumerate(moving_picture(4))]
    method, tick = Timed(ClassicalMethod("as is", None)), Fraction(1, 90000)
    list(enhanced(frames[:2], method, tick))
    list(enhanced(frames[2:], method, tick, last=frames[1].pts))
    assert Timed.seconds == [0, 0.04, 0.04, 0.04]


def test_another_method_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SEGMENT_SECONDS", Fraction(2, 5))
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_clip(source, moving_picture(25))
    with pytest.raises(Stopped):
        files.enhance_video(source, target, stopping_after(20), Coding("h264"))
    files.enhance_video(source, target, as_is(), Coding("h264"))
    given, result = read(source)[0], read(target)[0]
    assert len(result) == 25
    assert max(abs(a.mean() - b.mean()) for a, b in zip(given, result, strict=True)) < 1


def test_of_many_those_that_are_done_are_not_made_again(tmp_path):
    """Unless the result was changed since; a problem is told again."""
    source = write_clip(tmp_path / "a.mkv", moving_picture(60), options={"g": "10"})
    source.write_bytes(source.read_bytes()[:-3000])
    target, made = tmp_path / "b.mkv", []

    def counted(image):
        made.append(0)
        return brighter(image)

    def enhance(remembered=True):
        made.clear()
        method, coding = as_is(counted), Coding("h264")
        return files.enhance_video(
            source, target, method, coding, is_remembered=remembered
        )

    first = enhance()
    assert len(made) > 10 and "is cut off" in first[1]
    content = target.read_bytes()
    kept = {path.name for path in (tmp_path / ".b.mkv.parts").glob("[!.]*")}
    assert kept == {"job.json", "done.json"}
    assert enhance() == first
    assert len(made) == 1 and target.read_bytes() == content
    target.write_bytes(b"changed")
    assert enhance(remembered=False) == first
    assert len(made) > 10 and len(read(target)[0]) == len(made) - 1
    assert not (tmp_path / ".b.mkv.parts").exists()


def test_damaged_state_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SEGMENT_SECONDS", Fraction(2, 5))
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_clip(source, moving_picture(25))
    with pytest.raises(Stopped):
        files.enhance_video(source, target, stopping_after(20), Coding("h264"))
    state = tmp_path / ".b.mp4.parts" / "state.npz"
    state.write_bytes(state.read_bytes()[:-100])
    files.enhance_video(source, target, as_is(brighter), Coding("h264"))
    assert len(read(target)[0]) == 25


def test_cut_off_source(tmp_path):
    source = write_clip(tmp_path / "a.mkv", moving_picture(60), options={"g": "10"})
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    target = tmp_path / "b.mkv"
    _, problem = files.enhance_video(source, target, as_is(), Coding("h264"))
    assert "is cut off or damaged after" in problem and "of 2.4 s" in problem
    assert 10 < len(read(target)[0]) < 50


def test_damaged_source(tmp_path):
    source = write_clip(tmp_path / "a.mp4", moving_picture(60), options={"g": "10"})
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = os.urandom(400)
    source.write_bytes(content)
    target = tmp_path / "b.mp4"
    _, problem = files.enhance_video(source, target, as_is(), Coding("h264"))
    assert "is damaged in" in problem
    assert len(read(target)[0]) >= 40


def test_black_bars_stay(tmp_path):
    frames = []
    for frame in moving_picture(12):
        frame = frame + 20
        frame[:10] = frame[-10:] = 0
        frames.append(frame)
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_clip(source, [np.zeros_like(frames[0])] * 3 + frames)
    shapes = set()

    def seen(image):
        shapes.add(image.shape)
        return np.full_like(image, 200)

    files.enhance_video(source, target, as_is(seen), Coding("h264", 5))
    ((height, width, _),) = shapes
    assert 26 <= height <= 30 and width == 64
    result = read(target)[0]
    assert result[5][:8].max() < 8 and result[5][12:-12].min() > 190


def test_memory_does_not_grow(tmp_path):
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    frames = moving_picture(100, 144, 256)
    write_clip(source, [frames[i % 100] for i in range(2000)])
    used = []

    def watched(image):
        used.append(int(Path("/proc/self/statm").read_text().split()[1]))
        return image

    files.enhance_video(source, target, as_is(watched), Coding("h264"))
    page = resource.getpagesize()
    early, late = max(used[200:500]) * page, max(used[-300:]) * page
    assert late - early < 8e6  # a frame is 0.1 MB: 2000 of them 220 MB


def run_command(*argv, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "lowlight_jax.enhance", *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_killed_command_goes_on(tmp_path):
    """Killed in the second segment; then with one signal that asks, then left alone."""
    source, whole, target = (tmp_path / name for name in ("a.mp4", "w.mp4", "b.mp4"))
    # Three segments of 100 frames, and a method that takes a second for each of them.
    frames = moving_picture(100, 168, 224) * 3
    write_clip(source, frames, fps=10, options={"crf": "30"})
    argv = [source, "--output", target, "--model", "msrcr", "--no-temporal-denoise"]
    for sent in (signal.SIGKILL, signal.SIGINT):
        process = run_command(*argv)
        folder = tmp_path / ".b.mp4.parts"
        awaited = folder / ("00001.mkv" if sent == signal.SIGKILL else "00002.mkv")
        deadline = time.monotonic() + 60
        while not awaited.exists() and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
        assert not target.exists()
    assert process.returncode == 130 and "the same command goes on" in errors
    assert "Traceback" not in errors
    out, errors = run_command(*argv).communicate(timeout=120)
    assert out.startswith(f"1 video saved to {target}") and not errors
    argv[2] = whole
    run_command(*argv).communicate(timeout=120)
    assert packets_of(target) == packets_of(whole)


def test_command_on_a_folder(tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "trip").mkdir(parents=True)
    write_clip(folder / "a.mp4", moving_picture(5))
    write_clip(
        folder / "trip" / "b.avi",
        moving_picture(5),
        codec="mpeg4",
        options={},
        tick=Fraction(1, 25),
    )
    (folder / "broken.mkv").write_bytes(b"\x1aE\xdf\xa3 nothing")
    from lowlight_jax.images.files import Photo

    write_photo(folder / "c.png", Photo(moving_picture(1)[0]))
    argv = [str(folder), "--output", str(out), "--model", "gamma"]
    assert command.main(argv) == 1
    printed = capsys.readouterr()
    assert "3 files saved" in printed.out
    assert "broken.mkv cannot be read as a video" in printed.err
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        *("a.mp4", "b.mkv", "c.png")
    }
    assert read_photo(out / "c.png").pixels.mean() > 60
    assert read(out / "trip" / "b.mkv")[0][4].mean() > 60


@pytest.mark.parametrize(
    "argv, reason",
    [
        (["a.mp4", "--output", "b.png"], "is a video and --output b.png a photo"),
        (["c.png", "--output", "b.mp4"], "is a photo and --output b.mp4 a video"),
        (["a.mp4", "--output", "b.avi"], "no video is written as .avi"),
        (["a.mp4", "--output", "b.mp4", "--crf", "55"], "h264 takes 0 to 51"),
        (["a.mp4", "--output", "a.mp4"], "would be overwritten"),
        (
            ["a.mp4", "--output", "b.mp4", "--model", "telea"],
            "not looked for in videos; expected --mask",
        ),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, argv, reason):
    monkeypatch.chdir(tmp_path)
    write_clip("a.mp4", moving_picture(2))
    from lowlight_jax.images.files import Photo

    write_photo(Path("c.png"), Photo(moving_picture(1)[0]))
    assert command.main(argv) == 2
    assert reason in capsys.readouterr().err
    assert not Path("b.mp4").exists()


def test_without_pyav(tmp_path, without_extras, capsys):
    source = tmp_path / "a.mp4"
    source.write_bytes(b"0000ftypisom")
    argv = [str(source), "--output", str(tmp_path / "b.mp4")]
    assert command.main(argv) == 2
    assert "pip install 'lowlight_jax[video]'" in capsys.readouterr().err


def test_ahead_keeps_order_and_errors():
    def numbers():
        yield from range(5)
        raise Stopped

    got = []
    with pytest.raises(Stopped):
        with ahead(numbers()) as items:
            for number in items:
                got.append(number)
    assert got == list(range(5))


def test_ahead_is_not_far_ahead():
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number

    with ahead(numbers(), 2) as items:
        next(items)
        time.sleep(0.05)
        assert len(made) <= 3


def test_memory_of_frames_is_kept_whatever_the_method_says(monkeypatch, tmp_path):
    """A network's loader keeps what photographs need, less than large frames do."""
    said = {}
    monkeypatch.setattr(allocator, "_mallopt", lambda *a: said.update([a]) or 1)
    words = [str(tmp_path / "a.mp4"), "--output", str(tmp_path / "b.mp4")]
    jobs = [Job(tmp_path / "a.mp4", tmp_path / "b.mp4")]
    outcome = Outcome()

    def make():
        allocator.keep_freed_memory(allocator.PHOTO_BUFFER)

    videos.enhance_videos(jobs, make, command.parse_args(words), outcome)
    assert len(outcome.failures) == 1  # there is no such video
    assert said[allocator._M_TRIM_THRESHOLD] > allocator.PHOTO_BUFFER
    assert said[allocator._M_MMAP_MAX] == 0
