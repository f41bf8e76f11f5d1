"""Colour spaces: sRGB, linear light, CIE Lab, luma.

Contract: images with their channels last, any leading dimensions, float32 (or float64
where x64 is enabled), sRGB in [0, 1] unless a name says otherwise. Values outside
[0, 1] give finite results, and every gradient is finite, at 0 too. Differences between
colours are in `lowlight_jax.metrics.colour`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Rgb = Float[Array | np.ndarray, "... 3"]
Lab = Float[Array | np.ndarray, "... 3"]
Values = Float[Array | np.ndarray, "..."]

# Linear BT.709 to CIE XYZ and the D65 white (2 degrees), with the digits that
# scikit-image uses: other sources differ in the fifth digit, 1e-3 in a difference.
XYZ_FROM_RGB = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
WHITE_D65 = np.array([0.95047, 1.0, 1.08883])


def apply_matrix(matrix: np.ndarray, image: Rgb) -> Rgb:
    """`matrix @ pixel` for every pixel, as sums that fuse and never drop to TF32."""
    r, g, b = image[..., 0], image[..., 1], image[..., 2]
    rows = [float(m[0]) * r + float(m[1]) * g + float(m[2]) * b for m in matrix]
    return jnp.stack(rows, axis=-1)


def srgb_to_linear(image: Values) -> Float[Array, "..."]:
    """Linear light of sRGB code values; both nominally in [0, 1].

    Args:
      image: sRGB; below 0 the straight part of the curve goes on, above 1 the power.
    Returns:
      Linear light, same shape and dtype.
    Source: IEC 61966-2-1.
    """
    # The untaken branch of a `where` must be finite too, or its gradient is NaN.
    power = ((jnp.maximum(image, 0.04045) + 0.055) / 1.055) ** 2.4
    return jnp.where(image > 0.04045, power, image / 12.92)


def linear_to_srgb(image: Values) -> Float[Array, "..."]:
    """sRGB code values of linear light; both nominally in [0, 1].

    Args:
      image: linear light; negative values, which no display shows, become 0.
    Returns:
      sRGB, same shape and dtype, not below 0, above 1 where the input is.
    Source: IEC 61966-2-1.
    """
    power = 1.055 * jnp.maximum(image, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.where(image > 0.0031308, power, 12.92 * jnp.maximum(image, 0.0))


def srgb_to_lab(image: Values) -> Lab:
    """CIE 1976 L*a*b* under D65, 2 degree observer.

    Args:
      image: `[..., 3]` sRGB in [0, 1].
    Returns:
      `[..., 3]`: L* in [0, 100], a* and b* about [-108, 99]; no unit.
    Raises:
      ValueError: not 3 channels.
    Source: CIE 15:2004; equal to `skimage.color.rgb2lab`.
    """
    if image.shape[-1] != 3:
        raise ValueError(f"Lab needs 3 channels, not {image.shape[-1]}")
    xyz = apply_matrix(XYZ_FROM_RGB / WHITE_D65[:, None], srgb_to_linear(image))
    root = jnp.cbrt(jnp.maximum(xyz, 0.008856))
    f = jnp.where(xyz > 0.008856, root, 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def luma(image: Values) -> Float[Array | np.ndarray, "... 1"]:
    """Rec. 601 luma, full range: 0.299 R' + 0.587 G' + 0.114 B' of the code values.

    Args:
      image: `[..., 3]` sRGB, or `[..., 1]`, which is returned as it is.
    Returns:
      `[..., 1]`, same range and dtype.
    Raises:
      ValueError: neither 3 nor 1 channels.
    Source: ITU-R BT.601-7, 2.5.1.
    """
    channels = image.shape[-1]
    if channels == 1:
        return image
    if channels != 3:
        raise ValueError(f"luma needs 3 channels or 1, not {channels}")
    r, g, b = image[..., 0:1], image[..., 1:2], image[..., 2:3]
    return 0.299 * r + 0.587 * g + 0.114 * b
