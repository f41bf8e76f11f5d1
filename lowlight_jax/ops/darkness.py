"""How far a photograph needs light; numpy alone.

A network that was trained on dark pictures alone takes every shadow for one of them, so
its effect is multiplied by this. Source: ours; chosen.
"""

import numpy as np

# Of white: LOL's dark pictures have means below 0.31, normal exposures around 0.45.
BRIGHT_MEAN, FADING = 0.42, 0.1


def darkness(image: np.ndarray) -> float:
    """1 for a photograph that needs light, 0 for one that is bright already.

    Falls from 1 to 0 while the mean of all pixels rises from 0.32 to 0.42 of white.

    Args:
      image: unsigned integers of full range, or floating point in [0, 1].
    """
    integer = np.issubdtype(image.dtype, np.integer)
    mean = image.mean(dtype=np.float64) / (np.iinfo(image.dtype).max if integer else 1)
    return float(np.clip((BRIGHT_MEAN - mean) / FADING, 0.0, 1.0))
