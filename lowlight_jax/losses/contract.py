"""What every loss asks of its images, checked at the door in one sentence.

`[b, h, w, c]`, floating point, of one shape: nothing is broadcast. What a network made
(`pred`) may be any finite numbers, value and gradient are finite then; what it should
be is sRGB in [0, 1], give or take its noise. Values are looked at where they are known,
which they are not while a training step is compiled.
"""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike

from lowlight_jax.checks import in_range, same_shape
from lowlight_jax.types import Images

_LARGEST = 1e8  # of a prediction; a picture's sum of squares is finite then
_MOST_NOISE = 1.0  # beyond [0, 1], of a target


def check_pair(
    loss: str, pred: ArrayLike, target: ArrayLike, *, min_side_px: int = 1
) -> tuple[Images, Images]:
    """Both images as JAX arrays of float32 (or float64).

    Args:
      loss: its name, for the message.
      pred: what is judged.
      target: what it should be.
      min_side_px: the smallest side that the loss is defined for.
    Raises:
      ValueError: shapes differ, not `[b, h, w, c]`, too small, not floating point, NaN
        or infinities, or a target far outside [0, 1].
    """
    same_shape(loss, pred, target)
    shape = jnp.shape(pred)
    if len(shape) != 4 or min(shape[1:]) < 1:
        raise ValueError(
            f"{loss} needs images of shape [b, h, w, c], found shape {shape}: add a "
            "batch axis with image[None], or a channel axis with image[..., None]"
        )
    if min(shape[1:3]) < min_side_px:
        raise ValueError(
            f"{loss} needs images of at least {min_side_px}x{min_side_px} px, found "
            f"{shape[1]}x{shape[2]}: use larger crops"
        )
    for image in (pred, target):
        dtype = jnp.result_type(image)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"{loss} needs floating point images, found {dtype}: divide 8-bit "
                "images by 255"
            )
    in_range(f"{loss}: pred", pred, -math.inf, math.inf, expected="finite numbers")
    in_range(
        f"{loss}: target",
        target,
        -_MOST_NOISE,
        1 + _MOST_NOISE,
        expected="sRGB in [0, 1]",
    )
    pred, target = (
        jnp.asarray(i, jnp.promote_types(jnp.result_type(i), jnp.float32))
        for i in (pred, target)
    )
    return jnp.clip(pred, -_LARGEST, _LARGEST), target
