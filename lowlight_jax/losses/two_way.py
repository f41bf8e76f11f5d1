"""The two-way constraint: the image model must hold in both directions.

Contract: `[b, h, w, c]` float32 images in, `[b]` out, mean over pixels and channels.
Source: paper A, 2.2.2, formulas 10-12, with low = high * illumination.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from lowlight_jax.losses.contract import check_pair
from lowlight_jax.losses.difference import absolute_difference
from lowlight_jax.types import PerImage

_LEAST_ILLUMINATION = 1e-6  # far below that of any network; no division by 0


def forward_constraint(
    illumination: ArrayLike, low: ArrayLike, high: ArrayLike
) -> PerImage:
    """|high - low / illumination|, formula 10."""
    illumination, low = check_pair("forward_constraint", illumination, low)
    illumination = jnp.maximum(illumination, _LEAST_ILLUMINATION)
    return absolute_difference(low / illumination, high)


def reverse_constraint(
    illumination: ArrayLike, low: ArrayLike, high: ArrayLike
) -> PerImage:
    """|low - high * illumination|, formula 12."""
    illumination, high = check_pair("reverse_constraint", illumination, high)
    return absolute_difference(high * illumination, low)
