"""Names for the arrays that travel through the package.

Everywhere: NHWC, sRGB in [0, 1], float32 unless a name says otherwise.
"""

from jaxtyping import Array, Float, UInt8

Images = Float[Array, "b h w c"]
Mask = Float[Array, "b h w 1"]  # 1 in holes
PerImage = Float[Array, " b"]
Scalar = Float[Array, ""]
Images8 = UInt8[Array, "b h w c"]
