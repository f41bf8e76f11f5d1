"""DWT-SVD: scales the coarse half of a wavelet transform as equalisation would.

Contract: `lowlight_jax.baselines.method`. Needs the extra `[baselines]`.
"""

import cv2
import numpy as np

from lowlight_jax.baselines.method import method

_WAVELET = "bior4.4"  # the 9/7 of JPEG 2000; Haar's would show as blocks of 2x2


@method
def dwt_svd(image: np.ndarray) -> np.ndarray:
    """Brightens as much as histogram equalisation does, and keeps the fine detail.

    A wavelet transform, of one level, splits the value of HSV, or the gray, into an
    approximation and details. xi is the ratio of the largest singular value of the
    approximation after histogram equalisation to that before. The paper's new
    approximation, U (xi S) V^T, is xi times the old one, as xi multiplies all singular
    values: so no more is computed. The details stay as they are.

    The channels of a pixel are multiplied by one factor, so hue and saturation stay.

    Args:
      image: uint8 `[h, w, c]`.
    Source: Demirel, Ozcinar, Anbarjafari 2010, IEEE Geoscience and Remote Sensing
    Letters 7(2):333.
    Differs: the wavelet is chosen here. Of colour the value is enhanced; where it is 0,
    the pixel becomes gray.
    """
    pywt = _pywavelets()
    value = image.max(2)
    approximation, details = pywt.dwt2(np.float32(value), _WAVELET)
    equalised, _ = pywt.dwt2(np.float32(cv2.equalizeHist(value)), _WAVELET)
    largest = np.linalg.norm(approximation, 2)
    xi = np.linalg.norm(equalised, 2) / largest if largest else 1
    bright = pywt.idwt2((xi * approximation, details), _WAVELET)
    bright = np.clip(bright[: value.shape[0], : value.shape[1]], 0, 255)[..., None]
    # The share of each channel in the value; black has no hue and becomes gray.
    share = np.where(value, 1 / np.maximum(value, 1), 0)[..., None] * image
    share += (value == 0)[..., None]
    return np.rint(bright * share).astype(np.uint8)


def _pywavelets():
    try:
        import pywt
    except ImportError as error:
        raise ImportError(
            "DWT-SVD needs PyWavelets; install it with "
            "pip install 'lowlight_jax[baselines]'"
        ) from error
    return pywt
