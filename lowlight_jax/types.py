"""Names for the arrays and results that travel through the package.

Everywhere: NHWC, sRGB in [0, 1], float32 unless a name says otherwise.
"""

from flax import struct
from jaxtyping import Array, Float, UInt8

Images = Float[Array, "b h w c"]
PerImage = Float[Array, " b"]
Scalar = Float[Array, ""]
Images8 = UInt8[Array, "b h w c"]


@struct.dataclass
class Prediction:
    """What a network returns that has nothing to add: `pred`, `[b, h, w, 3]`.

    It is not clipped.
    """

    pred: Images


@struct.dataclass
class Enhanced:
    """What the enhancement module returns, each `[b, h, w, 3]`.

    Attributes:
      pred: low / illumination, in [0, max_gain]; not clipped.
      illumination: of the fine stage (of the coarse one, if that is all), in (0, 1].
      coarse_pred: low / coarse_illumination.
      coarse_illumination: of the coarse stage.
    """

    pred: Images
    illumination: Images
    coarse_pred: Images
    coarse_illumination: Images


@struct.dataclass
class Denoised:
    """What the denoising module returns, each `[b, h, w, 3]`.

    Attributes:
      pred: the input less the noise of both passes; not clipped.
      noise: the sum of both passes, so that input = pred + noise.
      coarse_pred: the input less the noise of the first pass.
      coarse_noise: of the first pass.
    """

    pred: Images
    noise: Images
    coarse_pred: Images
    coarse_noise: Images


@struct.dataclass
class DualOutput:
    """What the dual network returns.

    Attributes:
      pred: `[b, h, w, 3]`, enhanced and denoised; not clipped.
      enhanced: result of the enhancement module, the input of the denoising module.
      denoised: result of the denoising module.
    """

    pred: Images
    enhanced: Enhanced
    denoised: Denoised
