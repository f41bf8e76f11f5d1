"""The loss of a network that repairs holes; contract as in `losses.supervised`."""

import dataclasses

import jax.numpy as jnp
from jax.typing import ArrayLike

from lowlight_jax.checks import same_shape
from lowlight_jax.losses.contract import check_pair
from lowlight_jax.losses.structural import detail_loss
from lowlight_jax.losses.weighting import Terms, weighted
from lowlight_jax.types import Images, Mask, PerImage, Scalar


@dataclasses.dataclass(frozen=True)
class RepairWeights:
    """Weights of the terms; 0 leaves a term out, uncomputed.

    Attributes:
      absolute: mean absolute error inside the holes.
      squared: mean squared error inside the holes.
      detail: 1 - SSIM of the whole image.
    """

    absolute: float = 1.0
    squared: float = 0.0
    detail: float = 0.0


def mean_in_holes(values: Images, holes: Mask) -> PerImage:
    """Mean of `values` `[b, h, w, c]` where `holes` `[b, h, w, 1]` is 1; 0 without."""
    area = jnp.maximum(holes.sum((1, 2, 3)), 1.0) * values.shape[-1]
    return (values * holes).sum((1, 2, 3)) / area


def repair_loss(
    pred: ArrayLike, target: ArrayLike, holes: Mask, weights: RepairWeights
) -> tuple[Scalar, Terms]:
    """Weighted sum of the terms between a repaired image and the undamaged one."""
    pred, target = check_pair("repair_loss", pred, target)
    same_shape("repair_loss, its mask,", holes, pred[..., :1])
    difference = pred - target
    return weighted(
        {
            "absolute": lambda: mean_in_holes(jnp.abs(difference), holes),
            "squared": lambda: mean_in_holes(jnp.square(difference), holes),
            "detail": lambda: detail_loss(pred, target),
        },
        dataclasses.asdict(weights),
    )
