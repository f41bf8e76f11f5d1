"""Retinex: what is left of the logarithm of an image without that of its surround.

Contract: `lowlight_jax.baselines.method`. The published constants that bring the result
into a display's range depend on the picture; here percentiles do, as in Petro, Sbert,
Morel 2014 (doi:10.5201/ipol.2014.107).
"""

from typing import Annotated

import numpy as np
import scipy.fft

from lowlight_jax.baselines.method import Range, method

Sigma = Range(0.1, 1000)
Clipped = Annotated[float, Range(0, 49)]


@method
def ssr(
    image: np.ndarray,
    *,
    sigma_px: Annotated[float, Sigma] = 80.0,
    clip_percent: Clipped = 1.0,
) -> np.ndarray:
    """Single-scale Retinex of every channel.

    Args:
      image: uint8 `[h, w, c]`.
      sigma_px: standard deviation of the surround, a Gaussian.
      clip_percent: of all samples that become black, and as many white.
    Source: Jobson, Rahman, Woodell 1997, doi:10.1109/83.557356.
    """
    return _to_display(_retinex(image, (sigma_px,)), clip_percent, image)


@method
def msr(
    image: np.ndarray,
    *,
    sigmas_px: Annotated[tuple[float, ...], Sigma] = (15.0, 80.0, 250.0),
    clip_percent: Clipped = 1.0,
) -> np.ndarray:
    """Multi-scale Retinex of every channel: the mean of several surrounds.

    Args:
      image: uint8 `[h, w, c]`.
      sigmas_px: standard deviations of the surrounds.
      clip_percent: of all samples that become black, and as many white.
    Source: Jobson, Rahman, Woodell 1997, doi:10.1109/83.597272.
    """
    return _to_display(_retinex(image, sigmas_px), clip_percent, image)


@method
def msrcr(
    image: np.ndarray,
    *,
    sigmas_px: Annotated[tuple[float, ...], Sigma] = (15.0, 80.0, 250.0),
    alpha: Annotated[float, Range(1, 1e4)] = 125.0,
    clip_percent: Clipped = 1.0,
) -> np.ndarray:
    """Multi-scale Retinex with colour restoration.

    Args:
      image: uint8 `[h, w, c]`; of a gray one the result is that of `msr`.
      sigmas_px: standard deviations of the surrounds.
      alpha: strength of the restored colour in its logarithm.
      clip_percent: of all samples that become black, and as many white.
    Source: Jobson, Rahman, Woodell 1997, doi:10.1109/83.597272.
    Differs: multiplied from black upwards, not from the middle; there the colours of
    everything darker than its surround are reversed, and the picture looks gray.
    """
    samples = image.astype(np.float32) + 1
    colour = np.log(np.float32(alpha) * samples / samples.sum(-1, keepdims=True))
    result = _retinex(image, sigmas_px)
    result -= np.percentile(result, clip_percent)
    return _to_display(colour * result, clip_percent, image)


def _retinex(image: np.ndarray, sigmas_px: tuple[float, ...]) -> np.ndarray:
    """log(image + 1) - log(surround), mean over surrounds, float32 `[h, w, c]`."""
    result = np.empty(image.shape, np.float32)
    rows, columns = (
        np.pi * np.arange(n, dtype=np.float32) / n for n in image.shape[:2]
    )
    for channel in range(image.shape[2]):
        samples = image[..., channel].astype(np.float32) + 1
        spectrum = scipy.fft.dctn(samples)
        mean_log = 0
        for sigma in sigmas_px:
            # A Gaussian of any width on the mirrored image, whose spectrum is the DCT.
            kernel = [np.exp(-((sigma * angle) ** 2) / 2) for angle in (rows, columns)]
            surround = scipy.fft.idctn(spectrum * kernel[0][:, None] * kernel[1])
            mean_log += np.log(np.maximum(surround, 1)) / len(sigmas_px)
        result[..., channel] = np.log(samples) - mean_log
    return result


def _to_display(
    result: np.ndarray, clip_percent: float, image: np.ndarray
) -> np.ndarray:
    """One straight curve for all channels; the image itself if all is one value."""
    low, high = np.percentile(result, (clip_percent, 100 - clip_percent))
    if high - low < 1e-4:
        return image.copy()
    return np.uint8(np.rint(255 * np.clip((result - low) / (high - low), 0, 1)))
