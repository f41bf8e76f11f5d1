"""Black bars at the borders of a picture, which are no part of the scene."""

import numpy as np

from lowlight_jax.checks import unit_range

# 8-bit codes: JPEG leaves a black bar this uneven next to the scene, and all but 0 in
# the rest of it. At the borders of very dark photographs rows are as black as the
# former: of LOL's, saved as JPEG of quality 60 to 95, 22 of 1160 have some, and no bar.
_MOST_MEAN, _MOST_PEAK = 1.5, 8.0
_FLAT_MEAN, _LEAST_FLAT = 0.25, 0.6  # and how much of a bar is flat


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
        if not (bar[0] or bar[-1]):  # means are slow, and rarely wanted
            inside.append(slice(0, len(bar)))
            continue
        mean = image.mean(across, dtype=np.float64) * (255.0 / full)
        scene = np.flatnonzero(~bar | (mean > _MOST_MEAN))
        if not len(scene):
            inside.append(slice(None))
            continue
        first, last = scene[0], scene[-1] + 1
        flat = mean <= _FLAT_MEAN
        if flat[:first].sum() < _LEAST_FLAT * first:
            first = 0
        if flat[last:].sum() < _LEAST_FLAT * (len(flat) - last):
            last = len(flat)
        inside.append(slice(int(first), int(last)))
    return inside[0], inside[1]
