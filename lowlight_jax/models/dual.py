"""The progressive dual network: enhance coarse to fine, then denoise coarse to fine.

Source: paper A, "Accelerated Dual Network Model for Low-Exposure Image Enhancement",
sections 2.1.1 and 2.1.2, Table 1, formulas 1-4. Where the paper is silent the docstring
says "chosen". Losses are in `lowlight_jax.losses`; padding in `lowlight_jax.ops`.
Height and width must be multiples of `STRIDE`.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from lowlight_jax.models.layers import Conv, ConvTransposed, receptive_radius
from lowlight_jax.tasks.brightening import BRIGHTENING, LIGHT_AND_NOISE
from lowlight_jax.tasks.task import Network
from lowlight_jax.types import Denoised, DualOutput, Enhanced, Images, RgbImages

STRIDE = 4  # two downsamplings


class IlluminationStage(nn.Module):
    """One stage of the enhancement module: image(s) in, illumination map out.

    The coarse stage has 5 layers (a full-resolution convolution comes first), the fine
    stage 4; Table 1.

    chosen: the last layer x becomes max_gain ** -sigmoid(x), in [1 / max_gain, 1]. The
    paper's ReLU would allow a division by 0; this is equally sensitive to every gain
    and has no dead range.
    """

    layers: int = 5
    max_gain: float = 32.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> RgbImages:
        if self.layers not in (4, 5):
            raise ValueError(f"a stage has 4 or 5 layers, not {self.layers}")
        if self.layers == 5:
            x = nn.relu(Conv(16, name="conv_full", dtype=self.dtype)(x))
        x = nn.relu(Conv(32, stride=2, name="conv_half", dtype=self.dtype)(x))
        x = nn.relu(Conv(64, stride=2, name="conv_quarter", dtype=self.dtype)(x))
        x = nn.relu(ConvTransposed(32, name="up_half", dtype=self.dtype)(x))
        x = ConvTransposed(3, name="up_full", dtype=self.dtype)(x)
        return jnp.exp(-jnp.log(self.max_gain) * nn.sigmoid(x.astype(jnp.float32)))


class Enhancement(nn.Module):
    """Estimates the illumination map coarse to fine and divides by it (Retinex).

    Source: paper A, 2.1.1, formula 2: enhanced = low / illumination.

    Attributes:
      fine_layers: 4 (paper), 5 (ablation) or 0 (ablation: coarse stage only).
      max_gain: the largest gain, 1 / the smallest illumination; chosen.
      dtype: of the convolutions.
    """

    fine_layers: int = 4
    max_gain: float = 32.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, low: Images) -> Enhanced:
        coarse = IlluminationStage(5, self.max_gain, self.dtype, name="coarse")
        coarse_illumination = coarse(low)
        coarse_pred = low / coarse_illumination
        if self.fine_layers == 0:
            return Enhanced(
                coarse_pred, coarse_illumination, coarse_pred, coarse_illumination
            )
        both = jnp.concatenate([low, coarse_pred], axis=-1)  # "splicing" in the paper
        fine = IlluminationStage(
            self.fine_layers, self.max_gain, self.dtype, name="fine"
        )
        illumination = fine(both)
        return Enhanced(
            low / illumination, illumination, coarse_pred, coarse_illumination
        )


class NoiseStage(nn.Module):
    """One pass of the denoising module: image in, its additive noise out; Table 1."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, noisy: Images) -> Images:
        x = nn.relu(Conv(16, name="conv_full", dtype=self.dtype)(noisy))
        x = nn.relu(Conv(32, stride=2, name="conv_half", dtype=self.dtype)(x))
        x = nn.relu(Conv(32, kernel_px=1, name="mix", dtype=self.dtype)(x))
        x = nn.relu(ConvTransposed(16, name="up_full", dtype=self.dtype)(x))
        # Small, so that an untrained module leaves the image almost as it is.
        x = ConvTransposed(
            3,
            stride=1,
            kernel_init=nn.initializers.normal(1e-3),
            name="noise",
            dtype=self.dtype,
        )(x)
        return x.astype(jnp.float32)


class Denoising(nn.Module):
    """Subtracts learnt noise twice, coarse to fine; paper A, 2.1.2.

    Attributes:
      share_stages: chosen: both passes have the same weights, since the paper counts 14
        convolutional layers in all.
      dtype: of the convolutions.
    """

    share_stages: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, noisy: Images) -> Denoised:
        coarse = NoiseStage(self.dtype, name="coarse")
        fine = coarse if self.share_stages else NoiseStage(self.dtype, name="fine")
        coarse_noise = coarse(noisy)
        coarse_pred = noisy - coarse_noise
        noise = coarse_noise + fine(coarse_pred)
        return Denoised(noisy - noise, noise, coarse_pred, coarse_noise)


class DualNetwork(Network):
    """Both modules in line: low, enhanced, denoised.

    `apply(..., method="enhance")` and `method="denoise"` run one module alone.

    Attributes:
      fine_layers, max_gain: see `Enhancement`.
      share_stages: see `Denoising`.
      denoises: False leaves the denoising module out (ablation).
      dtype: of the convolutions; parameters and the rest are float32.
    """

    fine_layers: int = 4
    max_gain: float = 32.0
    share_stages: bool = True
    denoises: bool = True
    dtype: DTypeLike = jnp.float32

    task = BRIGHTENING
    phases = ("enhance", "denoise", "joint", "supervised")
    stride = STRIDE
    only_for_dark = True
    controls = LIGHT_AND_NOISE

    def __post_init__(self):
        if self.fine_layers not in (4, 5, 0):
            raise ValueError(
                f"model.fine_layers is {self.fine_layers}; expected 4, 5 or 0"
            )
        if not 1 < self.max_gain < math.inf:
            raise ValueError(
                f"model.max_gain is {self.max_gain}; expected a finite number above 1"
            )
        super().__post_init__()

    def setup(self) -> None:
        self.enhancement = Enhancement(self.fine_layers, self.max_gain, self.dtype)
        if self.denoises:
            self.denoising = Denoising(self.share_stages, self.dtype)

    def __call__(self, low: Images) -> DualOutput:
        """`[b, h, w, 3]` in [0, 1], h and w multiples of 4, to `DualOutput`."""
        enhanced = self.enhance(low)
        denoised = self.denoise(enhanced.pred)
        return DualOutput(denoised.pred, enhanced, denoised)

    def enhance(self, low: Images) -> Enhanced:
        """The enhancement module alone."""
        _check_size(low)
        return self.enhancement(low)

    def denoise(self, noisy: Images, illumination: Images | None = None) -> Denoised:
        """The denoising module alone; `illumination` is for its relatives."""
        _check_size(noisy)
        if not self.denoises:
            none = jnp.zeros_like(noisy)
            return Denoised(noisy, none, noisy, none)
        return self.denoising(noisy)

    @property
    def receptive_radius_px(self) -> int:
        """How far an output pixel sees: the overlap that makes tiles exact."""
        full, half, quarter = (3, 1, False), (3, 2, False), (3, 2, False)
        up = (3, 2, True)
        stages = [full, half, quarter, up, up]
        if self.fine_layers:
            stages += [full] * (self.fine_layers == 5) + [half, quarter, up, up]
        noise = [full, half, (1, 1, False), up, full]
        return receptive_radius(stages + 2 * noise * self.denoises)


def _check_size(image: Images) -> None:
    _, h, w, c = image.shape
    if c != 3 or h % STRIDE or w % STRIDE:
        raise ValueError(
            f"the dual network takes [b, h, w, 3] with h and w multiples of {STRIDE}, "
            f"not {image.shape}; lowlight_jax.ops.padding pads and crops"
        )
