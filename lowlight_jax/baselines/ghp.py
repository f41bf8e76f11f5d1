"""GHP: removes noise and keeps as much texture as the gradient histogram says there is.

Contract: `lowlight_jax.baselines.method`. Needs the extra `[baselines]`.
"""

from typing import Annotated

import numpy as np

from lowlight_jax.baselines import patches, tone
from lowlight_jax.baselines.method import Range, method
from lowlight_jax.runtime.progress import track

_LEAST_SIGMA = 0.1  # in code values; rounding to them alone makes 0.29

_PASSES = 2
_FEEDBACK = 0.3  # share of what it removed that an image gets back for the next pass
_NOISE_SCALE = 0.6  # of the noise that is then estimated to be left

_SIZE_PX = 7
_STEP_PX = 3
_RADIUS_PX = 10
_GROUP = 16  # similar patches, itself among them
_SIMILARITY = 3  # noise variances of difference at which a patch weighs 1 / e
_MOST_CLUSTERS = 40
_LEAST_PER_CLUSTER = 1500
_THRESHOLD = 0.8  # sqrt(2) for one patch alone; here the overlapping ones help
_BATCH = 1024  # patches at a time, to bound the memory

_GRADIENT_STEPS = 2
_STEP_SIZE = np.float32(0.08)  # of the descent; it is stable below 0.25
_BINS = 256  # of gradient magnitudes; one for each code value
_SHAPES = np.arange(0.2, 2.05, 0.1)
_SCALES = np.geomspace(0.01, 60, 60)


@method
def ghp(
    image: np.ndarray, *, sigma_u8: Annotated[float, Range(0, 100)] = 0.0
) -> np.ndarray:
    """Equalises the histogram, then removes the noise and keeps the texture.

    The mean of the channels is denoised by `denoise`, and two differences of colour the
    same way without the gradient term, as texture is seen in the brightness.

    Args:
      image: uint8 `[h, w, c]`.
      sigma_u8: of the noise after equalisation, in the mean of the channels and in each
        difference; that is sigma / sqrt(3) for independent noise sigma in each channel.
        0 estimates it in each of the three by a median; where equalisation amplified
        the noise more than elsewhere, some remains.
    Source: Zuo, Zhang, Song, Zhang, Gao 2014, doi:10.1109/TIP.2014.2316423; histogram
    equalisation before it.
    """
    _scikit_learn()  # if it is missing, any image tells
    planes = patches.to_planes(tone.histogram_equalisation(image))
    shares = np.linspace(0, 1, len(planes) + 1)
    clean = [
        _denoise(plane, sigma_u8, texture=i == 0, start=shares[i], stop=shares[i + 1])
        for i, plane in enumerate(planes)
    ]
    return patches.from_planes(np.stack(clean))


def denoise(image: np.ndarray, *, sigma_u8: float) -> np.ndarray:
    """Removes white Gaussian noise, but not the gradients that were below it.

    Each pass shrinks the coefficients of similar patches, in the principal components
    of their cluster, towards the mean of the group. Then it moves the gradients, in
    their present order, to the histogram of the clean image.

    Args:
      image: float32 `[h, w]`, code values from 0 to 255 and the noise.
      sigma_u8: of the noise; 0 estimates it.
    Returns:
      float32 `[h, w]`, not clipped; a constant image, and one smaller than a patch of
      7x7, as it is.
    Source: Zuo, Zhang, Song, Zhang, Gao 2014, doi:10.1109/TIP.2014.2316423, first in
    CVPR 2013; its sparse coding is that of Dong, Zhang, Shi, Li 2013, IEEE Transactions
    on Image Processing 22(4):1620.
    Differs: two passes, which rebuild all patches of a group, for many that rebuild
    one; clusters are those of the groups' means; a pass ends with the gradients, in the
    paper it begins with them; gradients across and down each have a histogram, fitted
    by maximum likelihood.
    """
    image, sigma_u8 = patches.check_plane(image, sigma_u8)
    return _denoise(image, sigma_u8, texture=True)


def _denoise(
    noisy: np.ndarray,
    sigma: float | np.floating,
    *,
    texture: bool,
    start: float = 0.0,
    stop: float = 1.0,
) -> np.ndarray:
    """`denoise`, without the gradient term too; `start` and `stop` as of `track`."""
    if min(noisy.shape) < _SIZE_PX or noisy.min() == noisy.max():
        return noisy.copy()
    sigma = sigma or patches.estimate_sigma(noisy)
    if sigma < _LEAST_SIGMA:
        return noisy.copy()
    if texture:
        wanted = [_clean_magnitudes(np.diff(noisy, axis=i), sigma) for i in (0, 1)]
    image, left = noisy, sigma
    middles = np.linspace(start, stop, _PASSES + 1)
    for i in range(_PASSES):
        if i:
            image = image + np.float32(_FEEDBACK) * (noisy - image)
            left = sigma**2 - np.mean(np.square(noisy - image))
            left = max(_NOISE_SCALE * np.sqrt(max(left, 0)), _LEAST_SIGMA)
        image = _code_sparsely(image, left, start=middles[i], stop=middles[i + 1])
        for _ in range(_GRADIENT_STEPS if texture else 0):
            image = _step_towards(image, wanted)
    return image


# Sparse coding


def _code_sparsely(
    image: np.ndarray, sigma: float | np.floating, *, start: float, stop: float
) -> np.ndarray:
    """Shrinks the codes of similar patches towards their mean, and averages overlaps.

    A code's threshold is sigma**2 over the standard deviation of the clean ones, which
    is that of the group less the noise's.
    """
    positions, distances = patches.match(
        image, size_px=_SIZE_PX, step_px=_STEP_PX, radius_px=_RADIUS_PX, count=_GROUP
    )
    weights = np.exp(-distances / np.float32(_SIMILARITY * sigma**2))
    weights /= weights.sum(1, keepdims=True)
    batches = [np.s_[i : i + _BATCH] for i in range(0, len(positions), _BATCH)]
    means = np.empty((len(positions), 1, _SIZE_PX**2), np.float32)
    for batch in batches:
        groups = patches.extract(image, positions[batch], size_px=_SIZE_PX)
        means[batch] = weights[batch, None] @ groups
    labels, bases = _cluster(means[:, 0])
    canvas = patches.Canvas(image.shape, size_px=_SIZE_PX)
    for batch in track(batches, start=start, stop=stop):
        groups = patches.extract(image, positions[batch], size_px=_SIZE_PX)
        codes = (groups - means[batch]) @ bases[labels[batch]]
        spread = np.square(codes).mean(1, keepdims=True) - np.float32(sigma**2)
        spread = np.sqrt(np.maximum(spread, np.float32(1e-3)))
        threshold = np.float32(_THRESHOLD * sigma**2) / spread
        codes -= np.clip(codes, -threshold, threshold)
        rebuilt = codes @ bases[labels[batch]].swapaxes(1, 2) + means[batch]
        canvas.add(positions[batch], rebuilt, np.float32(1))
    return canvas.plane()


def _cluster(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of float32 `[n, p]`: the cluster of each, `[n]`, and the bases, `[k, p, p]`."""
    samples = samples - samples.mean(1, keepdims=True)
    count = min(_MOST_CLUSTERS, len(samples) // _LEAST_PER_CLUSTER + 1)
    cluster, threadpoolctl = _scikit_learn()
    kmeans = cluster.MiniBatchKMeans(
        count, batch_size=2048, max_iter=10, n_init=1, random_state=0
    )
    # The batches are small: more threads wait for each other, for long on busy cores.
    with threadpoolctl.threadpool_limits(1, "openmp"):
        labels = kmeans.fit_predict(samples)
    members = [samples[labels == i] for i in range(count)]
    return labels, np.stack([np.linalg.eigh(m.T @ m)[1] for m in members])


def _scikit_learn():
    """Its clustering, and the thread limits that come with it."""
    try:
        import sklearn.cluster
        import threadpoolctl
    except ImportError as error:
        raise ImportError(
            "GHP needs scikit-learn; install it with "
            "pip install 'lowlight_jax[baselines]'"
        ) from error
    return sklearn.cluster, threadpoolctl


# Gradients


def _clean_magnitudes(
    noisy_gradient: np.ndarray, sigma: float | np.floating
) -> np.ndarray:
    """Histogram of the gradient's magnitude before noise sigma came to the image.

    The gradient is taken to be generalised Gaussian, of density exp(-|g/scale|**shape),
    and its noise Gaussian of sqrt(2) sigma; so their convolution is what was found.

    Args:
      noisy_gradient: of any shape, in code values.
      sigma: of the noise of the image, above 0.
    Returns:
      float64 `[_BINS]`, sums to 1; bin i is around i.
    """
    magnitudes = np.minimum(np.rint(np.abs(noisy_gradient)), _BINS - 1).astype(int)
    found = np.bincount(magnitudes.ravel(), minlength=_BINS)
    gradient = np.abs(np.arange(1 - _BINS, _BINS))
    noise = np.exp(-(gradient**2) / (4 * sigma**2))
    noise /= noise.sum()
    likeliest, best = -np.inf, None
    for shape in _SHAPES:
        for scale in _SCALES:
            density = np.exp(-((gradient / scale) ** shape))
            clean = _of_magnitude(density)
            noisy = _of_magnitude(np.convolve(density, noise, "same"))
            likelihood = found @ np.log(noisy + 1e-12)
            if likelihood > likeliest:
                likeliest, best = likelihood, clean
    return best


def _of_magnitude(density: np.ndarray) -> np.ndarray:
    """Normalised `[_BINS]` of a symmetric `[2 * _BINS - 1]`."""
    folded = density[_BINS - 1 :].copy()
    folded[0] /= 2  # 0 has one sign only
    return folded / folded.sum()


def _step_towards(image: np.ndarray, wanted: list[np.ndarray]) -> np.ndarray:
    """One step down |F(grad image) - grad image|^2, F(grad image) held fixed."""
    result = image.copy()
    for axis, histogram in enumerate(wanted):
        gradient = np.diff(image, axis=axis)
        missing = _STEP_SIZE * (_specify(gradient, histogram) - gradient)
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        result -= np.diff(np.pad(missing, ends), axis=axis)
    return result


def _specify(gradient: np.ndarray, histogram: np.ndarray) -> np.ndarray:
    """F: magnitudes of this histogram, in the order and with the signs they have."""
    order = np.argsort(np.abs(gradient), axis=None, kind="stable")
    shares = (np.arange(order.size) + 0.5) / order.size
    edges = np.r_[0, np.arange(_BINS) + 0.5]
    magnitudes = np.empty(order.size, np.float32)
    magnitudes[order] = np.interp(shares, np.r_[0, np.cumsum(histogram)], edges)
    return np.sign(gradient) * magnitudes.reshape(gradient.shape)
