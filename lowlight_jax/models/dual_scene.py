"""The dual network that knows scenes again: gain by curve and map, then learnt noise.

For benchmarks whose test shows scenes of the training, as LOL's official one does: what
the light of a scene should be is remembered, where `dual_global` tells it from
statistics that are alike for many scenes. On scenes never seen, or lit in another way,
it is worse (docs/results.md). Its coarse illumination is a curve for each channel and a
map of 32 by 32 tiles, both read off a thumbnail of the whole picture; it is told where
in that picture its window lies.
Source: ours; all sizes are chosen.
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
from lowlight_jax.models.layers import Conv, ConvTransposed
from lowlight_jax.models.scene import (
    log_value,
    on_curve,
    over_window,
    statistics,
    tiles_of,
)
from lowlight_jax.types import Images, Places, Thumbnails

_KNOTS = 8  # of a curve
_SMALL = nn.initializers.normal(1e-3)  # an untrained layer then gives almost 0


class SceneLight(nn.Module):
    """The coarse stage: log gain by a curve of a pixel's value and a map of places.

    The curves are read off statistics of the thumbnail and off a memory: a dense layer
    over features that keep their place, which knows scenes again and gives them the
    light that they had in training. The map corrects, tile by tile, what the curves
    make of the thumbnail. With both 0 the thumbnail's mean becomes exp(-1).
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, low: Images, thumbnail: Thumbnails, place: Places
    ) -> tuple[Images, jax.Array]:
        def conv(features: int, name: str, **options) -> Conv:
            return Conv(features, name=name, dtype=self.dtype, **options)

        def up(features: int, name: str) -> ConvTransposed:
            return ConvTransposed(features, name=name, dtype=self.dtype)

        tiles = tiles_of(thumbnail)
        b, n = tiles.means.shape[:2]
        level = jnp.broadcast_to(tiles.level, (b, n, n, 1))
        x = jnp.concatenate([tiles.means, tiles.maxima, level], axis=-1)
        x = nn.relu(conv(8, "tiles")(x))
        x = nn.relu(conv(12, "to_half", stride=2)(x))
        x = nn.relu(conv(16, "to_quarter", stride=2)(x))
        x = nn.relu(conv(8, "to_eighth", stride=2)(x))
        known = nn.relu(conv(64, "memory", kernel_px=1)(x.reshape(b, 1, 1, -1)))
        scene = nn.relu(conv(32, "hidden", kernel_px=1)(statistics(tiles)))
        scene = jnp.concatenate([scene, known], axis=-1)
        heights = conv(3 * _KNOTS, "heights", kernel_px=1, kernel_init=_SMALL)(scene)
        heights = heights.astype(jnp.float32)

        curved = jnp.exp(tiles.means + on_curve(heights, tiles.means) - 1.0)
        curved = 4.0 * jnp.minimum(curved, 2.0) - 2.0
        x = jnp.concatenate([curved, tiles.means, level], axis=-1)
        whole = nn.relu(conv(16, "map")(x))
        half = nn.relu(conv(16, "map_to_half", stride=2)(whole))
        x = nn.relu(conv(20, "map_to_quarter", stride=2)(half))
        x = x + conv(20, "map_show_scene", kernel_px=1)(scene)
        x = x + nn.relu(conv(20, "map_quarter")(x))
        x = nn.relu(up(16, "map_up_half")(x)) + half
        x = nn.relu(up(16, "map_up_whole")(x)) + whole
        x = nn.relu(conv(16, "map_merge")(x))
        of_tiles = conv(3, "map_end", kernel_init=_SMALL)(x).astype(jnp.float32)

        log_gain = on_curve(heights, log_value(low, tiles)) - tiles.mean - 1.0
        log_gain = log_gain + over_window(of_tiles, place, *low.shape[1:3])
        return log_gain, jnp.float32(0.0)


class DualSceneNetwork(DualGlobalNetwork):
    """`DualGlobalNetwork` with `SceneLight`, and less to denoise with.

    Its methods take a place too.
    """

    phases = ("scene", "enhance", "denoise", "joint", "supervised")
    sees_place = True

    def setup(self) -> None:
        self.enhancement = GlobalEnhancement(
            SceneLight(self.dtype), self.max_gain, features=24, dtype=self.dtype
        )
        self.denoising = GlobalDenoising(20, 28, 24, self.dtype)
