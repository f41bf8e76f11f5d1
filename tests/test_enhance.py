"""Enhancing: any size and kind of image, tiles that agree, nothing that wraps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_piece import in_one_piece

import lowlight_jax
from lowlight_jax import enhance as _function
from lowlight_jax.baselines import tone
from lowlight_jax.data.photographs import (
    EVERYDAY,
    darkened_pairs,
    load_embedded,
)
from lowlight_jax.inference.runner import Enhancer, Runner, _blend, _compiled
from lowlight_jax.inference.tiles import (
    MARGIN_PX,
    TILE_SHAPES,
    choose_tile_shape,
    plan_tiles,
)
from lowlight_jax.models import init_params
from lowlight_jax.models.cnn import CNN
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.ops.darkness import darkness
from lowlight_jax.ops.padding import reflected_indices, reflected_window
from lowlight_jax.weights import WeightsError


@pytest.fixture(scope="module")
def network():
    return DualNetwork()


@pytest.fixture(scope="module")
def params(network):
    params = network.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    noise = params["denoising"]["coarse"]["noise"]
    noise["kernel"] = jax.random.normal(jax.random.key(1), noise["kernel"].shape) * 0.05
    return params


@pytest.fixture(scope="module")
def enhancer(network, params):
    return Runner(network, params)


def psnr(a, b):
    return -10 * np.log10(np.mean(np.square(np.float64(a) - b)) / 255**2)


def photograph(h, w, c=3, seed=0):
    return np.random.default_rng(seed).integers(0, 80, (h, w, c), dtype=np.uint8)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_reflection_is_numpys(size):
    indices = reflected_indices(-20, size + 20, size)
    expected = np.pad(np.arange(size), 20, mode="reflect")
    np.testing.assert_array_equal(indices, expected)


def test_window_inside_is_the_image():
    image = photograph(20, 30)
    np.testing.assert_array_equal(
        reflected_window(image, 3, 4, 10, 12), image[3:13, 4:16]
    )


@pytest.mark.parametrize("size", [(700, 450), (1100, 500)])
def test_tiles_equal_the_whole_image(network, params, enhancer, size):
    image = photograph(*size)
    whole, inside = in_one_piece(image, overlap=24, stride=4)
    pred = network.apply({"params": params}, jnp.float32(whole)[None] / 255).pred[0]
    pred = np.clip(pred[inside], 0, 1)
    np.testing.assert_allclose(enhancer(image), np.rint(pred * 255), atol=1)
    assert np.mean(enhancer(image) != np.rint(pred * 255)) < 1e-3


def test_tile_borders_do_not_show(enhancer):
    """A pixel's result depends on its surroundings, not on the tile it is in."""
    image = photograph(600, 700)
    shifted = enhancer(image[40:, 80:])  # another grid of tiles over the same scene
    np.testing.assert_allclose(
        shifted[24:-24, 24:-24].astype(int), enhancer(image)[64:-24, 104:-24], atol=1
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2), (23, 41), (97, 96)])
@pytest.mark.parametrize("channels", [1, 3])
def test_size_and_kind_are_kept(enhancer, size, channels):
    image = photograph(*size, channels)
    out = enhancer(image)
    assert out.shape == image.shape
    assert out.dtype == image.dtype


@pytest.mark.parametrize("dtype", [np.uint16, np.float16, np.float32, np.float64])
def test_all_kinds_agree(enhancer, dtype):
    image = photograph(30, 30)
    full = 65535 if dtype == np.uint16 else 1.0
    other = (image / 255 * full).round(6).astype(dtype)
    out = enhancer(other)
    assert out.dtype == dtype
    np.testing.assert_allclose(
        out.astype(np.float64) / full, enhancer(image) / 255, atol=0.02
    )


def test_16_bits_are_finer_than_8(enhancer):
    ramp = np.linspace(5000, 5600, 64, dtype=np.uint16)
    image = np.broadcast_to(ramp[None, :, None], (64, 64, 3)).copy()
    assert len(np.unique(enhancer(image))) > len(np.unique(enhancer(image // 257)))


def test_batch_is_image_by_image(enhancer):
    batch = np.stack([photograph(20, 30, seed=seed) for seed in range(3)])
    np.testing.assert_array_equal(
        enhancer(batch), np.stack([enhancer(image) for image in batch])
    )
    assert enhancer(batch[:0]).shape == (0, 20, 30, 3)


def test_strength_goes_from_the_image_to_the_result(enhancer):
    image = photograph(40, 40)
    np.testing.assert_array_equal(enhancer(image, strength=0.0), image)
    full = enhancer(image).astype(float)
    half = enhancer(image, strength=0.5)
    np.testing.assert_allclose(half, (image + full) / 2, atol=1.01)


def test_no_denoise_is_the_enhancement_module(network, params, enhancer):
    image = photograph(48, 48)
    window = reflected_window(image, -8, -8, 144, 144)
    pred = network.apply(
        {"params": params}, jnp.float32(window)[None] / 255, method="enhance"
    ).pred[0, 8:56, 8:56]
    expected = np.rint(np.clip(pred, 0, 1) * 255)
    np.testing.assert_allclose(enhancer(image, denoise=False), expected, atol=1)
    assert (enhancer(image) != enhancer(image, denoise=False)).any()


@pytest.mark.parametrize("value", [0, 30, 60])
def test_nothing_wraps(network, params, value):
    """A result beyond white stays white: clipped before it is rounded."""
    loud = jax.tree.map(lambda leaf: leaf, params)
    noise = loud["denoising"]["coarse"]["noise"]
    noise["kernel"], noise["bias"] = noise["kernel"] * 0, jnp.full((3,), -2.0)
    image = np.full((20, 20, 3), value, np.uint8)
    assert (Runner(network, loud)(image) == 255).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_bright_photograph_stays_as_it_is(enhancer, kind):
    full = 1 if kind == np.float32 else np.iinfo(kind).max
    rng = np.random.default_rng(0)
    bright = (rng.uniform(0.1, 0.9, (50, 60, 3)) * full).astype(kind)
    np.testing.assert_array_equal(enhancer(bright), bright)
    dim = (bright * 0.74).astype(kind)  # mean about 0.37: half the way
    assert 0.4 < darkness(dim) < 0.6
    assert darkness((bright * 0.4).astype(kind)) == 1


def test_a_hundred_sizes_compile_a_handful_of_times(params):
    network = DualNetwork(max_gain=16.0)  # not compiled by any other test
    enhancer = Runner(network, params)
    rng = np.random.default_rng(0)
    for h, w in rng.integers(1, 420, (100, 2)):
        enhancer(np.zeros((h, w, 3), np.uint8))
    assert 1 <= _compiled(network)._cache_size() <= len(TILE_SHAPES)


@pytest.mark.parametrize(
    "size, tile",
    [
        ((9, 9), (144, 144)),
        ((416, 616), (416, 616)),
        ((616, 416), (616, 416)),
        ((1096, 1936), (1096, 1936)),
        ((4016, 6016), (888, 952)),
        ((1090, 1930), (1096, 1936)),
    ],
)
def test_tile_shape_fits(size, tile):
    assert choose_tile_shape(*size, 48) == tile


def test_a_network_may_have_large_windows_alone():
    assert choose_tile_shape(5000, 5000, 48, [(2048, 2048)]) == (2048, 2048)


@pytest.mark.parametrize("overlap, stride", [(48, 8), (24, 4), (7, 1)])
def test_each_pixel_is_kept_once_and_far_from_a_cut(overlap, stride):
    for h, w in np.random.default_rng(0).integers(1, 3000, (50, 2)):
        times = np.zeros((h, w), np.uint8)
        for tile in plan_tiles(int(h), int(w), overlap, stride):
            times[tile.rows, tile.columns] += 1
            for start, side, kept, size in (
                (tile.top, tile.height, tile.rows, h),
                (tile.left, tile.width, tile.columns, w),
            ):
                first, beyond = start + MARGIN_PX, start + side - size - MARGIN_PX
                assert first >= 0 and first % stride == 0
                assert first == 0 or kept.start - start >= overlap
                assert beyond >= 0 or start + side - kept.stop >= overlap
                # The margin and no more, but for an image below the shape.
                assert first == 0 or beyond < stride
        assert (times == 1).all()


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((4, 4), np.uint8), "shape"),
        (np.zeros((4, 4, 4), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.int32), "dtype int32; expected uint8"),
        (np.zeros((4, 4, 3), bool), "dtype"),
    ],
)
def test_bad_image_is_refused(enhancer, image, message):
    with pytest.raises(ValueError, match=message):
        enhancer(image)


def test_bad_strength_is_refused(enhancer):
    with pytest.raises(ValueError, match="strength is 1.5; expected 0 to 1"):
        enhancer(photograph(4, 4), strength=1.5)


def test_the_package_attribute_is_the_function():
    """Importing from the package of the same name must not hide it."""
    assert lowlight_jax.enhance is _function
    assert callable(lowlight_jax.enhance)


def test_shipped_weights_brighten_a_dark_photograph():
    dark = photograph(64, 64) // 4
    bright = lowlight_jax.enhance(dark)
    assert bright.mean() > 3 * dark.mean()


def test_shipped_weights_leave_normal_photographs_alone():
    """Most of them, nearly: shadows may be opened; the rocket stands before dusk.

    Coffee and rocket were not trained on.
    """
    names = "astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png"
    normal = load_embedded((*names, "rocket.jpg")).values()
    same = [psnr(lowlight_jax.enhance(photo), photo) for photo in normal]
    assert np.median(same) > 28


@pytest.mark.parametrize("stops", [3, 4])
def test_shipped_weights_are_better_than_a_power(stops):
    """Not of the rocket, which took off at night: it comes back as by day."""
    (pair,) = darkened_pairs(load_embedded(["coffee.png"]), EVERYDAY, [stops])
    ours, power = lowlight_jax.enhance(pair.low), tone.gamma(pair.low)
    assert psnr(ours, pair.high) > psnr(power, pair.high) + 1


def test_unknown_weights_are_named():
    with pytest.raises(WeightsError, match="there are no weights 'dull'"):
        lowlight_jax.enhance(photograph(4, 4), model="dull")


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(WeightsError, match="holds no weights.safetensors"):
        Enhancer(checkpoint=str(tmp_path))


def test_the_learnt_noise_is_subtracted_as_far_as_asked(enhancer):
    image = photograph(60, 80)
    none, half, whole = (enhancer(image, denoise=d).astype(int) for d in (0, 0.5, True))
    assert (none != whole).any()
    unclipped = (np.maximum(none, whole) < 255) & (np.minimum(none, whole) > 0)
    np.testing.assert_allclose(half[unclipped], ((none + whole) / 2)[unclipped], atol=1)


def test_a_network_without_a_denoiser_says_so():
    network = CNN(width=4, layers=2)
    enhancer = Runner(network, init_params(network, jax.random.key(0)))
    assert enhancer(photograph(5, 7)).shape == (5, 7, 3)
    with pytest.raises(ValueError, match="has no such control"):
        enhancer(photograph(5, 7), denoise=0)


def test_a_device_with_a_queue_gives_the_same(enhancer, monkeypatch):
    """It gets the next window before the last is done; results stay in order."""
    image = photograph(90, 400)
    assert len(enhancer._plan(image, None)) > 2
    one_by_one = enhancer(image)
    monkeypatch.setattr(enhancer, "_queues", True)
    np.testing.assert_array_equal(enhancer(image), one_by_one)


def test_tiles_of_a_network_that_sees_everything_fade_into_each_other():
    """Tiles that differ in brightness leave no edge."""
    image = np.zeros((90, 400, 3), np.uint8)
    tiles = list(plan_tiles(90, 400, 24, 8))
    assert len(tiles) > 2
    results = [
        (tile, np.full((tile.height, tile.width, 3), 100 + 40 * (i % 2), np.uint8))
        for i, tile in enumerate(tiles)
    ]
    blended = _blend(image, iter(results), 48).astype(int)
    assert blended.min() == 100 and blended.max() == 140
    assert np.abs(np.diff(blended, axis=1)).max() <= 2


class Elsewhere(DualNetwork):
    """A network that this package does not hold."""


@pytest.mark.parametrize("kind, entries", [(DualNetwork, 1), (Elsewhere, 0)])
def test_exports_are_kept_of_our_own_networks_alone(
    params, tmp_path, monkeypatch, kind, entries
):
    monkeypatch.setattr("lowlight_jax.runtime.cache._exports_folder", tmp_path)
    network = kind(max_gain=15.0)  # not compiled by any other test
    image = photograph(20, 30)
    kept = Runner(network, params)(image)
    assert len(list(tmp_path.iterdir())) == entries
    monkeypatch.setattr("lowlight_jax.runtime.cache._exports_folder", None)
    _compiled.cache_clear()
    np.testing.assert_array_equal(kept, Runner(network, params)(image))
