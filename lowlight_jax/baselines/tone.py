"""Point operations and histogram methods: uint8 `[h, w, 3]` sRGB in, the same out."""

import cv2
import numpy as np


def gamma(image: np.ndarray, exponent: float = 0.4) -> np.ndarray:
    """(image / 255) ** exponent, by table."""
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[image]


def clahe(image: np.ndarray, clip_limit: float = 40.0, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of the lightness of Lab.

    Args:
      image: uint8 `[h, w, 3]`.
      clip_limit: OpenCV's; 40 is its default.
      tiles: on each side.
    Source: Zuiderveld 1994, in OpenCV's implementation.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    equaliser = cv2.createCLAHE(clip_limit, (tiles, tiles))
    lab[..., 0] = equaliser.apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
