"""docs/extending.md as it stands: each example runs, and what it adds is used."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lowlight_jax import baselines, metrics, models
from lowlight_jax.data import sources
from lowlight_jax.enhance.__main__ import main as enhance
from lowlight_jax.evaluate import main as evaluate
from lowlight_jax.evaluation.scoring import Item, resolve_metrics, score_items
from lowlight_jax.images.files import Photo, read_photo, write_photo
from lowlight_jax.inference.runner import Runner
from lowlight_jax.tasks.task import Settings
from lowlight_jax.training.data import load_data

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"
REGISTRIES = (models.MODELS, metrics.METRICS, sources.SOURCES, baselines.METHODS)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """What the page's code leaves behind, run in an empty folder."""
    before = [dict(registry) for registry in REGISTRIES]
    names = {"__name__": "example"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("extending"))
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), names)
        yield names
    for registry, known in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(known)


def test_a_network_trains_scores_and_brightens(example, capsys):
    scores = json.loads(Path("runs/power_law/scores.json").read_text())["summary"]
    assert {"input", "CLAHE", "power_law", "truth"} <= scores.keys()
    means = {name: row["psnr_rgb"]["mean"] for name, row in scores.items()}
    assert means["power_law"] > means["input"] + 1
    dark = np.full((40, 50, 3), 30, np.uint8)
    write_photo(Path("dark.png"), Photo(dark))
    words = ["dark.png", "--output", "out.png", "--model", "runs/power_law"]
    assert enhance(words) == 0
    np.testing.assert_array_equal(
        read_photo(Path("out.png")).pixels, example["network"](dark)
    )
    assert example["network"](dark).mean() > 40


def test_a_loss_is_trained_by_a_phase_of_its_own(example):
    config = example["base_config"]()
    config.model = example["model_config"]("power_law_by_colour")
    example["only_phase"](config, "match_colours", steps=2, learning_rate=1e-2)
    config.data.crop_px, config.grid_images = 32, 0
    config.data.validation_images = 1
    example["train_and_evaluate"](config, "runs/by_colour")
    rows = map(json.loads, Path("runs/by_colour/metrics.jsonl").open())
    assert [row["mean_colour"] for row in rows if "loss" in row]


def test_a_task_of_its_own_trains_evaluates_and_runs(example, capsys):
    """A toy network of a new task: one file, one line in MODELS."""
    scores = json.loads(Path("runs/sharpener/scores.json").read_text())["summary"]
    assert list(scores) == ["input", "unsharp mask", "sharpener", "truth"]
    means = {name: row["psnr_rgb"]["mean"] for name, row in scores.items()}
    assert means["sharpener"] > means["input"]
    runner = example["sharpener"]
    assert isinstance(runner, Runner) and runner.task.name == "deblurring"
    image = np.random.default_rng(0).integers(0, 255, (33, 70, 3), np.uint8)
    assert (runner(image) != image).any()
    Path("photos").mkdir()
    for i in range(9):
        write_photo(Path(f"photos/{i}.png"), Photo(np.roll(image, i, axis=1)))
    words = ["--model", "runs/sharpener", "--data", "photos", "--output", "s.json"]
    assert evaluate(words) == 0
    assert "sharpener" in json.loads(Path("s.json").read_text())["summary"]


def test_a_metric_is_known_and_shown(example, capsys):
    assert resolve_metrics(["clipped_share"]) == ["clipped_share"]
    white = Item("white", np.full((8, 8, 3), 255, np.uint8))
    assert score_items([white], ["clipped_share"]).mean("clipped_share") == 1
    words = ["--model", "gain", "--param", "factor=9", "--low", "bright"]
    Path("bright").mkdir()
    write_photo(Path("bright/a.png"), Photo(np.full((33, 70, 3), 200, np.uint8)))
    assert evaluate([*words, "--metrics", "clipped_share"]) == 0
    out = capsys.readouterr().out
    assert "clipped_share ↓" in out and "1.0000" in out


def test_a_data_set_is_read(example):
    options = sources.Options(source="ramps:48+embedded")
    examples, held_out = load_data(options, example["BRIGHTENING"], Settings())
    assert len(examples) == 1 + 4 and examples[0]["high"].shape == (64, 48, 3)
    assert [pair.group for pair in held_out][:2] == ["validation ramp"] * 2


def test_a_baseline_is_a_model_by_its_name(example, capsys):
    image = np.full((4, 4, 3), 100, np.uint8)
    assert (example["brighter"](image) == 200).all()
    with pytest.raises(SystemExit):
        enhance(["--list"])
    assert "gain" in capsys.readouterr().out
