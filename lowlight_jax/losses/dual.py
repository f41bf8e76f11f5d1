"""Total losses of the dual network's two modules, and of both together.

Contract: takes float32 `[b, h, w, 3]` images; returns a scalar, the mean over the
batch, and, for the log, each unweighted term by name.
Source: paper A, formulas 5-14.
"""

import dataclasses

from lowlight_jax.losses.colour import colour_difference
from lowlight_jax.losses.difference import absolute_difference, root_mean_square
from lowlight_jax.losses.structural import (
    detail_loss,
    ms_ssim_distance,
    structural_loss,
)
from lowlight_jax.losses.two_way import forward_constraint, reverse_constraint
from lowlight_jax.losses.weighting import Terms, weighted
from lowlight_jax.types import Denoised, DualOutput, Enhanced, Images, Scalar


@dataclasses.dataclass(frozen=True)
class EnhancementWeights:
    """Weights of formulas 5 and 11; 0 leaves a term out, uncomputed.

    Attributes:
      structural: S(high, enhanced), formula 9.
      forward: formula 10.
      reverse: formula 12.
      square: `root_mean_square` of high - enhanced; chosen, not in the paper.
      colour: `colour_difference`; chosen, not in the paper.
      coarse: the whole loss again, on the coarse stage's result; chosen.
    """

    structural: float = 1.0
    forward: float = 1.0
    reverse: float = 1.0
    square: float = 0.0
    colour: float = 0.0
    coarse: float = 0.5


@dataclasses.dataclass(frozen=True)
class DenoisingWeights:
    """Weights of formula 6; 0 leaves a term out, uncomputed.

    Attributes:
      forward: S(high, noisy - noise), formula 13.
      reverse: S(noisy, high + noise), formula 14.
      detail: 1 - SSIM(high, noisy - noise), one scale; chosen: MS-SSIM gives its
        finest scale, the one where noise is, a twentieth of its weight.
      pixel: |high - (noisy - noise)|; chosen: MS-SSIM alone leaves brightness and
        colour of flat areas free.
      square: `root_mean_square` of high - (noisy - noise); chosen.
      colour: `colour_difference`; chosen, not in the paper.
      coarse: the whole loss again, on the first pass's result; chosen.
    """

    forward: float = 1.0
    reverse: float = 1.0
    detail: float = 0.0
    pixel: float = 0.0
    square: float = 0.0
    colour: float = 0.0
    coarse: float = 0.5


def enhancement_loss(
    enhanced: Enhanced, low: Images, high: Images, weights: EnhancementWeights
) -> tuple[Scalar, Terms]:
    """Formula 5: structural + two-way constraint, on the fine and the coarse stage."""
    by_name = dataclasses.asdict(weights)

    def one_stage(pred: Images, illumination: Images) -> tuple[Scalar, Terms]:
        return weighted(
            {
                "structural": lambda: structural_loss(pred, high),
                "forward": lambda: forward_constraint(illumination, low, high),
                "reverse": lambda: reverse_constraint(illumination, low, high),
                "square": lambda: root_mean_square(pred, high),
                "colour": lambda: colour_difference(pred, high),
            },
            by_name,
        )

    loss, terms = one_stage(enhanced.pred, enhanced.illumination)
    if weights.coarse and enhanced.coarse_pred is not enhanced.pred:
        coarse_loss, _ = one_stage(enhanced.coarse_pred, enhanced.coarse_illumination)
        terms["coarse"] = coarse_loss
        loss = loss + weights.coarse * coarse_loss
    return loss, terms


def denoising_loss(
    denoised: Denoised, noisy: Images, high: Images, weights: DenoisingWeights
) -> tuple[Scalar, Terms]:
    """Formula 6: structural losses forward and reverse, of both passes."""
    by_name = dataclasses.asdict(weights)

    def one_pass(pred: Images, noise: Images) -> tuple[Scalar, Terms]:
        return weighted(
            {
                "forward": lambda: structural_loss(pred, high),
                "reverse": lambda: ms_ssim_distance(high + noise, noisy),
                "detail": lambda: detail_loss(pred, high),
                "pixel": lambda: absolute_difference(pred, high),
                "square": lambda: root_mean_square(pred, high),
                "colour": lambda: colour_difference(pred, high),
            },
            by_name,
        )

    loss, terms = one_pass(denoised.pred, denoised.noise)
    if weights.coarse:
        coarse_loss, _ = one_pass(denoised.coarse_pred, denoised.coarse_noise)
        terms["coarse"] = coarse_loss
        loss = loss + weights.coarse * coarse_loss
    return loss, terms


def joint_loss(
    output: DualOutput,
    low: Images,
    high: Images,
    enhancement: EnhancementWeights,
    denoising: DenoisingWeights,
) -> tuple[Scalar, Terms]:
    """Both losses on one pass through both modules; chosen, not in the paper."""
    loss_e, terms_e = enhancement_loss(output.enhanced, low, high, enhancement)
    loss_d, terms_d = denoising_loss(
        output.denoised, output.enhanced.pred, high, denoising
    )
    terms = {f"enhance_{name}": term for name, term in terms_e.items()}
    terms |= {f"denoise_{name}": term for name, term in terms_d.items()}
    return loss_e + loss_d, terms
