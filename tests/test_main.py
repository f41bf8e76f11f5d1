"""The command itself: both phases, evaluation, what it leaves, resuming, bad input."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from lowlight_jax.config import VARIANTS, ConfigError, base_config, validate

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def load_config(path, arg=""):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


def run(*args, cache, **kwargs):
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "lowlight_jax.main", *args],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        **kwargs,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """A smoke run from start to end."""
    workdir = tmp_path_factory.mktemp("whole")
    result = run("--config=configs/smoke.py", f"--workdir={workdir}", cache=cache)
    assert result.returncode == 0, result.stderr
    return workdir, result


def rows(workdir):
    return [json.loads(row) for row in (workdir / "metrics.jsonl").open()]


def tensors(workdir):
    return safetensors.numpy.load_file(workdir / "weights.safetensors")


def test_it_trains_both_modules_and_says_so(whole):
    _, result = whole
    for part in (
        "enhance step 20/60 loss",
        "denoise step 40/60 loss",
        "images/s",
        "eta",
    ):
        assert part in result.stderr
    for part in (
        "psnr_rgb",
        "ssim_rgb",
        "input",
        "enhancement only",
        "enhancement + denoising",
    ):
        assert part in result.stdout
    assert "python -m lowlight_jax.enhance PHOTO" in result.stdout


def test_it_leaves_what_it_promises(whole):
    workdir, _ = whole
    steps = [(row["phase"], row["step"]) for row in rows(workdir)]
    expected = [
        (phase, 20 * i + step)
        for i, phase in enumerate(("enhance", "denoise", "joint"))
        for step in (5, 10, 15, 20)
    ]
    assert steps == expected
    assert all(np.isfinite(row["loss"]) for row in rows(workdir))
    assert Image.open(workdir / "results.png").width > 600
    record = json.loads((workdir / "config.json").read_text())
    assert record["config"]["seed"] == 0 and record["packages"]["jax"]
    scores = json.loads((workdir / "scores.json").read_text())
    assert set(scores["summary"]) > {"input", "enhancement only"}
    assert scores["summary"]["input"]["psnr_rgb"]["images"] == 4


def test_its_result_enhances_a_photo(whole, tmp_path):
    workdir, _ = whole
    from lowlight_jax.enhance import Enhancer

    image = np.full((30, 20, 3), 20, np.uint8)
    assert Enhancer(checkpoint=str(workdir))(image).shape == image.shape


def test_a_run_cut_off_in_phase_2_goes_on_to_the_same_end(whole, tmp_path, cache):
    """Bit for bit, rows included: stopped behind a checkpoint, in mid-phase."""
    workdir, _ = whole
    cut = tmp_path / "cut"
    arguments = ["--config=configs/smoke.py", f"--workdir={cut}"]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lowlight_jax.main", *arguments],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    for line in process.stderr:
        if "denoise step 35/60" in line:
            process.kill()
            break
    process.wait()
    assert not (cut / "results.png").exists()
    result = run(*arguments, cache=cache)
    assert result.returncode == 0, result.stderr
    assert "resuming at step 30 of 60" in result.stdout
    assert rows(cut) == rows(workdir)
    for name, expected in tensors(workdir).items():
        np.testing.assert_array_equal(tensors(cut)[name], expected, err_msg=name)


def test_another_model_in_the_same_workdir_is_an_error(whole, cache):
    workdir, _ = whole
    result = run(
        "--config=configs/smoke.py:variant=fine5", f"--workdir={workdir}", cache=cache
    )
    assert result.returncode == 1
    assert "fine_layers: 4 in the checkpoint, 5 now" in result.stderr
    assert "Traceback" not in result.stderr


def test_real_pairs(tmp_path, cache):
    from lowlight_jax.data import embedded

    high = embedded.load_photographs(("coffee.png",))[0]
    for side, image in (("low", high // 8), ("high", high)):
        (tmp_path / "set" / side).mkdir(parents=True)
        for i in range(3):
            crop = image[60 * i :, :200][:96]
            Image.fromarray(crop).save(tmp_path / "set" / side / f"{i}.png")
    result = run(
        "--config=configs/smoke.py",
        f"--config.data.root={tmp_path / 'set'}",
        f"--config.data.cache_dir={tmp_path / 'records'}",
        "--config.data.validation_every=3",
        "--config.phases.joint.steps=0",
        f"--workdir={tmp_path / 'work'}",
        cache=cache,
    )
    assert result.returncode == 0, result.stderr
    assert "2 pairs to train on, 1 held out" in result.stdout
    assert rows(tmp_path / "work")[-1]["step"] == 40


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config.data.root=/nowhere"], "data.root is '/nowhere'"),
        (["--config.data.crop_px=30"], "crop_px is 30; expected a multiple of 4"),
        (["--config.optimizer.name=lion"], "expected one of 'rmsprop'"),
    ],
)
def test_bad_values_get_a_sentence(tmp_path, cache, arguments, message):
    result = run(
        "--config=configs/smoke.py", *arguments, f"--workdir={tmp_path}", cache=cache
    )
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_config_and_variant_is_valid(path, variant):
    validate(load_config(path, f"variant={variant}"))


def test_variants_are_the_papers():
    configs = {
        v: load_config(ROOT / "configs/dual.py", f"variant={v}") for v in VARIANTS
    }
    assert configs["paper"].loss.enhancement.reverse == 1
    assert configs["paper"].loss.denoising.reverse == 1
    assert configs["paper"].model.fine_layers == 4
    assert configs["no_reverse"].loss.enhancement.reverse == 0
    assert configs["no_reverse"].loss.denoising.reverse == 0
    assert configs["fine5"].model.fine_layers == 5
    assert configs["coarse_only"].model.fine_layers == 0


@pytest.mark.parametrize("arg", ["variant=papre", "size=big"])
def test_unknown_variant_is_named(arg):
    with pytest.raises(ConfigError, match="expected variant= one of paper"):
        load_config(ROOT / "configs/dual.py", arg)


def test_all_failures_are_reported_together():
    config = base_config()
    config.data.batch_size = 0
    config.model.max_gain = 0.5
    with pytest.raises(ConfigError, match="(?s)max_gain is 0.5.*batch_size is 0"):
        validate(config)


def test_the_base_has_the_papers_losses_alone():
    weights = base_config().loss
    for name in ("structural", "forward", "reverse"):
        assert weights.enhancement[name] == 1
    assert weights.denoising.forward == weights.denoising.reverse == 1
    for name in ("detail", "pixel", "colour"):
        assert weights.denoising[name] == 0


def test_settings_cover_the_config():
    """Every weight and range that the config offers is one of the dataclasses'."""
    from lowlight_jax.train import make_settings

    settings = make_settings(base_config())
    assert dataclasses.asdict(settings)["exposure"] == base_config().synthetic.to_dict()
