"""Lightness order error: does a brighter pixel stay brighter?

Contract: two `[b, h, w, c]` float images of one shape, c = 3 or 1, sRGB in [0, 1],
rounded to 8 bits here; `[b]` float64 out (see `lowlight_jax.metrics.host`).
"""

import numpy as np
from jax.typing import ArrayLike

from lowlight_jax.metrics.contract import check_pair
from lowlight_jax.metrics.host import Codes, HostPerImage, score_on_host

_SAMPLES = 100  # a side


def loe(pred: ArrayLike, source: ArrayLike) -> HostPerImage:
    """Lightness order error on a grid of 100x100 samples.

    For every pair of samples, is the order of their lightness max(R, G, B) the same in
    both images? The mean over samples of how many of the others are out of order.

    Args:
      pred: `[b, h, w, c]`, the enhanced image.
      source: same shape: usually the dark image itself, so that no target is needed.
    Returns:
      `[b]` in [0, 10000], lower is better, 0 for identical images; symmetric. Float64,
      or float32 under `jit`. Cannot be differentiated.
    Raises:
      ValueError: shapes differ, or not `[b, h, w, 1 or 3]` floating point in [0, 1].
    Source: loe100x100.m of BIMEF (Ying, Li, Gao 2017). The metric that the authors of
      NPE (Wang et al. 2013) compute samples otherwise and gives other numbers.
    """
    pred, source = check_pair("loe", pred, source)
    return score_on_host(_loe, pred, source, metric="loe")


def _loe(pred: Codes, source: Codes) -> float:
    first, second = _samples(pred), _samples(source)
    # Only the 256 x 256 joint histogram counts, not the 10^8 pairs. at_least[i, j]: how
    # many samples have lightness >= i in the first image and >= j in the second.
    histogram = np.zeros((256, 256), np.int64)
    np.add.at(histogram, (first, second), 1)
    at_least = histogram[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1]
    # Those at or above a sample in one image, but not in both.
    differs = at_least[:, :1] + at_least[:1, :] - 2 * at_least
    return float((histogram * differs).sum() / first.size)


def _samples(codes: Codes) -> np.ndarray:
    """Lightness of the nearest pixels to a regular grid, `[10000]`."""
    h, w, _ = codes.shape
    rows, columns = (
        np.rint(np.linspace(0, side - 1, _SAMPLES)).astype(int) for side in (h, w)
    )
    return codes.max(axis=2)[np.ix_(rows, columns)].ravel()
