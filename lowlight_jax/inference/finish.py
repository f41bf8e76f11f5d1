"""What is done to a result before it is saved: mixing, sharpening, saturation.

Contract: `[h, w, c]`, c = 3 (sRGB) or 1 (gray), uint8, uint16 (full range) or floating
point in [0, 1]; the same shape and dtype out, clipped, then rounded. Where nothing is
to be done the image itself is returned.
"""

import numpy as np
from numpy.typing import DTypeLike

from lowlight_jax.checks import as_image, number, same_shape

_LUMA = np.array([[0.299], [0.587], [0.114]])  # Rec. 601
_UNSHARP_SIGMA_PX = 1.5
MOST_UNSHARP = MOST_SATURATION = 3.0


def blend(image: np.ndarray, result: np.ndarray, strength: float) -> np.ndarray:
    """From `image` at strength 0 to `result`, of the same shape and dtype, at 1.

    Raises:
      ValueError: an image is none, shapes or types differ, or strength is not 0 to 1.
    """
    image, result = as_image(image), as_image(result)
    same_shape("a mixture", image, result)
    if image.dtype != result.dtype:
        raise ValueError(
            f"a mixture needs two images of one dtype, found {image.dtype} and "
            f"{result.dtype}: convert one of them first"
        )
    strength = number("strength", strength, 0, 1)
    if strength == 1:
        return result
    given = _as_float(image)
    return _as_dtype(given + strength * (_as_float(result) - given), image.dtype)


def finish(
    image: np.ndarray, *, unsharp: float = 0.0, saturation: float = 1.0
) -> np.ndarray:
    """Sharpens the luma and scales the distance of the colours from it.

    Args:
      image: as the module's head tells.
      unsharp: how much of the difference between the luma and its Gaussian (1.5 px) is
        added to every channel, so that no coloured fringes come; 0 (none) to 3.
      saturation: factor, 0 to 3; 0 is gray, 1 none. A gray image has no saturation.
    Raises:
      ValueError: the image is none, or a value is out of its range.
    """
    image = as_image(image, batches=False)
    unsharp = number("unsharp", unsharp, 0, MOST_UNSHARP)
    saturation = number("saturation", saturation, 0, MOST_SATURATION)
    gray = image.shape[-1] == 1
    if not image.size or unsharp == 0 and (saturation == 1 or gray):
        return image
    samples = _as_float(image)
    luma = samples if gray else samples @ _LUMA.astype(samples.dtype)
    result = luma + saturation * (samples - luma)
    if unsharp:
        import cv2  # heavy, and only for this

        blurred = cv2.GaussianBlur(luma[..., 0], (0, 0), _UNSHARP_SIGMA_PX)
        result += unsharp * (luma - blurred.reshape(luma.shape))
    return _as_dtype(result, image.dtype)


def converted(image: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """The image as another of the types that the module's head names."""
    if image.dtype == dtype:
        return image
    return _as_dtype(_as_float(image), np.dtype(dtype))


def _as_float(image: np.ndarray) -> np.ndarray:
    samples = image.astype(np.result_type(image.dtype, np.float32))
    return samples / _full(image.dtype)


def _as_dtype(samples: np.ndarray, dtype: np.dtype) -> np.ndarray:
    scaled = np.clip(samples, 0, 1) * _full(dtype)
    rounded = np.rint(scaled) if np.issubdtype(dtype, np.integer) else scaled
    return rounded.astype(dtype)


def _full(dtype: np.dtype) -> int:
    return np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
