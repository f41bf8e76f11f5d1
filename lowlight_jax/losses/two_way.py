"""The two-way constraint: the image model must hold in both directions.

Contract: `[b, h, w, c]` float32 images in, `[b]` out, mean over pixels and channels.
Source: paper A, 2.2.2, formulas 10-12, with low = high * illumination.
"""

import jax.numpy as jnp

from lowlight_jax.types import Images, PerImage


def absolute_difference(pred: Images, target: Images) -> PerImage:
    """Mean of |pred - target| of each image, `[b]`."""
    return jnp.mean(jnp.abs(pred - target), axis=(1, 2, 3))


def forward_constraint(illumination: Images, low: Images, high: Images) -> PerImage:
    """|high - low / illumination|, formula 10."""
    return absolute_difference(low / illumination, high)


def reverse_constraint(illumination: Images, low: Images, high: Images) -> PerImage:
    """|low - high * illumination|, formula 12."""
    return absolute_difference(high * illumination, low)
