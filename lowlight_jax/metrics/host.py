"""The way to metrics that are computed with numpy in float64.

They count orders or fit distributions, float32 loses the digits that matter, and TPUs
have no float64; none of them can be differentiated. Their input is what a file would
hold: images are clipped and rounded to 8-bit code values first.
"""

from collections.abc import Callable

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, UInt8

from lowlight_jax.metrics.contract import check_defined
from lowlight_jax.types import PerImage

HostPerImage = PerImage | Float[np.ndarray, " b"]
Codes = UInt8[np.ndarray, "h w c"]
AlikeInSize = Float[Array | np.ndarray, "b h w _"]  # masks too


def score_on_host(
    score: Callable[..., float], *images: AlikeInSize, metric: str, undefined: str = ""
) -> HostPerImage:
    """`score` of every image (or pair) of a batch, given its 8-bit code values.

    Args:
      score: function of one `[h, w, c]` uint8 array for each of `images`.
      images: `[b, h, w, c]` in [0, 1], all of one shape.
      metric: its name, for the message.
      undefined: why an image may have no score, which is NaN.
    Returns:
      `[b]` float64 numpy array; under `jit` and `vmap`, where the work is a callback to
      the host, a float32 JAX array, NaN for an image that is not finite.
    Raises:
      ValueError: an image has no score; under `jit` and `vmap` that is NaN.
    """

    def batch(*arrays: ArrayLike) -> np.ndarray:
        scores = []
        for pair in zip(*(np.asarray(array) for array in arrays), strict=True):
            # NaN has no code value; a diverged network must not look like an image.
            whole = all(np.isfinite(image).all() for image in pair)
            scores.append(score(*map(_to_codes, pair)) if whole else np.nan)
        return np.array(scores, np.float64)

    if not any(isinstance(image, jax.core.Tracer) for image in images):
        return check_defined(metric, batch(*images), undefined)
    result = jax.ShapeDtypeStruct(images[0].shape[:1], np.float32)
    return jax.pure_callback(
        lambda *arrays: batch(*arrays).astype(result.dtype),
        result,
        *images,
        vmap_method="sequential",
    )


def _to_codes(image: Float[np.ndarray, "h w c"]) -> Codes:
    return np.clip(np.rint(image.astype(np.float64) * 255), 0, 255).astype(np.uint8)
