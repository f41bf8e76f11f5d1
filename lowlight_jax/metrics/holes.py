"""How well holes were repaired, measured inside them alone."""

import numpy as np


def psnr_holes(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio over the pixels of the holes, peak 255.

    Args:
      pred: uint8 `[h, w, c]`.
      target: the undamaged image, same shape.
      mask: uint8 `[h, w, 1]`, not 0 in holes.
    Returns:
      dB; 100 where the holes are identical: the mean square error, of values in
      [0, 1], is floored at 1e-10. NaN without holes.
    """
    inside = mask[..., 0] > 0
    if not inside.any():
        return float("nan")
    difference = (pred[inside].astype(np.float64) - target[inside]) / 255
    return float(-10 * np.log10(max(np.mean(difference**2), 1e-10)))
