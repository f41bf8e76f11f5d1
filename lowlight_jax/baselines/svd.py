"""SVD: groups of similar patches are matrices of low rank but for their noise.

Contract: `lowlight_jax.baselines.method`.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from lowlight_jax.baselines import patches, tone
from lowlight_jax.baselines.method import Range, method
from lowlight_jax.runtime.progress import track

_SIZE_PX = 8
_STEP_PX = 5
_RADIUS_PX = 15
_GROUP = 32  # similar patches, the reference among them
_BATCH = 512  # groups at a time, to bound the memory

_PASSES = 2
_FEEDBACK = np.float32(0.3)  # of what it removed that the image gets back
_NOISE_SCALE = 0.45  # of the noise that is then estimated to be left
_COLOUR_THRESHOLD = 1.5  # of a component's mean noise energy; 3 deviations above it


@method
def svd(
    image: np.ndarray, *, sigma_u8: Annotated[float, Range(0, 100)] = 0.0
) -> np.ndarray:
    """Equalises the histogram, then removes the noise from groups of similar patches.

    The mean of the channels is denoised by `denoise`, and two differences of colour in
    the same groups, each in the components that the mean has there.

    Args:
      image: uint8 `[h, w, c]`.
      sigma_u8: of the noise after equalisation, in the mean of the channels and in each
        difference; that is sigma / sqrt(3) for independent noise sigma in each channel.
        0 estimates it in each of the three.
    Source: Guo, Zhang, Zhang, Liu 2016, doi:10.1109/TCSVT.2015.2416631; histogram
    equalisation before it.
    """
    planes = patches.to_planes(tone.histogram_equalisation(image))
    return patches.from_planes(_denoise(planes, sigma_u8))


def denoise(image: np.ndarray, *, sigma_u8: float) -> np.ndarray:
    """Removes white Gaussian noise: of each group the smallest singular values go.

    As many go as have, in sum of squares, the energy of the noise. Overlapping patches
    are averaged, those of low rank with more weight; some of what was removed is given
    back, and all is done once more with the noise that is left.

    Args:
      image: float32 `[h, w]`, code values from 0 to 255 and the noise.
      sigma_u8: of the noise; 0 estimates it.
    Returns:
      float32 `[h, w]`, not clipped; a constant image, and one smaller than a patch of
      8x8, as it is.
    Source: Guo, Zhang, Zhang, Liu 2016, doi:10.1109/TCSVT.2015.2416631.
    Differs: a group's mean stays out of its matrix, so that a dark one does not vanish
    in the noise; sizes and factors are the same for every sigma.
    """
    image, sigma_u8 = patches.check_plane(image, sigma_u8)
    return _denoise(image[None], sigma_u8)[0]


def _denoise(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Planes `[c, h, w]`; similar patches are those of the first."""
    if min(noisy.shape[1:]) < _SIZE_PX:
        return noisy.copy()
    sigmas = [sigma or patches.estimate_sigma(plane) for plane in noisy]
    planes, left = noisy, sigmas
    for i in range(_PASSES):
        if i:
            planes = planes + _FEEDBACK * (noisy - planes)
            removed = np.square(noisy - planes).mean((1, 2))
            left = _NOISE_SCALE * np.sqrt(np.maximum(np.square(sigmas) - removed, 0))
        planes = _truncate(planes, left, start=i / _PASSES, stop=(i + 1) / _PASSES)
    return planes


def _truncate(
    planes: np.ndarray,
    sigmas: Sequence[float] | np.ndarray,
    *,
    start: float,
    stop: float,
) -> np.ndarray:
    """One pass; `start` and `stop` as of `track`."""
    positions, _ = patches.match(
        planes[0],
        size_px=_SIZE_PX,
        step_px=_STEP_PX,
        radius_px=_RADIUS_PX,
        count=_GROUP,
    )
    canvases = [patches.Canvas(planes[0].shape, size_px=_SIZE_PX) for _ in planes]
    for first in track(range(0, len(positions), _BATCH), start=start, stop=stop):
        batch = positions[first : first + _BATCH]
        vectors = None
        for plane, sigma, canvas in zip(planes, sigmas, canvases, strict=True):
            groups = patches.extract(plane, batch, size_px=_SIZE_PX)
            means = groups.mean((1, 2), keepdims=True)
            groups -= means
            noise = np.float32(sigma**2 * _SIZE_PX**2)  # of one component, its mean
            if vectors is None:
                # Left singular vectors, in rows, from the smallest value on.
                values, vectors = np.linalg.eigh(groups @ groups.swapaxes(1, 2))
                vectors = vectors.swapaxes(1, 2)
                kept = np.cumsum(values, axis=1) > noise * groups.shape[1]
                components = vectors @ groups
            else:
                components = vectors @ groups
                kept = np.square(components).sum(2) > _COLOUR_THRESHOLD * noise
            components *= kept[..., None]
            groups = vectors.swapaxes(1, 2) @ components + means
            weights = np.maximum(1 - kept.mean(1), 1 / kept.shape[1])
            canvas.add(batch, groups, weights[:, None].astype(np.float32))
    return np.stack([canvas.plane() for canvas in canvases])
