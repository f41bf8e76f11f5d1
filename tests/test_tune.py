"""The tuner: what it varies, pruning, going on with a study."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lowlight_jax import tune as command
from lowlight_jax.config import (
    ConfigError,
    base_config,
    model_config,
    only_phase,
)
from lowlight_jax.training.search import (
    Range,
    SearchError,
    default_search,
    parse_range,
    tune,
)

optuna = pytest.importorskip("optuna", reason="the extra [tune] is not installed")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def config():
    c = base_config()
    c.evaluate_every_steps = 10
    return c


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            "phases.joint.learning_rate=1e-4:1e-2:log",
            Range("phases.joint.learning_rate", low=1e-4, high=1e-2, log=True),
        ),
        ("data.batch_size=4,8", Range("data.batch_size", choices=(4, 8))),
        ("data.crop_px=32:64", Range("data.crop_px", low=32, high=64)),
        ("optimizer.name=adam,sgd", Range("optimizer.name", choices=("adam", "sgd"))),
        ("model.denoises=true,false", Range("model.denoises", choices=(True, False))),
    ],
)
def test_ranges_are_read(config, text, expected):
    assert parse_range(text, config) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("data.batch=4,8", "data=1:2", "data.batch_size", "data.batch_size=8:4"),
        *("data.batch_size=4:x", "optimizer.step_at=1,2", "model.denoises=a,b"),
        *("optimizer.decay=0:1:log", "optimizer.name=adam:sgd"),
    ],
)
def test_a_bad_range_is_named(config, text):
    with pytest.raises(SearchError, match="expected a key of the config"):
        parse_range(text, config)


def test_by_default_it_varies_what_matters(config):
    config.model = model_config("cnn")
    only_phase(config, "supervised", steps=5, learning_rate=1e-3)
    config.loss.supervised.detail = 0.5
    ranges = {r.key: r for r in default_search(config)}
    assert set(ranges) == {
        "phases.supervised.learning_rate",
        "data.batch_size",
        "loss.supervised.squared",
        "loss.supervised.detail",
        "model.width",
    }
    assert ranges["model.width"].choices == (16, 32, 64)


def quadratic(trial, config, search, workdir):
    """Stands for a training: best at a rate of 1e-3, worse the farther from it."""
    rate = search[0].suggest(trial)
    value = 20 - np.log10(rate / 1e-3) ** 2
    for step in (10, 20):
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


SEARCH = [Range("phases.joint.learning_rate", low=1e-6, high=1.0, log=True)]


def test_it_finds_the_best_and_prunes_the_bad(config, tmp_path):
    study = tune(config, tmp_path / "s.db", trials=25, search=SEARCH, train=quadratic)
    assert study.best_value > 19.5
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 25 and states.count("PRUNED") > 3


def test_a_study_goes_on_with_the_trial_that_was_cut_off(config, tmp_path):
    seen = []

    def cut_off(trial, config, search, workdir):
        seen.append((workdir, search[0].suggest(trial)))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return 1.0

    def options(train):
        return {"trials": 4, "search": SEARCH, "train": train}

    with pytest.raises(KeyboardInterrupt):
        tune(config, tmp_path / "s.db", **options(cut_off))
    study = tune(config, tmp_path / "s.db", **options(cut_off))
    assert seen[3] == seen[2]  # the same folder and the same value
    assert len(study.trials) == 4 and len(seen) == 5
    assert len({workdir for workdir, _ in seen}) == 4


@pytest.mark.parametrize(
    "text, message",
    [
        ("optimizer.name=adam,lion", "optimizer.name=lion: optimizer.name is 'lion'"),
        ("data.crop_px=32,33", "data.crop_px=33: .*multiple of 4"),
        ("optimizer.ema_decay=0.5:1.5", "ema_decay=1.5: optimizer.ema_decay is 1.5"),
        ("model.max_gain=0.5:8", "model.max_gain=0.5: model.max_gain is 0.5"),
    ],
)
def test_values_that_no_trial_can_have_are_named(config, tmp_path, text, message):
    search = [parse_range(text, config)]
    with pytest.raises(SearchError, match=message):
        tune(config, tmp_path / "s.db", trials=1, search=search, train=quadratic)
    assert not list(tmp_path.iterdir())


def test_a_key_is_searched_once(config, tmp_path):
    with pytest.raises(SearchError, match="is searched 2 times"):
        tune(config, tmp_path / "s.db", trials=1, search=SEARCH * 2, train=quadratic)


def test_a_study_keeps_its_settings(config, tmp_path):
    def go_on(search=SEARCH):
        return tune(config, tmp_path / "s.db", trials=1, search=search, train=quadratic)

    go_on()
    config.log_every_steps = 7
    go_on()  # how it is watched may change
    config.data.batch_size = 16
    with pytest.raises(
        ConfigError, match="batch_size: 8 then, 16 now.*another --study"
    ):
        go_on()
    config.data.batch_size = 8
    with pytest.raises(ConfigError, match="high: 1.0 then, 0.1 now"):
        go_on([dataclasses.replace(SEARCH[0], high=0.1)])


def test_without_evaluations_there_is_nothing_to_compare(config, tmp_path):
    config.evaluate_every_steps = 0
    with pytest.raises(SearchError, match="pass --config.evaluate_every_steps"):
        tune(config, tmp_path / "s.db", trials=1, search=SEARCH)


def test_the_command_trains_and_shows_the_best(tmp_path):
    dark = np.random.default_rng(0).integers(0, 64, (9, 48, 48, 3), dtype=np.uint8)
    for side, gain in (("low", 1), ("high", 4)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for number, pixels in enumerate(dark * np.uint8(gain)):
            Image.fromarray(pixels).save(tmp_path / "pairs" / side / f"{number}.png")
    words = [
        *(sys.executable, "-m", "lowlight_jax.tune", "--config=configs/cnn.py"),
        *(f"--study={tmp_path}/s.db", "--trials=1", "--config.model.width=8"),
        *(f"--config.data.root={tmp_path}/pairs", "--config.data.crop_px=32"),
        *("--config.phases.supervised.steps=4", "--config.evaluate_every_steps=4"),
        "--search=phases.supervised.learning_rate=1e-4:1e-3:log",
    ]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--config.phases.supervised.learning_rate=" in result.stdout
    assert (tmp_path / "s/trial-0000/weights.safetensors").exists()


def test_a_bad_range_ends_the_command_with_a_sentence(tmp_path, call_command, capsys):
    words = ["--config=configs/smoke.py", f"--study={tmp_path}/s.db"]
    assert call_command(command, *words, "--search=nothing=1:2") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "expected a key" in error
    assert error.count("\n") == 1
