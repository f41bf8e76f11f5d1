"""LSSC: similar patches are sums of the same few atoms of a learnt dictionary.

Contract: `lowlight_jax.baselines.method`. Needs the extra `[baselines]`.
"""

import warnings
from typing import Annotated

import numpy as np

from lowlight_jax.baselines import patches, tone
from lowlight_jax.baselines.method import Range, method
from lowlight_jax.runtime.progress import track

_LEAST_SIGMA = 0.1  # in code values; rounding to them alone makes 0.29

_SIZE_PX = 8
_STEP_PX = 4
_RADIUS_PX = 15
_FEWEST, _FIRST, _MOST = 16, 24, 48  # patches of a group; in the first pass all _FIRST
_SIMILARITY = 0.4  # of the noise variance, up to which more than _FEWEST are similar
_MOST_ATOMS = _SIZE_PX**2 // 2  # in one group
_BATCH = 256  # groups at a time, to bound the memory

_FREQUENCIES = 16  # on each side; their cosines are the first dictionary
_SAMPLES = 6000  # patches that a dictionary is learnt from
_LASSO_ITERATIONS = 50  # more make the dictionary no better
_PENALTIES = 2.5, 0.2  # of sigma, on noisy and on denoised patches


@method
def lssc(
    image: np.ndarray, *, sigma_u8: Annotated[float, Range(0, 100)] = 0.0
) -> np.ndarray:
    """Equalises the histogram, then codes groups of similar patches in common atoms.

    The mean of the channels is denoised by `denoise`, and two differences of colour
    with the same groups and dictionary.

    Args:
      image: uint8 `[h, w, c]`.
      sigma_u8: of the noise after equalisation, in the mean of the channels and in each
        difference; that is sigma / sqrt(3) for independent noise sigma in each channel.
        0 estimates it in each of the three.
    Source: Mairal, Bach, Ponce, Sapiro, Zisserman 2009, doi:10.1109/ICCV.2009.5459452;
    histogram equalisation before it.
    """
    _scikit_learn_decomposition()  # if it is missing, any image tells
    planes = patches.to_planes(tone.histogram_equalisation(image))
    return patches.from_planes(_denoise(planes, sigma_u8))


def denoise(image: np.ndarray, *, sigma_u8: float) -> np.ndarray:
    """Removes white Gaussian noise: what a group's common atoms leave is taken for it.

    The first pass groups noisy patches and codes them in a dictionary learnt from such.
    The second groups by the result, learns from it again, and codes the noisy patches.

    Args:
      image: float32 `[h, w]`, code values from 0 to 255 and the noise.
      sigma_u8: of the noise; 0 estimates it.
    Returns:
      float32 `[h, w]`, not clipped; a constant image, and one smaller than a patch of
      8x8, as it is.
    Source: Mairal, Bach, Ponce, Sapiro, Zisserman 2009, doi:10.1109/ICCV.2009.5459452.
    Differs: 256 atoms, from cosines, for 512 from other photographs; the code of a
    group is found greedily in both passes (simultaneous orthogonal matching pursuit),
    up to the mean energy of the noise; groups have at least 16 patches and at most 48.
    """
    image, sigma_u8 = patches.check_plane(image, sigma_u8)
    return _denoise(image[None], sigma_u8)[0]


def _denoise(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Planes `[c, h, w]`; groups and dictionary are of the first."""
    if min(noisy.shape[1:]) < _SIZE_PX:
        return noisy.copy()
    sigmas = [sigma or patches.estimate_sigma(plane) for plane in noisy]
    guide_sigma = max(sigmas[0], _LEAST_SIGMA)
    planes, dictionary = noisy, _cosines()
    for i, (count, penalty) in enumerate(zip((_FIRST, _MOST), _PENALTIES, strict=True)):
        dictionary = _learn(planes[0], dictionary, penalty=penalty * guide_sigma)
        positions, distances = patches.match(
            planes[0],
            size_px=_SIZE_PX,
            step_px=_STEP_PX,
            radius_px=_RADIUS_PX,
            count=count,
        )
        similar = np.ones_like(distances)
        if i:
            limit = _SIMILARITY * guide_sigma**2
            similar[:, _FEWEST:] = distances[:, _FEWEST:] <= limit
        planes = np.stack(
            [
                _code_plane(
                    plane,
                    positions,
                    similar,
                    dictionary,
                    sigma,
                    start=(i + k / len(noisy)) / 2,
                    stop=(i + (k + 1) / len(noisy)) / 2,
                )
                for k, (plane, sigma) in enumerate(zip(noisy, sigmas, strict=True))
            ]
        )
    return planes


# The dictionary: atoms in rows, float32 `[atoms, _SIZE_PX**2]`, of length 1


def _cosines() -> np.ndarray:
    """More than there are pixels, without mean but for the first, which is constant."""
    frequencies = np.arange(_FREQUENCIES)[:, None] / _FREQUENCIES
    waves = np.cos(np.pi * frequencies * (np.arange(_SIZE_PX) + 0.5))
    waves[1:] -= waves[1:].mean(1, keepdims=True)
    atoms = np.kron(waves, waves)
    return np.float32(atoms / np.linalg.norm(atoms, axis=1, keepdims=True))


def _learn(plane: np.ndarray, dictionary: np.ndarray, *, penalty: float) -> np.ndarray:
    """Adapts all atoms but the first to patches of the plane, less their means."""
    positions = patches.references(plane.shape, size_px=_SIZE_PX, step_px=1)
    if len(positions) > _SAMPLES:
        random = np.random.default_rng(0)
        positions = random.choice(positions, _SAMPLES, replace=False)
    samples = patches.extract(plane, positions, size_px=_SIZE_PX)
    samples -= samples.mean(1, keepdims=True)
    learning = _scikit_learn_decomposition().MiniBatchDictionaryLearning(
        len(dictionary) - 1,
        alpha=penalty,
        max_iter=1,  # over all samples
        batch_size=256,
        fit_algorithm="cd",
        transform_max_iter=_LASSO_ITERATIONS,
        dict_init=dictionary[1:],
        random_state=0,
    )
    with warnings.catch_warnings():  # that the codes are not exact
        warnings.simplefilter("ignore")
        atoms = learning.fit(samples).components_
    lengths = np.linalg.norm(atoms, axis=1, keepdims=True)
    atoms = np.where(lengths > 0.1, atoms / np.maximum(lengths, 0.1), dictionary[1:])
    return np.concatenate([dictionary[:1], atoms]).astype(np.float32)


def _scikit_learn_decomposition():
    try:
        import sklearn.decomposition
    except ImportError as error:
        raise ImportError(
            "LSSC needs scikit-learn; install it with "
            "pip install 'lowlight_jax[baselines]'"
        ) from error
    return sklearn.decomposition


# Coding


def _code_plane(
    plane: np.ndarray,
    positions: np.ndarray,
    similar: np.ndarray,
    dictionary: np.ndarray,
    sigma: float,
    *,
    start: float,
    stop: float,
) -> np.ndarray:
    """Codes all groups and averages; `start` and `stop` as of `track`.

    Args:
      positions: `[n, k]`.
      similar: float32 `[n, k]`, 1 for the patches of a group and 0 for others.
    """
    canvas = patches.Canvas(plane.shape, size_px=_SIZE_PX)
    for first in track(range(0, len(positions), _BATCH), start=start, stop=stop):
        batch = np.s_[first : first + _BATCH]
        members = similar[batch, :, None]
        groups = patches.extract(plane, positions[batch], size_px=_SIZE_PX) * members
        pixels = members.sum((1, 2), keepdims=True) * np.float32(_SIZE_PX**2)
        means = groups.sum((1, 2), keepdims=True) / pixels
        groups -= means * members
        noise = np.float32(sigma**2) * pixels[:, 0, 0]
        canvas.add(
            positions[batch],
            _code(groups, dictionary, noise) + means,
            similar[batch],
        )
    return canvas.plane()


def _code(groups: np.ndarray, dictionary: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Simultaneous orthogonal matching pursuit: a group's patches share their atoms.

    Args:
      groups: float32 `[n, k, p]`; a patch of zeros has no say.
      dictionary: float32 `[atoms, p]`.
      noise: float32 `[n]`, sum of squares that may be left.
    Returns:
      The groups in the span of their atoms, `[n, k, p]`.
    """
    result = groups.copy()
    basis = np.zeros((len(groups), _MOST_ATOMS, groups.shape[2]), np.float32)
    active, rest = np.arange(len(groups)), groups
    for i in range(_MOST_ATOMS):
        going_on = np.square(rest).sum((1, 2)) > noise[active]
        result[active[~going_on]] -= rest[~going_on]
        active, rest = active[going_on], rest[going_on]
        if not active.size:
            return result
        # All products with all atoms are one large matrix product.
        products = rest.reshape(-1, rest.shape[2]) @ dictionary.T
        products = np.square(products, out=products).reshape(*rest.shape[:2], -1)
        atoms = dictionary[products.sum(1).argmax(1)]
        chosen = basis[active, :i]
        for _ in range(2):  # once is not orthogonal enough in float32
            shares = chosen @ atoms[..., None]
            atoms = atoms - (shares.swapaxes(1, 2) @ chosen)[:, 0]
        lengths = np.linalg.norm(atoms, axis=1, keepdims=True)
        atoms /= np.maximum(lengths, np.float32(1e-6))
        basis[active, i] = atoms
        rest = rest - (rest @ atoms[..., None]) * atoms[:, None]
    result[active] -= rest
    return result
