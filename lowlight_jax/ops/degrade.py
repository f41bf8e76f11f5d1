"""Synthetic degradation of clean photographs: exposure, light, colour, noise, 8 bits.

Contract: `[b, h, w, 3]` float32 sRGB in [0, 1] in and out, `b` keys first: an image's
draw is its own, whatever batch or device it is in. Source: SYSTEM section 5 (paper A,
2.3 and 3.1, names the synthetic set without saying how it was made); every number here
is chosen.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from lowlight_jax.ops.colour import linear_to_srgb, luma, srgb_to_linear
from lowlight_jax.types import Images


@struct.dataclass
class Exposure:
    """Ranges from which the under-exposure of each image is drawn, uniformly.

    Attributes:
      min_stops, max_stops: how many times the light is halved.
      unevenness_stops: how far a smooth light field may depart from the mean, each way.
      white_balance: relative gain of red and blue, 1 +- this.
      read_noise_u8: standard deviation of the sensor's noise floor in linear light,
        in units of 1 / 255 of full scale (near black sRGB makes 13 times that of it).
      shot_noise_u8: the same of photon noise at full scale; it grows with the square
        root of the light.
    """

    min_stops: float = 1.5
    max_stops: float = 4.0
    unevenness_stops: float = 0.5
    white_balance: float = 0.1
    read_noise_u8: float = 0.15
    shot_noise_u8: float = 2.0


def round_to_8_bit(image: Images) -> Images:
    """Clips to [0, 1] and rounds to the nearest multiple of 1 / 255."""
    return jnp.round(jnp.clip(image, 0.0, 1.0) * 255.0) / 255.0


def light_field(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """A smooth random field in [-1, 1], `[h, w, 1]`: a 3x3 grid, enlarged."""
    grid = jax.random.uniform(key, (3, 3, 1), minval=-1.0, maxval=1.0)
    return jax.image.resize(grid, (*shape, 1), "linear")


def underexpose(keys: jax.Array, high: Images, exposure: Exposure) -> Images:
    """The picture that a camera would have made of `high` with too little light.

    Light is scaled in linear space by 2 ** -stops, uneven over the image and between
    the channels; then shot and read noise; then sRGB and 8 bits.
    """
    return jax.vmap(partial(_underexpose, exposure=exposure))(keys, high)


def _underexpose(key: jax.Array, high: jax.Array, exposure: Exposure) -> jax.Array:
    keys = jax.random.split(key, 5)
    stops = jax.random.uniform(
        keys[0], minval=exposure.min_stops, maxval=exposure.max_stops
    )
    stops = stops + exposure.unevenness_stops * light_field(keys[1], high.shape[:2])
    red_blue = jax.random.uniform(
        keys[2],
        (2,),
        minval=1 - exposure.white_balance,
        maxval=1 + exposure.white_balance,
    )
    balance = jnp.insert(red_blue, 1, 1.0)
    light = srgb_to_linear(high) * balance * 2.0**-stops
    read = exposure.read_noise_u8 / 255 * jax.random.normal(keys[3], high.shape)
    shot = exposure.shot_noise_u8 / 255 * jax.random.normal(keys[4], high.shape)
    light = light + read + jnp.sqrt(light) * shot
    return round_to_8_bit(linear_to_srgb(jnp.clip(light, 0.0, 1.0)))


def add_noise(keys: jax.Array, images: Images, max_sigma_u8: float) -> Images:
    """Gaussian noise, partly blurred, as enhancement leaves it; not clipped.

    Noise of a photograph is not white after demosaicking and JPEG: each image gets its
    own strength, up to `max_sigma_u8` (8-bit code units), and its own grain.
    """
    return jax.vmap(partial(_add_noise, max_sigma_u8=max_sigma_u8))(keys, images)


def _add_noise(key: jax.Array, image: jax.Array, max_sigma_u8: float) -> jax.Array:
    key_sigma, key_grain, key_noise = jax.random.split(key, 3)
    sigma = jax.random.uniform(key_sigma, maxval=max_sigma_u8 / 255)
    grain = jax.random.uniform(key_grain)
    white = jax.random.normal(key_noise, image.shape)
    blurred = jax.lax.reduce_window(
        white, 0.0, jax.lax.add, (3, 3, 1), (1, 1, 1), "SAME"
    )
    coarse = blurred / 3.0  # sum of 9 of variance 1: standard deviation 3
    mixed = (1 - grain) * white + grain * coarse
    return image + sigma * mixed / jnp.sqrt((1 - grain) ** 2 + grain**2)


def vary_light(keys: jax.Array, images: Images, stops: float) -> Images:
    """Values times 2 ** u of each image, clipped; u uniform in [-stops, stops]."""
    exponent = jax.vmap(
        lambda key: jax.random.uniform(key, (1, 1, 1), minval=-stops, maxval=stops)
    )(keys)
    return jnp.clip(images * 2.0**exponent, 0.0, 1.0)


@struct.dataclass
class ColourVariation:
    """Augmentation of colours, drawn uniformly for each image.

    Attributes:
      gain: every channel is multiplied by 1 +- this.
      saturation: the distance to the luma is multiplied by 1 +- this.
    """

    gain: float = 0.0
    saturation: float = 0.0


def vary_colour(keys: jax.Array, images: Images, variation: ColourVariation) -> Images:
    """Images with other colours, clipped; with the same keys in the same way."""
    return jax.vmap(partial(_vary_colour, variation=variation))(keys, images)


def _vary_colour(
    key: jax.Array, image: jax.Array, variation: ColourVariation
) -> jax.Array:
    key_gain, key_saturation = jax.random.split(key)
    gain = jax.random.uniform(key_gain, (3,), minval=-1.0, maxval=1.0)
    image = image * (1.0 + variation.gain * gain)
    saturation = jax.random.uniform(key_saturation, minval=-1.0, maxval=1.0)
    gray = luma(image)
    image = gray + (1.0 + variation.saturation * saturation) * (image - gray)
    return jnp.clip(image, 0.0, 1.0)
