"""Measures of video: known values, plain formulas, and the command on small clips."""

import csv
import json
import math
import tracemalloc

import cv2
import numpy as np
import pytest

from lowlight_jax import evaluate
from lowlight_jax.metrics.video import (
    VideoMeasures,
    flow_between,
    is_cut,
    warping_error,
)

H, W = 48, 64
LUMA = np.array([0.299, 0.587, 0.114])


def scene(seed, h=H, w=W, mean=120.0):
    """Smooth texture, float `[h, w, 3]` in levels, away from black and white."""
    noise = np.random.default_rng(seed).normal(0, 1, (h, w, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return mean + 30 * (smooth - smooth.mean((0, 1))) / smooth.std()


def codes(image):
    return np.uint8(np.clip(np.rint(image), 0, 255))


def noisy(frames, sigma, seed=9):
    rng = np.random.default_rng(seed)
    return [codes(frame + rng.normal(0, sigma, frame.shape)) for frame in frames]


def panned(seed, count, step_px=2):
    wide = codes(scene(seed, w=W + count * step_px))
    return [wide[:, i * step_px : i * step_px + W] for i in range(count)]


def measure(pred, target=None):
    measures = VideoMeasures()
    for i, frame in enumerate(pred):
        measures.add(frame, *([target[i]] if target else []))
    return measures


def summary(pred, target=None):
    return measure(pred, target).summary()


def flat(level, dtype=np.uint8):
    white = np.iinfo(dtype).max
    return np.full((H, W, 3), level * (white // 255), dtype)


def test_a_clip_that_does_not_change():
    still = [codes(scene(0))] * 4
    zero = {"flicker": 0, "warping_error": 0, "AB(var)": 0, "MABD": 0}
    assert summary(still, still) == zero
    assert summary(still) == {"flicker": 0, "warping_error": 0}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_brightness_that_alternates(dtype):
    """By 6 levels: flicker 6, variance 9, and each step of MABD is 6."""
    pumping = [flat(100 + 6 * (i % 2), dtype) for i in range(8)]
    found = summary(pumping, [flat(100)] * 8)
    assert found["flicker"] == pytest.approx(6, abs=1e-4)
    assert found["AB(var)"] == pytest.approx(9, abs=1e-3)
    assert found["MABD"] == pytest.approx(36, abs=1e-3)
    assert found["warping_error"] == pytest.approx(1000 * (6 / 255) ** 2, rel=1e-4)


def test_noise_does_not_flicker():
    """Its mean over a frame is: of 3072 pixels, and a luma of 0.669 sigma."""
    found = summary(noisy([scene(0)] * 20, 10))
    assert found["flicker"] < 3 * 10 * 0.669 / math.sqrt(H * W)


def test_a_cut_is_no_flicker_and_a_change_of_exposure_is():
    dark, bright = codes(scene(1, mean=80)), codes(scene(2, mean=170))
    cut = measure([dark, dark, bright, bright])
    assert cut.summary() == {"flicker": 0, "warping_error": 0}
    assert math.isnan(cut.pred.flicker[2]) and cut.pred.mabd[2] > 80
    assert cut.pred.flicker[1] == cut.pred.flicker[3] == 0
    exposed = [dark, codes(1.8 * np.float64(dark))]
    assert summary(exposed)["flicker"] == pytest.approx(
        0.8 * (dark @ LUMA).mean(), 0.01
    )


NIGHT = 0.05 * cv2.resize(scene(1), None, fx=8, fy=8)


@pytest.mark.parametrize(
    "first, second, expected",
    [
        (scene(1), scene(1), False),
        (scene(1), scene(2), True),
        (scene(1), 0.3 * scene(1), False),
        (scene(1), np.zeros((H, W, 3)), True),
        (np.zeros((H, W, 3)), scene(1), True),
        (np.zeros((H, W, 3)), np.full((H, W, 3), 200), False),
        (noisy([flat(90)], 9, 1)[0], noisy([flat(90)], 9, 2)[0], False),
        (noisy([NIGHT], 3, 1)[0], noisy([NIGHT], 3, 2)[0], False),
    ],
)
def test_cuts(first, second, expected):
    assert is_cut(*(np.float32(image @ LUMA) for image in (first, second))) is expected


def test_cuts_are_those_of_the_truth():
    """A result that is another picture every time is not let off."""
    target = [codes(scene(0))] * 4
    pred = [codes(scene(i, mean=100 + 9 * i)) for i in range(4)]
    assert math.isnan(summary(pred)["flicker"])
    assert summary(pred, target)["flicker"] == pytest.approx(9, abs=0.1)


def test_one_pass_equals_the_formulas():
    rng = np.random.default_rng(3)
    truth = panned(3, 7)
    pred = [codes(frame * (1 + 0.1 * rng.normal())) for frame in truth]
    found = summary(pred, truth)
    lumas, true_lumas = np.stack(pred) @ LUMA, np.stack(truth) @ LUMA
    brightness = lumas.mean((1, 2))
    mabd, true_mabd = (
        np.abs(np.diff(video, axis=0)).mean((1, 2)) for video in (lumas, true_lumas)
    )
    expected = {
        "flicker": np.abs(np.diff(brightness)).mean(),
        "AB(var)": abs(brightness.var() - true_lumas.mean((1, 2)).var()),
        "MABD": np.square(mabd - true_mabd).mean(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert found["AB(var)"] > 1 and found["MABD"] > 1


def test_a_pan_is_consistent():
    """Warped, nearly nothing is left of a difference of hundreds."""
    pan = panned(4, 4)
    plain = np.mean(np.square(np.diff(np.float64(pan) / 255, axis=0))) * 1000
    assert plain > 2
    assert summary(pan)["warping_error"] < 0.01 * plain


@pytest.mark.parametrize("sigma", [2, 6])
def test_warping_error_of_noise(sigma):
    """Two frames of independent noise differ by 2 sigma^2, where the truth is still."""
    still = [codes(scene(5))] * 8
    found = summary(noisy(still, sigma), still)["warping_error"]
    expected = 2 * (sigma**2 + 1 / 12) / 255**2 * 1000  # rounding adds 1/12
    assert found == pytest.approx(expected, rel=0.03)


def test_flow_is_that_of_the_truth():
    """It stands still: what moves in the result is all error."""
    pred = panned(6, 3)
    still = [codes(scene(7))] * 3
    plain = np.mean(np.square(np.diff(np.float64(pred) / 255, axis=0))) * 1000
    found = measure(pred, still)
    assert found.summary()["warping_error"] == pytest.approx(plain, rel=1e-5)
    assert found.target.summary()["warping_error"] == 0


def occluding(x, size=24):
    """A square at x before a background that stands still."""
    picture = scene(8, 64, 96)
    picture[20 : 20 + size, x : x + size] = scene(9, size, size, mean=60)
    return np.float32(codes(picture))


def test_what_is_hidden_is_left_out():
    first, second = occluding(20), occluding(26)
    flow, visible = flow_between(*(np.float32(f @ LUMA) for f in (first, second)))
    assert visible[22:42, 45:49].mean() < 0.1  # of the background, hidden next
    assert visible[24:40, 24:36].mean() > 0.9  # of the square
    assert visible[:, 60:].mean() > 0.95  # of the background, far away
    everything = np.ones_like(visible)
    masked = warping_error(first, second, flow, visible)
    assert masked < 0.4 * warping_error(first, second, flow, everything)
    assert math.isnan(warping_error(first, second, flow, ~everything))


def test_what_leaves_the_picture_is_left_out():
    wide = codes(scene(10, w=W + 8)) @ LUMA
    flow, visible = flow_between(np.float32(wide[:, :W]), np.float32(wide[:, 8:]))
    assert np.median(flow[..., 0]) == pytest.approx(-8, abs=0.1)
    assert not visible[:, :7].any() and visible[:, 10:-2].mean() > 0.9


def test_what_changes_nothing():
    """16 bits; played backwards; mirrored; truth and result the other way round."""
    truth = panned(11, 5)
    pred = noisy(truth, 5)
    found = summary(pred, truth)
    deep = [[np.uint16(frame) * 257 for frame in video] for video in (pred, truth)]
    assert summary(*deep) == pytest.approx(found, rel=1e-5)
    others = ("flicker", "AB(var)", "MABD")
    for changed in (
        summary(pred[::-1], truth[::-1]),
        summary([f[:, ::-1] for f in pred], [f[:, ::-1] for f in truth]),
    ):
        assert {name: changed[name] for name in others} == pytest.approx(
            {name: found[name] for name in others}, rel=1e-4
        )
        assert changed["warping_error"] == pytest.approx(
            found["warping_error"], rel=0.1
        )
    swapped = summary(truth, pred)
    for name in ("AB(var)", "MABD"):
        assert swapped[name] == pytest.approx(found[name])


def test_what_too_few_or_too_small_frames_have():
    one = summary([flat(9)], [flat(9)])
    assert one.pop("AB(var)") == 0 and all(map(math.isnan, one.values()))
    small = summary([np.zeros((8, 9, 3), np.uint8)] * 2)
    assert small["flicker"] == 0 and math.isnan(small["warping_error"])
    assert all(map(math.isnan, VideoMeasures().summary().values()))


@pytest.mark.parametrize(
    "frames, problem",
    [
        ([(np.float32(flat(9)),)], r"frame 0 is float32 \[48, 64, 3\]; expected uint8"),
        ([(flat(9)[..., :1],)], "expected uint8 or uint16"),
        ([(flat(9), flat(9)[1:])], "frame 0 beside its target needs two images of one"),
        (
            [(flat(9),), (flat(9)[1:],)],
            "frame 1 after the last needs two images of one",
        ),
        (
            [(flat(9), flat(9)), (flat(9),)],
            "frame 1: expected a target for every frame",
        ),
    ],
)
def test_frames_that_are_refused(frames, problem):
    measures = VideoMeasures()
    with pytest.raises(ValueError, match=problem):
        for pair in frames:
            measures.add(*pair)


def test_memory_does_not_grow():
    def peak(count):
        tracemalloc.start()
        measure(codes(scene(0)) for _ in range(count))
        bytes_at_most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return bytes_at_most

    peak(2)
    assert peak(40) < 1.2 * peak(4)


# The command


def write_video(path, frames, codec="ffv1", pixel_format="bgr0"):
    """Lossless unless told otherwise."""
    av = pytest.importorskip("av", reason="PyAV, the extra [video], is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def write_folder(folder, frames):
    folder.mkdir()
    for i, frame in enumerate(frames):
        assert cv2.imwrite(str(folder / f"frame{i}.png"), frame[..., ::-1])


@pytest.fixture(scope="module")
def clips():
    truth = panned(12, 12)
    return noisy(truth, 4), truth


def command(*words):
    return evaluate.main(["--video", *map(str, words)])


def read(path):
    lines = path.read_text().splitlines()
    comments = [line.removeprefix("# ") for line in lines if line.startswith("#")]
    return comments, list(csv.DictReader(lines[len(comments) :]))


def test_the_command(tmp_path, clips, capsys):
    for name, frames in zip(("pred", "truth"), clips, strict=True):
        write_video(tmp_path / f"{name}.mkv", frames)
    words = (tmp_path / "pred.mkv", "--target", tmp_path / "truth.mkv")
    output = tmp_path / "scores.json"
    assert command(*words, "--output", output) == 0
    shown = capsys.readouterr()
    report = json.loads(output.read_text())
    whole = report["summary"]["result"]
    expected = summary(*clips)
    assert {name: whole[name] for name in expected} == pytest.approx(expected)
    for name in whole:
        assert name in shown.out
    error = np.square(np.float64(clips[0]) - np.float64(clips[1])).mean((1, 2, 3))
    psnr = 10 * np.log10(255**2 / error)
    assert whole["psnr_rgb"] == pytest.approx(psnr.mean(), abs=1e-3)
    assert 0.5 < whole["ssim_rgb"] < 1
    assert report["summary"]["frames"] == len(report["rows"]) == 12
    assert report["summary"]["truth"].keys() == {"flicker", "warping_error"}
    assert report["rows"][3]["psnr_rgb"] == pytest.approx(psnr[3], abs=1e-3)
    assert report["rows"][0]["flicker"] is None
    steps = [row["flicker"] for row in report["rows"][1:]]
    assert np.mean(steps) == pytest.approx(whole["flicker"])
    assert "brightness_truth" in report["rows"][0] and report["notes"] == []


def test_the_command_without_the_truth(tmp_path, clips, capsys):
    write_video(tmp_path / "pred.mkv", clips[0])
    output = tmp_path / "scores.csv"
    words = (tmp_path / "pred.mkv", "--output", output, "--metrics", "noise_level")
    assert command(*words, "--per-image") == 0
    shown = capsys.readouterr().out
    assert "flicker" in shown and "MABD" not in shown and "truth" not in shown
    comments, rows = read(output)
    whole = json.loads(comments[-1])["result"]
    assert whole.keys() == {"noise_level", "flicker", "warping_error"}
    assert len(rows) == 12 and rows[0]["warping_error"] == ""
    assert f"{float(rows[5]['noise_level']):.5g}" in shown


def test_a_video_that_ends_before_the_truth(tmp_path, clips, capsys):
    write_folder(tmp_path / "pred", clips[0][:5])
    write_folder(tmp_path / "truth", clips[1])
    output = tmp_path / "scores.json"
    words = ("--target", tmp_path / "truth", "--metrics", "psnr", "--output", output)
    assert command(tmp_path / "pred", *words) == 1
    line = capsys.readouterr().err
    assert "pred ends after 5 frames" in line and "truth goes on" in line
    found = json.loads(output.read_text())["summary"]
    assert found["frames"] == 5
    expected = summary(*(video[:5] for video in clips))
    assert found["result"]["MABD"] == pytest.approx(expected["MABD"])


def test_a_truth_of_another_size(tmp_path, clips, capsys):
    write_folder(tmp_path / "pred", clips[0])
    write_folder(tmp_path / "truth", [frame[1:] for frame in clips[1]])
    assert command(tmp_path / "pred", "--target", tmp_path / "truth") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    assert "(48, 64, 3) and (47, 64, 3)" in message


def test_numbered_frames(tmp_path):
    """frame9 comes before frame10, gray is gray; brightness rises by 10 levels each."""
    write_folder(tmp_path / "pred", [flat(10 * i) for i in range(12)])
    gray = flat(70)[..., 0]
    assert cv2.imwrite(str(tmp_path / "pred" / "frame7.png"), gray)
    output = tmp_path / "scores.csv"
    assert command(tmp_path / "pred", "--output", output) == 0
    steps = [float(row["brightness"]) for row in read(output)[1]]
    assert steps == pytest.approx([10 * i for i in range(12)], abs=1e-3)


def test_what_is_not_read_in_a_folder(tmp_path, capsys):
    write_folder(tmp_path / "pred", [flat(9)] * 3)
    (tmp_path / "pred" / "frame3.psd").write_bytes(b"8BPS")
    assert command(tmp_path / "pred") == 1
    assert "frame3.psd" in capsys.readouterr().err


def test_a_frame_that_cannot_be_read(tmp_path, capsys):
    write_folder(tmp_path / "pred", [flat(10 * i) for i in range(6)])
    (tmp_path / "pred" / "frame4.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    output = tmp_path / "scores.csv"
    assert command(tmp_path / "pred", "--output", output) == 1
    assert "frame4.png" in capsys.readouterr().err
    assert len(read(output)[1]) == 4


def test_a_file_that_is_cut_off(tmp_path, clips, capsys):
    path = tmp_path / "pred.mkv"
    write_video(path, clips[0] * 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert command(path) == 1
    shown = capsys.readouterr()
    assert "flicker" in shown.out and "pred.mkv is cut off or damaged" in shown.err


@pytest.mark.parametrize(
    "words, problem",
    [
        (["nowhere.mp4"], "nowhere.mp4 does not exist; expected a video or a folder"),
        (["empty"], "empty holds no images"),
        (["one", "--metrics", "psnr"], "psnr_rgb: expected metrics that compare with"),
        (["one", "--metrics", "loe", "--target", "one"], "loe: expected metrics"),
        (["one", "--model", "dual"], "expected no --model"),
        (["one", "--pred", "one"], "--brackets DIR, or --video RESULT"),
    ],
)
def test_what_the_command_refuses(tmp_path, monkeypatch, capsys, words, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "one", [flat(9)])
    try:
        code = command(*words)
    except SystemExit as end:
        code = end.code
    assert code == 2 and problem in capsys.readouterr().err


def test_without_pyav(tmp_path, monkeypatch, capsys):
    (tmp_path / "pred.mp4").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    assert command(tmp_path / "pred.mp4") == 2
    assert "pip install 'lowlight_jax[video]'" in capsys.readouterr().err
