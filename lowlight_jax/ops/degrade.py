"""Synthetic degradation of clean photographs: exposure, light, colour, noise, 8 bits.

Contract: `[b, h, w, 3]` float32 sRGB in [0, 1] in and out, `b` keys first: an image's
draw is its own, whatever batch or device it is in. Paper A, 2.3 and 3.1, names the
synthetic set without saying how it was made; every number here is chosen.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lowlight_jax.checks import in_range, unit_range
from lowlight_jax.ops.colour import linear_to_srgb, luma, srgb_to_linear
from lowlight_jax.ops.jpeg import compress
from lowlight_jax.types import Images, Scalar

# JAX draws float64 where that is switched on.
_uniform = partial(jax.random.uniform, dtype=jnp.float32)
_normal = partial(jax.random.normal, dtype=jnp.float32)


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
      noise_halvings: both noises are halved up to so many times.
      mixed_light: a second light source shifts red against blue by a factor of up to
        1 +- this, varying smoothly over the image.
      tone_contrast: the camera's tone curve raises the odds v / (1 - v) of sRGB values
        to a power from 1 to 1 + this. 0.4 comes within 5 / 255 of the mean of 201
        cameras (formula 9 of Ying, Li, Gao 2017, "BIMEF"), none within 20 / 255.
      highlight_stops: parts near white had up to so many stops more light than white:
        the photograph lost it, a darker one keeps it.
      least_jpeg_quality: saved as JPEG of a quality between this and 100; 0: not.
      field_part: of the fields of light, what an image shows: 1 for whole pictures,
        less for crops of them.
    """

    min_stops: float = 1.5
    max_stops: float = 4.0
    unevenness_stops: float = 0.5
    white_balance: float = 0.1
    read_noise_u8: float = 0.15
    shot_noise_u8: float = 2.0
    noise_halvings: float = 0.0
    mixed_light: float = 0.0
    tone_contrast: float = 0.0
    highlight_stops: float = 0.0
    least_jpeg_quality: float = struct.field(default=0.0, pytree_node=False)
    field_part: float = 1.0


def round_to_8_bit(image: Images) -> Images:
    """Clips to [0, 1] and rounds to the nearest multiple of 1 / 255."""
    return jnp.round(jnp.clip(image, 0.0, 1.0) * 255.0) / 255.0


def light_field(
    key: jax.Array, shape: tuple[int, int], part: float | jax.Array = 1.0
) -> jax.Array:
    """A smooth random field in [-1, 1], `[h, w, 1]`: a 3x3 grid, enlarged.

    Of less than the whole field (`part`, of its height and width), somewhere in it.
    """
    key_grid, key_place = jax.random.split(key)
    grid = _uniform(key_grid, (3, 3), minval=-1.0, maxval=1.0)
    starts = _uniform(key_place, (2,)) * (1.0 - part)

    def weights(start: Scalar, size: int) -> jax.Array:
        """Of the grid's three rows or columns, for each pixel: linear between two."""
        centres = jnp.arange(size, dtype=jnp.float32) + 0.5
        place = 2.0 * (start + part * centres / size)
        return jnp.maximum(0.0, 1.0 - jnp.abs(place[:, None] - jnp.arange(3)[None]))

    rows, columns = map(weights, starts, shape)
    return (rows @ grid @ columns.T)[..., None]


def underexpose(keys: jax.Array, high: Images, exposure: Exposure) -> Images:
    """The picture that a camera would have made of `high` with too little light.

    Light is scaled in linear space by 2 ** -stops, uneven over the image and between
    the channels; then shot and read noise; then sRGB, the camera's tone curve, 8 bits
    and JPEG. Before, the curve is taken off `high`.
    """
    high = unit_range("high", high)
    key_pairs = jax.vmap(partial(jax.random.split, num=2))(keys)
    low = jax.vmap(partial(_underexpose, exposure=exposure))(key_pairs[:, 0], high)
    low = round_to_8_bit(low)
    if not exposure.least_jpeg_quality:
        return low
    quality = jax.vmap(
        lambda key: _uniform(key, minval=exposure.least_jpeg_quality, maxval=100.0)
    )(key_pairs[:, 1])
    return compress(low, quality)


def _underexpose(key: jax.Array, high: jax.Array, exposure: Exposure) -> jax.Array:
    keys = jax.random.split(key, 9)
    shape, part = high.shape[:2], exposure.field_part
    stops = _uniform(keys[0], minval=exposure.min_stops, maxval=exposure.max_stops)
    stops += exposure.unevenness_stops * light_field(keys[1], shape, part)
    red_blue = _uniform(
        keys[2],
        (2,),
        minval=1 - exposure.white_balance,
        maxval=1 + exposure.white_balance,
    )
    balance = jnp.insert(red_blue, 1, 1.0)
    mixed = exposure.mixed_light * light_field(keys[3], shape, part)
    mixed = 1.0 + mixed * np.float32([[[1.0, 0.0, -1.0]]])
    bright = jnp.clip(5.0 * luma(high) - 4.0, 0.0, 1.0)  # from 0.8 to white
    lost = exposure.highlight_stops * _uniform(keys[4]) * bright
    contrast = 1.0 + exposure.tone_contrast * _uniform(keys[8])
    light = srgb_to_linear(_tone_curve(high, 1.0 / contrast))
    light *= balance[None, None] * mixed * 2.0 ** (lost - stops)
    halvings = exposure.noise_halvings * _uniform(keys[5])
    light = jnp.maximum(light, 0.0)
    read = exposure.read_noise_u8 / 255 * _normal(keys[6], high.shape)
    shot = exposure.shot_noise_u8 / 255 * _normal(keys[7], high.shape)
    light += (read + jnp.sqrt(light) * shot) * 2.0**-halvings
    return _tone_curve(linear_to_srgb(jnp.clip(light, 0.0, 1.0)), contrast)


def _tone_curve(values: jax.Array, contrast: jax.Array) -> jax.Array:
    """Odds to the power of `contrast`: an S for more than 1, undone by 1 / contrast."""
    values = jnp.clip(values, 0.0, 1.0)
    bright = values**contrast
    return bright / (bright + (1.0 - values) ** contrast)


def add_noise(keys: jax.Array, images: Images, max_sigma_u8: float) -> Images:
    """Gaussian noise, partly blurred, as enhancement leaves it; not clipped.

    Noise of a photograph is not white after demosaicking and JPEG: each image gets its
    own strength, up to `max_sigma_u8` (8-bit code units), and its own grain.
    """
    in_range("images", images, -np.inf, np.inf, expected="finite numbers")
    return jax.vmap(partial(_add_noise, max_sigma_u8=max_sigma_u8))(keys, images)


def _add_noise(key: jax.Array, image: jax.Array, max_sigma_u8: float) -> jax.Array:
    key_sigma, key_grain, key_noise = jax.random.split(key, 3)
    sigma = _uniform(key_sigma, maxval=max_sigma_u8 / 255)
    grain = _uniform(key_grain)
    white = _normal(key_noise, image.shape)
    blurred = jax.lax.reduce_window(
        white, 0.0, jax.lax.add, (3, 3, 1), (1, 1, 1), "SAME"
    )
    coarse = blurred / 3.0  # sum of 9 of variance 1: standard deviation 3
    mixed = (1 - grain) * white + grain * coarse
    return image + sigma * mixed / jnp.sqrt((1 - grain) ** 2 + grain**2)


def vary_light(keys: jax.Array, images: Images, stops: float) -> Images:
    """Values times 2 ** u of each image, clipped; u uniform in [-stops, stops]."""
    images = unit_range("images", images)
    exponent = jax.vmap(
        lambda key: _uniform(key, (1, 1, 1), minval=-stops, maxval=stops)
    )(keys)
    return jnp.clip(images * 2.0**exponent, 0.0, 1.0)


@struct.dataclass
class Compression:
    """Which images are saved as JPEG before a network sees them.

    Attributes:
      fraction: of the images.
      least_quality: theirs is drawn uniformly between this and 100.
    """

    fraction: float = 0.0
    least_quality: float = 60.0


def save_some(keys: jax.Array, images: Images, compression: Compression) -> Images:
    """Images, some after JPEG; what a camera makes of the noise of a dark picture."""

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        key_chosen, key_quality = jax.random.split(key)
        chosen = jax.random.bernoulli(key_chosen, compression.fraction)
        return chosen, _uniform(
            key_quality, minval=compression.least_quality, maxval=100.0
        )

    chosen, quality = jax.vmap(draw)(keys)
    saved = compress(round_to_8_bit(images), quality)
    return jnp.where(chosen[:, None, None, None], saved, images)


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
    images = unit_range("images", images)
    return jax.vmap(partial(_vary_colour, variation=variation))(keys, images)


def _vary_colour(
    key: jax.Array, image: jax.Array, variation: ColourVariation
) -> jax.Array:
    key_gain, key_saturation = jax.random.split(key)
    gain = _uniform(key_gain, (3,), minval=-1.0, maxval=1.0)
    image = image * (1.0 + variation.gain * gain[None, None])
    saturation = _uniform(key_saturation, minval=-1.0, maxval=1.0)
    gray = luma(image)
    image = gray + (1.0 + variation.saturation * saturation) * (image - gray)
    return jnp.clip(image, 0.0, 1.0)
