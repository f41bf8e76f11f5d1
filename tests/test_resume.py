"""A workdir belongs to one run: what may change when it goes on, and what not."""

import json

import numpy as np
import pytest
from PIL import Image

from lowlight_jax import main
from lowlight_jax.config import ConfigError, base_config, flat, model_config, only_phase
from lowlight_jax.runtime.lock import InUseError, locked
from lowlight_jax.training import resume
from lowlight_jax.training.loop import train


def small_config(photographs="", **settings):
    c = base_config()
    c.model = model_config("cnn")
    c.model.width, c.model.layers = 4, 2
    only_phase(c, "supervised", steps=4, learning_rate=1e-3)
    c.data.crop_px, c.data.batch_size, c.data.validation_every = 24, 8, 4
    c.data.photographs = str(photographs)
    c.checkpoint_every_steps = c.log_every_steps = 2
    c.update_from_flattened_dict(settings)
    return c


def write_photographs(folder, names):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        pixels = rng.integers(0, 256, (32, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder, "abcdefgh")
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, photographs):
    """Of a run that has come to its end; a refused one leaves it as it is."""
    folder = tmp_path_factory.mktemp("run")
    train(small_config(photographs), folder)
    return folder


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if path.name != ".lock"}


@pytest.mark.parametrize(
    "key, value, line",
    [
        ("seed", 1, "seed: 0 then, 1 now"),
        ("data.batch_size", 16, "data.batch_size: 8 then, 16 now"),
        ("data.validation_every", 3, "data.validation_every: 4 then, 3 now"),
        (
            "data.validation_by",
            "image",
            "data.validation_by: 'scene' then, 'image' now",
        ),
        ("max_minutes", 5.0, "max_minutes: 0.0 then, 5.0 now"),
        ("data.photographs", "", "data.photographs: '.*' then, '' now"),
        ("phases.supervised.learning_rate", 0.1, "learning_rate: 0.001 then, 0.1 now"),
        ("phases.supervised.steps", 3, "phases.supervised.steps: 4 then, 3 now"),
        ("phases.enhance.steps", 2, "model 'cnn' cannot be trained by"),
        ("loss.supervised.detail", 0.5, "loss.supervised.detail: 0.0 then, 0.5 now"),
        ("augment.geometry.flips", False, "augment.geometry.flips: True then, False"),
        ("optimizer.step_at", (0.1,), r"optimizer.step_at: \[0.5, 0.75\] then, \[0.1"),
        ("model.width", 8, "model.width: 4 then, 8 now"),
    ],
)
def test_what_decides_the_result_must_stay(workdir, photographs, key, value, line):
    before = contents(workdir)
    config = small_config(photographs)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=line):
        train(config, workdir)
    assert contents(workdir) == before


def test_every_key_is_either_decisive_or_named_as_free():
    before = resume.describe(base_config())
    for key, value in flat(base_config()).items():
        section, _, name = key.rpartition(".")
        now = resume.describe(base_config())
        target = now
        for part in section.split(".") if section else ():
            target = target[part]
        target[name] = f"not {value}"
        changed = resume.differences(before, now)
        assert list(changed) == [key]
        if section.startswith("phases"):
            continue  # by their steps; see the other tests
        is_decisive = bool(resume.decisive(changed, before, now))
        assert is_decisive == (key not in resume._FREE), key


@pytest.mark.parametrize(
    "settings, is_decisive",
    [
        ({"phases.denoise.steps": 301}, False),  # the last phase, longer
        ({"phases.denoise.steps": 299}, True),
        ({"phases.enhance.steps": 601}, True),  # not the last one
        ({"phases.joint.steps": 10}, False),  # one more at the end
        ({"phases.joint.learning_rate": 0.5}, False),  # of no steps
        ({"phases.denoise.learning_rate": 0.5}, True),
        ({"phases.scene.steps": 5}, True),  # one more at the start
    ],
)
def test_a_run_may_be_made_longer(settings, is_decisive):
    config = base_config()
    config.update_from_flattened_dict(settings)
    before, now = resume.describe(base_config()), resume.describe(config)
    changed = resume.differences(before, now)
    assert bool(resume.decisive(changed, before, now)) == is_decisive


def test_a_run_by_the_clock_may_get_more_time():
    def is_decisive(then, now):
        before, after = ({"max_minutes": minutes} for minutes in (then, now))
        changed = resume.differences(before, after)
        return bool(resume.decisive(changed, before, after))

    assert not is_decisive(5.0, 10.0)
    assert is_decisive(5.0, 0.0) and is_decisive(0.0, 5.0)


def test_what_may_change_is_listed_once(tmp_path, photographs, capsys):
    train(small_config(photographs), tmp_path)
    longer = small_config(
        photographs, **{"phases.supervised.steps": 6, "log_every_steps": 3}
    )
    capsys.readouterr()
    _, state, _ = train(longer, tmp_path)
    assert int(state.step) == 6
    said = capsys.readouterr().out
    assert "resuming at step 4 of 6" in said
    assert "changed: log_every_steps: 2 then, 3 now" in said
    assert "changed: phases.supervised.steps: 4 then, 6 now" in said
    train(longer, tmp_path)
    assert "changed" not in capsys.readouterr().out


def test_it_goes_on_with_other_settings_on_purpose(tmp_path, photographs, capsys):
    train(small_config(photographs), tmp_path)
    other = small_config(photographs, **{"seed": 5, "phases.supervised.steps": 6})
    _, state, _ = train(other, tmp_path, may_differ=True)
    assert int(state.step) == 6
    assert "changed: seed: 0 then, 5 now" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["config"]["seed"] == 5


def test_other_images_in_the_folder_are_noticed(tmp_path):
    """One that was trained on would be held out now."""
    write_photographs(tmp_path / "photographs", "abcdefgh")
    config = small_config(tmp_path / "photographs")
    train(config, tmp_path / "run")
    write_photographs(tmp_path / "photographs", ["aa"])
    with pytest.raises(ConfigError, match="held out.d 2 stops under: none then, '32x"):
        train(config, tmp_path / "run")
    (tmp_path / "photographs" / "aa.png").unlink()
    train(config, tmp_path / "run")
    write_photographs(tmp_path / "photographs", "hgfedcba")
    with pytest.raises(ConfigError, match="checksum of some of them: "):
        train(config, tmp_path / "run")


def test_the_command_says_how_to_go_on(workdir, call_command, capsys):
    words = ["--config=configs/smoke.py", "--config.parallel=jit"]
    words += [f"--workdir={workdir}"]
    assert call_command(main, *words) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {workdir} was begun with other settings:\n")
    assert "pass another --workdir, or --continue_changed" in error
    assert "Traceback" not in error


def test_a_workdir_in_use_is_refused(workdir, photographs):
    with locked(workdir):
        with pytest.raises(InUseError, match=r"in use by process \d+ on .*, since"):
            train(small_config(photographs), workdir)
    with locked(workdir):
        pass


def test_early_stopping_needs_pairs_to_judge_by(tmp_path, photographs):
    settings = {"early_stopping_patience": 2, "evaluate_every_steps": 2}
    config = small_config(photographs, **settings)
    config.data.validation_every = 0
    with pytest.raises(ConfigError, match="no pair is held out to judge by"):
        train(config, tmp_path)


def test_crops_larger_than_every_image_are_refused(tmp_path, photographs):
    config = small_config(photographs, **{"data.crop_px": 44})
    with pytest.raises(ConfigError, match="crop_px is 44, more than any image"):
        train(config, tmp_path)
