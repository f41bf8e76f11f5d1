"""The dual network for real photographs: gain by a grid of curves, then learnt noise.

A backlit scene needs one gain for the person and another for the sky. So the coarse
illumination of this member of the dual family is not one curve for the picture, as in
`dual_global`, but one for each of 8 by 8 places, all read off one thumbnail of the
whole picture and interpolated between the places. A curve acts on a pixel's own value,
so it leaves no halo at the edge of the sky; and the grid is the same for every window
of a picture, so that tiles agree.
Source: ours; the bilateral grid of curves is that of Gharbi et al. 2017, "Deep
Bilateral Learning for Real-Time Image Enhancement" (HDRNet), with curves in place of
colour matrices. All sizes are chosen.
Height and width must be multiples of `dual_global.STRIDE`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lowlight_jax.models.dual_global import (
    DualGlobalNetwork,
    GlobalDenoising,
    GlobalEnhancement,
)
from lowlight_jax.models.layers import Conv
from lowlight_jax.models.scene import (
    log_value,
    on_curves_of_places,
    statistics,
    tiles_of,
)
from lowlight_jax.types import Images, Places, Thumbnails

_BLACK = 6 / 255  # of a picture with white in it: half the gain is taken away
_WHITEST = 8  # of 1024 tiles
_MIN_GAIN = 0.5  # a bright sky may become darker, as in a fusion of exposures
_KNOTS = 8  # of a curve
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
        tiles = tiles_of(thumbnail)
        b, n = tiles.means.shape[:2]

        def conv(features: int, name: str, **options) -> Conv:
            return Conv(features, name=name, dtype=self.dtype, **options)

        scene = nn.relu(conv(64, "hidden", kernel_px=1)(statistics(tiles)))
        level = jnp.broadcast_to(tiles.level, (b, n, n, 1))
        x = jnp.concatenate([tiles.means, tiles.maxima, level], axis=-1)
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
        curve = on_curves_of_places(heights, log_value(low, tiles), place)
        log_gain = curve - tiles.mean - 1.0
        white = tiles.light.max((3, 4, 5)).reshape(b, -1)
        white = jax.lax.top_k(white, _WHITEST)[0].mean(1)
        return log_gain, _log_toe(low, white.reshape(b, 1, 1, 1))


def _log_toe(low: Images, white: jax.Array) -> jax.Array:
    """What is added to the log gain of blacks, all channels alike: 0 where it is light.

    A picture with something white in it, lamps or a bright sky, has a black that is
    meant; with no white it is dark because too little light fell on it, and there is
    something in its darkest parts.
    """
    white = jnp.clip(white, 0.0, 1.0)
    power = low.mean(-1, keepdims=True) ** 2 + 1e-8
    return jnp.log(power / (power + (_BLACK * white**3) ** 2))


class DualGridNetwork(DualGlobalNetwork):
    """`DualGlobalNetwork` with `CurveGrid`; its methods take a place too."""

    phases = ("scene", "enhance", "denoise", "joint", "supervised")
    sees_place = True
    only_for_dark = False

    def setup(self) -> None:
        self.enhancement = GlobalEnhancement(
            CurveGrid(self.dtype), self.max_gain, _MIN_GAIN, dtype=self.dtype
        )
        self.denoising = GlobalDenoising(dtype=self.dtype)
