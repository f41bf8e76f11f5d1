"""Names for the arrays and results that travel through the package.

Everywhere: NHWC, sRGB in [0, 1], float32 unless a name says otherwise.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Shaped, UInt8

Images = Float[Array | np.ndarray, "b h w c"]
RgbImages = Float[Array | np.ndarray, "b h w 3"]
Thumbnails = Float[Array | np.ndarray, "_ side side 3"]
# Top, left, bottom and right of a window in its picture, whose sides are 0 and 1.
Places = Float[Array | np.ndarray, "_ 4"]
WHOLE = (0.0, 0.0, 1.0, 1.0)  # the place of the picture itself
Mask = Float[Array | np.ndarray, "b h w 1"]  # 1 in holes
PerImage = Float[Array, " b"]
Scalar = Float[Array, ""]
Images8 = UInt8[Array, "b h w c"]

Size = Any  # an int or, while a function is exported, a symbolic dimension
Params = Any  # nested dict of arrays by Flax paths
Batch = dict[str, jax.Array | np.ndarray]
Metrics = dict[str, Shaped[Array, ""]]  # of float32; counts are int32
Objective = Callable[[Params, Batch, jax.Array], tuple[Scalar, Metrics]]


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
      illumination: of the fine stage (of the coarse one, if that is all), in (0, 1],
        of a network that may darken above 1.
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


@struct.dataclass
class Repaired:
    """What the inpainting network returns, each `[b, h, w, 3]`.

    Attributes:
      pred: the image, with its holes repaired and unchanged elsewhere; not clipped.
      filled: the smooth filling that the network started from.
    """

    pred: Images
    filled: Images


@struct.dataclass
class TrainState:
    """All that training carries from step to step.

    Attributes:
      step: int32, steps done since the start of the first phase.
      params: float32 parameters.
      ema_params: their exponential moving average, the ones to evaluate and ship;
        equal to `params` where averaging is off.
      opt_state: of the optimizer of the current phase.
      key: the run's typed PRNG key, never changed: each step folds its number into it.
    """

    step: jax.Array
    params: Params
    ema_params: Params
    opt_state: Any
    key: jax.Array
