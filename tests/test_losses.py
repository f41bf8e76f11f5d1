"""Losses against plain numpy, their identities, and gradients where they are hard."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlight_jax.losses import dual, two_way
from lowlight_jax.losses.colour import colour_difference
from lowlight_jax.losses.difference import root_mean_square
from lowlight_jax.losses.structural import structural_loss
from lowlight_jax.types import Denoised, Enhanced

SHAPE = (2, 48, 48, 3)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.uniform(0.1, 0.9, SHAPE), "f4") for _ in range(3)]


def test_two_way_constraint_is_formulas_10_and_12(images):
    low, high, illumination = (np.asarray(image) for image in images)
    forward = np.abs(high - low / illumination).mean((1, 2, 3))
    reverse = np.abs(low - high * illumination).mean((1, 2, 3))
    np.testing.assert_allclose(
        two_way.forward_constraint(illumination, low, high), forward, rtol=1e-5
    )
    np.testing.assert_allclose(
        two_way.reverse_constraint(illumination, low, high), reverse, rtol=1e-5
    )


def test_both_directions_vanish_for_the_true_illumination(images):
    _, high, illumination = images
    low = high * illumination
    assert two_way.forward_constraint(illumination, low, high).max() < 1e-6
    assert two_way.reverse_constraint(illumination, low, high).max() < 1e-6


def test_enhancement_loss_is_formula_5(images):
    low, high, illumination = images
    enhanced = Enhanced(low / illumination, illumination, low * 2, illumination * 0.5)
    loss, terms = dual.enhancement_loss(
        enhanced, low, high, dual.EnhancementWeights(coarse=0.0)
    )
    expected = (
        structural_loss(low / illumination, high)
        + two_way.forward_constraint(illumination, low, high)
        + two_way.reverse_constraint(illumination, low, high)
    ).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert terms.keys() == {"structural", "forward", "reverse"}


def test_denoising_loss_is_formula_6(images):
    noisy, high, noise = images
    denoised = Denoised(noisy - noise, noise, noisy, noise * 0)
    weights = dual.DenoisingWeights(coarse=0.0)
    loss, _ = dual.denoising_loss(denoised, noisy, high, weights)
    expected = structural_loss(noisy - noise, high) + structural_loss(
        noisy, high + noise
    )
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-6)


def test_coarse_weight_applies_the_loss_to_the_coarse_result(images):
    low, high, illumination = images
    coarse = (low * 2, jnp.full_like(low, 0.5))
    enhanced = Enhanced(low / illumination, illumination, *coarse)
    alone, _ = dual.enhancement_loss(
        Enhanced(*coarse, *coarse), low, high, dual.EnhancementWeights(coarse=0.0)
    )
    fine, _ = dual.enhancement_loss(
        enhanced, low, high, dual.EnhancementWeights(coarse=0.0)
    )
    both, _ = dual.enhancement_loss(
        enhanced, low, high, dual.EnhancementWeights(coarse=0.25)
    )
    np.testing.assert_allclose(both, fine + 0.25 * alone, rtol=1e-6)


def test_colour_term_ignores_brightness_and_noise_but_not_colour(images):
    high = images[0]
    assert colour_difference(high + 0.1, high).max() < 1e-6
    rng = np.random.default_rng(1)
    noise = jnp.asarray(rng.normal(0, 0.1, SHAPE), "f4")
    tint = jnp.asarray([0.1, 0.0, -0.1], "f4").reshape(1, 1, 1, 3)
    assert colour_difference(high + noise, high).max() < 0.02
    np.testing.assert_allclose(colour_difference(high + tint, high), 0.2 / 3, rtol=1e-4)


def test_the_square_term_is_what_psnr_is_made_of(images):
    high = images[0]
    pred = high + jnp.asarray(np.random.default_rng(1).normal(0, 0.1, SHAPE), "f4")
    expected = np.sqrt(np.mean((np.asarray(pred) - high) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(root_mean_square(pred, high), expected, atol=4e-3)
    assert root_mean_square(high, high).max() == 0
    for weights, loss in (
        (dual.EnhancementWeights, _of_enhancement),
        (dual.DenoisingWeights, _of_denoising),
    ):
        off = {field.name: 0.0 for field in dataclasses.fields(weights)}
        value = loss(pred, high, weights(**off | {"square": 1.0}))
        np.testing.assert_allclose(value, root_mean_square(pred, high).mean())


def _of_enhancement(pred, high, weights):
    light = jnp.ones_like(high)
    return dual.enhancement_loss(
        Enhanced(pred, light, pred, light), high, high, weights
    )[0]


def _of_denoising(pred, high, weights):
    noise = jnp.zeros_like(high)
    return dual.denoising_loss(Denoised(pred, noise, pred, noise), pred, high, weights)[
        0
    ]


HARD = {
    "black": (0.0, 0.0),
    "flat": (0.5, 0.2),
    "saturated": (1.0, 1.0),
    "black against white": (0.0, 1.0),
}


@pytest.mark.parametrize("case", HARD)
def test_gradients_are_finite_where_nothing_varies(case):
    low, high = (jnp.full((1, 48, 48, 3), value) for value in HARD[case])

    def loss(logit):
        illumination = jnp.exp(-3 * jax.nn.sigmoid(logit))
        pred = low / illumination
        enhanced = Enhanced(pred, illumination, pred * 0.5, illumination)
        value, _ = dual.enhancement_loss(
            enhanced, low, high, dual.EnhancementWeights(colour=1.0, square=1.0)
        )
        denoised = Denoised(pred - logit, logit, pred, logit * 0)
        return (
            value
            + dual.denoising_loss(
                denoised,
                pred,
                high,
                dual.DenoisingWeights(detail=1.0, pixel=1.0, square=1.0, colour=1.0),
            )[0]
        )

    value, grad = jax.value_and_grad(loss)(jnp.zeros_like(low))
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


def test_gradient_is_finite_for_opposites(images):
    high = images[0]
    grad = jax.grad(lambda pred: structural_loss(pred, high).sum())(1 - high)
    assert np.isfinite(grad).all()
