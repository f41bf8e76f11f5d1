"""The loss of networks that return an image and nothing else.

Contract: takes float32 `[b, h, w, 3]` images; returns a scalar, the mean over the
batch, and, for the log, each unweighted term by name.
"""

import dataclasses

import jax.numpy as jnp
from jax.typing import ArrayLike

from lowlight_jax.losses.colour import colour_difference
from lowlight_jax.losses.contract import check_pair
from lowlight_jax.losses.difference import absolute_difference
from lowlight_jax.losses.structural import detail_loss, structural_loss
from lowlight_jax.losses.weighting import Terms, weighted
from lowlight_jax.types import PerImage, Scalar

_CHARBONNIER_EPSILON = 1e-3  # of MIRNet, Zamir et al. 2020, equation 9


@dataclasses.dataclass(frozen=True)
class SupervisedWeights:
    """Weights of the terms; 0 leaves a term out, uncomputed.

    Attributes:
      squared: mean squared error, paper B.
      charbonnier: of MIRNet.
      absolute: mean absolute error.
      structural: 1 - MS-SSIM.
      detail: 1 - SSIM.
      colour: `colour_difference`.
    """

    squared: float = 1.0
    charbonnier: float = 0.0
    absolute: float = 0.0
    structural: float = 0.0
    detail: float = 0.0
    colour: float = 0.0


def squared_error(pred: ArrayLike, target: ArrayLike) -> PerImage:
    """Mean of (pred - target)**2 of each image, `[b]`."""
    pred, target = check_pair("squared_error", pred, target)
    return jnp.mean(jnp.square(pred - target), axis=(1, 2, 3))


def charbonnier(pred: ArrayLike, target: ArrayLike) -> PerImage:
    """Mean of sqrt((pred - target)**2 + epsilon**2), epsilon = 1e-3, `[b]`.

    Source: Charbonnier et al. 1994; Zamir et al. 2020, equation 9.
    """
    pred, target = check_pair("charbonnier", pred, target)
    squared = jnp.square(pred - target) + _CHARBONNIER_EPSILON**2
    return jnp.mean(jnp.sqrt(squared), axis=(1, 2, 3))


def supervised_loss(
    pred: ArrayLike, high: ArrayLike, weights: SupervisedWeights
) -> tuple[Scalar, Terms]:
    """Weighted sum of the terms between a result and what it should be."""
    return weighted(
        {
            "squared": lambda: squared_error(pred, high),
            "charbonnier": lambda: charbonnier(pred, high),
            "absolute": lambda: absolute_difference(pred, high),
            "structural": lambda: structural_loss(pred, high),
            "detail": lambda: detail_loss(pred, high),
            "colour": lambda: colour_difference(pred, high),
        },
        dataclasses.asdict(weights),
    )
