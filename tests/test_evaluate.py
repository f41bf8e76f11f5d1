"""Scoring: exact for any batch and device, files as saved, bad input in one line."""

import csv
import json
import math
import os

import cv2
import jax
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from lowlight_jax import evaluate
from lowlight_jax.data.pairs import Pair
from lowlight_jax.evaluation import comparison, scoring
from lowlight_jax.evaluation.folders import read_items
from lowlight_jax.evaluation.scoring import Item, Scores, interleave
from lowlight_jax.inference.methods import ClassicalMethod


def picture(seed, h=24, w=32):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def noisy(image, seed=99):
    noise = np.random.default_rng(seed).integers(-20, 21, image.shape)
    return np.uint8(np.clip(image + noise, 0, 255))


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = image[..., [2, 1, 0, *range(3, image.shape[-1])]]
    assert cv2.imwrite(str(path), channels)


@pytest.fixture
def items():
    """15 images, as many as LOL's test part, of two sizes."""
    targets = [picture(i, *((24, 32) if i < 11 else (30, 26))) for i in range(15)]
    return [
        Item(str(i), noisy(target, i + 100), target) for i, target in enumerate(targets)
    ]


@pytest.mark.parametrize("batch_size", [0, 1, 8, 15])
def test_means_do_not_depend_on_batch_or_devices(items, batch_size):
    """15 images at batch 8 on 8 devices against a plain numpy loop."""
    assert jax.local_device_count() == 8
    scores = scoring.score_items(items, ["psnr_rgb"], batch_size=batch_size)
    expected = [peak_signal_noise_ratio(item.target, item.pred) for item in items]
    np.testing.assert_allclose(scores.columns["psnr_rgb"], expected, atol=1e-4)
    np.testing.assert_allclose(scores.mean("psnr_rgb"), np.mean(expected), atol=1e-4)
    np.testing.assert_allclose(
        scores.std("psnr_rgb"), np.std(expected, ddof=1), atol=1e-4
    )
    assert scores.names == [item.name for item in items]


def test_a_measure_that_an_image_is_too_small_for_is_blank(items):
    large = Item("large", noisy(picture(0, 170, 170)), picture(0, 170, 170))
    scores = scoring.score_items([large, items[0]], ["psnr_rgb", "ms_ssim_rgb"])
    assert 0 < scores.columns["ms_ssim_rgb"][0] < 1
    assert scores.columns["ms_ssim_rgb"][1] is None
    assert scores.values("ms_ssim_rgb").size == 1
    assert scores.values("psnr_rgb").size == 2
    assert "0: no ms_ssim_rgb" in scores.notes[0] and "24x32" in scores.notes[0]


def test_mean_matching_stands_beside_never_instead(items):
    dark = [Item(item.name, item.target // 3, item.target) for item in items[:2]]
    plain = scoring.score_items(dark, ["psnr_rgb"])
    both = scoring.score_items(dark, ["psnr_rgb", "noise_level"], gt_mean=True)
    assert both.columns.keys() == {"psnr_rgb", "noise_level", "psnr_rgb_gtmean"}
    assert both.columns["psnr_rgb"] == plain.columns["psnr_rgb"]
    assert both.mean("psnr_rgb_gtmean") > both.mean("psnr_rgb") + 10


def test_mean_matching_matches_the_mean():
    target = picture(0)
    matched = scoring.match_mean(target // 2, target)
    weights = np.array([0.299, 0.587, 0.114])
    assert abs((matched @ weights).mean() - (target @ weights).mean()) < 1.5


@pytest.mark.parametrize(
    "short, full", [("psnr", "psnr_rgb"), ("lpips", "lpips_alex"), ("niqe", "niqe")]
)
def test_short_names(short, full):
    assert scoring.resolve_metrics([short]) == [full]


def test_unknown_measure_is_named():
    with pytest.raises(ValueError, match="no metric 'pnsr'"):
        scoring.resolve_metrics(["pnsr"])


@pytest.fixture
def folders(tmp_path):
    for i in range(3):
        write(tmp_path / "target" / f"{i}.png", picture(i))
        write(tmp_path / "pred" / f"{i}.{('bmp', 'png', 'webp')[i]}", picture(i))
    return tmp_path


def command(tmp_path, *options):
    arguments = ["--pred", tmp_path / "pred", "--target", tmp_path / "target"]
    return evaluate.main([str(a) for a in (*arguments, "--metrics=psnr", *options)])


def test_files_are_paired_whatever_their_suffix(folders, capsys):
    write(folders / "pred" / "1.png", noisy(picture(1)))
    output = folders / "scores.json"
    assert command(folders, "--output", output, "--per-image") == 0
    report = json.loads(output.read_text())
    assert [row["image"] for row in report["rows"]] == ["0", "1", "2"]
    assert report["rows"][0]["psnr_rgb"] == 100.0
    expected = peak_signal_noise_ratio(picture(1), noisy(picture(1)))
    assert math.isclose(report["rows"][1]["psnr_rgb"], expected, abs_tol=1e-4)
    assert "8-bit" in report["protocol"] and report["versions"]["jax"]
    assert "psnr_rgb" in capsys.readouterr().out


def test_names_that_are_no_utf8(folders):
    name = os.fsdecode(b"caf\xe9.png")
    for side, old in (("pred", "1.png"), ("target", "1.png")):
        (folders / side / old).rename(folders / side / name)
    assert command(folders, "--output", folders / "scores.csv", "--per-image") == 0
    assert r"caf\xe9,100.0" in (folders / "scores.csv").read_text()
    assert command(folders, "--output", folders / "scores.json") == 0
    rows = json.loads((folders / "scores.json").read_text())["rows"]
    assert r"caf\xe9" in [row["image"] for row in rows]


def test_csv_has_the_same_rows(folders):
    output = folders / "scores.csv"
    assert command(folders, "--output", output) == 0
    lines = output.read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [row["image"] for row in rows] == ["0", "1", "2"]
    assert "8-bit" in lines[0]


def test_without_target_the_no_reference_measures(folders, capsys):
    assert evaluate.main(["--pred", str(folders / "pred")]) == 1  # too small for NIQE
    captured = capsys.readouterr()
    assert "noise_level" in captured.out and "psnr" not in captured.out
    assert "0: no niqe" in captured.err


def test_each_bad_file_gets_a_line_and_the_others_a_score(folders, capsys):
    good = (folders / "pred" / "0.bmp").read_bytes()
    (folders / "pred" / "0.bmp").write_bytes(good[:100])
    write(folders / "pred" / "only_pred.png", picture(5))
    write(folders / "target" / "only_target.png", picture(5))
    for name, image in {
        "small": picture(6, 8, 8),
        "deep": picture(6).astype(np.uint16) * 257,
        "clear": np.dstack([picture(6), picture(7)[..., :1]]),
    }.items():
        write(folders / "pred" / f"{name}.png", image)
        write(folders / "target" / f"{name}.png", picture(6))
    output = folders / "scores.json"
    assert command(folders, "--output", output) == 1
    error = capsys.readouterr().err
    for part in ("0.bmp", "only_pred", "only_target", "pred 8x8x3", "16 bits"):
        assert part in error, part
    assert "transparency" in error and len(error.splitlines()) == 6
    assert [r["image"] for r in json.loads(output.read_text())["rows"]] == ["1", "2"]


def test_empty_folder_is_an_error(folders, capsys):
    (folders / "none").mkdir()
    assert evaluate.main(["--pred", str(folders / "none")]) == 2
    assert "holds no images" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--pred", "x", "--gt-mean"], "--gt-mean: expected --target"),
        (["--target", "x"], "expected --pred DIR, or --model"),
        (["--pred", "x", "--output", "scores.txt"], "ending in .json or .csv"),
        (["--pred", "x", "--stops", "1"], "--stops: expected --data DIR"),
        (["--pred", "x", "--jpeg", "90"], "--jpeg: expected --data DIR"),
        (["--data", "x", "--jpeg", "90", "--stops", "1"], "and no --stops"),
        (["--data", "x", "--jpeg", "90,101"], "expected 1 to 100"),
        (["--video", "x", "--against", "y"], "--against: expected one set of images"),
        (["--data", "x", "--stops", "1,-2"], "expected numbers from 0 up"),
        (["--data", "x", "--stops", "1;2"], "expected numbers from 0 up"),
    ],
)
def test_options_that_cannot_go_together(capsys, options, message):
    with pytest.raises(SystemExit) as exit_:
        evaluate.main(options)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_loe_asks_for_the_dark_originals(folders, capsys):
    assert command(folders, "--metrics=loe") == 2
    assert "loe needs --low DIR" in capsys.readouterr().err


def test_enhancing_and_scoring_at_once_equals_scoring_the_files(folders, capsys):
    from lowlight_jax.enhance.__main__ import main as enhance_command

    for i in range(3):
        write(folders / "low" / f"{i}.png", picture(i) // 8)
    low, saved = str(folders / "low"), str(folders / "saved")
    target = str(folders / "target")
    metrics = "--metrics=psnr,ssim"
    scores = []
    assert enhance_command([low, "--output", saved, "--model", "dual"]) == 0
    for source in (["--pred", saved], ["--model", "dual", "--low", low]):
        output = folders / "scores.json"
        options = ["--target", target, metrics, "--output", str(output)]
        assert evaluate.main([*source, *options]) == 0
        scores.append(json.loads(output.read_text())["rows"])
    for a, b in zip(*scores, strict=True):
        assert (a["psnr_rgb"], a["ssim_rgb"]) == (b["psnr_rgb"], b["ssim_rgb"])


@pytest.fixture
def set_of_pairs(folders, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folders / "cache"))
    for i in range(3):
        write(folders / "set" / "low" / f"{i}.png", picture(i) // 8)
        write(folders / "set" / "high" / f"{i}.png", picture(i))
    return str(folders / "set")


def test_comparison_table_of_a_set_of_pairs(set_of_pairs, capsys):
    assert evaluate.main(["--data", set_of_pairs, "--split", "all"]) == 0
    out = capsys.readouterr().out
    for row in ("input", "gamma 0.4", "CLAHE", "enhancement + denoising", "truth"):
        assert row in out


@pytest.mark.parametrize(
    "chosen, rows",
    [
        ("none", ["enhancement only", "enhancement + denoising"]),
        (
            "clahe,Input",
            ["input", "CLAHE", "enhancement only", "enhancement + denoising", "truth"],
        ),
    ],
)
def test_baselines_are_chosen_by_name(set_of_pairs, tmp_path, chosen, rows):
    command = ["--data", set_of_pairs, "--split", "all", "--metrics", "psnr"]
    output = tmp_path / "scores.json"
    command += ["--baselines", chosen, "--output", str(output)]
    assert evaluate.main(command) == 0
    assert list(json.loads(output.read_text())["summary"]) == rows


def test_a_baseline_that_there_is_not_is_named(set_of_pairs, capsys):
    command = ["--data", set_of_pairs, "--split", "all", "--baselines", "lim"]
    assert evaluate.main(command) == 2
    error = capsys.readouterr().err
    assert "no baseline 'lim' for brightening; expected all, none, or some" in error
    assert "input,gamma,clahe,msrcr,lime" in error and error.count("\n") == 1


def test_pairs_held_out_by_image_are_said_to_be(set_of_pairs, tmp_path, capsys):
    output = tmp_path / "scores.json"
    command = ["--data", set_of_pairs, "--validation-every", "2", "--baselines", "none"]
    command += ["--metrics", "psnr", "--output", str(output)]
    assert evaluate.main([*command, "--validation-by", "image"]) == 0
    assert "validation by image: 2 pairs" in capsys.readouterr().out
    assert "may have seen other pictures" in json.loads(output.read_text())["protocol"]
    assert evaluate.main(command) == 0
    assert "by image" not in capsys.readouterr().out + output.read_text()


def test_what_a_workdir_was_trained_on_is_not_scored(tmp_path):
    data = {"validation_by": "image", "validation_every": 5, "test_every": 0}
    (tmp_path / "config.json").write_text(json.dumps({"config": {"data": data}}))
    common = ["--data", "x", "--model"]
    args = evaluate.parse_args([*common, str(tmp_path)])
    assert (args.validation_by, args.validation_every) == ("image", 5)
    args = evaluate.parse_args([*common, str(tmp_path), "--validation-every", "3"])
    assert (args.validation_by, args.validation_every) == ("image", 3)
    args = evaluate.parse_args([*common, "dual"])
    assert (args.validation_by, args.validation_every, args.test_every) == (
        *("scene", 8),
        0,
    )


def test_photographs_are_darkened_by_each_of_the_stops(folders, capsys):
    for i in range(4):
        write(folders / "photographs" / f"{i}.png", picture(i))
    output = folders / "scores.json"
    command = ["--data", folders / "photographs", "--stops", "0,3", "--output", output]
    command += ["--validation-every", "2", "--metrics", "psnr"]
    assert evaluate.main(list(map(str, command))) == 0
    out = capsys.readouterr().out
    assert "0 stops under: 2 pairs" in out and "3 stops under: 2 pairs" in out
    summary = json.loads(output.read_text())["summary"]
    by_stops = {
        stops: summary[f"validation, {stops} stops under: 2 pairs, input"]
        for stops in (0, 3)
    }
    psnr = {stops: columns["psnr_rgb"]["mean"] for stops, columns in by_stops.items()}
    assert psnr[0] == 100 and 5 < psnr[3] < 15


def test_dark_sides_are_saved_as_jpeg(folders, capsys):
    for i in range(4):
        noisy = np.random.default_rng(i).integers(0, 60, (40, 56, 1), np.uint8)
        noisy = noisy.repeat(3, axis=2)
        for side in ("low", "high"):
            write(folders / "pairs" / side / f"{i}.png", noisy)
    output = folders / "scores.json"
    command = ["--data", folders / "pairs", "--jpeg", "95,50", "--output", output]
    command += ["--validation-every", "2", "--metrics", "psnr"]
    command += ["--model", "gamma", "--param", "exponent=1", "--baselines", "none"]
    assert evaluate.main(list(map(str, command))) == 0
    summary = json.loads(output.read_text())["summary"]
    psnr = [columns["psnr_rgb"]["mean"] for columns in summary.values()]
    assert [title.split(":")[0] for title in summary] == [
        f"validation, dark sides as JPEG {quality}" for quality in (95, 50)
    ]
    assert psnr[1] + 5 < psnr[0] < 60
    for i in range(4):
        write(folders / "photographs" / f"{i}.png", picture(i))
    command[1], model = folders / "photographs", command.index("--model") + 1
    command[model : model + 3] = ["inpaint"]
    assert evaluate.main(list(map(str, command))) == 2
    assert "has no dark sides to save as JPEG" in capsys.readouterr().err


# One bad image never discards the others


def failing_on(bright):
    """A method that fails on images of this value."""

    def method(pair):
        if pair.low.max() == bright:
            raise KeyError("odd")
        return pair.low

    return method


def test_only_the_image_that_a_measure_fails_on_is_blank(monkeypatch):
    run = scoring._run

    def fail_on_white(metric, images, count, shape):
        if any(pred.min() == 255 for pred, *_ in images):
            raise RuntimeError("RESOURCE_EXHAUSTED: 9 GB\nlong")
        return run(metric, images, count, shape)

    monkeypatch.setattr(scoring, "_run", fail_on_white)
    items = [Item(str(i), picture(i), picture(i)) for i in range(3)]
    items[1] = Item("1", np.full_like(picture(1), 255), picture(1))
    scores = scoring.score_items(items, ["psnr_rgb"])
    assert scores.columns["psnr_rgb"] == [100.0, None, 100.0]
    assert scores.notes == ["1: no psnr_rgb: 1 does not fit into memory"]


def test_a_pair_that_a_method_fails_on_has_no_row():
    pairs = [Pair(str(i), str(i), picture(i) // 2, picture(i)) for i in range(3)]
    pairs[1].low[:] = 200
    methods = {"odd": failing_on(200), "truth": comparison.truth}
    options = {"metrics": ["psnr_rgb"], "quiet": True}
    with pytest.raises(KeyError):  # training does not hide it
        comparison.score_methods(methods, pairs, **options)
    tables = comparison.score_methods(methods, pairs, skip_failing=True, **options)
    assert tables["odd"].names == ["0", "2"]
    assert tables["odd"].notes[0].startswith("odd, pair 1: unexpected KeyError")
    assert tables["truth"].names == ["0", "1", "2"] and not tables["truth"].notes


def test_parts_of_different_lengths_are_put_together():
    parts = [Scores([name], {"m": [1.0]}) for name in "ab"]
    parts[1] = Scores(["b", "d"], {"m": [2.0, 4.0]})
    assert interleave(parts).names == ["a", "b", "d"]


def test_a_file_that_a_method_fails_on_is_named(folders):
    def function(image):
        if (image[..., 0] == picture(1)[..., 0]).all():
            raise cv2.error("bad")
        return image

    method = ClassicalMethod("odd", function)
    problems = []
    files = [(str(i), {"low": folders / "target" / f"{i}.png"}) for i in range(3)]
    assert [item.name for item in read_items(files, method, problems)] == ["0", "2"]
    assert len(problems) == 1 and problems[0].startswith("1: unexpected error: bad")


def test_bad_pairs_and_photographs_are_named_and_the_rest_is_scored(
    folders, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folders / "cache"))
    for i in range(3):
        write(folders / "set" / "low" / f"{i}.png", picture(i) // 8)
        write(folders / "set" / "high" / f"{i}.png", picture(i))
        write(folders / "photographs" / f"{i}.png", picture(i))
    for cut in (folders / "set" / "low" / "1.png", folders / "photographs" / "1.png"):
        cut.write_bytes(cut.read_bytes()[:900])
    common = ["--model", "gamma", "--split", "all", "--metrics", "psnr"]
    for name, *more in (("set",), ("photographs", "--stops", "0")):
        assert evaluate.main([*common, "--data", str(folders / name), *more]) == 1
        out, error = capsys.readouterr()
        assert "all" in out and ": 2 pairs" in out
        assert "1.png is damaged or cut short" in error
