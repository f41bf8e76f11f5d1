"""Crops cut on the device are those of the host, bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from lowlight_jax.config import ConfigError, base_config, model_config, only_phase
from lowlight_jax.data.device_crops import device_crops, stack_views
from lowlight_jax.data.pairs import PairsError
from lowlight_jax.data.pipeline import Geometry, make_batches
from lowlight_jax.training.loop import train

SIDE = 24


def scenes(count=5, h=40, w=33):
    rng = np.random.default_rng(0)
    return [
        {
            "low": rng.integers(0, 256, (h, w, 3), np.uint8),
            "high": rng.integers(0, 256, (h, w, 3), np.uint8),
            "is_pair": np.bool_(i % 2),
            "low_thumbnail": rng.random((128, 128, 3), np.float32),
        }
        for i in range(count)
    ]


@pytest.mark.parametrize(
    "geometry, h",
    [
        (Geometry(), 40),
        (Geometry(flips=False, translate_px=9, least_framing=0.5), 40),
        (Geometry(quarter_turns=False), 20),  # smaller than the crop: reflected
    ],
)
def test_they_are_those_of_the_host(geometry, h):
    examples = scenes(h=h)
    options = {"seed": 3, "crop_px": SIDE, "batch_size": 8, "geometry": geometry}
    on_host = make_batches(examples, **options)
    drawn = make_batches(examples, **options, on_device=True)
    images = jax.device_put(stack_views(examples, geometry))
    cut = jax.jit(device_crops, static_argnums=2)
    for _ in range(3):
        expected, crops = next(on_host), cut(images, next(drawn), SIDE)
        assert crops.keys() == expected.keys()
        for name, view in expected.items():
            assert crops[name].dtype == view.dtype
            np.testing.assert_array_equal(crops[name], view, err_msg=name)


def test_what_cannot_be_cut_there_is_said():
    several = scenes(1) + scenes(1, h=30)
    with pytest.raises(PairsError, match="found 2 sizes, expected images of one size"):
        stack_views(several, Geometry())
    turned = dataclasses.replace(Geometry(), rotate_degrees=3.0)
    with pytest.raises(PairsError, match="found rotate_degrees"):
        stack_views(scenes(), turned)


def test_a_run_is_the_same_wherever_its_crops_are_cut(tmp_path):
    config = base_config()
    config.model = model_config("cnn")
    config.model.width, config.model.layers = 4, 2
    only_phase(config, "supervised", steps=3, learning_rate=1e-2)
    config.data.crop_px, config.data.batch_size = 24, 8
    config.data.validation_every, config.data.root = 0, str(tmp_path / "pairs")
    config.data.cache_dir, config.parallel = str(tmp_path / "cache"), "jit"
    for i, views in enumerate(scenes()):
        for side in ("low", "high"):
            file = tmp_path / "pairs" / side / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(views[side]).save(file)
    params = []
    for config.data.on_device in (False, True):
        _, state, _ = train(config, tmp_path / f"run_{config.data.on_device}")
        params.append(state.params)
    jax.tree.map(np.testing.assert_allclose, *params)
    config.parallel = "pmap"
    with pytest.raises(ConfigError, match="data.on_device is for one device, but"):
        train(config, tmp_path / "run")
