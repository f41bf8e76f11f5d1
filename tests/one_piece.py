"""An image as one window, to compare tiles with."""

import numpy as np

from lowlight_jax.inference.tiles import plan_tiles
from lowlight_jax.ops.padding import reflected_window


def in_one_piece(
    image: np.ndarray, overlap: int, stride: int
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """What all tiles together see, and where the image is in it."""
    h, w = image.shape[:2]
    tiles = list(plan_tiles(h, w, overlap, stride))
    assert len(tiles) > 1, "one tile alone proves nothing"
    top, left = tiles[0][:2]
    bottom, right = tiles[-1].top + tiles[-1].height, tiles[-1].left + tiles[-1].width
    window = reflected_window(image, top, left, bottom - top, right - left)
    return window, (slice(-top, h - top), slice(-left, w - left))
