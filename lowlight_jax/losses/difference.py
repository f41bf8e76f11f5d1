"""How far images are apart, pixel by pixel.

Contract: `[b, h, w, c]` float32 images in, `[b]` out, mean over pixels and channels.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from lowlight_jax.losses.contract import check_pair
from lowlight_jax.types import PerImage

_LEAST = 1e-5  # mean square, 0.003 of the range: the root has a gradient at 0


def absolute_difference(pred: ArrayLike, target: ArrayLike) -> PerImage:
    """Mean of |pred - target| of each image, `[b]`."""
    pred, target = check_pair("absolute_difference", pred, target)
    return jnp.mean(jnp.abs(pred - target), axis=(1, 2, 3))


def root_mean_square(pred: ArrayLike, target: ArrayLike) -> PerImage:
    """Root of the mean of (pred - target)^2 of each image, `[b]`; 0 where they agree.

    It is what PSNR is made of, so that large errors, wrong exposure above all, count
    more than with `absolute_difference`; as a root it leaves no image out.
    Source: ours; chosen.
    """
    pred, target = check_pair("root_mean_square", pred, target)
    square = jnp.mean((pred - target) ** 2, axis=(1, 2, 3))
    return jnp.sqrt(square + _LEAST) - _LEAST**0.5
