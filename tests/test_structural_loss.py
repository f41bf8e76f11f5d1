"""1 - MS-SSIM as a loss: finite at every size and on every kind of crop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlight_jax.losses.structural import structural_loss
from lowlight_jax.metrics import ms_ssim_rgb


def images(seed, h, w):
    return jnp.asarray(np.random.default_rng(seed).random((1, h, w, 3)), jnp.float32)


@jax.jit
@jax.value_and_grad
def loss_and_slope(pred, target):
    return structural_loss(pred, target).sum()


@pytest.mark.parametrize("h, w", [(21, 22), (83, 160), (161, 163)])
def test_value_and_gradient_are_finite(h, w):
    x = images(0, h, w)
    black, white, flat = jnp.zeros_like(x), jnp.ones_like(x), jnp.full_like(x, 0.3)
    for pred, target in (
        (x, x),
        (x, 1 - x),
        (black, black),
        (black, white),
        (x, black),
        (flat, flat),
        (jnp.where(x > 0.5, 1.0, 0.0), x),
        (3 * x - 1, x),
    ):
        value, slope = loss_and_slope(pred, target)
        assert -1e-5 < float(value) < 1
        assert bool(jnp.isfinite(slope).all())


def test_from_161_px_it_is_the_measure():
    x = images(0, 161, 163)
    y = 0.7 * x + 0.3 * images(1, 161, 163)
    expected = 1 - float(ms_ssim_rgb(x, y)[0])
    assert float(loss_and_slope(x, y)[0]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("side_px, scales", [(21, 2), (83, 4)])
def test_below_161_px_the_scales_that_fit_share_the_weight(side_px, scales):
    # Where every term is the same t, renormalised weights give t.
    h, w = side_px, {21: 22, 83: 160}[side_px]
    flat = jnp.full_like(images(0, h, w), 0.5)
    value = float(loss_and_slope(flat, flat * 0.2)[0])
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    # Flat images differ in luminance alone, which counts at the last scale only.
    luminance = (2 * 0.5 * 0.1 + 1e-4) / (0.5**2 + 0.1**2 + 1e-4)
    expected = 1 - luminance ** (weights[-1] / weights.sum())
    assert value == pytest.approx(expected, abs=1e-4)


def test_below_21_px_it_is_refused():
    with pytest.raises(ValueError, match="at least 21x21 px, found 20x40"):
        structural_loss(images(0, 20, 40), images(0, 20, 40))
