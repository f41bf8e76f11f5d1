"""How noisy an image is, without a target.

Contract: `[b, h, w, c]` float32, c = 3 or 1, sRGB in [0, 1]; `[b]` float32 out.
"""

import jax.numpy as jnp

from lowlight_jax.metrics.contract import Sizes, compiled_metric, pixel_mean
from lowlight_jax.ops.colour import luma
from lowlight_jax.types import Images, PerImage


@compiled_metric(min_side_px=3)
def noise_level(image: Images, *, size: Sizes | None = None) -> PerImage:
    """Standard deviation of the noise, in 8-bit code units, of the Rec. 601 luma.

    The luma is filtered by the difference of two Laplacians, which no plane and no
    quadratic surface passes; what is left is noise, and the finest texture too: the
    number compares versions of one scene better than it compares scenes.

    Args:
      image: `[b, h, w, c]` float32, sRGB in [0, 1], sides of 3 px and more.
      size: of padded images, see `contract`.
    Returns:
      `[b]` from 0, lower is cleaner; s for a flat image with Gaussian noise of s codes
      in its luma (independent noise of s codes in R, G and B is 0.669 s in luma).
    Raises:
      ValueError: a side is below 3 px, or not `[b, h, w, 1 or 3]` floating
        point in [0, 1].
    Source: Immerkaer 1996, "Fast noise variance estimation", eq. 3,
      doi:10.1006/cviu.1996.0060.
    """
    y = luma(image)[..., 0] * 255
    # [1 -2 1] along h, then along w.
    y = y[:, :-2] - 2 * y[:, 1:-1] + y[:, 2:]
    y = y[:, :, :-2] - 2 * y[:, :, 1:-1] + y[:, :, 2:]
    return jnp.sqrt(jnp.pi / 2) / 6 * pixel_mean(jnp.abs(y), size, border_px=2)
