"""Two methods compared image by image, against numbers made by hand."""

import json
import math

import numpy as np
import pytest
from scipy.stats import ttest_rel
from test_evaluate import noisy, picture, write

from lowlight_jax import evaluate
from lowlight_jax.evaluation.paired import compare_paired, main_method, read_report
from lowlight_jax.evaluation.scoring import Scores


def scores(names, **columns):
    return Scores(list(names), columns)


def test_gains_errors_and_wins():
    first = scores("abcd", psnr_rgb=[20.0, 22.0, 24.0, 30.0])
    second = scores("abcd", psnr_rgb=[19.0, 23.0, 22.0, 26.0])
    found = compare_paired(first, second)["psnr_rgb"]
    gains = np.array([1.0, -1.0, 2.0, 4.0])
    assert found.gain == 1.5 and found.wins == 3 and found.images == 4
    assert math.isclose(found.error, gains.std(ddof=1) / 2)
    expected = ttest_rel(first.values("psnr_rgb"), second.values("psnr_rgb"))
    assert math.isclose(found.p_value, expected.pvalue)


def test_the_lower_the_better_turns_the_sign():
    first, second = (
        scores("ab", ciede2000=values, dark_level=values)
        for values in ([5.0, 6.0], [7.0, 7.0])
    )
    differences = compare_paired(first, second)
    assert list(differences) == ["ciede2000"]  # dark_level is best in between
    assert differences["ciede2000"].gain == 1.5 and differences["ciede2000"].wins == 2


def test_images_are_found_by_name_and_those_without_a_score_left_out():
    first = scores("abc", psnr_rgb=[20.0, 30.0, None])
    second = scores("cbx", psnr_rgb=[1.0, 28.0, 99.0])
    found = compare_paired(first, second)["psnr_rgb"]
    assert (found.gain, found.images) == (2.0, 1)
    assert math.isnan(found.error) and math.isnan(found.p_value)
    assert not compare_paired(first, scores("xyz", psnr_rgb=[1.0, 2.0, 3.0]))


def test_what_never_differs_is_no_proof():
    one = scores("ab", psnr_rgb=[20.0, 30.0])
    found = compare_paired(one, one)["psnr_rgb"]
    assert (found.gain, found.wins) == (0.0, 0) and math.isnan(found.p_value)


def test_the_method_is_the_last_but_for_the_truth():
    assert main_method({"input": 1, "dual": 2, "truth": 3}) == "dual"


@pytest.fixture
def folders(tmp_path):
    for i in range(4):
        write(tmp_path / "target" / f"{i}.png", picture(i))
        write(tmp_path / "one" / f"{i}.png", noisy(picture(i), seed=i))
        write(tmp_path / "other" / f"{i}.png", 255 - picture(i))
    return tmp_path


def run(folders, name, *options):
    arguments = ["--pred", folders / name, "--target", folders / "target"]
    return evaluate.main([str(a) for a in (*arguments, "--metrics=psnr", *options)])


def test_against_a_report(folders, capsys):
    report = folders / "other.json"
    assert run(folders, "other", "--gt-mean", "--output", report) == 0
    assert list(read_report(report)[str(folders / "other")].columns) == [
        "psnr_rgb",
        "psnr_rgb_gtmean",
    ]
    capsys.readouterr()
    assert run(folders, "one", "--against", report) == 0
    shown = capsys.readouterr().out
    assert "4 of 4" in shown and "image by image" in shown


def test_images_that_the_report_lacks_are_said(folders, capsys):
    report = folders / "other.json"
    (folders / "other" / "0.png").rename(folders / "0.png")
    assert run(folders, "other", "--output", report) == 1
    assert run(folders, "one", "--against", report) == 1
    captured = capsys.readouterr()
    assert "3 of 3" in captured.out and "lacks 1 of the images" in captured.err


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"rows": []}', '{"rows": [{"method": "a"}]}', "\xff"]
)
def test_other_files_are_refused_before_anything_is_scored(folders, capsys, content):
    path = folders / "scores.json"
    path.write_text(content, encoding="latin-1")
    assert run(folders, "one", "--against", path) == 2
    captured = capsys.readouterr()
    assert "expected the .json file that `evaluate --output` writes" in captured.err
    assert "psnr" not in captured.out


def test_a_report_of_other_images(folders, capsys):
    path = folders / "scores.json"
    rows = [{"method": "a", "image": "else", "psnr_rgb": 20.0}]
    path.write_text(json.dumps({"rows": rows}))
    assert run(folders, "one", "--against", path) == 1
    assert "expected scores of some of the same images" in capsys.readouterr().err
    assert run(folders, "one", "--against", folders / "none.json") == 2
    assert "No such file" in capsys.readouterr().err
