"""What is no image, no mask or no number: refused in one sentence, never guessed.

Every library call that takes images is tried, each on every kind of wrong input; what
is a hair outside [0, 1] is clipped, and no call returns NaN.
"""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from lowlight_jax import metrics
from lowlight_jax.baselines import inpainting, svd
from lowlight_jax.checks import TOLERANCE, as_mask, number, unit_range
from lowlight_jax.images.files import Photo, write_photo
from lowlight_jax.inference.finish import blend, finish
from lowlight_jax.inference.methods import load_method
from lowlight_jax.inference.runner import Enhancer
from lowlight_jax.losses import (
    colour,
    difference,
    repair,
    structural,
    supervised,
    two_way,
)
from lowlight_jax.models import make_model
from lowlight_jax.ops.degrade import Exposure, add_noise, underexpose, vary_light
from lowlight_jax.ops.jpeg import compress
from lowlight_jax.ops.letterbox import inside_bars
from lowlight_jax.ops.light import change_exposure, open_shadows
from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.tasks.task import example_inputs

KEYS = jax.random.key(0)[None]
IMAGE = np.random.default_rng(0).random((12, 20, 3)).astype(np.float32) * 0.3


def spoilt(value):
    image = IMAGE.copy()
    image[3, 4, 1] = value
    return image


BAD_IMAGES = {
    "NaN": (spoilt(np.nan), "holds NaN; expected"),
    "infinite": (spoilt(-np.inf), "holds infinities; expected"),
    "0..255": (IMAGE * 255, "expected sRGB in .0, 1.: divide by the code of white"),
    "negative": (IMAGE - 0.5, "holds values from -0.[45]"),
    "NaN in half": (spoilt(np.nan).astype(np.float16), "holds NaN"),
    "bool": (IMAGE > 0.1, "dtype bool; expected uint8"),
    "int32": (np.int32(IMAGE * 255), "dtype int32; expected uint8"),
    "int64": (np.int64(IMAGE * 255), "dtype int64; expected uint8"),
    "bfloat16": (IMAGE.astype(ml_dtypes.bfloat16), "dtype bfloat16; expected uint8"),
    "complex": (IMAGE.astype(complex), "dtype complex128; expected uint8"),
    "text": ("photo.png", "dtype <U9; expected uint8"),
    "channels first": (IMAGE.transpose(2, 0, 1), "np.moveaxis.image, -3, -1"),
    "no channels": (IMAGE[..., 0], "image.\\.\\.\\., None."),
    "alpha": (np.zeros((4, 4, 4), np.uint8), "leave alpha out"),
}
METHODS = {
    "network": Enhancer("dual"),
    "classical": load_method("gamma"),
    "finish": lambda image: finish(image, unsharp=0.5, saturation=1.5),
    "blend": lambda image: blend(image, image, 0.5),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_what_is_no_image_is_refused(method, kind):
    image, message = BAD_IMAGES[kind]
    with pytest.raises(ValueError, match=message) as error:
        METHODS[method](image)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_hair_outside_is_clipped(method, dtype):
    image = IMAGE.astype(dtype)
    image[0, 0], image[1, 1] = -0.9 * TOLERANCE, 1 + 0.9 * TOLERANCE
    result = METHODS[method](image)
    assert result.dtype == dtype and result.min() >= 0 and result.max() <= 1
    np.testing.assert_array_equal(result, METHODS[method](image.clip(0, 1)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0, 20, 3), (12, 0, 1), (1, 1, 3), (1, 1, 1)])
def test_no_pixels_and_one(method, shape):
    result = METHODS[method](np.full(shape, 0.2, np.float32))
    assert result.shape == shape and np.isfinite(result).all()


def test_classical_methods_see_floating_point_as_8_bits():
    codes = np.uint8(np.rint(IMAGE * 255))
    expected = METHODS["classical"](codes) / 255
    np.testing.assert_allclose(METHODS["classical"](IMAGE), expected, atol=1e-6)


BAD_NUMBERS = [np.nan, np.inf, "0.5", None, [0.5], np.zeros(2), 1j, -99, 99]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=str)
@pytest.mark.parametrize(
    "call, name",
    [
        (lambda v: METHODS["network"](IMAGE, strength=v), "strength"),
        (lambda v: METHODS["classical"](IMAGE, strength=v), "strength"),
        (lambda v: METHODS["network"](IMAGE, denoise=v), "denoise"),
        (lambda v: METHODS["network"](IMAGE, exposure=v), "exposure"),
        (lambda v: METHODS["network"](IMAGE, shadows=v), "shadows"),
        (lambda v: blend(IMAGE, IMAGE, v), "strength"),
        (lambda v: finish(IMAGE, unsharp=v), "unsharp"),
        (lambda v: finish(IMAGE, saturation=v), "saturation"),
    ],
)
def test_what_is_no_setting_is_refused(call, name, value):
    with pytest.raises(ValueError, match=f"{name} is .*; expected -?[0-9]+ to [0-9]+"):
        call(value)


def test_a_number_of_any_kind_is_a_setting():
    for value in (np.float32(0.5), np.float64(0.5), np.array(0.5), jnp.float32(0.5)):
        assert number("strength", value, 0, 1) == 0.5
    assert type(number("strength", np.float32(1), 0, 1)) is float


MASK = np.zeros((12, 20))
MASK[2:4, 5:9] = 1


@pytest.mark.parametrize(
    "mask, message",
    [
        (MASK.T, "lies on its side, mask.T"),
        (MASK.ravel(), "mask has shape .240"),
        (np.dstack([MASK] * 3), "mask has shape .12, 20, 3"),
        (np.where(MASK, np.nan, 0), "mask holds NaN"),
        (MASK.astype(str), "mask has dtype"),
    ],
)
def test_what_is_no_mask_is_refused(mask, message):
    codes = np.uint8(IMAGE * 255)
    for call in (as_mask, lambda m, i: inpainting.telea(i, m)):
        with pytest.raises(ValueError, match=message):
            call(mask, codes)


@pytest.mark.parametrize("name", inpainting.METHODS)
def test_gray_images_and_nothing_but_a_hole(name):
    gray = np.uint8(IMAGE[..., :1] * 255)
    assert inpainting.METHODS[name](gray, MASK[..., None]).shape == gray.shape
    hole = np.ones_like(MASK)
    np.testing.assert_array_equal(inpainting.METHODS[name](gray, hole), gray)


def test_a_plane_of_nan_is_not_denoised():
    with pytest.raises(ValueError, match="image holds NaN"):
        svd.denoise(np.full((9, 9), np.nan), sigma_u8=3)
    with pytest.raises(ValueError, match="sigma_u8 is nan; expected 0 to 255"):
        svd.denoise(np.zeros((9, 9)), sigma_u8=np.nan)


@pytest.mark.parametrize("quality", [0, 101, np.nan, "high", None])
def test_what_is_no_quality_is_refused(tmp_path, quality):
    with pytest.raises(ValueError, match="quality is .*; expected 1 to 100"):
        photo = Photo(np.zeros((2, 2, 3), np.uint8))
        write_photo(tmp_path / "a.jpg", photo, quality=quality)


def test_values_are_not_looked_at_where_they_are_traced():
    assert float(jax.jit(lambda x: unit_range("x", x).max())(jnp.float32([7]))) == 7


# Metrics


@pytest.mark.parametrize("name", sorted(set(metrics.METRICS) - {"lpips_alex"}))
@pytest.mark.parametrize("kind", ["NaN", "infinite", "0..255", "negative"])
def test_metrics_refuse_what_is_not_in_range(name, kind):
    metric = metrics.METRICS[name]
    image = np.tile(BAD_IMAGES[kind][0], (1, 17, 17, 1))
    good = np.tile(IMAGE, (1, 17, 17, 1))
    others = [good[..., :1] if role == "mask" else good for role in metric.needs]
    message = f"{name}: an image {BAD_IMAGES[kind][1].partition('expected')[0]}"
    for array in (image, jnp.asarray(image)):
        with pytest.raises(ValueError, match=message):
            metric(array, *others)


@pytest.mark.parametrize(
    "one, other",
    [
        ((1, 24, 30, 3), (1, 30, 24, 3)),
        ((1, 24, 30, 3), (1, 24, 30, 1)),
        ((2, 24, 30, 3), (1, 24, 30, 3)),
    ],
)
def test_metrics_and_losses_do_not_broadcast(one, other):
    calls = [structural.structural_loss, colour.colour_difference, metrics.ssim_rgb]
    calls += [supervised.squared_error, supervised.charbonnier, metrics.psnr_rgb]
    calls += [difference.absolute_difference, difference.root_mean_square]
    calls += [structural.detail_loss, metrics.loe]
    for call in calls:
        with pytest.raises(ValueError, match="two images of one shape"):
            call(jnp.zeros(one), jnp.zeros(other))
    with pytest.raises(ValueError, match="its mask, needs two images of one shape"):
        weights = repair.RepairWeights()
        images = jnp.zeros((1, 24, 30, 3))
        repair.repair_loss(images, images, jnp.zeros((1, 30, 24, 1)), weights)


# Losses


LOSSES = {
    "structural": structural.structural_loss,
    "detail": structural.detail_loss,
    "squared": supervised.squared_error,
    "charbonnier": supervised.charbonnier,
    "absolute": difference.absolute_difference,
    "square": difference.root_mean_square,
    "colour": colour.colour_difference,
    "forward": lambda pred, high: two_way.forward_constraint(pred, high, high),
    "reverse": lambda pred, high: two_way.reverse_constraint(pred, high, high),
}
PREDICTIONS = {
    "black": lambda x: 0 * x,
    "white": lambda x: 0 * x + 1,
    "negative": lambda x: x - 2,
    "large": lambda x: 1e6 * x,
    "large and flat": lambda x: 0 * x + 1e6,
    "large and negative": lambda x: -1e6 * x,
    "huge": lambda x: 1e30 * x,
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_slopes_are_finite_for_any_prediction(name):
    x = jnp.asarray(np.random.default_rng(1).random((1, 24, 24, 3)), jnp.float32)

    def total(pred, target):
        return LOSSES[name](pred, target).sum()

    slope = jax.jit(jax.value_and_grad(total))
    for kind, make in PREDICTIONS.items():
        for target in (x, 0 * x, 0 * x + 1):
            value, gradient = slope(make(x), target)
            assert np.isfinite(value) and np.isfinite(gradient).all(), kind


@pytest.mark.parametrize("name", LOSSES)
def test_losses_refuse_what_is_no_image(name):
    x = np.random.default_rng(1).random((1, 24, 24, 3)).astype(np.float32)
    for image, message in (
        (np.uint8(x * 255), "divide 8-bit images by 255"),
        (np.where(x > 0.5, np.nan, x), "holds NaN"),
        (x * 255, "divide by the code of white"),
    ):
        with pytest.raises(ValueError, match=message):
            LOSSES[name](image, image)


# Networks and curves


@pytest.mark.parametrize("name", ["dual_global", "dual_grid"])
def test_networks_are_finite_for_any_image(name):
    network, rng = make_model(name), np.random.default_rng(2)
    low, thumbnail, *place = example_inputs(network)
    shapes = jax.eval_shape(network.init, jax.random.key(0), low, thumbnail, *place)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.05, leaf.shape), jnp.float32),
        shapes["params"],
    )

    @jax.jit
    @jax.grad
    def slope(params, low, thumbnail):
        scene = (thumbnail, *place)
        return network.apply(
            {"params": params}, low, *scene, method="enhance"
        ).pred.sum()

    for value in (0.0, 1.0, -1 / 255, -2.0, 1e6, -1e6):
        image = low + value
        gradients = slope(params, image, thumbnail + value)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients)), value


@pytest.mark.parametrize(
    "call",
    [
        lambda image: change_exposure(image, 1.0),
        lambda image: open_shadows(image, 1.0),
        lambda image: compress(image, jnp.float32([80])),
        lambda image: underexpose(KEYS, image, Exposure()),
        lambda image: vary_light(KEYS, image, 1.0),
        lambda image: add_noise(KEYS, image, 5.0),
        lambda image: make_thumbnail(image[0]),
        lambda image: inside_bars(image[0]),
    ],
)
def test_operations_refuse_nan(call):
    for image in (spoilt(np.nan)[None], spoilt(np.inf)[None]):
        with pytest.raises(ValueError, match="images? holds|high holds"):
            call(image)


def test_curves_are_finite_for_any_amount():
    image = jnp.float32([0, 0.2, 1]).reshape(1, 1, 3, 1)
    for amount in (-1e6, -30.0, 30.0, 1e6):
        for curve in (change_exposure, open_shadows):
            result = curve(image, amount)
            assert np.isfinite(result).all()
            np.testing.assert_allclose(result[0, 0, ::2, 0], [0, 1], atol=1e-6)
