"""How natural an image looks, without a target: NIQE and BRISQUE.

Contract: `[b, h, w, c]` float images, c = 3 or 1, sRGB in [0, 1], rounded to 8 bits
here; `[b]` float64 out (see `lowlight_jax.metrics.host`), lower is better.

Both fit generalised Gaussians to MSCN coefficients, (x - mu) / (sigma + 1) in a 7x7
Gaussian window, and to the products of neighbouring ones, at two scales. They follow
the authors' MATLAB releases to the last digit, with one exception: where a window is
constant, x - mu is there the rounding noise of one summation order, and flat dark
regions are full of it; here it is 0 (`_DEAD_BAND`).

The parameters are the authors'; their notice is natural_scene_statistics.txt.
"""

import functools
import math
from importlib import resources
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from lowlight_jax.metrics.contract import check_images
from lowlight_jax.metrics.host import Codes, HostPerImage, score_on_host

_DEAD_BAND = 1e-9  # code values; four orders of summation then agree to 1e-10
_BLOCK_PX = 96  # of NIQE
_BRISQUE_PX = 13
# MATLAB's rgb2gray, full range.
_GRAY_WEIGHTS = np.array(
    [0.29893602129377539, 0.58704307445112125, 0.11402090425510336]
)

Plane = np.ndarray  # [h, w] float64
Planes = np.ndarray  # [n, h, w] float64


def niqe(image: ArrayLike) -> HostPerImage:
    """Natural image quality evaluator: distance to the statistics of pristine images.

    Args:
      image: `[b, h, w, c]` in [0, 1], at least 96x192 px (or 192x96), better 6 blocks
        of 96x96; what is left at the right and the bottom is not looked at.
    Returns:
      `[b]` from 0 (natural photographs: 2 to 5), lower is better. Float64, or float32
      under `jit`. Not differentiable.
    Raises:
      ValueError: fewer than two blocks, not `[b, h, w, 1 or 3]` floating point in
        [0, 1], or fewer than two blocks with any detail; under `jit` that is NaN.
    Source: Mittal, Soundararajan, Bovik 2013, doi:10.1109/LSP.2012.2227726, by the
      authors' computequality.m: full-range grey, 96x96 blocks, all of them used.
    Differs: constant windows have coefficient 0 instead of rounding noise.
    """
    image = check_images("niqe", image, min_side_px=_BLOCK_PX)
    h, w = image.shape[1:3]
    if (h // _BLOCK_PX) * (w // _BLOCK_PX) < 2:
        raise ValueError(
            f"niqe needs two blocks of {_BLOCK_PX}x{_BLOCK_PX} px, found {h}x{w}: "
            "leave this metric out for images this small"
        )
    return score_on_host(
        _niqe,
        image,
        metric="niqe",
        undefined=f"fewer than two of its {_BLOCK_PX}x{_BLOCK_PX} blocks have detail",
    )


def brisque(image: ArrayLike) -> HostPerImage:
    """Blind spatial quality evaluator: regression to the opinions of human observers.

    Args:
      image: `[b, h, w, c]` in [0, 1], sides of 13 px and more: a window at each scale.
    Returns:
      `[b]`, nominally 0 (best) to 100, not clamped. Float64, or float32 under `jit`.
      Not differentiable.
    Raises:
      ValueError: a side is below 13 px, not `[b, h, w, 1 or 3]` floating point in
        [0, 1], or the image is black; under `jit` that is NaN.
    Source: Mittal, Moorthy, Bovik 2012, doi:10.1109/TIP.2012.2214050, by the authors'
      brisque_feature.m and their model.
    Differs: constant windows have coefficient 0 instead of rounding noise; features are
      not printed with 6 digits on their way to the model (5e-4 in the result).
    """
    return score_on_host(
        _brisque,
        check_images("brisque", image, min_side_px=_BRISQUE_PX),
        metric="brisque",
        undefined="it has no detail at all, it is black",
    )


@functools.cache
def _parameters() -> dict[str, np.ndarray]:
    path = resources.files("lowlight_jax.metrics") / "natural_scene_statistics.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _gray(codes: Codes) -> Plane:
    if codes.shape[2] == 1:
        return codes[..., 0].astype(np.float64)
    # Halves go up as in MATLAB, not to the even number.
    return np.floor(codes.astype(np.float64) @ _GRAY_WEIGHTS + 0.5)


def _niqe(codes: Codes) -> float:
    gray = _gray(codes)
    rows, columns = (side // _BLOCK_PX for side in gray.shape)
    gray = gray[: rows * _BLOCK_PX, : columns * _BLOCK_PX]
    features = []
    for block_px in (_BLOCK_PX, _BLOCK_PX // 2):
        blocks = _mscn(gray, "edge").reshape(rows, block_px, columns, block_px)
        features.append(
            _niqe_features(blocks.swapaxes(1, 2).reshape(-1, block_px, block_px))
        )
        gray = _halve(gray)
    features = np.concatenate(features, axis=1)

    # A block without detail has no fit but the first shape of the table, the rest NaN.
    # NaN is left out of the mean entry by entry and of the covariance block by block,
    # as the authors' nanmean and nancov do.
    complete = features[~np.isnan(features).any(axis=1)]
    if len(complete) < 2:
        return float("nan")
    parameters = _parameters()
    distance = np.nanmean(features, axis=0) - parameters["niqe_mean"]
    spread = (np.cov(complete, rowvar=False) + parameters["niqe_cov"]) / 2
    return float(np.sqrt(distance @ np.linalg.pinv(spread) @ distance))


def _niqe_features(blocks: Planes) -> np.ndarray:
    """18 features of each block, `[n, 18]`; neighbours wrap around inside a block."""
    fit = _fit_asymmetric(blocks)
    features = [fit.shape, (fit.left + fit.right) / 2 * fit.scale]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        fit = _fit_asymmetric(blocks * np.roll(blocks, shift, (1, 2)))
        features += [fit.shape, fit.mean, fit.left * fit.scale, fit.right * fit.scale]
    return np.stack(features, axis=1)


def _brisque(codes: Codes) -> float:
    gray = _gray(codes)
    features = []
    for _ in range(2):
        features.append(_brisque_features(_mscn(gray, "constant")[None]))
        gray = _halve(gray)
    parameters = _parameters()
    low, high = parameters["brisque_feature_range"].T
    # Not clipped to the range of the training images.
    scaled = 2 * (np.concatenate(features) - low) / (high - low) - 1
    square = ((parameters["brisque_support_vectors"] - scaled) ** 2).sum(axis=1)
    kernel = np.exp(-parameters["brisque_gamma"] * square)
    return float(
        parameters["brisque_coefficients"] @ kernel - parameters["brisque_rho"]
    )


def _brisque_features(plane: Planes) -> np.ndarray:
    """18 features of one plane `[1, h, w]`, `[18]`; neighbours wrap around."""
    features = [_fit_symmetric(plane), (plane**2).mean((1, 2))]
    for shift in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        fit = _fit_asymmetric(plane * np.roll(plane, shift, (1, 2)))
        features += [fit.shape, fit.mean, fit.left**2, fit.right**2]
    return np.concatenate(features)


def _mscn(plane: Plane, border: str) -> Plane:
    """Mean-subtracted contrast-normalised coefficients; border "edge" or "constant"."""
    offset = np.arange(-3, 4)
    window = np.exp(-(offset**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()

    def smooth(x: Plane) -> Plane:
        h, w = x.shape
        x = np.pad(x, 3, mode=border)
        x = sum(weight * x[i : i + h] for i, weight in enumerate(window))
        return sum(weight * x[:, i : i + w] for i, weight in enumerate(window))

    mean = smooth(plane)
    deviation = np.sqrt(np.abs(smooth(plane**2) - mean**2))
    difference = plane - mean
    difference[np.abs(difference) < _DEAD_BAND] = 0
    return difference / (deviation + 1)


def _halve(plane: Plane) -> Plane:
    """MATLAB's imresize(plane, 0.5): bicubic stretched to 8 pixels, mirrored border."""
    x = np.abs(np.arange(-3.5, 4)) / 2
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, far)
    weights /= weights.sum()
    for _ in range(2):  # rows, then columns
        size = (plane.shape[0] + 1) // 2
        padded = np.pad(plane, ((3, 4), (0, 0)), mode="symmetric")
        taps = (padded[i : i + 2 * size - 1 : 2] for i in range(8))
        plane = sum(w * tap for w, tap in zip(weights, taps, strict=True)).T
    return plane


class _Shapes(NamedTuple):
    """The generalised Gaussians among which the best is looked for."""

    shape: np.ndarray  # 2 is the Gaussian, 1 the Laplacian
    ratio: np.ndarray  # (E|x|)^2 / E[x^2], rises with the shape
    scale: np.ndarray  # scale parameter over standard deviation
    mean: np.ndarray  # E|x| over the scale parameter


class _Fit(NamedTuple):
    """The asymmetric Gaussian of each plane, `[n]` each."""

    shape: np.ndarray
    scale: np.ndarray  # scale parameter over standard deviation
    mean: np.ndarray
    left: np.ndarray  # root mean square of the values below 0
    right: np.ndarray  # and above


@functools.cache
def _shapes() -> _Shapes:
    shape = 0.2 + 0.001 * np.arange(9801)
    gamma = np.vectorize(math.gamma)  # scipy's takes longer to import than this to run
    gamma1, gamma2, gamma3 = gamma(1 / shape), gamma(2 / shape), gamma(3 / shape)
    return _Shapes(
        shape=shape,
        ratio=gamma2**2 / (gamma1 * gamma3),
        scale=np.sqrt(gamma1 / gamma3),
        mean=gamma2 / gamma1,
    )


def _nearest(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Index of the entry nearest to each value in a rising table; 0 for NaN."""
    above = np.clip(np.searchsorted(table, values), 1, len(table) - 1)
    nearer_below = values - table[above - 1] <= table[above] - values
    return np.where(np.isnan(values), 0, np.where(nearer_below, above - 1, above))


def _fit_symmetric(planes: Planes) -> np.ndarray:
    """Shape of the generalised Gaussian of each plane, `[n]`."""
    table = _shapes()
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (planes**2).mean((1, 2)) / np.abs(planes).mean((1, 2)) ** 2
    # Here the authors take the nearest in the inverse, which falls with the shape.
    index = _nearest(found, 1 / table.ratio[::-1])
    return table.shape[::-1][index]


def _fit_asymmetric(planes: Planes) -> _Fit:
    """A plane without values on one side: NaN, but the first shape of the table."""
    table = _shapes()
    square = planes**2
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (
            np.sqrt((square * side).sum((1, 2)) / side.sum((1, 2)))
            for side in (planes < 0, planes > 0)
        )
        found = np.abs(planes).mean((1, 2)) ** 2 / square.mean((1, 2))
        skew = left / right
        found *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    index = _nearest(found, table.ratio)
    scale = table.scale[index]
    mean = (right - left) * scale * table.mean[index]
    return _Fit(table.shape[index], scale, mean, left, right)
