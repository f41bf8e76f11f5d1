"""What every metric asks of its images, checked at the door in one sentence.

`[b, h, w, c]`, floating point, sRGB in [0, 1]; the range is not looked at, because
values are not known while a function is compiled.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike

from lowlight_jax.types import Images


def check_images(
    metric: str,
    image: ArrayLike,
    *,
    channels: Sequence[int] = (1, 3),
    min_side_px: int = 1,
) -> Images:
    """The images as a JAX array of float32 (or float64), or a `ValueError`.

    Args:
      metric: name of the metric, for the message.
      image: `[b, h, w, c]` array of JAX or numpy.
      channels: the numbers of channels that the metric is defined for.
      min_side_px: the smallest side that it is defined for.
    Raises:
      ValueError: wrong rank, type, number of channels, or too small.
    """
    shape, dtype = jnp.shape(image), jnp.result_type(image)
    if len(shape) != 4:
        raise ValueError(
            f"{metric} needs images of shape [b, h, w, c], found shape {shape}: "
            "add a batch axis with image[None], or a channel axis with image[..., None]"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"{metric} needs floating point images in [0, 1], found {dtype}: "
            "divide 8-bit images by 255"
        )
    if shape[3] not in channels:
        wanted = " or ".join(str(c) for c in channels)
        raise ValueError(
            f"{metric} needs {wanted} channels, found {shape[3]} in shape {shape}: "
            "drop the alpha channel, or repeat a grey one"
        )
    if min(shape[1:3]) < min_side_px:
        raise ValueError(
            f"{metric} needs images of at least {min_side_px}x{min_side_px} px, found "
            f"{shape[1]}x{shape[2]}: leave this metric out for images this small"
        )
    # bfloat16 and float16 would lose the last bits of a code value: widen them.
    return jnp.asarray(image, jnp.promote_types(dtype, jnp.float32))


def check_pair(
    metric: str,
    pred: ArrayLike,
    target: ArrayLike,
    *,
    channels: Sequence[int] = (1, 3),
    min_side_px: int = 1,
) -> tuple[Images, Images]:
    """Both images as `check_images` returns them, which must have the same shape.

    Raises:
      ValueError: shapes differ (nothing is broadcast), or as for `check_images`.
    """
    if jnp.shape(pred) != jnp.shape(target):
        raise ValueError(
            f"{metric} needs two images of one shape, found {jnp.shape(pred)} and "
            f"{jnp.shape(target)}: crop or resize one of them first"
        )
    pred = check_images(metric, pred, channels=channels, min_side_px=min_side_px)
    target = check_images(metric, target, channels=channels, min_side_px=min_side_px)
    return pred, target
