"""The measures: `[b, h, w, c]` float32 sRGB in [0, 1] in, `[b]` out."""

from collections.abc import Callable

from lowlight_jax.metrics.colour import (
    ciede2000,
    delta_e76,
    delta_e_itp,
    saturation_ratio,
)
from lowlight_jax.metrics.full_reference import ms_ssim_rgb, psnr_rgb, ssim_rgb
from lowlight_jax.metrics.noise import noise_level
from lowlight_jax.types import PerImage

METRICS: dict[str, Callable[..., PerImage]] = {
    "psnr_rgb": psnr_rgb,
    "ssim_rgb": ssim_rgb,
    "ms_ssim_rgb": ms_ssim_rgb,
    "delta_e76": delta_e76,
    "ciede2000": ciede2000,
    "delta_e_itp": delta_e_itp,
    "saturation_ratio": saturation_ratio,
    "noise_level": noise_level,
}

__all__ = ["METRICS", *METRICS]
