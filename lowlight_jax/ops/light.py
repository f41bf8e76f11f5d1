"""A user's taste in light, on a finished result: how bright, how open the shadows.

Both are one rising curve for all channels, so that gray stays gray, black stays black
and white stays white: nothing is clipped, and no cast can come of it.
Source: ours; chosen.
"""

import jax.numpy as jnp

from lowlight_jax.ops.colour import linear_to_srgb, srgb_to_linear
from lowlight_jax.types import Images, Scalar


def change_exposure(images: Images, stops: Scalar | float) -> Images:
    """Light times 2 ** stops in the dark, less towards white, which stays white.

    Args:
      images: `[b, h, w, c]` sRGB; clipped to [0, 1].
      stops: any; below 0 it becomes darker.
    """
    light = srgb_to_linear(jnp.clip(images, 0.0, 1.0))
    gain = 2.0**stops
    return linear_to_srgb(gain * light / (1.0 + light * (gain - 1.0)))


def open_shadows(images: Images, amount: Scalar | float) -> Images:
    """Values times 2 ** (amount * (1 - value) ** 2).

    Args:
      images: `[b, h, w, c]` sRGB; clipped to [0, 1].
      amount: -1 (deep) to 1 (open); the curve rises for any from -2 to 2.
    """
    values = jnp.clip(images, 0.0, 1.0)
    return values * 2.0 ** (amount * (1.0 - values) ** 2)
