"""The ends of the tone scale: are dark parts opened, are highlights kept?

Contract: `[b, h, w, c]` float32, c = 3 or 1, sRGB in [0, 1]; `[b]` float32 out.
"""

import jax.numpy as jnp

from lowlight_jax.metrics.contract import (
    Sizes,
    compiled_metric,
    inside,
    pixel_mean,
)
from lowlight_jax.ops.colour import luma
from lowlight_jax.types import Images, PerImage

# A code is a quotient by 255 in float32, which may be rounded either way: the margin
# keeps 60 from being dark and lets 254 be clipped on every device.
_DARK_BELOW = 59.999 / 255
_CLIPPED_FROM = 253.999 / 255
_NOTHING_DARK = "no luma of the dark original is below 60/255"


@compiled_metric(undefined=_NOTHING_DARK)
def dark_level(pred: Images, low: Images, *, size: Sizes | None = None) -> PerImage:
    """Mean luma of the image where the dark original was dark, in 8-bit code units.

    Args:
      pred: `[b, h, w, c]` float32, sRGB in [0, 1].
      low: the dark original, same shape; dark is a Rec. 601 luma below 60/255.
      size: of padded images, see `contract`.
    Returns:
      `[b]` in [0, 255]; best is the target's own.
    Raises:
      ValueError: shapes differ, not `[b, h, w, 1 or 3]` floating point in [0, 1], or
        nothing is dark; under `jit` that is NaN.
    Source: ours.
    """
    dark = luma(low)[..., 0] < _DARK_BELOW
    if size is not None:
        dark &= inside(size, *dark.shape[1:])
    count = jnp.sum(dark, axis=(1, 2))
    # Row by row first: one float32 sum over millions of pixels loses digits.
    level = jnp.sum(jnp.sum(jnp.where(dark, luma(pred)[..., 0], 0), axis=2), axis=1)
    return jnp.where(count > 0, 255 * level / jnp.maximum(count, 1), jnp.nan)


@compiled_metric()
def clipped_excess(
    pred: Images, target: Images, *, size: Sizes | None = None
) -> PerImage:
    """How much more burns out than in the target, in percent of the pixels.

    A pixel is clipped where any channel is at least 254/255.

    Args:
      pred: `[b, h, w, c]` float32, sRGB in [0, 1].
      target: same shape.
      size: of padded images, see `contract`.
    Returns:
      `[b]` in [-100, 100], lower is better; below 0 less is clipped than in the target.
    Raises:
      ValueError: shapes differ, or not `[b, h, w, 1 or 3]` floating point in [0, 1].
    Source: ours.
    """
    clipped, wanted = (
        jnp.float32(jnp.max(image, axis=-1) >= _CLIPPED_FROM)
        for image in (pred, target)
    )
    return 100 * pixel_mean(clipped - wanted, size)
