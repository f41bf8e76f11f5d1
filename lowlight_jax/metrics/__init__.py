"""The measures: `[b, h, w, c]` float32 sRGB in [0, 1] in, `[b]` out.

    name              compared with   better      smallest side, px   c
    psnr_rgb          target          higher      1                   1 or 3
    ssim_rgb          target          higher      11                  1 or 3
    ms_ssim_rgb       target          higher      161                 1 or 3
    delta_e76         target          lower       1                   3
    ciede2000         target          lower       1                   3
    delta_e_itp       target          lower       1                   3
    saturation_ratio  target          nearer 1    1                   3
    lpips_alex        target          lower       31 (extra [lpips])  3
    loe               dark original   lower       1                   1 or 3
    niqe              nothing         lower       96, two blocks      1 or 3
    brisque           nothing         lower       13                  1 or 3
    noise_level       nothing         lower       3                   1 or 3

What a measure cannot take it refuses with a `ValueError` of one sentence. `loe`, `niqe`
and `brisque` are computed by numpy; all others compile themselves, once for every shape
of images, and can be differentiated. Source, range and tolerance of each are in
docs/measures.md.
"""

from collections.abc import Callable

from lowlight_jax.metrics.colour import (
    ciede2000,
    delta_e76,
    delta_e_itp,
    saturation_ratio,
)
from lowlight_jax.metrics.full_reference import ms_ssim_rgb, psnr_rgb, ssim_rgb
from lowlight_jax.metrics.host import HostPerImage
from lowlight_jax.metrics.lightness_order import loe
from lowlight_jax.metrics.naturalness import brisque, niqe
from lowlight_jax.metrics.noise import noise_level
from lowlight_jax.metrics.perceptual import lpips_alex

METRICS: dict[str, Callable[..., HostPerImage]] = {
    "psnr_rgb": psnr_rgb,
    "ssim_rgb": ssim_rgb,
    "ms_ssim_rgb": ms_ssim_rgb,
    "delta_e76": delta_e76,
    "ciede2000": ciede2000,
    "delta_e_itp": delta_e_itp,
    "saturation_ratio": saturation_ratio,
    "lpips_alex": lpips_alex,
    "loe": loe,
    "niqe": niqe,
    "brisque": brisque,
    "noise_level": noise_level,
}
# These take one argument, the image; all others (image, target), and `loe` the dark
# original in the place of the target.
NO_REFERENCE = frozenset({"niqe", "brisque", "noise_level"})
HIGHER_IS_BETTER = frozenset({"psnr_rgb", "ssim_rgb", "ms_ssim_rgb"})

__all__ = [
    "HIGHER_IS_BETTER",
    "METRICS",
    "NO_REFERENCE",
    "brisque",
    "ciede2000",
    "delta_e76",
    "delta_e_itp",
    "loe",
    "lpips_alex",
    "ms_ssim_rgb",
    "niqe",
    "noise_level",
    "psnr_rgb",
    "saturation_ratio",
    "ssim_rgb",
]
