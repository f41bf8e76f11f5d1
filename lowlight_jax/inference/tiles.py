"""Cutting an image of any size into windows of a few fixed shapes.

The image is continued by a margin of its reflection, no more: there the network pads
with zeros, as it did at the borders of its training crops. Inside, windows overlap by
the network's reach, so that what is kept of them agrees exactly with the whole image.
So memory does not grow with the image, and 100 sizes compile a handful of shapes.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lowlight_jax.ops.padding import MARGIN_PX

if TYPE_CHECKING:
    from lowlight_jax.tasks.task import Network

Shape = tuple[int, int]


def _either_way_up(*shapes: Shape) -> tuple[Shape, ...]:
    """Each shape with its margin and, if not square, the other orientation."""
    turned = dict.fromkeys(s for h, w in shapes for s in ((h, w), (w, h)))
    return tuple((h + 2 * MARGIN_PX, w + 2 * MARGIN_PX) for h, w in turned)


# Height and width in pixels, overlap included. Sizes that are common fit without waste,
# 8 to 50 million pixels with a fifth; over sizes of all kinds it is a third. Time per
# pixel hardly depends on the shape; `dual_global` takes 300 bytes per pixel.
TILE_SHAPES = _either_way_up(
    (128, 128),
    (256, 256),
    (360, 640),
    (400, 600),
    (480, 648),
    (512, 512),
    (720, 1280),
    (816, 1080),
    (768, 912),
    (776, 1336),
    (848, 1120),
    (872, 936),
    (1080, 1080),
    (1080, 1920),
)
_MOST_PX = 1_100_000  # of a window of several: it bounds the memory of large pictures


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
    """The shape that covers `[h, w]` with the fewest pixels in all.

    Those above `_MOST_PX` are for images that fit them whole, if there are others.
    """

    def pixels(shape: Shape) -> float:
        counts = (
            _count(size, side, overlap)
            for size, side in zip((h, w), shape, strict=True)
        )
        return math.prod(counts) * math.prod(shape)

    fitting = [
        (height, width)
        for height, width in shapes
        if height * width <= _MOST_PX or (h <= height and w <= width)
    ]
    return min(fitting or shapes, key=pixels)


def plan_tiles(
    h: int,
    w: int,
    overlap: int,
    stride: int,
    shapes: Sequence[Shape] = TILE_SHAPES,
    margin: int = MARGIN_PX,
) -> Iterator[Tile]:
    """Tiles of one shape whose kept parts cover `[h, w]`, each pixel once.

    What is kept of a window lies `overlap` or more pixels from its sides, except where
    they are the image's and its margin's.

    Args:
      h, w: of the image, in pixels.
      overlap, stride: of the network, in pixels; shapes are multiples of the stride.
      margin: of reflection around the image, in pixels.
    """
    sizes = [-(-(side + 2 * margin) // stride) * stride for side in (h, w)]
    height, width = choose_tile_shape(*sizes, overlap, shapes)
    for top, rows in _along(h, sizes[0], height, overlap, stride, margin):
        for left, columns in _along(w, sizes[1], width, overlap, stride, margin):
            yield Tile(top, left, height, width, rows, columns)


def _count(size: int, side: int, overlap: int) -> float:
    """Windows of `side` that cover `size`; infinitely many where overlap leaves 0."""
    if size <= side:
        return 1
    if side <= 2 * overlap:
        return math.inf
    return math.ceil((size - 2 * overlap) / (side - 2 * overlap))


def _along(
    size: int, padded: int, side: int, overlap: int, stride: int, margin: int
) -> Iterator[tuple[int, slice]]:
    """Where windows start along an axis, evenly and in phase, and what they keep."""
    count = int(_count(padded, side, overlap))
    rest, gaps = max(padded - side, 0), max(count - 1, 1)
    starts = [i * rest // gaps // stride * stride - margin for i in range(count)]
    # Neighbours share the pixels between the end of one and the start of the next.
    cuts = [(a + side + b) // 2 for a, b in zip(starts, starts[1:], strict=False)]
    for start, first, last in zip(starts, [0, *cuts], [*cuts, size], strict=True):
        if first < min(last, size):
            yield start, slice(first, min(last, size))
