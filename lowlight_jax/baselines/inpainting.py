"""Classical repair of holes: uint8 `[h, w, c]` and mask in, the same image out.

The mask is `[h, w, 1]`, not 0 in holes. The image is unchanged outside them; one that
is nothing but a hole stays as it is.
"""

import functools
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import ArrayLike

from lowlight_jax.baselines.method import check_codes
from lowlight_jax.checks import as_mask

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
_RADIUS_PX = 3  # of the neighbourhood, as in OpenCV's example


def _method(function: Method) -> Method:
    """Checks the image and the mask at every call."""

    @functools.wraps(function)
    def checked(image: ArrayLike, mask: ArrayLike) -> np.ndarray:
        image = check_codes(image)
        mask = as_mask(mask, image)
        if mask.all():
            return image.copy()
        return function(image, mask).reshape(image.shape)

    return checked


@_method
def telea(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Weighted averages of known neighbours, from the border of a hole inwards.

    Source: Telea 2004, "An Image Inpainting Technique Based on the Fast Marching
    Method", in OpenCV's implementation.
    """
    return cv2.inpaint(image, mask, _RADIUS_PX, cv2.INPAINT_TELEA)


@_method
def navier_stokes(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lines of equal brightness continued into the hole, as a fluid would flow.

    Source: Bertalmio, Bertozzi, Sapiro 2001, "Navier-Stokes, Fluid Dynamics, and Image
    and Video Inpainting", in OpenCV's implementation.
    """
    return cv2.inpaint(image, mask, _RADIUS_PX, cv2.INPAINT_NS)


@_method
def biharmonic(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The smoothest surface across the hole that continues value and slope.

    Source: Damelin, Hoang 2018, "On Surface Completion and Image Inpainting by
    Biharmonic Functions", in scikit-image's implementation.
    """
    from skimage.restoration import inpaint_biharmonic

    holes = mask[..., 0] > 0
    filled = inpaint_biharmonic(image / 255, holes, channel_axis=-1)
    filled = np.uint8(np.rint(255 * np.clip(filled, 0, 1)))
    return np.where(holes[..., None], filled, image)


METHODS = {
    "Telea": telea,
    "Navier-Stokes": navier_stokes,
    "biharmonic": biharmonic,
}
