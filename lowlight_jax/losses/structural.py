"""The structural loss S(a, b) = 1 - MS-SSIM(a, b); paper A, formulas 7 and 8.

Contract: `[b, h, w, c]` float32 images in, `[b]` out. The metric, exactly as its
reference defines it, is `lowlight_jax.metrics.ms_ssim_rgb`.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from lowlight_jax.losses.contract import check_pair
from lowlight_jax.ops.structure import (
    MS_SSIM_WEIGHTS,
    WINDOW_PX,
    min_side_px,
    ms_ssim_terms,
    ssim_terms,
    usable_scales,
    weighted_product,
)
from lowlight_jax.types import Images, PerImage

# The power w < 1 has slope w * t**(w - 1), which grows without bound towards t = 0:
# the floor keeps the gradient finite, and that of the other scales alive.
_TERM_FLOOR = 1e-4


def structural_loss(pred: ArrayLike, target: ArrayLike) -> PerImage:
    """1 - MS-SSIM, with a finite gradient everywhere.

    Args:
      pred: `[b, h, w, c]` float32; not clipped here, may leave [0, 1].
      target: same shape.
    Returns:
      `[b]` in [0, 1), 0 for identical images.
    Raises:
      ValueError: shapes differ, or a side is below 21 px (two scales).
    Source: paper A, formulas 7, 8; Wang et al. 2003.
    Differs: terms are floored at 1e-4; below 161 px the first n weights, those of the
      scales that fit, are used, renormalised to sum 1 (81 px: 4, 41: 3, 21: 2).
    """
    return ms_ssim_distance(
        *check_pair("structural_loss", pred, target, min_side_px=min_side_px(2))
    )


def ms_ssim_distance(pred: Images, target: Images) -> PerImage:
    """`structural_loss` of images that both may leave [0, 1], as noisy ones do."""
    scales = usable_scales(min(pred.shape[1:3]))
    weights = jnp.asarray(MS_SSIM_WEIGHTS[:scales])
    if scales < len(MS_SSIM_WEIGHTS):
        weights = weights / weights.sum()
    terms = jnp.maximum(ms_ssim_terms(pred, target, scales), _TERM_FLOOR)
    return 1.0 - weighted_product(terms, weights)


def detail_loss(pred: ArrayLike, target: ArrayLike) -> PerImage:
    """1 - SSIM at full resolution alone, `[b]` in [0, 2]; images as above, from 11 px.

    Source: Wang et al. 2004; as a loss beside MS-SSIM: chosen.
    """
    pred, target = check_pair("detail_loss", pred, target, min_side_px=WINDOW_PX)
    ssim, _ = ssim_terms(pred, target)
    return 1.0 - ssim.mean(-1)
