"""The JPEG sweep: another decoder, the paper's table, what is left on failure."""

import argparse
import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import skimage.metrics
from PIL import Image

from lowlight_jax import jpeg_sweep
from lowlight_jax.evaluation.jpeg_quality import (
    PROTOCOL,
    Row,
    encode,
    mean_rows,
    sweep,
)
from lowlight_jax.jpeg_sweep import main, parse_qualities

PHOTO = skimage.data.coffee()[100:213, 150:301]
TABLE_1 = list(range(95, 0, -5))


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(*names, pixels=PHOTO):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name)


def read_csv(path="out/jpeg_sweep.csv"):
    lines = Path(path).read_text().splitlines()
    assert lines[0] == f"# {PROTOCOL}"
    assert '"pillow"' in lines[1]
    return list(csv.DictReader(lines[2:]))


def left_in(folder):
    return {path.name for path in Path(folder).iterdir()}


# Qualities


@pytest.mark.parametrize(
    ("text", "qualities"),
    [
        ("95:5:-5", TABLE_1),
        ("5:95:5", TABLE_1[::-1]),
        ("95:50:-20", [95, 75, 55]),
        ("90,50,10", [90, 50, 10]),
        ("7", [7]),
        ("100:98:-1,98,1", [100, 99, 98, 1]),
    ],
)
def test_qualities(text, qualities):
    assert parse_qualities(text) == qualities


@pytest.mark.parametrize(
    "text",
    ["", "a", "0", "101", "95:5", "95:5:0", "5:95:-5", "95:0:-5", "1:2:3:4", "90,,5"],
)
def test_bad_qualities(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected numbers from 1 to"):
        parse_qualities(text)


def test_bad_qualities_end_the_command(capsys):
    save("a.png")
    with pytest.raises(SystemExit) as info:
        main(["a.png", "--output", "out", "--qualities", "5:95:-5"])
    assert info.value.code == 2
    assert "'5:95:-5' is no quality" in capsys.readouterr().err
    assert not Path("out").exists()


# Scores


@pytest.mark.parametrize("pixels", [PHOTO, PHOTO[..., :1]])
def test_equal_to_a_decoder_and_scores_of_others(pixels):
    qualities = (90, 40, 5)
    rows, notes = sweep("photo", pixels, qualities)
    assert notes == []
    for row, quality in zip(rows, qualities, strict=True):
        file = io.BytesIO()
        mode = np.squeeze(pixels)
        Image.fromarray(mode).save(file, "JPEG", quality=quality, subsampling=2)
        decoded = np.asarray(Image.open(file)).reshape(pixels.shape)
        mse = np.mean((decoded.astype(np.float64) - pixels) ** 2)
        assert row.quality == quality
        assert row.psnr_rgb == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-3)
        ssim = skimage.metrics.structural_similarity(
            decoded,
            pixels,
            channel_axis=-1,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        assert row.ssim_rgb == pytest.approx(ssim, abs=3e-5)
        assert row.bytes == len(file.getvalue())
        assert row.bits_per_pixel == pytest.approx(8 * row.bytes / (113 * 151))


def test_scores_and_bytes_fall_with_the_quality():
    rows, _ = sweep("photo", PHOTO, TABLE_1)
    for column in ("psnr_rgb", "ssim_rgb", "bytes"):
        values = [getattr(row, column) for row in rows]
        assert np.mean(np.diff(values) < 0) > 0.9
        assert values[-1] < 0.7 * values[0]


def test_encoder_settings_are_those_that_are_named():
    image = Image.open(io.BytesIO(encode(PHOTO, 75)))
    luma, *chroma = image.layer
    assert luma[1:3] == (2, 2) and {c[1:3] for c in chroma} == {(1, 1)}  # 4:2:0
    assert not image.info.get("progressive")
    assert encode(skimage.data.coffee(), 50)[-2:] == b"\xff\xd9"
    # measured with Pillow and cv2.imencode, libjpeg-turbo, standard tables
    assert len(encode(skimage.data.coffee(), 50)) == pytest.approx(27355, rel=0.02)


def test_means_leave_out_what_has_no_score():
    rows = [
        Row("a", 90, 40.0, None, 1000, 2.0),
        Row("b", 90, 30.0, 0.8, 500, 1.0),
        Row("a", 50, None, None, 100, 0.5),
    ]
    assert mean_rows(rows) == [
        Row("mean", 90, 35.0, 0.8, 750, 1.5),
        Row("mean", 50, None, None, 100, 0.5),
    ]


# The command


def test_csv_and_plot(capsys):
    pytest.importorskip("matplotlib")
    save("in/a.png", "in/b.webp")
    words = ["in", "in/a.png", "--output", "new/out", "--qualities", "80,20"]
    assert main(words) == 0
    assert left_in("new/out") == {"jpeg_sweep.csv", "jpeg_sweep.png"}
    rows = read_csv("new/out/jpeg_sweep.csv")
    found = [(row["image"], row["quality"]) for row in rows]
    assert found == [
        (name, quality)
        for name in ("in/a.png", "in/b.webp")
        for quality in ("80", "20")
    ]
    assert list(rows[0]) == [
        "image",
        "quality",
        "psnr_rgb",
        "ssim_rgb",
        "bytes",
        "bits_per_pixel",
    ]
    (direct, *_), _ = sweep("in/a.png", PHOTO, [80])
    assert float(rows[0]["psnr_rgb"]) == direct.psnr_rgb
    with Image.open("new/out/jpeg_sweep.png") as plot:
        assert plot.width > 1000 and np.asarray(plot).std() > 10
    out = capsys.readouterr().out
    assert "mean of 2 images" in out
    assert [word in out for word in ("Quality", "PSNR", "SSIM", "Bytes")] == [True] * 4


def test_default_is_the_papers_table():
    save("a.png", pixels=PHOTO[:40, :40])
    assert main(["a.png", "--output", "out", "--no-plot"]) == 0
    assert [int(row["quality"]) for row in read_csv()] == TABLE_1
    assert left_in("out") == {"jpeg_sweep.csv"}


def test_bad_files_are_named_and_the_others_go_on(capsys):
    save("a.png", "cut.png")
    Image.fromarray(PHOTO.astype(np.uint16)[..., 0]).save("deep.png")
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:900])
    save("tiny.png", pixels=PHOTO[:5, :5])
    names = ["no.png", "cut.png", "deep.png", "tiny.png", "a.png"]
    words = [*names, "--output", "out", "--qualities", "50", "--no-plot"]
    assert main(words) == 1
    rows = read_csv()
    assert [row["image"] for row in rows] == ["tiny.png", "a.png"]
    assert rows[0]["ssim_rgb"] == "" and rows[1]["ssim_rgb"]
    err = capsys.readouterr().err
    assert "no.png does not exist" in err
    assert "cut.png is damaged or cut short" in err
    assert "deep.png: found an image with 16 bits" in err
    assert "tiny.png at 50: no ssim_rgb" in err
    assert len(err.splitlines()) == 4


def test_an_image_that_fails_leaves_the_rows_of_the_others(capfd, monkeypatch):
    def failing(name, pixels, qualities):
        if "b.png" in name:
            raise KeyError("odd")
        return sweep(name, pixels, qualities)

    save("a.png", "b.png", pixels=PHOTO[:40, :40])
    save("long.png", pixels=np.zeros((1, 65501, 3), np.uint8))
    monkeypatch.setattr(jpeg_sweep, "sweep", failing)
    words = ["long.png", "b.png", "a.png", "--output", "out", "--qualities", "50"]
    assert main([*words, "--no-plot"]) == 1
    assert [row["image"] for row in read_csv()] == ["a.png"]
    error = capfd.readouterr().err.splitlines()
    assert len(error) == 2
    assert "cannot hold 65501x1 px" in error[0]
    assert error[1].startswith("b.png: unexpected KeyError")


def test_nothing_to_score(capsys):
    assert main(["no.png", "--output", "out"]) == 2
    assert "error: no image could be scored" in capsys.readouterr().err
    assert left_in("out") == set()


@pytest.mark.parametrize("folder", ["notes.txt", "notes.txt/out"])
def test_output_that_cannot_be_a_folder(folder, capsys):
    save("a.png")
    Path("notes.txt").touch()
    assert main(["a.png", "--output", folder]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: --output {folder} cannot be written (")
    assert err.endswith("choose another folder\n") and err.count("\n") == 1


def test_without_matplotlib(capsys, monkeypatch):
    save("a.png", pixels=PHOTO[:40, :40])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    words = ["a.png", "--output", "out", "--qualities", "50"]
    assert main(words) == 1
    assert left_in("out") == {"jpeg_sweep.csv"}
    assert "lowlight_jax[plots]" in capsys.readouterr().err
    assert main([*words, "--no-plot"]) == 0


def test_full_disk_leaves_nothing(capsys, monkeypatch):
    def full_disk(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    save("a.png", pixels=PHOTO[:40, :40])
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    assert main(["a.png", "--output", "out", "--qualities", "50", "--no-plot"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert left_in("out") == set()


def test_interrupted(capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    save("a.png")
    monkeypatch.setattr(jpeg_sweep, "sweep", interrupted)
    assert main(["a.png", "--output", "out"]) == 130
    assert left_in("out") == set()
    assert capsys.readouterr().err == "Interrupted; nothing was written\n"
