"""A user's taste in light, on a finished result: how bright, how open the shadows.

Both are one rising curve for all channels, so that gray stays gray, black stays black
and white stays white: nothing is clipped, and no cast can come of it.
Source: ours; chosen.
"""

import math

import jax.numpy as jnp

from lowlight_jax.checks import in_range
from lowlight_jax.ops.colour import linear_to_srgb, srgb_to_linear
from lowlight_jax.types import Images, Scalar

_MOST_STOPS = 64.0  # far beyond black and white; 2 ** 128 is infinite


def change_exposure(images: Images, stops: Scalar | float) -> Images:
    """Light times 2 ** stops in the dark, less towards white, which stays white.

    Args:
      images: `[b, h, w, c]` sRGB; clipped to [0, 1].
      stops: below 0 it becomes darker; beyond 64 either way nothing more happens.
    """
    in_range("images", images, -math.inf, math.inf, expected="finite numbers")
    light = srgb_to_linear(jnp.clip(images, 0.0, 1.0))
    gain = 2.0 ** jnp.clip(stops, -_MOST_STOPS, _MOST_STOPS)
    # Of white the sum may be rounded to 0.
    total = jnp.maximum(1.0 + light * (gain - 1.0), jnp.minimum(gain, 1.0))
    return linear_to_srgb(gain * light / total)


def open_shadows(images: Images, amount: Scalar | float) -> Images:
    """Values times 2 ** (amount * (1 - value) ** 2).

    Args:
      images: `[b, h, w, c]` sRGB; clipped to [0, 1].
      amount: -1 (deep) to 1 (open); the curve rises for any from -2 to 2, to which it
        is clipped.
    """
    in_range("images", images, -math.inf, math.inf, expected="finite numbers")
    values, amount = jnp.clip(images, 0.0, 1.0), jnp.clip(amount, -2.0, 2.0)
    return values * 2.0 ** (amount * (1.0 - values) ** 2)
