"""A colour term: small networks otherwise buy a low error with grey pictures."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from lowlight_jax.losses.contract import check_pair
from lowlight_jax.types import PerImage


def colour_difference(
    pred: ArrayLike, target: ArrayLike, *, block_px: int = 8
) -> PerImage:
    """Mean absolute difference of the colour of blocks, brightness taken out.

    The colour of a pixel is its channels less their mean; it is averaged over blocks so
    that noise, which has the most colour of all, does not count.

    Args:
      pred: `[b, h, w, 3]` float32; h and w at least `block_px`, the rest is left out.
      target: same shape.
      block_px: side of the blocks.
    Returns:
      `[b]`, 0 where all blocks have the target's colour.
    Source: ours; chosen.
    """
    pred, target = check_pair("colour_difference", pred, target, min_side_px=block_px)
    b, h, w, c = pred.shape
    rows, columns = h // block_px, w // block_px
    difference = (pred - target)[:, : rows * block_px, : columns * block_px]
    blocks = difference.reshape(b, rows, block_px, columns, block_px, c).mean((2, 4))
    colour = blocks - blocks.mean(-1, keepdims=True)
    return jnp.mean(jnp.abs(colour), axis=(1, 2, 3))
