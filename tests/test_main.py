"""The command itself: both phases, evaluation, what it leaves, resuming, bad input."""

import dataclasses
import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from lowlight_jax import main
from lowlight_jax.config import (
    VARIANTS,
    ConfigError,
    base_config,
    flat,
    model_config,
    only_phase,
    validate,
)
from lowlight_jax.data.pipeline import Geometry
from lowlight_jax.losses.dual import (
    DenoisingWeights,
    EnhancementWeights,
    denoising_loss,
    enhancement_loss,
)
from lowlight_jax.metrics import ms_ssim_rgb
from lowlight_jax.training.loop import make_settings, train_and_evaluate
from lowlight_jax.types import Denoised, Enhanced

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
WITH_VARIANTS = (
    "dual",
    "dual_paper",
    "dual_lol",
    "smoke",
)  # of paper A; others have their own


def load_module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_config(path, *arg):
    return load_module(path).get_config(*arg)


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
    assert record["config"]["seed"] == 0 and record["versions"]["jax"]
    scores = json.loads((workdir / "scores.json").read_text())
    assert set(scores["summary"]) > {"input", "enhancement only"}
    assert scores["summary"]["input"]["psnr_rgb"]["images"] == 4


def test_its_result_enhances_a_photo(whole, tmp_path):
    workdir, _ = whole
    from lowlight_jax.inference.runner import Enhancer

    image = np.full((30, 20, 3), 20, np.uint8)
    assert Enhancer(checkpoint=str(workdir))(image).shape == image.shape


def start(workdir, cache):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "lowlight_jax.main"),
            *("--config=configs/smoke.py", f"--workdir={workdir}"),
        ],
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(cache), "COLUMNS": "200"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def assert_same_end(workdir, expected):
    """Bit for bit: parameters, and the rows, none twice and none missing."""
    written, all_rows = (
        (folder / "metrics.jsonl").read_text() for folder in (workdir, expected)
    )
    assert written == all_rows
    for name, tensor in tensors(expected).items():
        np.testing.assert_array_equal(tensors(workdir)[name], tensor, err_msg=name)


def test_a_run_stopped_and_killed_goes_on_to_the_same_end(whole, tmp_path, cache):
    """SIGTERM in phase 1 saves at once; SIGKILL in phase 2 loses what is not saved."""
    cut = tmp_path / "cut"
    for line, number in (("enhance step 10/60", "SIGTERM"), ("step 35/60", "SIGKILL")):
        process = start(cut, cache)
        for said in process.stderr:
            if line in said:
                process.send_signal(signal.Signals[number])
                break
        output, error = process.communicate()
        if number == "SIGTERM":
            assert process.returncode == 75
            stopped = re.search(r"stopped by SIGTERM at step (\d+) of 60", error)
            assert stopped, error
            assert "Traceback" not in error
        else:
            assert f"resuming at step {stopped[1]} of 60" in output
    assert not (cut / "results.png").exists()
    process = start(cut, cache)
    output, error = process.communicate()
    assert process.returncode == 0, error
    # The save of step 30 goes on in the background; killed, it is as if not begun.
    assert re.search(r"resuming at step (20|30) of 60", output)
    assert_same_end(cut, whole[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_five_kills_at_random_moments_change_nothing(whole, tmp_path, cache, seed):
    """Anywhere between start and end, every second time in the middle of a save."""
    rng = np.random.default_rng(seed)
    cut = tmp_path / "cut"
    kills = in_save = 0
    while kills < 5:
        process = start(cut, cache)
        wait_for_save = kills % 2 == 1
        deadline = time.monotonic() + (60 if wait_for_save else rng.uniform(3, 15))
        while time.monotonic() < deadline and process.poll() is None:
            if wait_for_save and list((cut / "checkpoints").glob("*tmp*")):
                time.sleep(rng.uniform(0, 0.05))
                in_save += 1
                break
            time.sleep(0.001 if wait_for_save else 0.05)
        if process.poll() is not None:
            break  # it came to its end before it could be killed
        process.kill()
        process.communicate()
        kills += 1
    process = start(cut, cache)
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert kills >= 3 and in_save >= 1
    assert_same_end(cut, whole[0])


def test_a_workdir_that_cannot_be_written_is_said_before_anything_else(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written to .*pass another --workdir"):
        config = load_config(ROOT / "configs/smoke.py")
        config.parallel = "jit"
        train_and_evaluate(config, tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config.data.root=/nowhere"], "data.root is '/nowhere'"),
        (["--config.data.crop_px=30"], "crop_px is 30; expected a multiple of 4"),
        (["--config.optimizer.name=lion"], "expected one of 'rmsprop'"),
    ],
)
def test_bad_values_get_a_sentence(tmp_path, call_command, capsys, arguments, message):
    words = ["--config=configs/smoke.py", *arguments, f"--workdir={tmp_path}"]
    assert call_command(main, *words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_and_variant_is_valid(path):
    papers = VARIANTS if path.stem in WITH_VARIANTS else {}
    for variant in getattr(load_module(path), "VARIANTS", papers):
        validate(load_config(path, f"variant={variant}"))
    validate(load_config(path))


def test_variants_are_the_papers():
    configs = {
        v: load_config(ROOT / "configs/dual.py", f"variant={v}") for v in VARIANTS
    }
    full, without = configs["full"], configs["no_two_way"]
    assert full.loss.enhancement.reverse == full.loss.denoising.reverse == 1
    assert full.model.fine_layers == 4 and full.model.denoises
    assert without.loss.enhancement.structural == without.loss.denoising.forward == 1
    assert without.loss.enhancement.forward == without.loss.enhancement.reverse == 0
    assert without.loss.denoising.reverse == 0
    assert configs["fine5"].model.fine_layers == 5
    coarse = configs["coarse_only"]
    assert coarse.model.fine_layers == 0 and not coarse.model.denoises
    assert [name for name, phase in coarse.phases.items() if phase.steps] == ["enhance"]


def test_dual_paper_is_formulas_5_to_14_and_nothing_else():
    c = load_config(ROOT / "configs/dual_paper.py")
    rng = np.random.default_rng(0)
    high, *changes = (
        jnp.asarray(rng.uniform(0.1, 0.85, (2, 176, 176, 3)), "f4") for _ in range(4)
    )
    # Alike enough for no term of MS-SSIM to be negative, which the loss floors.
    low, light = 0.3 * high + 0.05 * changes[0], 0.3 + 0.1 * changes[1]
    noisy, noise = high + 0.1 * changes[2], 0.1 * changes[0]
    enhanced = low / light  # formula 2
    loss, _ = enhancement_loss(
        Enhanced(enhanced, light, high, high),  # what the coarse stage gives is free
        low,
        high,
        EnhancementWeights(**c.loss.enhancement),
    )
    structural = 1 - ms_ssim_rgb(high, enhanced)  # 8, 9
    forward = jnp.abs(high - low / light).mean((1, 2, 3))  # 10
    reverse = jnp.abs(low - high * light).mean((1, 2, 3))  # 12
    expected = jnp.mean(structural + forward + reverse)  # 5, 11
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    denoised = noisy - noise
    loss, _ = denoising_loss(
        Denoised(denoised, noise, high, high),
        noisy,
        high,
        DenoisingWeights(**c.loss.denoising),
    )
    forward = 1 - ms_ssim_rgb(high, denoised)  # 13
    reverse = 1 - ms_ssim_rgb(noisy, high + noise)  # 14
    np.testing.assert_allclose(loss, jnp.mean(forward + reverse), atol=1e-5)  # 6

    assert {name for name, p in c.phases.items() if p.steps} == {"enhance", "denoise"}
    assert c.data.crop_px == 384  # table 1
    o = c.optimizer
    assert (o.name, o.schedule) == ("rmsprop", "constant")
    assert o.warmup_steps == o.clip_norm == o.ema_decay == o.skip_nonfinite == 0
    # Algorithm 1: the noisy side is a clean image with noise, and nothing else.
    assert c.enhanced_fraction == c.identity_fraction == c.early_stopping_patience == 0
    assert not any(c.augment.colour.values()) and not c.augment.dark_stops
    geometry = Geometry(flips=False, quarter_turns=False)
    assert Geometry(**c.augment.geometry) == geometry


def test_cnn_is_what_paper_b_says_and_its_weights_what_shipped():
    c = load_config(ROOT / "configs/cnn.py")
    assert {k for k, weight in c.loss.supervised.items() if weight} == {"squared"}
    o = c.optimizer
    assert (o.name, o.schedule) == ("adam", "constant")
    assert o.warmup_steps == o.clip_norm == o.ema_decay == 0
    assert c.early_stopping_patience == c.identity_fraction == 0
    assert c.phases.supervised.learning_rate == 1e-3
    epochs = c.phases.supervised.steps * c.data.batch_size / 255  # pairs of LOL
    assert epochs == pytest.approx(100, abs=1)
    shipped = load_config(ROOT / "configs/cnn.py", "variant=shipped")
    before = base_config()  # the recipe before the paper's had a file of its own
    before.model = model_config("cnn")
    only_phase(before, "supervised", steps=3200, learning_rate=1e-3)
    before.optimizer.name = "adam"
    before.optimizer.clip_norm = 0.0
    before.optimizer.ema_decay = 0.99
    before.evaluate_every_steps = 160
    before.early_stopping_patience = 6
    assert shipped.to_dict() == before.to_dict()


@pytest.mark.parametrize("arg", ["variant=papre", "size=big"])
def test_unknown_variant_is_named(arg):
    with pytest.raises(ConfigError, match="expected variant= one of full"):
        load_config(ROOT / "configs/dual.py", arg)


def test_all_failures_are_reported_together():
    config = base_config()
    config.data.batch_size = 0
    config.model.max_gain = 0.5
    with pytest.raises(ConfigError, match="(?s)batch_size is 0.*max_gain is 0.5"):
        validate(config)


NUMBERS = {
    key: value
    for key, value in flat(base_config()).items()
    if isinstance(value, int | float | tuple) and value is not True and value != ()
    if value is not False
}


def with_value(key, value):
    config = base_config()
    value = (value,) if isinstance(NUMBERS[key], tuple) else value
    config.update_from_flattened_dict({key: value})
    return config


@pytest.mark.parametrize("key", NUMBERS)
def test_no_number_may_be_out_of_its_range(key):
    """A key without a range would take -1; none takes what is not a number."""
    values = [-1]
    if not isinstance(NUMBERS[key], int):
        values += [math.nan, math.inf]
    for value in values:
        with pytest.raises(ConfigError, match=rf"{key} is \(?{value}"):
            validate(with_value(key, value))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"optimizer.decay": 1.0}, "optimizer.decay is 1.0; expected 0 to 1, without"),
        ({"optimizer.ema_decay": 1.5}, "optimizer.ema_decay is 1.5"),
        ({"optimizer.step_at": (0.5, 1.0)}, r"step_at is \(0.5, 1.0\); expected"),
        ({"phases.enhance.learning_rate": 0.0}, "finite number above 0"),
        ({"synthetic.min_stops": 5.0}, "synthetic.max_stops 4.0; expected min <= max"),
        ({"damage.min_size_px": 40}, "damage.max_size_px 32; expected min <= max"),
        ({"augment.geometry.least_framing": 1.5}, "0 to 1, without 0"),
        ({"early_stopping_patience": 3}, "expected evaluate_every_steps too"),
        ({"initial_parts": ("denoising",)}, "expected initial_weights too"),
        (
            {f"loss.enhancement.{n}": 0.0 for n in base_config().loss.enhancement},
            "phase enhance has steps, but all weights of loss.enhancement are 0",
        ),
    ],
)
def test_values_that_cannot_work_together_are_named(settings, message):
    config = base_config()
    config.update_from_flattened_dict(settings)
    with pytest.raises(ConfigError, match=message):
        validate(config)


@pytest.mark.parametrize(
    "name, fields",
    [
        ("cnn", {"width": 0}),
        ("cnn", {"layers": 1}),
        ("inpaint", {"width": 0}),
        ("inpaint", {"fill_levels": 3}),
        ("mirnet", {"blocks": 0}),
        ("mirnet", {"channels": 0}),
        ("dual", {"max_gain": math.nan}),
        ("dual_global", {"max_gain": math.inf}),
    ],
)
def test_networks_that_cannot_be_made_are_named(name, fields):
    config = base_config()
    config.model = model_config(name)
    config.model.update(fields)
    key = next(iter(fields))
    with pytest.raises(ConfigError, match=f"model.{key} "):
        validate(config)


def test_other_keys_and_kinds_than_the_bases_are_named():
    config = base_config()
    with config.unlocked():
        config.data.batchsize = 3
        config.optimizer.step_at = (0.5, "a")
        del config.seed
    with pytest.raises(
        ConfigError,
        match=r"(?s)seed missing.*data.batchsize is no key.*'a'\); expected float",
    ):
        validate(config)


@pytest.mark.parametrize(
    "body, message",
    [
        ("return base_config(", "bad.py, line 3: '(' was never closed"),
        ("return {}['x']", "bad.py, line 3: KeyError: 'x'"),
        ("return 3", "returned int; expected a ConfigDict"),
        ("c = base_config(); c.data.batchsize = 3", "did you mean 'batch_size'?"),
        ("c = base_config(); c.seed = 1.5", "cannot be casted to type <class 'int'>"),
    ],
)
def test_a_bad_config_file_is_told_in_one_line(
    tmp_path, call_command, capsys, body, message
):
    text = (
        f"from lowlight_jax.config import base_config\ndef get_config():\n    {body}\n"
    )
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(SystemExit) as info:
        call_command(main, f"--config={tmp_path}/bad.py")
    assert info.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "\x1b" not in error


def test_the_base_has_the_papers_losses_alone():
    weights = base_config().loss
    for name in ("structural", "forward", "reverse"):
        assert weights.enhancement[name] == 1
    assert weights.denoising.forward == weights.denoising.reverse == 1
    for name in ("detail", "pixel", "colour"):
        assert weights.denoising[name] == 0


def test_settings_cover_the_config():
    """Every weight and range that the config offers is one of the dataclasses'."""
    settings = make_settings(base_config())
    assert dataclasses.asdict(settings)["exposure"] == base_config().synthetic.to_dict()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--config=configs/none.py"],
            "'configs/none.py'; configs/ is a folder of the source",
        ),
        ([], "Flag --config must have a value other than None"),
        (["--config=configs/dual.py", "more"], "unexpected arguments ['more']"),
        (
            ["--config=configs/mirnet.py:x"],
            "takes 0 positional arguments but 1 was given",
        ),
        (["--config=configs/dual.py:variant=x"], "unknown config argument 'variant=x'"),
        (["--config=configs/dual.py", "--config.data.x=1"], "config has no key 'x'"),
        (["--config=configs/dual.py", "--config.dataa.x=1"], "did you mean 'data'?"),
        (["--config=configs/dual.py", "--config.seed.x=1"], "has no key 'seed.x'"),
        (["--config=configs/dual.py", "--config.seed=a"], "--config.seed=a: invalid"),
        (["--nothing"], "Unknown command line flag 'nothing'"),
    ],
)
def test_wrong_flags_are_told_in_one_line(call_command, capsys, args, message):
    with pytest.raises(SystemExit) as info:
        call_command(main, *args)
    assert info.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
