"""Spatial filters: smoothing, sharpening, edges; pictures are mirrored at the border.

Contract: `lowlight_jax.baselines.method`.
"""

from typing import Annotated, Literal

import cv2
import numpy as np

from lowlight_jax.baselines.method import Range, method
from lowlight_jax.baselines.tone import Level, luma

Sigma = Annotated[float, Range(0.1, 100)]


@method
def gaussian(image: np.ndarray, *, sigma_px: Sigma = 1.0) -> np.ndarray:
    """Smooths every channel with a Gaussian.

    Args:
      image: uint8 `[h, w, c]`.
      sigma_px: standard deviation.
    Source: Gonzalez, Woods, Digital Image Processing, 3.5, in OpenCV's implementation.
    """
    return _blurred(image, sigma_px)


@method
def median(
    image: np.ndarray, *, size_px: Annotated[int, Range(1, 99, step=2)] = 3
) -> np.ndarray:
    """Median of a square around the pixel, every channel.

    Args:
      image: uint8 `[h, w, c]`.
      size_px: side of the square, odd.
    Source: Tukey 1977, in OpenCV's implementation.
    """
    return cv2.medianBlur(image, size_px).reshape(image.shape)


@method
def unsharp_mask(
    image: np.ndarray,
    *,
    amount: Annotated[float, Range(0, 10)] = 1.0,
    sigma_px: Sigma = 1.5,
) -> np.ndarray:
    """Adds to every channel its difference from a smoothed copy.

    Args:
      image: uint8 `[h, w, c]`.
      amount: how much of the difference.
      sigma_px: standard deviation of the Gaussian.
    Source: Gonzalez, Woods, Digital Image Processing, 3.6.
    """
    samples = image.astype(np.float32)
    sharp = samples + np.float32(amount) * (samples - _blurred(samples, sigma_px))
    return np.rint(np.clip(sharp, 0, 255)).astype(np.uint8)


@method
def edges(
    image: np.ndarray,
    *,
    detector: Literal["sobel", "canny"] = "sobel",
    low: Level = 100,
    high: Level = 200,
) -> np.ndarray:
    """Edge map of the luma, the same in every channel.

    Args:
      image: uint8 `[h, w, c]`.
      detector: sobel gives the gradient's magnitude, 255 at a full step from black to
        white; canny thin lines of 255.
      low: Canny's lower threshold; sobel has none.
      high: Canny's upper threshold.
    Source: Sobel, Feldman 1968; Canny 1986, doi:10.1109/TPAMI.1986.4767851; in OpenCV's
    implementation.
    """
    gray = np.ascontiguousarray(luma(image))
    if detector == "canny":
        edge_map = cv2.Canny(gray, low, high)
    else:
        across, down = (cv2.Sobel(gray, cv2.CV_32F, *d) for d in ((1, 0), (0, 1)))
        edge_map = np.rint(np.minimum(cv2.magnitude(across, down) / 4, 255))
    return np.repeat(edge_map.astype(np.uint8)[..., None], image.shape[2], 2)


def _blurred(image: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma_px).reshape(image.shape)
