"""Weights files: exact round trip, whole or not at all, refused where unfit."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from lowlight_jax import weights
from lowlight_jax.data.photographs import load_embedded
from lowlight_jax.inference.methods import load_method
from lowlight_jax.models.dual import DualNetwork

MODEL = {"name": "dual", "fine_layers": 5, "max_gain": 8.0, "share_stages": True}


@pytest.fixture(scope="module")
def params():
    network = DualNetwork(fine_layers=5, max_gain=8.0)
    return network.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]


def test_round_trip_is_exact(tmp_path, params):
    path = tmp_path / "w.safetensors"
    weights.save_weights(path, params, model=MODEL, about={"steps": "3"})
    network, loaded = weights.load_weights(path)
    assert network == DualNetwork(fine_layers=5, max_gain=8.0)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_other_shapes_are_refused(tmp_path, params):
    path = tmp_path / "w.safetensors"
    weights.save_weights(path, params, model=MODEL | {"fine_layers": 4}, about={})
    with pytest.raises(weights.WeightsError, match="does not fit its network"):
        weights.load_weights(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file", b"\x80\x04pickle"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(weights.WeightsError, match="not a weights file"):
        weights.load_weights(path)


def test_file_of_someone_else_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(weights.WeightsError, match="not a weights file"):
        weights.load_weights(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, params, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        weights.save_weights(path, params, model=MODEL, about={})
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", weights.shipped_names())
def test_shipped_weights_load_and_have_a_card(name):
    _, params = weights.load_shipped(name)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    card = (weights.SHIPPED / f"{name}.md").read_text()
    for word in ("Data", "Config", "Commit", "Steps", "Scores", "Licence"):
        assert word in card, word
    with safetensors.safe_open(weights.SHIPPED / f"{name}.safetensors", "numpy") as f:
        assert json.loads(f.metadata()["model"])["name"]


def test_weights_ship():
    assert "dual" in weights.shipped_names()


# Made at commit 6a2f61e; of dual_global_photo when its weights were replaced, of dual
# when windows got a margin of 8 px, which its borders show by up to 2.
GOLDEN = Path(__file__).parent / "goldens" / "shipped.npz"
PHOTOGRAPHS = (
    *("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"),
    "motorcycle_left.png",
)


@pytest.mark.parametrize("model", weights.shipped_names())
def test_shipped_weights_give_the_pixels_they_gave(model):
    method = load_method(model)
    with np.load(GOLDEN) as expected:
        for name, image in load_embedded(PHOTOGRAPHS).items():
            image = image[60:124, 200:256]
            if method.needs_mask:
                mask = np.zeros(image.shape[:2], np.uint8)
                mask[20:30, 10:30] = 1
                result = method(np.where(mask[..., None], 0, image), mask)
            else:
                result = method(image // 4)
            difference = np.abs(result.astype(int) - expected[f"{model} {name}"])
            assert difference.max() <= 1
