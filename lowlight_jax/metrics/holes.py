"""How well holes were filled, measured inside them alone."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import UInt8

from lowlight_jax.metrics.contract import check_images, check_pair
from lowlight_jax.metrics.host import Codes, HostPerImage, score_on_host


def psnr_holes(pred: ArrayLike, target: ArrayLike, mask: ArrayLike) -> HostPerImage:
    """Peak signal-to-noise ratio over the pixels of the holes.

    Args:
      pred: `[b, h, w, c]`, c = 3 or 1.
      target: the undamaged image, same shape.
      mask: `[b, h, w, 1]`, not 0 in holes.
    Returns:
      `[b]` dB; 100 where the holes are identical: the mean square error, of values in
      [0, 1], is floored at 1e-10. Float64, or float32 under `jit`.
    Raises:
      ValueError: shapes differ, not floating point in [0, 1], or there are no holes;
        under `jit` that is NaN.
    """
    pred, target = check_pair("psnr_holes", pred, target)
    mask = check_images("psnr_holes", mask, channels=(1,))
    if jnp.shape(mask) != (*jnp.shape(pred)[:3], 1):
        raise ValueError(
            f"psnr_holes needs a mask of the images' size, found {jnp.shape(mask)} for "
            f"{jnp.shape(pred)}"
        )
    return score_on_host(
        _psnr_holes,
        pred,
        target,
        mask,
        metric="psnr_holes",
        undefined="its mask has no holes",
    )


def _psnr_holes(pred: Codes, target: Codes, mask: UInt8[np.ndarray, "h w 1"]) -> float:
    inside = mask[..., 0] > 0
    if not inside.any():
        return float("nan")
    difference = (pred[inside].astype(np.float64) - target[inside]) / 255
    return float(-10 * np.log10(max(np.mean(difference**2), 1e-10)))
