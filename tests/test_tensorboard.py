"""Event files for TensorBoard: what metrics.jsonl says, once, and the grid."""

import io
import itertools
import json
import math
import shutil
import struct
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from lowlight_jax.config import base_config, model_config, only_phase
from lowlight_jax.data.pairs import Pair
from lowlight_jax.images.files import Photo, write_photo
from lowlight_jax.models import example_inputs
from lowlight_jax.runtime import parallel
from lowlight_jax.training import loop, telemetry
from lowlight_jax.training.loop import train, train_and_evaluate


@pytest.fixture
def config(monkeypatch):
    """Of a training whose data, step and scores are made up: nothing is compiled."""
    black = np.zeros((24, 24, 3), np.uint8)
    pair = Pair("a", "a", black, black)

    def zeros(config, network, key):
        shapes = jax.eval_shape(network.init, key, *example_inputs(network))["params"]
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

    def compile_nothing(step, backend):
        def run_step(state, batch):
            state = state.replace(step=state.step + 1)
            return state, {"loss": 1 / state.step, "odd": math.nan}

        return run_step

    def scores(network, params, pairs, metrics):
        return {"psnr_rgb": 20.0}

    batches = itertools.repeat({"high": black[None]})
    for name, stub in {
        "_initial_params": zeros,
        "load_training_data": lambda *args: ([{"high": black}], [pair]),
        "make_batches": lambda *args, **kwargs: batches,
        "_validation_scores": scores,
    }.items():
        monkeypatch.setattr(loop, name, stub)
    monkeypatch.setattr(telemetry, "check_finite", lambda *args, **kwargs: None)
    monkeypatch.setattr(parallel, "compile_step", compile_nothing)
    c = base_config()
    c.model = model_config("cnn")
    c.model.width, c.model.layers = 4, 2
    only_phase(c, "supervised", steps=6, learning_rate=1e-3)
    c.data.crop_px, c.parallel, c.tensorboard = 24, "jit", True
    c.checkpoint_every_steps, c.log_every_steps, c.evaluate_every_steps = 2, 2, 6
    return c


def read_events(folder):
    """What TensorBoard shows of a folder: tag to {step: value}; each once.

    Its rule, `purge_orphaned_data`: where a session starts, all from its step on goes.
    """
    events = []
    for file in sorted(folder.glob("events.*")):
        content = file.read_bytes()
        while content:  # TFRecord: length, its checksum, data, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    shown = []
    for event in events:
        if event.session_log.status == SessionLog.START:
            shown = [old for old in shown if old.step < event.step]
        elif event.summary.value:
            shown.append(event)
    found = {}
    for event in shown:
        for value in event.summary.value:
            steps = found.setdefault(value.tag, {})
            assert event.step not in steps, "told twice"
            is_picture = value.HasField("image")
            steps[event.step] = value.image if is_picture else value.simple_value
    return found


def rows_by_tag(workdir):
    """The same from metrics.jsonl, the record."""
    found = {}
    for line in (workdir / "metrics.jsonl").open():
        row = json.loads(line)
        phase, step = row.pop("phase"), row.pop("step")
        finite = {name: value for name, value in row.items() if value is not None}
        for name, value in finite.items():
            found.setdefault(f"{phase}/{name}", {})[step] = value
    return found


def assert_like_the_record(workdir):
    shown, record = read_events(workdir / "tensorboard"), rows_by_tag(workdir)
    assert shown.keys() == record.keys() >= {"supervised/loss", "supervised/psnr_rgb"}
    for tag, values in record.items():
        assert shown[tag] == pytest.approx(values, rel=1e-6), tag
    assert list(shown["supervised/loss"]) == [2, 4, 6]


def test_scalars_also_when_resumed(config, tmp_path, capsys):
    workdir = tmp_path / "run"
    train(config, workdir)
    assert_like_the_record(workdir)
    # As a run is left that was killed behind its last checkpoint.
    shutil.rmtree(workdir / "checkpoints" / "6")
    train(config, workdir)
    assert "resuming at step 4 of 6" in capsys.readouterr().out
    assert_like_the_record(workdir)


def test_a_process_that_is_killed_has_written_them(config, tmp_path):
    workdir, seen = tmp_path / "run", {}

    def look(step, scores):
        end = time.monotonic() + 20  # seconds
        while "supervised/psnr_rgb" not in seen and time.monotonic() < end:
            time.sleep(0.1)
            seen.update(read_events(workdir / "tensorboard"))

    train(config, workdir, on_scores=look)
    assert list(seen["supervised/psnr_rgb"]) == [6]


def test_the_grid(config, tmp_path, monkeypatch):
    """The last one drawn, if the run is given again when it is at its end."""
    workdir, drawn = tmp_path / "run", []

    def draw(config, network, params, pairs, workdir):
        drawn.append(np.full((8, 9, 3), 10 * len(drawn), np.uint8))
        write_photo(workdir / "results.png", Photo(drawn[-1]))

    monkeypatch.setattr(loop, "_final_evaluation", draw)
    config.phases.supervised.steps = 1
    train_and_evaluate(config, workdir)
    (file,) = (workdir / "tensorboard" / "pictures").iterdir()
    file.rename(file.with_name("events.0"))  # it has the name of this second
    train_and_evaluate(config, workdir)
    (tag,) = read_events(workdir / "tensorboard" / "pictures").items()
    assert tag[0] == "results" and list(tag[1]) == [1]
    png = io.BytesIO(tag[1][1].encoded_image_string)
    np.testing.assert_array_equal(np.asarray(Image.open(png)), drawn[1])
    assert list(read_events(workdir / "tensorboard")["supervised/loss"]) == [1]
    config.tensorboard = False
    shutil.rmtree(workdir / "tensorboard")
    train_and_evaluate(config, workdir)
    assert len(drawn) == 3 and not (workdir / "tensorboard").exists()


def test_only_the_first_process_writes(config, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "is_main_process", lambda: False)
    config.phases.supervised.steps = 1
    train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_missing_extra_is_told_before_anything_begins(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'lowlight_jax\[tensorboard\]'"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
