"""The papers' experiments: claims, parts that are done once, studies, the page."""

import csv
import json
import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from lowlight_jax.config import VARIANTS, ConfigError, validate
from lowlight_jax.data.pairs import Pair
from lowlight_jax.evaluation.picture_grid import (
    Window,
    draw_picture_grid,
    most_detailed,
)
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.images.files import read_rgb8
from lowlight_jax.reproduce import PAPERS, claims, figures, page, parts, recipes
from lowlight_jax.reproduce import __main__ as command
from lowlight_jax.reproduce.claims import Claim
from lowlight_jax.reproduce.page import Section, scores_section, write_report
from lowlight_jax.reproduce.parts import Part, run_parts
from lowlight_jax.reproduce.study import Run, Study, cut_middle, mean_of_seeds
from lowlight_jax.reproduce.trainings import plan_trainings
from lowlight_jax.runtime.progress import listening, track

MEANS = {
    "full": [20.0, 20.4],
    "half": [19.0, 19.2],
    "same": [20.1, 20.2],
    "classical": [15.0],
    "worse": [14.0],
}
TRAINED = ["full", "half", "same"]
TRAININGS = [f"{r}-{v}" for r in recipes.DUAL_RECIPES for v in VARIANTS]


# Claims


def compare(better, worse, metric="psnr_rgb", means=MEANS, trained=TRAINED):
    return claims.compare(Claim("", better, worse), metric, means, trained)


def test_noise_of_two_trained_methods_is_students_t():
    """With two methods alone it is the equal-variance t-test of SciPy."""
    means = {"a": [20.0, 20.4, 20.9], "b": [19.0, 19.2, 19.9]}
    interval = scipy.stats.ttest_ind(means["a"], means["b"]).confidence_interval(0.95)
    found = compare("a", "b", means=means, trained=["a", "b"])
    assert found.gain - found.noise == pytest.approx(interval.low)
    assert found.gain + found.noise == pytest.approx(interval.high)


@pytest.mark.parametrize(
    ("better", "worse", "metric", "answer"),
    [
        ("full", "half", "psnr_rgb", claims.CONFIRMED),
        ("half", "full", "psnr_rgb", claims.REFUTED),
        ("full", "same", "psnr_rgb", claims.UNDECIDED),
        ("full", "half", "niqe", claims.REFUTED),  # lower is better
        ("full", "classical", "psnr_rgb", claims.CONFIRMED),
        ("classical", "worse", "psnr_rgb", claims.CONFIRMED),
    ],
)
def test_answers(better, worse, metric, answer):
    assert compare(better, worse, metric).answer == answer


def test_noise_without_seeds():
    assert compare("classical", "worse").noise == 0
    one = {"a": [20.0], "classical": [15.0]}
    found = compare("a", "classical", means=one, trained=["a"])
    assert math.isnan(found.noise) and found.answer == claims.CONFIRMED
    assert "?" in found.spell(2)
    level = compare("a", "level", means=one | {"level": [20.0]}, trained=["a"])
    assert level.answer == claims.UNDECIDED  # no sign to go by
    # A single seed among methods with more has their spread, and all of it.
    more = MEANS | {"single": [20.0]}
    found = compare("single", "classical", means=more, trained=[*TRAINED, "single"])
    two = compare("full", "classical")
    assert found.noise == pytest.approx(two.noise * math.sqrt(2))


def test_the_one_answer_of_several_measures():
    yes, no, open_ = claims.CONFIRMED, claims.REFUTED, claims.UNDECIDED
    assert claims.overall([yes, yes]) == yes
    assert claims.overall([yes, open_]) == claims.IN_PART
    assert claims.overall([open_, no, yes]) == claims.DISAGREE
    assert claims.overall([open_, no]) == no
    assert claims.overall([open_, open_]) == open_


def test_section_of_claims():
    means = {"psnr_rgb": MEANS, "niqe": MEANS}
    section = claims.section(
        [Claim("Full beats half", "full", "half")], ["psnr_rgb"], means, TRAINED
    )
    (row,) = section.rows
    assert row[:3] == ["Full beats half", claims.CONFIRMED, "PSNR; against: none"]
    assert row[3].startswith("✓ +1.10") and row[4].startswith("✗ -1.10")
    assert [d["answer"] for d in section.data] == [claims.CONFIRMED, claims.REFUTED]
    both = claims.section(
        [Claim("Full beats half", "full", "half")], list(means), means, TRAINED
    )
    assert both.rows[0][1:3] == [claims.DISAGREE, "PSNR; against: NIQE"]


def test_recipes_that_disagree_are_told_in_words():
    yes, open_ = claims.CONFIRMED, claims.UNDECIDED
    alike = claims.in_words({"the old": yes, "the new": yes})
    assert alike == "confirmed, whatever the recipe"
    assert claims.in_words({"the old": yes, "the new": open_}) == (
        f"recipes differ: {yes} with the old, {open_} with the new"
    )


# Parts


def test_a_part_is_done_once_and_an_unfinished_one_again(tmp_path, capsys):
    calls = []

    def make(name, fails=False):
        calls.append(name)
        if fails:
            raise KeyboardInterrupt
        (tmp_path / name).write_text("done")

    def part(name, **kwargs):
        return Part(name, "scoring", tmp_path / name, lambda: make(name, **kwargs))

    with pytest.raises(KeyboardInterrupt):
        run_parts([part("a"), part("b", fails=True), part("c")], tmp_path)
    run_parts([part("a"), part("b"), part("c")], tmp_path)
    assert calls == ["a", "b", "b", "c"]
    assert "[1/3] a: done before" in capsys.readouterr().out
    rows = list(csv.reader((tmp_path / parts.TIMES_FILE).open()))
    assert [row[:2] for row in rows] == [["scoring", name] for name in "abbc"]
    assert parts.hours(tmp_path).keys() == {"scoring"}


def test_progress_of_a_method_reaches_who_listens():
    heard = []
    with listening(heard.append):
        assert list(track("ab", stop=0.5)) == ["a", "b"]
        assert list(track("c", start=0.5)) == ["c"]
    list(track("d"))
    assert heard == [0.25, 0.5, 1.0]


# Studies


def make_pairs(count=3, side=32):
    rng = np.random.default_rng(0)
    high = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return [Pair(f"dir/{i}", f"{i}", high[i] // 8, high[i]) for i in range(count)]


def make_study(folder, method, seeds=("",)):
    runs = [Run("ours, (8x)", lambda: method, seed) for seed in seeds]
    runs.append(Run("truth", lambda: lambda pair: pair.high))
    return Study(folder, make_pairs(), ("psnr_rgb", "ssim_rgb", "niqe"), runs)


def test_study_goes_on_at_the_image_where_it_was_cut_off(tmp_path):
    seen = []

    def method(pair):
        seen.append(pair.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return pair.low * np.uint8(8)

    study = make_study(tmp_path, method)
    with pytest.raises(KeyboardInterrupt):
        run_parts(study.parts(), tmp_path)
    run_parts(study.parts(), tmp_path)
    assert seen == ["dir/0", "dir/1", "dir/1", "dir/2"]
    np.testing.assert_array_equal(
        study.picture("ours, (8x)", 2), study.pairs[2].low * np.uint8(8)
    )


def test_scores_are_those_of_the_files(tmp_path):
    study = make_study(tmp_path, lambda pair: pair.low * np.uint8(8))
    run_parts(study.parts(), tmp_path)
    (scores,) = study.scores("ours, (8x)")
    files = sorted((tmp_path / "images" / "ours-8x").iterdir())
    assert [file.name for file in files] == [f"000{i}-dir-{i}.png" for i in range(3)]
    for file, pair, score in zip(
        files, study.pairs, scores.columns["psnr_rgb"], strict=True
    ):
        error = np.mean((read_rgb8(file) / 255.0 - pair.high / 255.0) ** 2)
        assert score == pytest.approx(-10 * np.log10(error), abs=1e-4)
    assert scores.columns["niqe"] == [None] * 3 and len(scores.notes) == 3
    assert study.table()["truth"].mean("psnr_rgb") == 100


def test_seeds_are_averaged_image_by_image(tmp_path):
    first, second = Scores(["a", "b"]), Scores(["a", "b"])
    first.columns = {"psnr_rgb": [10.0, 20.0], "niqe": [1.0, None]}
    second.columns = {"psnr_rgb": [20.0, 40.0], "niqe": [3.0, 4.0]}
    merged = mean_of_seeds([first, second])
    assert merged.columns == {"psnr_rgb": [15.0, 30.0], "niqe": [2.0, None]}
    study = make_study(tmp_path, lambda pair: pair.low, ["seed 0", "seed 1"])
    assert study.methods == ["ours, (8x)", "truth"] and study.trained == ["ours, (8x)"]
    assert len(study.parts()) == 3 and "seed 0, seed 1" in study.about


def test_the_middle_of_a_pair():
    (pair,) = make_pairs(1)
    cut = cut_middle(pair, 10)
    np.testing.assert_array_equal(cut.high, pair.high[11:21, 11:21])
    np.testing.assert_array_equal(cut.low, pair.low[11:21, 11:21])
    assert cut.mask is None and cut_middle(pair, 0) is pair
    assert cut_middle(pair, 99).high.shape == pair.high.shape


# Trainings and the command's settings


def test_recipes_are_valid_and_variants_differ():
    for paper in PAPERS:
        configs = recipes.trainings(paper, recipes.command_config())
        for config in configs.values():
            validate(config)
            assert config.evaluate_every_steps and config.checkpoint_every_steps
    configs = recipes.trainings("dual", recipes.command_config())
    assert list(configs) == TRAININGS
    for recipe in recipes.DUAL_RECIPES:
        assert configs[f"{recipe}-no_two_way"].loss.enhancement.forward == 0
        assert configs[f"{recipe}-fine5"].model.fine_layers == 5
    assert configs["paper-full"].loss.enhancement.coarse == 0
    assert configs["baseline-full"].loss.enhancement.coarse > 0
    assert recipes.command_config().seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("paper", "name", "file"),
    [
        ("dual", "paper-full", "dual_paper"),
        ("cnn", "cnn", "cnn"),
        ("cnn", "inpaint", "inpaint"),
    ],
)
def test_recipes_are_those_of_the_config_files(paper, name, file):
    path = Path(__file__).parents[1] / "configs" / f"{file}.py"
    expected = runpy.run_path(str(path))["get_config"]().to_dict()
    found = recipes.trainings(paper, recipes.command_config())[name].to_dict()
    for config in (expected, found):
        for key in list(config):
            if key.endswith("every_steps"):  # when it is scored, logged and saved
                del config[key]
    assert found == expected


def test_data_of_the_trainings(tmp_path):
    c = recipes.command_config()
    c.data.root, c.data.photographs = "pairs", "photographs"
    c.steps, c.images = 0.01, 7
    configs = recipes.trainings("cnn", c)
    assert configs["cnn"].data.root and not configs["cnn"].data.photographs
    assert configs["inpaint"].data.photographs and not configs["inpaint"].data.root
    assert configs["inpaint"].data.validation_every == 5  # of the weights that ship
    assert configs["cnn"].phases.supervised.steps == 32
    assert configs["cnn"].data.validation_images == 7
    assert configs["inpaint"].data.batch_size == 16  # the recipe's own
    c.data.batch_size = 2
    assert recipes.trainings("cnn", c)["inpaint"].data.batch_size == 2


def test_quick_leaves_what_the_user_has_set():
    c = recipes.command_config()
    c.images, c.data.batch_size = 5, 2
    recipes.make_quick(c)
    assert (c.images, c.data.batch_size, c.data.crop_px, c.steps) == (5, 2, 64, 0.05)


def test_given_weights_stand_in_for_every_seed(tmp_path):
    configs = recipes.trainings("dual", recipes.command_config())
    given = command.parse_given(["paper-full=dual"], list(configs))
    planned = plan_trainings(configs, (3, 4), given, tmp_path)
    of_full = [t for t in planned if t.name == "paper-full"]
    assert [(t.source, t.workdir) for t in of_full] == [("dual", None)]
    of_fine = [t for t in planned if t.name == "paper-fine5"]
    assert [t.config.seed for t in of_fine] == [3, 4]
    assert len({t.workdir for t in planned if t.workdir}) == 14


@pytest.mark.parametrize("text", ["paper-full", "paper=dual", "=dual"])
def test_given_weights_of_no_training_are_refused(text):
    with pytest.raises(ConfigError, match="expected NAME=MODEL, NAME one of paper-f"):
        command.parse_given([text], TRAININGS)


def test_given_weights_that_do_other_things_are_refused():
    with pytest.raises(ValueError, match="paper-full=cnn has no denoising module"):
        command.check_given("dual", {"paper-full": "cnn"})
    with pytest.raises(ValueError, match="for brightening; expected one for inpaint"):
        command.check_given("cnn", {"inpaint": "dual"})
    command.check_given("cnn", {"cnn": "cnn", "mirnet": "gamma", "inpaint": "telea"})


def test_a_report_without_images_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lowlight_jax.training.loop.load_training_data", lambda *a, **k: ((), ())
    )
    with pytest.raises(ConfigError, match="no image is kept for validation"):
        command.reproduce("dual", recipes.command_config(), tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_reports_are_not_mixed(tmp_path):
    command.settle(tmp_path / "out", {"sides": (0, 1), "images": 3})
    command.settle(tmp_path / "out", {"sides": (0, 1), "images": 3})
    with pytest.raises(ConfigError, match="images: 3 then, 4 now"):
        command.settle(tmp_path / "out", {"sides": (0, 1), "images": 4})


# Figures and the page

TABLE = {
    "ours": Scores(["a", "b"], {"psnr_rgb": [20.0, 22.0], "niqe": [3.0, None]}),
    "truth": Scores(["a", "b"], {"psnr_rgb": [None, None], "niqe": [2.0, 2.5]}),
}


def is_png(content):
    return content.startswith(b"\x89PNG")


def test_plots_take_missing_scores_and_single_seeds():
    assert is_png(figures.bars(TABLE, ["psnr_rgb", "niqe"], ours=["ours"]))
    rows = [{"step": 10, "psnr_rgb": 18.0}, {"step": 20, "psnr_rgb": 19.0}]
    assert is_png(
        figures.curves({"full": [rows]}, ["psnr_rgb"], boundaries={"denoising": 10})
    )
    assert is_png(figures.stages(TABLE, "niqe"))


def test_pictures_frame_and_enlarge_the_detailed_part():
    flat = np.full((100, 150, 3), 90, np.uint8)
    flat[60:80, 100:130] = np.random.default_rng(0).integers(0, 256, (20, 30, 3))
    assert most_detailed(flat) == Window(60, 100, 20, 30)
    plain = draw_picture_grid([{"a": flat, "b": flat}], width_px=150)
    zoomed = draw_picture_grid(
        [{"a": flat, "b": flat}], width_px=150, zooms=[most_detailed(flat)]
    )
    assert zoomed.shape[0] == plain.shape[0] + 2 + 100  # 20 x 30 px, 150 wide
    detail = zoomed[-6 - 100 : -6, 6:156]
    expected = Image.fromarray(flat[60:80, 100:130]).resize((150, 100), Image.BICUBIC)
    np.testing.assert_array_equal(detail, expected)


def test_page_holds_everything_and_escapes_it(tmp_path):
    scores = scores_section("figure-5", "Figure <5>", "about", TABLE)
    picture = Section(
        "figure-4", "Pictures", "caption", figure=figures.stages(TABLE, "niqe")
    )
    write_report(
        tmp_path, title="A & B", facts={"Seeds": "0"}, sections=[picture, scores]
    )
    html = (tmp_path / "report.html").read_text()
    assert "Figure &lt;5&gt;" in html and "A &amp; B" in html
    assert set(re.findall(r'(?:src|href)="(.{5})', html)) == {"data:"}
    assert "21.00 ± 1.41" in html and "3.00 (1 images)" in html
    markdown = (tmp_path / "report.md").read_text()
    assert "| ours | 21.00 ± 1.41 |" in markdown
    assert "![Pictures](figures/figure-4.png)" in markdown
    assert (tmp_path / "figures/figure-4.png").read_bytes() == picture.figure
    lines = (tmp_path / "tables/figure-5.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines[1:]))
    assert lines[0].startswith("# 8-bit images as saved")
    assert (rows[0]["method"], float(rows[0]["mean"])) == ("ours", 21.0)


# The whole command, with weights that are given


def run_command(monkeypatch, tmp_path, paper, given):
    monkeypatch.setattr(page, "_PICTURE_PX", 60)
    c = recipes.command_config()
    c.images, c.side_px = 2, 64
    with c.unlocked():
        return command.reproduce(paper, c.lock(), tmp_path / "out", given)


def test_report_of_paper_b(monkeypatch, tmp_path, capsys):
    given = {"cnn": "cnn", "mirnet": "cnn", "inpaint": "inpaint"}
    report = run_command(monkeypatch, tmp_path, "cnn", given)
    assert "[1/14] input on 2 images" in capsys.readouterr().out
    html = report.read_text()
    for title in ("Tasks 1 and 2", "Task 3", "Table I", "The paper&#39;s claims"):
        assert title in html
    rows = (tmp_path / "out/tables/table-1.csv").read_text().splitlines()
    assert len(rows) == 2 + 19 * 2
    answers = list(
        csv.DictReader(
            (tmp_path / "out/tables/claims.csv").read_text().splitlines()[1:]
        )
    )
    same = [a for a in answers if a["claim"] == "MIRNet is better than the CNN"]
    assert {float(a["gain"]) for a in same} == {0.0}  # the same weights
    run_command(monkeypatch, tmp_path, "cnn", given)
    assert capsys.readouterr().out.count("done before") == 14


def test_report_of_paper_a(monkeypatch, tmp_path):
    given = dict.fromkeys(TRAININGS, "dual")
    given["paper-coarse_only"] = "dual_global"  # better: the recipes then disagree
    report = run_command(monkeypatch, tmp_path, "dual", given)
    html = report.read_text()
    for title in ("Figure 4", "Figure 5", "Noise amplification", "claims"):
        assert title in html
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    assert settings["weights"] == given
    tables = tmp_path / "out/tables"
    for recipe, same in (("paper", _ABLATION[1:]), ("baseline", _ABLATION)):
        answers = read_table(tables / f"claims-{recipe}.csv")
        assert {a["claim"] for a in answers if float(a["gain"]) == 0} == set(same)
    assert "1 of 7 answers depend on the recipe" in html
    words = {row["claim"]: row for row in read_table(tables / "claims.csv")}
    coarse = words.pop(_ABLATION[0])
    judged = coarse["the paper's recipe"]
    assert judged != claims.UNDECIDED
    assert coarse["today's recipe"] == claims.UNDECIDED
    differ = f"recipes differ: {judged} with the paper&#39;s recipe"
    assert f"{differ}, within the noise of seeds with today&#39;s recipe" in html
    for row in words.values():
        assert row["the paper's recipe"] == row["today's recipe"]


_ABLATION = [
    "The first part of the enhancement module alone, without denoising, is worse",
    "The two-way constraint helps",
    "A fine stage of 5 layers is worse than of 4",
]


def read_table(path):
    return list(csv.DictReader(path.read_text().splitlines()[1:]))


@pytest.mark.slow
def test_everything_is_trained_and_shown(tmp_path):
    c = recipes.command_config()
    c.images, c.side_px, c.steps, c.seeds = 1, 64, 0.02, (0, 1)
    c.data.crop_px, c.data.batch_size = 48, 2
    html = command.reproduce("dual", c, tmp_path, {}).read_text()
    for recipe, words in recipes.DUAL_RECIPES.items():
        title = f"Figure 6: metrics against training steps, {words}"
        assert title.replace("'", "&#39;") in html
        rows = read_table(tmp_path / f"tables/figure-6-{recipe}.csv")
        # Seeds and evaluations of three variants and of the one without denoising.
        assert len(rows) == 2 * (3 * 5 + 3)
