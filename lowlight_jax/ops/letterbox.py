"""Black bars at the borders of a picture, which are no part of the scene."""

import numpy as np

from lowlight_jax.checks import unit_range

# 8-bit codes: JPEG leaves a black bar this uneven. LOL's darkest photographs have no
# row or column at the border that is as black.
_MOST_MEAN, _MOST_PEAK = 1.5, 8.0


def inside_bars(image: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns without black bars; all of them where nothing else is left.

    Args:
      image: `[h, w, c]`: unsigned integers of full range, or floating point in [0, 1].
    """
    image = unit_range("image", image)
    full = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1.0
    inside = []
    h = len(image)
    # Along the memory: numpy's maximum over other axes is 50 times slower.
    peaks = image.reshape(h, -1).max(1), image.max(0).max(1)
    for axis in (0, 1):
        across = (1 - axis, 2)
        peak = peaks[axis] * (255.0 / full)
        bar = peak <= _MOST_PEAK
        if bar[0] or bar[-1]:  # means are slow, and rarely wanted
            bar &= image.mean(across, dtype=np.float64) * (255.0 / full) <= _MOST_MEAN
        scene = np.flatnonzero(~bar)
        inside.append(slice(scene[0], scene[-1] + 1) if len(scene) else slice(None))
    return inside[0], inside[1]
