"""Cutting an image of any size into windows of a few fixed shapes.

Windows overlap by the network's reach on every side, so that what is kept of them
agrees exactly with the whole image, memory does not grow with the image, and 100 sizes
compile a handful of shapes.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lowlight_jax.tasks.task import Network

# Height and width in pixels, overlap included. 400x600 and 1080x1920, either way up,
# fit without waste at an overlap of 24 or 48. Time per pixel hardly depends on the
# shape, the overlap does.
TILE_SHAPES = (
    (96, 96),
    (192, 192),
    (384, 384),
    (448, 648),
    (648, 448),
    (496, 696),
    (696, 496),
    (576, 576),
    (1128, 1008),
    (1008, 1128),
    (1176, 1056),
    (1056, 1176),
)
Shape = tuple[int, int]


class Tile(NamedTuple):
    """A window of an image and the part of it that is kept, in pixels.

    Attributes:
      top, left: of the window in the image; negative where it begins outside.
      height, width: of the window.
      rows, columns: of the image that are kept.
      inside: the kept part as a pair of slices of the window.
    """

    top: int
    left: int
    height: int
    width: int
    rows: slice
    columns: slice

    @property
    def inside(self) -> tuple[slice, slice]:
        return (
            slice(self.rows.start - self.top, self.rows.stop - self.top),
            slice(self.columns.start - self.left, self.columns.stop - self.left),
        )


def overlap_px(network: "Network") -> int:
    """The network's reach, rounded up to its stride so that tiles stay in phase."""
    return -(-network.receptive_radius_px // network.stride) * network.stride


def choose_tile_shape(
    h: int, w: int, overlap: int, shapes: Sequence[Shape] = TILE_SHAPES
) -> Shape:
    """The shape that covers `[h, w]` with the fewest pixels in all."""

    def pixels(tile: Shape) -> float:
        height, width = tile[0] - 2 * overlap, tile[1] - 2 * overlap
        if min(height, width) <= 0:
            return math.inf
        return math.ceil(h / height) * math.ceil(w / width) * math.prod(tile)

    return min(shapes, key=pixels)


def plan_tiles(
    h: int, w: int, overlap: int, shapes: Sequence[Shape] = TILE_SHAPES
) -> Iterator[Tile]:
    """Tiles of one shape whose kept parts cover `[h, w]`, each pixel once."""
    shape = choose_tile_shape(h, w, overlap, shapes)
    height, width = (side - 2 * overlap for side in shape)
    for top in range(0, h, height):
        for left in range(0, w, width):
            yield Tile(
                top - overlap,
                left - overlap,
                *shape,
                slice(top, min(top + height, h)),
                slice(left, min(left + width, w)),
            )
