"""A stream, as a camera sends it: at its own pace, whoever is too slow."""

import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from video_clips import moving_picture, write_clip

from lowlight_jax.enhance import __main__ as command
from lowlight_jax.inference.methods import ClassicalMethod

av = pytest.importorskip("av", reason="needs the extra video")

from lowlight_jax.video import live  # noqa: E402
from lowlight_jax.video.reader import VideoError, open_video  # noqa: E402
from lowlight_jax.video.steady import FrameMethod  # noqa: E402
from lowlight_jax.video.writer import Coding  # noqa: E402


def slow(seconds):
    def function(image):
        time.sleep(seconds)
        return np.minimum(image.astype(int) * 2, 255).astype(np.uint8)

    return FrameMethod(ClassicalMethod("slow", function), temporal_denoise=False)


# Each packet when it is due. (In a process of its own: while it waits for somebody to
# connect, PyAV lets no other thread run.)
SEND = """
import sys, time, av
clip, address = sys.argv[1:]
with av.open(clip) as source, av.open(address, "w", format="mpegts") as sink:
    stream = sink.add_stream_from_template(source.streams.video[0], opaque=True)
    started = time.monotonic()
    for packet in source.demux(video=0):
        if packet.size:
            due = started + float(packet.pts * packet.time_base)
            time.sleep(max(0, due - time.monotonic()))
            packet.stream = stream
            sink.mux(packet)
"""


@pytest.fixture
def camera(tmp_path):
    """`f(count, fps) -> address` of a camera that sends so many frames over TCP."""
    processes = []

    def start(count, fps):
        clip = write_clip(
            tmp_path / "camera.mp4",
            moving_picture(count),
            fps=fps,
            options={"tune": "zerolatency", "g": "10"},
        )
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        argv = [sys.executable, "-c", SEND, str(clip), f"{address}?listen=1"]
        processes.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
        time.sleep(1.5)
        return address

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_slow_method_drops_frames_and_keeps_time(tmp_path, camera):
    address = camera(150, fps=50)
    target = tmp_path / "b.mkv"
    done, problem = live.enhance_live(address, str(target), slow(0.1), Coding("h264"))
    assert problem is None
    assert 6 <= done.written <= 30 and done.dropped >= 2 * done.written
    assert max(done.latencies) < 0.6  # not the seconds that is waited in a queue
    with open_video(target) as reader:
        frames = list(reader.frames())
    assert len(frames) == done.written
    seconds = (frames[-1].pts - frames[0].pts) * reader.format.time_base
    assert 1 < seconds <= 3
    assert frames[-1].pixels.mean() > 60


@pytest.mark.parametrize("codec, name", [("h264", "b.ts"), ("av1", "b.mkv")])
def test_fast_method_keeps_all(tmp_path, camera, codec, name):
    address, target = camera(30, fps=10), tmp_path / name
    done, _ = live.enhance_live(address, str(target), slow(0), Coding(codec))
    with open_video(target) as reader:
        assert len(list(reader.frames())) == done.written
    assert done.dropped <= 5 and done.written >= 15  # some come at once at the start
    assert (
        f"{done.written} frames written, {done.dropped} dropped; latency"
        in done.summary()
    )


def test_interrupted_stream_is_whole(tmp_path, camera):
    """Ctrl-C is how one ends it: the file can be played to its end."""
    address = camera(600, fps=25)
    target = tmp_path / "b.mkv"
    argv = [address, "--output", str(target), "--model", "gamma"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lowlight_jax.enhance", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not target.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and not out, errors
    assert "frames written" in errors and "Traceback" not in errors
    with open_video(target) as reader:
        assert len(list(reader.frames())) > 10


@pytest.mark.parametrize(
    "target, name",
    [
        ("b.mkv", "matroska"),
        ("b.TS", "mpegts"),
        ("-", "matroska"),
        ("udp://10.0.0.1:5000", "mpegts"),
        ("rtmp://server/key", "flv"),
    ],
)
def test_output_formats(target, name):
    assert live.format_of(target, "h264") == name


@pytest.mark.parametrize("target", ["b.mp4", "b", "gopher://x/"])
def test_outputs_that_cannot_grow(target):
    with pytest.raises(VideoError, match="written to a file ending in .mkv or .ts"):
        live.format_of(target, "h264")


@pytest.mark.parametrize(
    "argv, code, reason",
    [
        (["rtsp://a/1", "b.jpg", "--output", "c.mkv"], 2, "expected it alone as IN"),
        (["rtsp://a/1", "--output", "c.mp4"], 2, "ending in .mkv or .ts"),
        (["udp://a:1", "--output", "c.ts", "--codec", "av1"], 2, "does not hold av1"),
        (["tcp://127.0.0.1:9", "--output", "c.mkv"], 1, "cannot be read as a video"),
        (["night.jpg", "--output", "udp://127.0.0.1:9"], 2, "expected a path"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, argv, code, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.jpg").touch()
    assert command.main([*argv, "--model", "gamma"]) == code
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "c.mkv").exists()
