"""Damage removal: holes are drawn, found and filled; nothing else is touched."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

from lowlight_jax import metrics
from lowlight_jax.baselines import inpainting
from lowlight_jax.data.photographs import damaged_pairs
from lowlight_jax.inference.runner import Enhancer, Repairer, Runner
from lowlight_jax.losses.repair import mean_in_holes
from lowlight_jax.models import init_params
from lowlight_jax.models.inpaint import InpaintNetwork, fill_smoothly
from lowlight_jax.ops.damage import (
    Damage,
    find_holes,
    grow,
    punch_holes,
    random_holes,
)
from lowlight_jax.tasks.inpainting import INPAINTING
from lowlight_jax.weights import WeightsError


def slope(h, w):
    """A smooth picture without black."""
    rows, columns = np.mgrid[:h, :w]
    return np.stack([60 + rows, 40 + columns, 250 - rows], -1).clip(1, 255).astype("u1")


def one_hole(h, w, top=20, left=30, side=12):
    mask = np.zeros((h, w, 1), np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


def psnr_holes(pred, target, mask):
    images = (np.float32(image)[None] / 255 for image in (pred, target, mask))
    return metrics.psnr_holes(*images)[0]


@pytest.fixture(scope="module")
def network():
    return InpaintNetwork(width=4)


@pytest.fixture(scope="module")
def params(network):
    """Random, with a last layer that changes what was filled."""
    params = init_params(network, jax.random.key(0))
    kernel = params["image"]["kernel"]
    params["image"]["kernel"] = jax.random.normal(jax.random.key(1), kernel.shape) / 10
    return params


@pytest.fixture(scope="module")
def repairer(network, params):
    return Runner(network, params)


@pytest.mark.parametrize("kind", ["discs", "rectangles", "scratches", "strokes"])
def test_holes_of_each_kind_cover_what_was_asked(kind):
    often = {
        k: float(k == kind) for k in ("discs", "rectangles", "scratches", "strokes")
    }
    damage = Damage(min_coverage=0.1, max_coverage=0.1, max_size_px=16, **often)
    mask = random_holes(np.random.default_rng(0), 120, 160, damage)
    assert mask.shape == (120, 160, 1) and set(np.unique(mask)) == {0, 255}
    assert 0.1 <= (mask > 0).mean() < 0.15


def test_holes_depend_on_the_generator_alone():
    masks = [
        random_holes(np.random.default_rng(s), 64, 64, Damage()) for s in (1, 1, 2)
    ]
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()


def test_sizes_are_those_of_the_config():
    damage = Damage(min_size_px=6, max_size_px=6, rectangles=0, scratches=0, strokes=0)
    mask = random_holes(np.random.default_rng(0), 200, 200, damage)
    eroded = np.lib.stride_tricks.sliding_window_view(mask[..., 0], (9, 9)).min((2, 3))
    assert not eroded.all() and (mask > 0).mean() >= 0.05


def test_black_regions_are_found_and_dark_detail_is_not():
    image, mask = slope(60, 80), one_hole(60, 80)
    image[5, 5] = 0  # one black pixel of the picture
    np.testing.assert_array_equal(find_holes(punch_holes(image, mask)), mask)
    assert not find_holes(image).any()
    assert find_holes(np.float32(punch_holes(image, mask)) / 255).sum() == mask.sum()


def test_holes_are_found_after_jpeg():
    image = skimage.data.coffee()[:256, :320]
    mask = random_holes(np.random.default_rng(0), 256, 320, Damage())
    file = io.BytesIO()
    Image.fromarray(punch_holes(image, mask)).save(file, "JPEG", quality=90)
    found = find_holes(np.asarray(Image.open(file)), is_lossy=True)
    assert (found[mask > 0] > 0).mean() > 0.95
    assert (found[grow(mask) == 0] > 0).mean() < 0.02


def test_a_mask_grows_by_two_pixels():
    grown = grow(one_hole(20, 20, 8, 8, 3))
    rows, columns = np.nonzero(grown)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 12, 6, 12)


def test_validation_holes_depend_on_the_name_alone():
    image = slope(60, 80)
    first, again = (
        damaged_pairs({"b": image, **more}, Damage()) for more in ({}, {"a": image})
    )
    np.testing.assert_array_equal(first[0].low, again[0].low)
    assert (again[0].mask != again[1].mask).any()
    np.testing.assert_array_equal(
        first[0].low[first[0].mask[..., 0] == 0], image[first[0].mask[..., 0] == 0]
    )


def test_filling_keeps_what_is_known_and_a_flat_colour():
    holes = jnp.asarray(one_hole(64, 96) > 0, jnp.float32)[None]
    image = jnp.asarray(slope(64, 96), jnp.float32)[None] / 255
    filled = fill_smoothly(image * (1 - holes), holes, 5)
    np.testing.assert_array_equal(filled * (1 - holes), image * (1 - holes))
    assert float(jnp.abs(filled - image).max()) < 0.1  # of a slope of 12 px
    flat = fill_smoothly(jnp.full((1, 64, 96, 3), 0.4) * (1 - holes), holes, 5)
    np.testing.assert_allclose(flat, 0.4, atol=1e-6)


def test_what_the_holes_hold_is_ignored(network, params):
    holes = jnp.asarray(one_hole(64, 64) > 0, jnp.float32)[None]
    image = jax.random.uniform(jax.random.key(2), (1, 64, 64, 3))
    other = jnp.where(holes > 0, 0.7, image)
    a, b = (network.apply({"params": params}, x, holes).pred for x in (image, other))
    np.testing.assert_allclose(a * holes, b * holes, atol=1e-6)
    assert float(jnp.abs(a - image)[0, 25, 35].max()) > 1e-3


def test_no_pixel_sees_farther_than_it_says(network, params):
    """Where the image changes, results change within the reach and not beyond."""
    side, at = 512, 16
    holes = jnp.ones((1, side, 64, 1)).at[:, ::7].set(0)
    image = jnp.full((1, side, 64, 3), 0.5)
    changed = image.at[:, : at + 1].set(0.9)
    run = jax.jit(lambda x: network.apply({"params": params}, x, holes).pred)
    moved = np.abs(run(image) - run(changed))[0].max((1, 2)) > 1e-6
    assert moved[at + 1 : at + 40].any()
    assert np.flatnonzero(moved).max() - at <= network.receptive_radius_px


@pytest.mark.parametrize("size", [(1, 1), (7, 50), (33, 41), (200, 130)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_size_and_kind_are_kept_and_the_rest_untouched(repairer, size, dtype, channels):
    image = slope(*size)[..., :channels].astype(dtype)
    if dtype == "float32":
        image /= 255
    mask = np.zeros(size, bool)
    mask[size[0] // 2, size[1] // 2] = True
    result = repairer(image, mask)
    assert result.shape == image.shape and result.dtype == image.dtype
    np.testing.assert_array_equal(result[~mask], image[~mask])


def test_holes_are_found_without_a_mask(repairer):
    image, mask = slope(60, 80), one_hole(60, 80)
    damaged = punch_holes(image, mask)
    np.testing.assert_array_equal(repairer(damaged), repairer(damaged, mask))
    assert psnr_holes(repairer(damaged), image, mask) > psnr_holes(damaged, image, mask)
    np.testing.assert_array_equal(repairer(image), image)


def test_tile_borders_do_not_show(repairer, monkeypatch):
    image = np.random.default_rng(0).integers(1, 255, (90, 700, 3), np.uint8)
    mask = one_hole(90, 700, 30, 340, 40) | one_hole(90, 700, 60, 100, 20)
    results = []
    for side in (544, 640):  # two grids of tiles
        task = dataclasses.replace(INPAINTING, window_shapes=((side, side),))
        monkeypatch.setattr(InpaintNetwork, "task", task)
        results.append(repairer(image, mask))
    assert (results[0] != image).any()
    np.testing.assert_allclose(results[0].astype(int), results[1], atol=1)


@pytest.mark.parametrize(
    "image, mask, message",
    [
        (np.zeros((4, 4, 2), np.uint8), None, "expected .h, w, c"),
        (np.zeros((1, 4, 4, 3), np.uint8), None, "expected .h, w, c"),
        (np.zeros((4, 4, 3), np.int32), None, "dtype int32"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5)), "mask has shape"),
    ],
)
def test_bad_input_is_one_sentence(repairer, image, mask, message):
    with pytest.raises(ValueError, match=message):
        repairer(image, mask)


def test_weights_of_another_task_are_refused():
    with pytest.raises(WeightsError, match="are for inpainting; expected .* bright"):
        Enhancer("inpaint")
    with pytest.raises(WeightsError, match="are for brightening; expected .* inpaint"):
        Repairer("dual")


@pytest.mark.parametrize("method", inpainting.METHODS)
def test_classical_repairs_fill_the_holes_alone(method):
    image, mask = slope(60, 80), one_hole(60, 80, side=6)
    result = inpainting.METHODS[method](punch_holes(image, mask), mask)
    np.testing.assert_array_equal(result[mask[..., 0] == 0], image[mask[..., 0] == 0])
    assert psnr_holes(result, image, mask) > 30


def test_psnr_inside_holes():
    target, mask = np.full((8, 8, 3), 100, np.uint8), one_hole(8, 8, 2, 2, 2)
    pred = target + np.uint8(mask > 0) * 10
    assert psnr_holes(pred, target, mask) == pytest.approx(10 * np.log10(25.5**2))
    assert psnr_holes(target, target, mask) == 100
    with pytest.raises(ValueError, match="its mask has no holes"):
        psnr_holes(target, target, 0 * mask)


def test_the_loss_is_of_the_holes():
    holes = jnp.zeros((2, 4, 4, 1)).at[0, :2].set(1)
    values = jnp.ones((2, 4, 4, 3)).at[:, 2:].set(9)
    np.testing.assert_allclose(mean_in_holes(values, holes), [1, 0])
