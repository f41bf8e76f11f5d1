"""The network of curves at places: the right one everywhere, exactly; nothing cast."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_piece import in_one_piece

from lowlight_jax.data.memory import Memory
from lowlight_jax.data.pipeline import Geometry, make_batches
from lowlight_jax.images.files import Photo
from lowlight_jax.inference.methods import enhance_photo
from lowlight_jax.inference.runner import Runner
from lowlight_jax.inference.tiles import overlap_px
from lowlight_jax.models import init_params, make_model
from lowlight_jax.models.scene import on_curve, on_curves_of_places, over_window
from lowlight_jax.ops.letterbox import inside_bars
from lowlight_jax.ops.light import change_exposure, open_shadows
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX, make_thumbnail
from lowlight_jax.tasks.task import Settings, make_objective
from lowlight_jax.training.data import _examples, _WithThumbnails
from lowlight_jax.types import WHOLE

NETWORK = make_model("dual_grid")


@pytest.fixture(scope="module")
def params():
    """Random, and with layers that start small doing something."""
    leaves, tree = jax.tree.flatten(init_params(NETWORK, jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        x + 0.02 * jax.random.normal(k, x.shape)
        for x, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


@pytest.fixture(scope="module")
def enhancer(params):
    return Runner(NETWORK, params)


def photograph(h, w, seed=0):
    """Dark, and brighter to the right: windows of it are not like the whole."""
    noise = np.random.default_rng(seed).integers(0, 30, (h, w, 3))
    return np.uint8(noise + np.linspace(0, 60, w)[:, None])


@pytest.mark.parametrize("place", [(0.0, 0.0, 1.0, 1.0), (-0.1, 0.3, 0.4, 1.2)])
def test_curves_of_places_are_the_curves_between_them(place):
    keys = jax.random.split(jax.random.key(0), 2)
    of_places = jax.random.normal(keys[0], (2, 8, 8, 24))
    value = jax.random.uniform(keys[1], (2, 40, 56, 3), minval=-2.5, maxval=3.5)
    place = jnp.float32([place, (0.1, 0.2, 0.9, 0.8)])
    between = over_window(of_places, place, 40, 56)
    np.testing.assert_allclose(
        on_curves_of_places(of_places, value, place),
        on_curve(between, value),
        atol=1e-5,
    )


def test_fewer_than_150_000_parameters(params):
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) < 150_000


@pytest.mark.parametrize("size", [(700, 450), (1100, 500)])
def test_tiles_equal_the_whole_image(params, enhancer, size):
    """Each finds its own place in the grid of the whole picture."""
    image = photograph(*size)
    whole, inside = in_one_piece(image, overlap_px(NETWORK), NETWORK.stride)
    top, left = (-part.start for part in inside)
    height, width = whole.shape[:2]
    place = np.float32([top, left, top + height, left + width])
    place /= np.float32([*size, *size])
    pred = NETWORK.apply(
        {"params": params},
        np.float32(whole)[None] / 255,
        make_thumbnail(image)[None],
        place[None],
    ).pred[0]
    pred = pred[inside]
    expected = np.rint(np.clip(pred, 0, 1) * 255)
    np.testing.assert_allclose(enhancer(image), expected, atol=1)
    assert (enhancer(image) != image).mean() > 0.9


def test_the_curve_is_that_of_the_place(params):
    """One value, a thumbnail that differs at the left: so does the result, there."""
    low = jnp.full((1, 16, 64, 3), 0.1)
    even = np.full((1, THUMBNAIL_PX, THUMBNAIL_PX, 3), 0.1, np.float32)
    backlit = even.copy()
    backlit[:, :, :16] = 0.9
    place = jnp.float32([WHOLE])
    a, b = (
        NETWORK.apply({"params": params}, low, scene, place, method="enhance")
        for scene in (even, backlit)
    )
    change = jnp.abs(jnp.log(a.coarse_illumination / b.coarse_illumination))
    columns = np.asarray(change.mean((0, 1, 3)))
    assert np.ptp(columns) > 0.01


def test_windows_know_their_place(params):
    """The half of a picture at its place is half of the picture's result."""
    low = jnp.asarray(photograph(64, 64)[None] / np.float32(255))
    scene = make_thumbnail(photograph(64, 64))[None]

    def enhance(window, place):
        return NETWORK.apply(
            {"params": params}, window, scene, jnp.float32([place]), method="enhance"
        ).coarse_pred

    whole = enhance(low, WHOLE)
    part = enhance(low[:, 32:, 16:48], (0.5, 0.25, 1.0, 0.75))
    np.testing.assert_allclose(part, whole[:, 32:, 16:48], atol=1e-5)


class Pair:
    """Red tells the row, green the column, so that a crop says where it is from."""

    def __init__(self):
        rows, columns = np.mgrid[:200, :250]
        self.low = np.uint8(np.stack([rows, columns, 0 * rows], axis=-1))
        self.high = self.low


@pytest.mark.parametrize("least_framing", [1.0, 0.6])
def test_crops_come_with_their_place(least_framing):
    """The thumbnail at the place of a crop's pixel shows that pixel."""
    ((examples, _),) = _examples([([Pair()], 1)], [], False)
    batches = make_batches(
        _WithThumbnails(examples, Memory()),
        seed=0,
        crop_px=64,
        batch_size=8,
        geometry=Geometry(least_framing=least_framing),
    )
    compared = 0
    for batch in (next(batches) for _ in range(4)):
        for crop, scene, (top, left, bottom, right) in zip(
            batch["low"], batch["low_thumbnail"], batch["place"], strict=True
        ):
            for at in (0.1, 0.5, 0.9):
                row = (top + at * (bottom - top)) * THUMBNAIL_PX
                column = (left + at * (right - left)) * THUMBNAIL_PX
                if not 0 <= min(row, column) <= max(row, column) < THUMBNAIL_PX:
                    continue  # outside the frame
                compared += 1
                found = 255 * scene[int(row), int(column)]
                expected = crop[int(at * 64), int(at * 64)]
                np.testing.assert_allclose(found, expected, atol=4.5)
    assert compared > 40


def test_whole_scenes_are_learnt_from_thumbnails(params):
    """A step of phase "scene" does not look at the crops."""
    thumbnails = {
        f"{side}_thumbnail": jnp.full((2, THUMBNAIL_PX, THUMBNAIL_PX, 3), light)
        for side, light in (("low", 0.1), ("high", 0.4))
    }
    batch = thumbnails | {
        "low": jnp.zeros((2, 24, 24, 3), jnp.uint8),
        "high": jnp.zeros((2, 24, 24, 3), jnp.uint8),
        "place": jnp.float32([WHOLE, WHOLE]),
        "number": jnp.arange(2),
    }
    objective = make_objective("scene", model=NETWORK, settings=Settings())
    loss, _ = objective(params, batch, jax.random.key(0))
    other = batch | {"high": jnp.full((2, 24, 24, 3), 200, jnp.uint8)}
    assert objective(params, other, jax.random.key(0))[0] == loss > 0
    brighter = batch | {"high_thumbnail": batch["high_thumbnail"] + 0.3}
    assert objective(params, brighter, jax.random.key(0))[0] != loss


# A user's taste


@pytest.mark.parametrize("curve", [change_exposure, open_shadows])
@pytest.mark.parametrize("amount", [-2.0, -0.7, 0.4, 1.0, 2.0])
def test_curves_of_light_rise_and_keep_the_ends(curve, amount):
    values = jnp.linspace(0, 1, 1001)[None, :, None, None]
    result = np.asarray(curve(values, amount)).ravel()
    assert (np.diff(result) > 0).all() and result[0] == 0
    np.testing.assert_allclose(result[-1], 1, atol=1e-6)
    middle = result[1:-1] - values.ravel()[1:-1]
    assert (np.sign(middle) == np.sign(amount)).mean() > 0.99


def test_a_stop_is_a_stop_in_the_dark():
    dark = jnp.full((1, 1, 1, 3), 0.02)  # the linear part of sRGB
    np.testing.assert_allclose(change_exposure(dark, 1.0), 0.04, rtol=2e-3)


@pytest.mark.parametrize(
    "name, values",
    [("exposure", (-2, -1, 0, 0.5, 2)), ("shadows", (0, 0.3, 0.5, 0.8, 1))],
)
def test_more_is_brighter_everywhere(enhancer, name, values):
    image = photograph(96, 96)
    means = [enhancer(image, **{name: value}).mean() for value in values]
    assert (np.diff(means) > 0.5).all()
    # Without denoising, since how much of the noise is taken away is learnt.
    results = [enhancer(image, denoise=0, **{name: v}).astype(int) for v in values]
    assert all((b >= a).all() for a, b in zip(results, results[1:], strict=False))
    default = enhancer(image, **{name: NETWORK.controls[name].default})
    np.testing.assert_array_equal(default, enhancer(image))


@pytest.mark.parametrize(
    "turned, found", [({"exposure": 3}, "-2 to 2"), ({"shadows": -1}, "0 to 1")]
)
def test_what_cannot_be_turned_so_far(enhancer, turned, found):
    with pytest.raises(ValueError, match=f"expected {found}"):
        enhancer(photograph(8, 8), **turned)


# What is no part of the scene


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_black_bars_stay_and_do_not_count(enhancer, dtype):
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    scene = photograph(60, 80).astype(dtype) * dtype(scale)
    barred = np.pad(scene, [(20, 20), (0, 10), (0, 0)])
    assert inside_bars(barred) == (slice(20, 80), slice(0, 80))
    result = enhancer(barred)
    np.testing.assert_array_equal(result[20:80, :80], enhancer(scene))
    assert not result[:20].any() and not result[80:].any() and not result[:, 80:].any()


@pytest.mark.parametrize("level", [0, 1, 3])
def test_darkness_alone_is_no_bar(enhancer, level):
    dark = np.full((40, 40, 3), level, np.uint8)
    dark[::3] += 2
    assert enhancer(dark).shape == dark.shape
    if level == 3:
        assert inside_bars(dark) == (slice(0, 40), slice(0, 40))


def test_gray_pictures_stay_gray(enhancer):
    gray = photograph(50, 60)[..., :1]
    result = enhancer(gray.repeat(3, axis=-1))
    assert np.ptp(result, axis=-1).max() == 0
    np.testing.assert_array_equal(result[..., :1], enhancer(gray))


def test_hidden_colours_decide_nothing(enhancer):
    """Whatever lies below transparency, what is seen comes out the same."""
    pixels = photograph(64, 64)
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[:, :40] = 0
    results = []
    for hidden in (0, 255):
        other = pixels.copy()
        other[:, :40] = hidden
        photo = enhance_photo(enhancer, Photo(other, alpha))
        assert (photo.pixels[:, :40] == hidden).all()
        results.append(photo.pixels[:, 40:])
    np.testing.assert_array_equal(*results)
    opaque = enhance_photo(enhancer, Photo(pixels, np.full_like(alpha, 255)))
    np.testing.assert_array_equal(opaque.pixels, enhancer(pixels))
    invisible = enhance_photo(enhancer, Photo(pixels, np.zeros_like(alpha)))
    np.testing.assert_array_equal(invisible.pixels, pixels)


def test_controls_are_declared_with_their_ranges():
    for control in NETWORK.controls.values():
        assert control.lowest <= control.off <= control.highest
        assert control.lowest <= control.default <= control.highest
        assert dataclasses.is_dataclass(control)
