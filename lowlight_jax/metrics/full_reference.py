"""Fidelity to a target: PSNR, SSIM, MS-SSIM.

Contract: two `[b, h, w, c]` float32 images of one shape, c = 3 or 1, sRGB in [0, 1];
`[b]` float32 out, higher is better. All can be differentiated, with finite gradients.
With 3 channels the channels are measured apart and averaged ("rgb"); published tables
quantise to 8 bits first, which is the caller's part.

SSIM here is `dm_pix.ssim`. The terms in `lowlight_jax.ops.structure`, which the losses
and MS-SSIM use because they are many times faster, equal it to 3e-5.
"""

import dm_pix
import jax
import jax.numpy as jnp

from lowlight_jax.metrics.contract import Sizes, compiled_metric, pixel_mean
from lowlight_jax.ops.structure import (
    MS_SSIM_WEIGHTS,
    WINDOW_PX,
    min_side_px,
    ms_ssim_terms,
    weighted_product,
)
from lowlight_jax.types import Images, PerImage

_MSE_FLOOR = 1e-10  # 100 dB


@compiled_metric()
def psnr_rgb(pred: Images, target: Images, *, size: Sizes | None = None) -> PerImage:
    """Peak signal-to-noise ratio over all pixels and channels, peak 1.

    Args:
      pred: `[b, h, w, c]` float32, sRGB in [0, 1].
      target: same shape.
      size: of padded images, see `contract`.
    Returns:
      `[b]` in dB; 100 for identical images: the mean square error is floored at 1e-10.
    Raises:
      ValueError: shapes differ, or not `[b, h, w, 1 or 3]` floating point in [0, 1].
    Source: as `skimage.metrics.peak_signal_noise_ratio` with data_range=1.
    """
    mse = pixel_mean(jnp.mean(jnp.square(pred - target), axis=3), size)
    return -10 * jnp.log10(jnp.maximum(mse, _MSE_FLOOR))


@compiled_metric(min_side_px=WINDOW_PX)
def ssim_rgb(pred: Images, target: Images, *, size: Sizes | None = None) -> PerImage:
    """Structural similarity: 11x11 Gaussian window of 1.5 px, no padding.

    Args:
      pred: `[b, h, w, c]` float32, sRGB in [0, 1], sides of 11 px and more.
      target: same shape.
      size: of padded images, see `contract`.
    Returns:
      `[b]` in [-1, 1], 1 for identical images; mean over channels and pixels.
    Raises:
      ValueError: shapes differ, a side is below 11 px, or not `[b, h, w, 1 or 3]`.
    Source: Wang et al. 2004, eq. 13, doi:10.1109/TIP.2003.819861, by `dm_pix.ssim`.
    """
    every = dm_pix.ssim(pred, target, return_map=True).astype(pred.dtype)
    return pixel_mean(jnp.mean(every, axis=3), size, border_px=WINDOW_PX - 1)


@compiled_metric(min_side_px=min_side_px(len(MS_SSIM_WEIGHTS)))
def ms_ssim_rgb(pred: Images, target: Images, *, size: Sizes | None = None) -> PerImage:
    """Multi-scale structural similarity, 5 scales.

    Args:
      pred: `[b, h, w, c]` float32, sRGB in [0, 1], sides of 161 px and more, odd too.
      target: same shape.
      size: of padded images, see `contract`.
    Returns:
      `[b]` in [0, 1], 1 for identical images; the product of each channel, averaged.
    Raises:
      ValueError: shapes differ, a side is below 161 px, or not `[b, h, w, 1 or 3]`.
    Source: Wang, Simoncelli, Bovik 2003; msssim.m 1.1 and `tf.image.ssim_multiscale`:
      an odd side is extended at its end before it is halved, negative terms count 0.
    """
    terms = ms_ssim_terms(pred, target, len(MS_SSIM_WEIGHTS), size)
    # Not jnp.maximum(terms, 0): its slope at 0 is not 0, and 0**(w - 1) is infinite.
    return weighted_product(jax.nn.relu(terms), jnp.asarray(MS_SSIM_WEIGHTS))
