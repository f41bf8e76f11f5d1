"""What a network reads off the thumbnail of a whole picture, and lays over a window.

The thumbnail is seen as 32 by 32 tiles, in logarithms. What is read off it are curves,
piecewise linear in log(value) relative to the picture's mean of it, or maps with a
value for each of some places, between which it is interpolated. Both are the same for
every window of a picture, so that tiles of the output agree.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lowlight_jax.types import Images, Places, Size, Thumbnails

Ends = Float[Array | np.ndarray, "_ 2"]  # of a window along an axis of its picture

DARK = 1 / 255  # added before logarithms: the step of 8 bits
TILE_PX = 4  # of the thumbnail
QUANTILES = 8  # parts of equal size that a channel's sorted values are averaged over
TOP = (896, 960), (960, 992), (992, 1016), (1016, 1024)  # of 1024 sorted maxima
LOWEST, HIGHEST = -2.0, 3.0  # where knots lie: log(value / mean of the thumbnail)


class Tiles(NamedTuple):
    """The light of tiles, log(value + 1/255).

    Attributes:
      means, maxima: `[b, 32, 32, 3]`, relative to `mean`.
      mean: `[b, 1, 1, 1]`, of the means of all tiles and channels.
      level: `[b, 1, 1, 1]`, how dark the picture is: around 0 in LOL.
      light: `[b, 32, 32, 4, 4, 3]`, the thumbnail itself, in [0, 1].
    """

    means: jax.Array
    maxima: jax.Array
    mean: jax.Array
    level: jax.Array
    light: jax.Array


def tiles_of(thumbnail: Thumbnails) -> Tiles:
    """Of `[b, 128, 128, 3]` in [0, 1]."""
    b, side = thumbnail.shape[:2]
    n = side // TILE_PX
    light = thumbnail.reshape(b, n, TILE_PX, n, TILE_PX, 3).swapaxes(2, 3)
    means, maxima = (
        jnp.log(jnp.maximum(of_tile, 0.0) + DARK)
        for of_tile in (light.mean((3, 4)), light.max((3, 4)))
    )
    mean = means.mean((1, 2, 3), keepdims=True)
    return Tiles(means - mean, maxima - mean, mean, mean + 3.0, light)


def quantiles(tiles: Tiles) -> jax.Array:
    """`[b, 1, 1, 24]`: each channel's sorted means of tiles, averaged in 8 parts."""
    b = len(tiles.means)
    values = jnp.sort(tiles.means.reshape(b, -1, 3), axis=1)
    return values.reshape(b, QUANTILES, -1, 3).mean(2).reshape(b, 1, 1, -1)


def statistics(tiles: Tiles) -> jax.Array:
    """`[b, 1, 1, 37]`: quantiles, the highest maxima, the level.

    How far highlights lie below white shows how under-exposed the picture is.
    """
    b = len(tiles.means)
    maxima = tiles.maxima.reshape(b, -1, 3).swapaxes(1, 2)
    count, lowest = maxima.shape[-1], TOP[0][0]
    # On CPU 7 times faster than to sort them all. The highest stands first.
    maxima, _ = jax.lax.top_k(maxima, count - lowest)
    top = [maxima[..., count - j : count - i].mean(-1) for i, j in TOP]
    top = jnp.stack(top, axis=1).reshape(b, 1, 1, -1)
    return jnp.concatenate([quantiles(tiles), top, tiles.level], axis=-1)


def log_value(light: Images, tiles: Tiles) -> Images:
    """Where on the curves pixels of `light`, in [0, 1], lie."""
    return jnp.log(jnp.maximum(light, 0.0) + DARK) - tiles.mean


def on_curve(heights: jax.Array, value: Images) -> Images:
    """The height of each pixel's curve at the pixel's value.

    Args:
      heights: `[b, h, w, knots * 3]`, of h and w what broadcasts to those of `value`.
      value: `[b, h, w, 3]`, see `log_value`.
    """
    knots = heights.shape[-1] // 3
    heights = heights.reshape(*heights.shape[:3], knots, 3)
    shares = _shares_of_knots(value, knots)
    return sum(share * heights[..., i, :] for i, share in enumerate(shares))


def on_curves_of_places(of_places: jax.Array, value: Images, place: Places) -> Images:
    """`on_curve` with the heights that `over_window` would give, not kept for each.

    They would take 8 times as much memory as the pixels. On CPU 19 ms instead of 44 for
    1096x1936, and 1.0 instead of 4.0 for gradients of 4 crops of 128 px.

    Args:
      of_places: `[b, places, places, knots * 3]`, of the whole picture.
      value, place: of a window of it.
    """
    b, n = of_places.shape[:2]
    _, h, w, c = value.shape
    knots = of_places.shape[-1] // c
    at_columns = _between_places(place[:, 1::2], w, n)
    of_places = of_places.reshape(b, n, n, knots, c)
    rows = jnp.einsum("bpqkc,bwq->bkpwc", of_places, at_columns)
    rows = rows.reshape(b, knots, n, w * c)
    at = _among_places(place[:, ::2], h, n)[..., None]
    above = jnp.minimum(at.astype(jnp.int32), n - 2)
    below = at - above

    def height(knot: int) -> jax.Array:
        take = partial(jnp.take_along_axis, rows[:, knot], axis=1, mode="clip")
        return take(above) * (1.0 - below) + take(above + 1) * below

    shares = _shares_of_knots(value.reshape(b, h, w * c), knots)
    curve = sum(share * height(i) for i, share in enumerate(shares))
    return curve.reshape(value.shape)


def _shares_of_knots(value: jax.Array, knots: int) -> list[jax.Array]:
    """How much each knot says at each value: linear between the two nearest."""
    spacing = (HIGHEST - LOWEST) / (knots - 1)
    position = jnp.clip((value - LOWEST) / spacing, 0.0, knots - 1.0)
    return [jnp.maximum(0.0, 1.0 - jnp.abs(position - i)) for i in range(knots)]


def over_window(of_places: jax.Array, place: Places, h: Size, w: Size) -> jax.Array:
    """`[b, places, places, c]`, of the whole picture, at the h by w pixels of a window.

    Args:
      place: `[b, 4]`, where in its picture the window lies; see `types.Places`.
    """
    n = of_places.shape[1]
    at_rows = _between_places(place[:, ::2], h, n)
    at_columns = _between_places(place[:, 1::2], w, n)
    of_places = jnp.einsum("bpqk,bwq->bpwk", of_places, at_columns)
    return jnp.einsum("bpwk,bhp->bhwk", of_places, at_rows)


def _between_places(ends: Ends, size: Size, count: int) -> jax.Array:
    """`[b, size, count]`: how much each of `count` places says at a pixel, linearly."""
    away = _among_places(ends, size, count)[..., None] - jnp.arange(count)[None, None]
    return jnp.maximum(0.0, 1.0 - jnp.abs(away))


def _among_places(ends: Ends, size: Size, count: int) -> jax.Array:
    """`[b, size]`: where pixels lie among the middles of places 0 to `count - 1`."""
    start, end = jnp.split(jnp.asarray(ends), 2, axis=1)
    at = start + (end - start) * (jnp.arange(size)[None] + 0.5) / size
    return jnp.clip(at * count - 0.5, 0.0, count - 1.0)
