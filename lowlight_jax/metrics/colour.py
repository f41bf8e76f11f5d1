"""Colour: CIE differences, the BT.2124 difference, saturation.

Contract: two `[b, h, w, 3]` float32 images of one shape, sRGB in [0, 1]; `[b]` float32
out, the mean over pixels. All can be differentiated: the gradient is finite, and 0
where two colours are equal. The conversions to Lab and linear light are in
`lowlight_jax.ops.colour`.
"""

import math
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lowlight_jax.checks import number
from lowlight_jax.metrics.contract import Sizes, compiled_metric, pixel_mean
from lowlight_jax.ops.colour import Lab, Rgb, apply_matrix, srgb_to_lab, srgb_to_linear
from lowlight_jax.types import Images, PerImage

Difference = Float[Array, "..."]


@compiled_metric(channels=(3,))
def delta_e76(pred: Images, target: Images, *, size: Sizes | None = None) -> PerImage:
    """Mean CIE 1976 colour difference: the distance in L*a*b* under D65.

    Args:
      pred: `[b, h, w, 3]` float32, sRGB in [0, 1].
      target: same shape.
      size: of padded images, see `contract`.
    Returns:
      `[b]` from 0, lower is better; about 2.3 is just noticeable.
    Raises:
      ValueError: shapes differ, or not `[b, h, w, 3]` floating point in [0, 1].
    Source: CIE 15:2004; as `skimage.color.deltaE_cie76`.
    """
    difference = srgb_to_lab(pred) - srgb_to_lab(target)
    return pixel_mean(_root(jnp.sum(difference**2, axis=-1)), size)


@compiled_metric(channels=(3,))
def ciede2000(pred: Images, target: Images, *, size: Sizes | None = None) -> PerImage:
    """Mean CIEDE2000 colour difference under D65, all weights 1.

    Args:
      pred: `[b, h, w, 3]` float32, sRGB in [0, 1].
      target: same shape.
      size: of padded images, see `contract`.
    Returns:
      `[b]` from 0, lower is better; about 1 is just noticeable.
    Raises:
      ValueError: shapes differ, or not `[b, h, w, 3]` floating point in [0, 1].
    Source: as `ciede2000_of_lab`.
    """
    difference = ciede2000_of_lab(srgb_to_lab(pred), srgb_to_lab(target))
    return pixel_mean(difference, size)


@compiled_metric(channels=(3,), options=["white_cd_m2"])
def delta_e_itp(
    pred: Images,
    target: Images,
    *,
    size: Sizes | None = None,
    white_cd_m2: float = 100.0,
) -> PerImage:
    """Mean BT.2124 colour difference, as shown on a display of the given white.

    Args:
      pred: `[b, h, w, 3]` float32, sRGB in [0, 1].
      target: same shape.
      size: of padded images, see `contract`.
      white_cd_m2: luminance of sRGB white in cd/m2. BT.2124 leaves it open: 100 is that
        of a reference display for SDR, 203 that of BT.2408; state it with the number.
    Returns:
      `[b]` from 0, lower is better; 1 is just noticeable to an adapted eye.
    Raises:
      ValueError: shapes differ, or not `[b, h, w, 3]` floating point in [0, 1].
    Source: ITU-R BT.2124-0 on the ICtCp of BT.2100-2 (PQ).
    Differs: below 1e-6 cd/m2, a thousandth of the first code's light and less, PQ is
      taken as a straight line, because its slope at 0 is infinite.
    """
    white_cd_m2 = number("white_cd_m2", white_cd_m2, 1, 10_000)
    d = srgb_to_ictcp(pred, white_cd_m2) - srgb_to_ictcp(target, white_cd_m2)
    # BT.2124 takes T = Ct / 2.
    square = d[..., 0] ** 2 + 0.25 * d[..., 1] ** 2 + d[..., 2] ** 2
    return pixel_mean(720 * _root(square), size)


@compiled_metric(channels=(3,))
def saturation_ratio(
    pred: Images, target: Images, *, size: Sizes | None = None
) -> PerImage:
    """How much colour is kept: mean Lab chroma C*, of `pred` over that of `target`.

    Args:
      pred: `[b, h, w, 3]` float32, sRGB in [0, 1].
      target: same shape.
      size: of padded images, see `contract`.
    Returns:
      `[b]` from 0; 1 is best, below it colours are paler than the target's.
    Raises:
      ValueError: shapes differ, or not `[b, h, w, 3]` floating point in [0, 1].
    Source: ours; C* as in CIE 15:2004.
    Differs: the target's mean is floored at 0.1, so a grey target gives no infinity.
    """
    kept = pixel_mean(_chroma(srgb_to_lab(pred)), size)
    wanted = pixel_mean(_chroma(srgb_to_lab(target)), size)
    return kept / jnp.maximum(wanted, 0.1)


def _root(square: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root whose gradient at 0 is 0 instead of infinite."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _chroma(lab: Lab) -> Float[Array, "..."]:
    return _root(lab[..., 1] ** 2 + lab[..., 2] ** 2)


def _hue(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """Hue angle in [0, 2 pi); 0 for grey, where the slope of atan2 is not defined."""
    grey = (a == 0) & (b == 0)
    angle = jnp.arctan2(b, jnp.where(grey, 1.0, a))
    return jnp.where(angle < 0, angle + 2 * jnp.pi, angle)


def ciede2000_of_lab(first: Lab, second: Lab) -> Difference:
    """CIEDE2000 difference of two colours given in L*a*b*, kL = kC = kH = 1.

    Args:
      first: `[..., 3]` L*, a*, b*.
      second: same shape.
    Returns:
      `[...]` from 0.
    Source: CIE 142-2001, by the formulas of Sharma, Wu, Dalal 2005,
      doi:10.1002/col.20070 (the numbers below are theirs).
    """
    # G stretches a* near grey (2 to 7). C**3.5 instead of the root of C**7: the slope
    # of the root at 0 is infinite.
    mean_c = (_chroma(first) + _chroma(second)) / 2
    stretch = 1 + 0.5 * (1 - _chroma_weight(mean_c))
    l1, a1, b1 = first[..., 0], first[..., 1] * stretch, first[..., 2]
    l2, a2, b2 = second[..., 0], second[..., 1] * stretch, second[..., 2]
    c1, c2 = _root(a1**2 + b1**2), _root(a2**2 + b2**2)
    h1, h2 = _hue(a1, b1), _hue(a2, b2)

    # The shorter way round the circle (10); opposite hues, of which the formulas say
    # h2 - h1, are told within the rounding of float32. Grey has no hue (14).
    d_h = h2 - h1
    opposite = jnp.pi + 5e-6
    shift = jnp.where(d_h > opposite, -1.0, jnp.where(d_h < -opposite, 1.0, 0.0))
    coloured = c1 * c2 > 0
    d_h = jnp.where(coloured, d_h + 2 * jnp.pi * shift, 0.0)
    half_way = (h1 + h2) / 2 + jnp.where(h1 + h2 < 2 * jnp.pi, 1.0, -1.0) * jnp.pi
    mean_h = jnp.where(shift == 0, (h1 + h2) / 2, half_way)
    mean_h = jnp.where(coloured, mean_h, h1 + h2)

    d_l, d_c = l2 - l1, c2 - c1
    d_hue = 2 * _root(c1 * c2) * jnp.sin(d_h / 2)  # (11)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (  # (15)
        1
        - 0.17 * jnp.cos(mean_h - math.radians(30))
        + 0.24 * jnp.cos(2 * mean_h)
        + 0.32 * jnp.cos(3 * mean_h + math.radians(6))
        - 0.20 * jnp.cos(4 * mean_h - math.radians(63))
    )
    degrees = jnp.rad2deg(mean_h)
    d_theta = math.radians(30) * jnp.exp(-(((degrees - 275) / 25) ** 2))
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / jnp.sqrt(20 + (mean_l - 50) ** 2)
    s_c = 1 + 0.045 * mean_c
    s_h = 1 + 0.015 * mean_c * t
    rotation = -jnp.sin(2 * d_theta) * 2 * _chroma_weight(mean_c)
    l_term, c_term, h_term = d_l / s_l, d_c / s_c, d_hue / s_h
    return _root(l_term**2 + c_term**2 + h_term**2 + rotation * c_term * h_term)


def _chroma_weight(chroma: Float[Array, "..."]) -> Float[Array, "..."]:
    """sqrt(C**7 / (C**7 + 25**7)), 0 at grey and 1 at strong colours."""
    return chroma**3.5 / jnp.sqrt(chroma**7 + 25.0**7)


# BT.709 to BT.2020 primaries, both D65, derived (BT.2087 prints 4 digits); then the
# matrices of BT.2100-2, table 7.
_BT2020_FROM_BT709 = np.array(
    [
        [0.627403895935, 0.329283038378, 0.0433130656874],
        [0.0690972893582, 0.919540395075, 0.0113623155663],
        [0.0163914388752, 0.0880133078772, 0.895595253248],
    ]
)
_LMS_FROM_BT2020 = (
    np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]) / 4096
)
_ICTCP_FROM_PQ = (
    np.array([[2048, 2048, 0], [6610, -13613, 7003], [17933, -17390, -543]]) / 4096
)
_PQ_M1, _PQ_M2 = 2610 / 16384, 2523 / 32
_PQ_C3 = 2392 / 128
_PQ_SPAN = 1 - 3424 / 4096  # 1 - c1, which is also c3 - c2
_PQ_LINE = 1e-10  # of 10000 cd/m2: below it PQ is a straight line


def srgb_to_ictcp(image: Rgb, white_cd_m2: float) -> Rgb:
    """I, Ct, Cp of BT.2100-2 (PQ) for sRGB whose white has the given luminance.

    Args:
      image: `[..., 3]` sRGB in [0, 1].
      white_cd_m2: luminance of white in cd/m2.
    Returns:
      `[..., 3]`: I in [0, 1], Ct and Cp about [-0.5, 0.5].
    """
    matrix = _LMS_FROM_BT2020 @ _BT2020_FROM_BT709 * (white_cd_m2 / 10000)
    lms = apply_matrix(matrix, srgb_to_linear(image))
    return apply_matrix(_ICTCP_FROM_PQ, _pq(lms))


def _pq(light: Float[Array, "..."]) -> Float[Array, "..."]:
    """PQ signal in [0, 1] of light in units of 10000 cd/m2 (inverse of its EOTF)."""

    def curve(y: float | jax.Array, xp: ModuleType) -> np.float64 | jax.Array:
        # ((c1 + c2 p) / (1 + c3 p)) ** m2 with c1 = 1 - c3 + c2: written so that the
        # power of 79 does not multiply the rounding of the quotient.
        p = y**_PQ_M1
        return xp.exp(_PQ_M2 * xp.log1p(_PQ_SPAN * (p - 1) / (1 + _PQ_C3 * p)))

    low, high = float(curve(0.0, np)), float(curve(_PQ_LINE, np))
    line = low + (high - low) / _PQ_LINE * jnp.maximum(light, 0.0)
    return jnp.where(light > _PQ_LINE, curve(jnp.maximum(light, _PQ_LINE), jnp), line)
