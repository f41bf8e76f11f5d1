"""Colour differences and conversions against published pairs and scikit-image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_images import GOLDEN, image, names_with, photograph_of
from skimage import color

from lowlight_jax import metrics
from lowlight_jax.metrics.colour import ciede2000_of_lab, srgb_to_ictcp
from lowlight_jax.ops.colour import (
    linear_to_srgb,
    luma,
    srgb_to_lab,
    srgb_to_linear,
)

CODES = {
    "white": (255, 255, 255),
    "gray50": (128, 128, 128),
    "gray18": (46, 46, 46),
    "near_black": (1, 1, 1),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "cyan": (0, 255, 255),
}


def colour(name):
    return jnp.asarray(CODES[name], jnp.float32).reshape(1, 1, 1, 3) / 255


@pytest.mark.parametrize("i", range(34))
def test_ciede2000_of_sharmas_pairs(i):
    first, second, published, _ = GOLDEN["sharma"][i]
    first, second = (jnp.asarray(lab, jnp.float32) for lab in (first, second))
    for pair in ((first, second), (second, first)):
        assert float(ciede2000_of_lab(*pair)) == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize("name", names_with("delta_e_itp_203"))
def test_mean_differences_of_photographs(name):
    row, pred, target = GOLDEN["images"][name], image(name), photograph_of(name)
    for metric in ("delta_e76", "ciede2000"):
        found = float(metrics.METRICS[metric](pred, target)[0])
        assert found == pytest.approx(row[metric], abs=1e-4), metric
    found = float(metrics.delta_e_itp(pred, target)[0])
    assert found == pytest.approx(row["delta_e_itp"], rel=1e-5)
    found = float(metrics.delta_e_itp(pred, target, white_cd_m2=203.0)[0])
    assert found == pytest.approx(row["delta_e_itp_203"], rel=1e-5)


@pytest.mark.parametrize("white", GOLDEN["delta_e_itp_pairs"])
@pytest.mark.parametrize("pair", GOLDEN["delta_e_itp_pairs"]["100.0"])
def test_delta_e_itp_of_pairs(white, pair):
    first, second = (colour(name) for name in pair.split("-"))
    found = float(metrics.delta_e_itp(first, second, white_cd_m2=float(white))[0])
    assert found == pytest.approx(GOLDEN["delta_e_itp_pairs"][white][pair], rel=1e-4)


@pytest.mark.parametrize("white", GOLDEN["ictcp"])
@pytest.mark.parametrize("name", CODES)
def test_ictcp_of_colours(white, name):
    found = srgb_to_ictcp(colour(name), float(white))[0, 0, 0]
    np.testing.assert_allclose(found, GOLDEN["ictcp"][white][name], atol=2e-6)


def test_delta_e_itp_is_continuous_where_the_line_begins():
    # In linear light the curve and its straight beginning meet at 1e-6 cd/m2.
    edge = 1e-6 / 100 * 12.92
    below, above = (jnp.full((1, 1, 1, 3), edge * k) for k in (0.999, 1.001))
    assert float(metrics.delta_e_itp(below, above)[0]) < 1e-3


def test_differences_of_identical_images_are_0():
    x = image("coffee/noise10")
    for name in ("delta_e76", "ciede2000", "delta_e_itp"):
        assert metrics.METRICS[name](x, x).tolist() == [0.0]


def test_saturation_ratio():
    target = photograph_of("coffee/noise10")
    grey = jnp.repeat(luma(target), 3, axis=3)
    found = [float(metrics.saturation_ratio(x, target)[0]) for x in (target, grey)]
    assert found == pytest.approx([1, 0], abs=1e-3)
    chroma = [
        np.hypot(*color.rgb2lab(np.asarray(x[0], np.float64))[..., 1:].T).mean()
        for x in (image("coffee/dark"), target)
    ]
    found = float(metrics.saturation_ratio(image("coffee/dark"), target)[0])
    assert found == pytest.approx(chroma[0] / chroma[1], rel=1e-4)


def test_saturation_ratio_to_a_grey_target_is_finite():
    grey = jnp.full((1, 4, 4, 3), 0.5)
    assert 0 <= float(metrics.saturation_ratio(grey, grey)[0]) < 0.1


@pytest.mark.parametrize("sigma_u8", [2.0, 10.0, 25.0])
def test_noise_level_finds_the_noise(sigma_u8):
    noise = np.random.default_rng(0).normal(0, sigma_u8, (2, 256, 256, 1))
    ramp = np.linspace(100, 150, 256).reshape(1, 1, 256, 1)
    x = jnp.asarray((ramp + noise) / 255, jnp.float32)
    np.testing.assert_allclose(metrics.noise_level(x), sigma_u8, rtol=0.02)


def test_noise_level_of_a_ramp_is_0():
    ramp = np.linspace(0, 1, 64)[:, None] + np.linspace(0, 1, 64)[None] ** 2
    for surface in (ramp, ramp.T):
        x = jnp.asarray(surface[None, :, :, None] / 2, jnp.float32)
        assert float(metrics.noise_level(x)[0]) < 1e-4


def test_lab_equals_scikit_image():
    x = image("coffee/noise10")
    expected = color.rgb2lab(np.asarray(x[0], np.float64))
    np.testing.assert_allclose(srgb_to_lab(x)[0], expected, atol=2e-4)


def test_srgb_and_linear_light_are_inverse():
    codes = jnp.arange(256) / 255
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(codes)), codes, atol=3e-7)
    # IEC 61966-2-1 by the letter, in float64.
    v = np.arange(256) / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(srgb_to_linear(codes), linear, rtol=1e-6)


@pytest.mark.parametrize("function", [srgb_to_linear, linear_to_srgb])
def test_transfer_curves_are_finite_everywhere(function):
    x = jnp.array([-2.0, -0.055, -1e-20, 0.0, 1e-20, 0.0031308, 0.04045, 1.0, 3.0])
    assert bool(jnp.isfinite(function(x)).all())
    slopes = jax.vmap(jax.grad(function))(x)
    assert bool(jnp.isfinite(slopes).all())
    assert bool((slopes >= 0).all())


def test_linear_to_srgb_takes_negative_light_as_none():
    assert linear_to_srgb(jnp.array([-0.5, 0.0])).tolist() == [0.0, 0.0]


def test_luma():
    x = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(luma(x)[:, 0], [0.299, 0.587, 0.114, 1], rtol=1e-6)
    assert luma(x[:, :1]) is not None and luma(x[:, :1]).shape == (4, 1)
    with pytest.raises(ValueError, match="3 channels or 1, not 2"):
        luma(x[:, :2])


def test_lab_of_one_channel_is_refused():
    with pytest.raises(ValueError, match="3 channels, not 1"):
        srgb_to_lab(jnp.zeros((2, 2, 1)))
