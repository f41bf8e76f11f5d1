"""The dual network for real photographs: gain by a grid of curves, then learnt noise.

A backlit scene needs one gain for the person and another for the sky. So the coarse
illumination of this member of the dual family is not one curve for the picture, as in
`dual_global`, but a curve for each of 8 by 8 places, all read off one thumbnail of the
whole picture and interpolated between the places. A curve acts on a pixel's own value,
so it leaves no halo at the edge of the sky; and the grid is the same for every window
of a picture, so that tiles agree.
Source: ours; the bilateral grid of curves is that of Gharbi et al. 2017, "Deep
Bilateral Learning for Real-Time Image Enhancement" (HDRNet), with curves in place of
colour matrices. All sizes are chosen.
Height and width must be multiples of `dual_global.STRIDE`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lowlight_jax.models.dual_global import (
    DualGlobalNetwork,
    GlobalDenoising,
    GlobalEnhancement,
)
from lowlight_jax.models.layers import Conv
from lowlight_jax.types import Images, Places, Thumbnails

Ends = Float[Array | np.ndarray, "_ 2"]  # of a window along an axis of its picture

_DARK = 1 / 255  # added before logarithms: the step of 8 bits
_TILE_PX = 4  # of the thumbnail: 32 by 32 tiles
_QUANTILES = 8  # parts of equal size that a channel's sorted values are averaged over
_TOP = (896, 960), (960, 992), (992, 1016), (1016, 1024)  # of 1024 sorted maxima
_KNOTS = 8  # of a curve
_LOWEST, _HIGHEST = -2.0, 3.0  # where they lie: log(value / mean of the thumbnail)
_SPACING = (_HIGHEST - _LOWEST) / (_KNOTS - 1)
_BLACK = 6 / 255  # of a picture with white in it: half the gain is taken away
_WHITEST = 8  # of 1024 tiles
_MIN_GAIN = 0.5  # a bright sky may become darker, as in a fusion of exposures
_SMALL = nn.initializers.normal(1e-3)  # an untrained layer then gives almost 0


class CurveGrid(nn.Module):
    """The coarse stage: log gain by curves of a pixel's value, at 8 by 8 places.

    A curve is piecewise linear in log(value), relative to the thumbnail's mean of it,
    one for each channel. Its heights are the sum of what the statistics of the whole
    thumbnail and what convolutions over it give; with all heights 0 the thumbnail's
    mean becomes exp(-1). Both see means and maxima of tiles: how far highlights lie
    below white shows how under-exposed the picture is.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, low: Images, thumbnail: Thumbnails, place: Places
    ) -> tuple[Images, jax.Array]:
        b, side = thumbnail.shape[:2]
        n = side // _TILE_PX
        tiles = thumbnail.reshape(b, n, _TILE_PX, n, _TILE_PX, 3)
        means, maxima = (
            jnp.log(jnp.maximum(light, 0.0) + _DARK)
            for light in (tiles.mean((2, 4)), tiles.max((2, 4)))
        )
        mean = means.mean((1, 2, 3), keepdims=True)
        level = mean + 3.0  # LOL's means lie around -3
        means, maxima = means - mean, maxima - mean

        def conv(features: int, name: str, **options) -> Conv:
            return Conv(features, name=name, dtype=self.dtype, **options)

        quantiles = jnp.sort(means.reshape(b, -1, 3), axis=1)
        quantiles = quantiles.reshape(b, _QUANTILES, -1, 3).mean(2)
        maxima_sorted = jnp.sort(maxima.reshape(b, -1, 3), axis=1)
        top = jnp.stack([maxima_sorted[:, i:j].mean(1) for i, j in _TOP], axis=1)
        statistics = jnp.concatenate([quantiles, top], axis=1).reshape(b, 1, 1, -1)
        statistics = jnp.concatenate([statistics, level], axis=-1)
        scene = nn.relu(conv(64, "hidden", kernel_px=1)(statistics))
        x = jnp.concatenate(
            [means, maxima, jnp.broadcast_to(level, (b, n, n, 1))], axis=-1
        )
        x = nn.relu(conv(16, "tiles")(x))
        x = nn.relu(conv(24, "to_half", stride=2)(x))
        x = nn.relu(conv(32, "to_places", stride=2)(x))
        x = nn.relu(x + conv(32, "show_scene", kernel_px=1)(scene))
        x = nn.relu(conv(32, "places")(x))
        heights = [
            conv(3 * _KNOTS, f"heights_{name}", kernel_px=1, kernel_init=_SMALL)(y)
            for name, y in (("scene", scene), ("places", x))
        ]
        heights = sum(heights).astype(jnp.float32)
        log_gain = _slice(heights, low, mean, place) - mean - 1.0
        white = jnp.sort(tiles.max((2, 4, 5)).reshape(b, -1), axis=1)[:, -_WHITEST:]
        return log_gain, _log_toe(low, white.mean(1).reshape(b, 1, 1, 1))


def _slice(heights: jax.Array, low: Images, mean: jax.Array, place: Places) -> Images:
    """The height of each pixel's curve at the pixel's value.

    Args:
      heights: `[b, places, places, knots * 3]`.
      low: `[b, h, w, 3]`.
      mean: `[b, 1, 1, 1]`, what values are relative to.
      place: `[b, 4]`, see `types.Places`.
    """
    b, h, w, _ = low.shape
    n = heights.shape[1]
    at_rows = _between_places(place[:, ::2], h, n)
    at_columns = _between_places(place[:, 1::2], w, n)
    heights = jnp.einsum("bpqk,bwq->bpwk", heights, at_columns)
    heights = jnp.einsum("bpwk,bhp->bhwk", heights, at_rows)
    heights = heights.reshape(b, h, w, _KNOTS, 3)
    value = jnp.log(jnp.maximum(low, 0.0) + _DARK) - mean
    position = jnp.clip((value - _LOWEST) / _SPACING, 0.0, _KNOTS - 1.0)
    return sum(
        jnp.maximum(0.0, 1.0 - jnp.abs(position - i)) * heights[..., i, :]
        for i in range(_KNOTS)
    )


def _log_toe(low: Images, white: jax.Array) -> jax.Array:
    """What is added to the log gain of blacks, all channels alike: 0 where it is light.

    A picture with something white in it, lamps or a bright sky, has a black that is
    meant; with no white it is dark because too little light fell on it, and there is
    something in its darkest parts.
    """
    white = jnp.clip(white, 0.0, 1.0)
    power = low.mean(-1, keepdims=True) ** 2 + 1e-8
    return jnp.log(power / (power + (_BLACK * white**3) ** 2))


def _between_places(ends: Ends, size: Any, count: int) -> jax.Array:
    """`[b, size, count]`: how much each of `count` places says at a pixel, linearly.

    `size` is an int, or while it is exported a symbolic dimension.
    """
    start, end = jnp.split(jnp.asarray(ends), 2, axis=1)
    at = start + (end - start) * (jnp.arange(size)[None] + 0.5) / size
    at = jnp.clip(at * count - 0.5, 0.0, count - 1.0)
    away = jnp.abs(at[..., None] - jnp.arange(count)[None, None])
    return jnp.maximum(0.0, 1.0 - away)


class DualGridNetwork(DualGlobalNetwork):
    """Both modules in line: low, its thumbnail and its place; enhanced, denoised.

    As `DualGlobalNetwork`, except that its methods take a place too.
    """

    phases = ("scene", "enhance", "denoise", "joint", "supervised")
    sees_place = True
    only_for_dark = False

    def setup(self) -> None:
        self.enhancement = GlobalEnhancement(
            CurveGrid(self.dtype), self.max_gain, _MIN_GAIN, self.dtype
        )
        self.denoising = GlobalDenoising(self.dtype)
