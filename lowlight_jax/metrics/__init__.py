"""The metrics: `[b, h, w, c]` float32 sRGB in [0, 1] in, `[b]` out.

    name              compared with   better      smallest side, px   c
    psnr_rgb          target          higher      1                   1 or 3
    ssim_rgb          target          higher      11                  1 or 3
    ms_ssim_rgb       target          higher      161                 1 or 3
    delta_e76         target          lower       1                   3
    ciede2000         target          lower       1                   3
    delta_e_itp       target          lower       1                   3
    saturation_ratio  target          nearer 1    1                   3
    lpips_alex        target          lower       31 (extra [lpips])  3
    psnr_holes        target, mask    higher      1                   1 or 3
    clipped_excess    target          lower       1                   1 or 3
    dark_level        dark original   target's    1                   1 or 3
    loe               dark original   lower       1                   1 or 3
    niqe              nothing         lower       96, two blocks      1 or 3
    brisque           nothing         lower       13                  1 or 3
    noise_level       nothing         lower       3                   1 or 3

What a metric cannot take it refuses with a `ValueError` of one sentence, and so an
image that it has no score for; it never returns NaN, but under `jit`. Those "on the
host" are computed by numpy; all others compile themselves, once for every shape of
images, and can be differentiated. All of these but LPIPS take images of many sizes,
padded to one shape, by the keyword `size` (`contract`). Source, range and tolerance of
each are in docs/measures.md. A new one is a function here or in a file beside, and a
line in `METRICS`. Measures of video, which take frames one by one, are in `video`.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Literal

from lowlight_jax.metrics.colour import (
    ciede2000,
    delta_e76,
    delta_e_itp,
    saturation_ratio,
)
from lowlight_jax.metrics.full_reference import ms_ssim_rgb, psnr_rgb, ssim_rgb
from lowlight_jax.metrics.holes import psnr_holes
from lowlight_jax.metrics.host import HostPerImage
from lowlight_jax.metrics.lightness_order import loe
from lowlight_jax.metrics.naturalness import brisque, niqe
from lowlight_jax.metrics.noise import noise_level
from lowlight_jax.metrics.perceptual import lpips_alex
from lowlight_jax.metrics.tone_ends import clipped_excess, dark_level

TARGET = ("target",)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric and what has to be known to use and to show it.

    Attributes:
      function: `(image, *needs) -> scores`, each `[b, h, w, c]`, scores `[b]`.
      label: its name in figures.
      needs: what the image is compared with, some of "target", "low" (the dark
        original) and "mask" (1 in holes), in the order of the arguments.
      better: which of two scores is the better one; "neither" of a metric that is best
        at a value in between.
      digits: behind the point, in tables.
      on_host: computed by numpy; not to be jitted.
    """

    function: Callable[..., HostPerImage]
    label: str
    needs: tuple[str, ...] = TARGET
    better: Literal["higher", "lower", "neither"] = "lower"
    digits: int = 2
    on_host: bool = False

    def __call__(self, *images) -> HostPerImage:
        return self.function(*images)

    @property
    def takes_size(self) -> bool:
        """Whether images of many sizes may share a shape; see `contract`."""
        return "size" in inspect.signature(self.function).parameters

    @property
    def min_side_px(self) -> int:
        """The smallest side of what takes `size`."""
        return getattr(self.function, "min_side_px", 1)

    @property
    def arrow(self) -> str:
        """ "↑" or "↓" for headings."""
        return {"higher": "↑", "lower": "↓", "neither": ""}[self.better]

    def is_better(self, score: float, than: float) -> bool:
        """Whether a score is strictly better than another."""
        return score > than if self.better == "higher" else score < than


METRICS: dict[str, Metric] = {
    "psnr_rgb": Metric(psnr_rgb, "PSNR (dB)", better="higher"),
    "ssim_rgb": Metric(ssim_rgb, "SSIM", better="higher", digits=4),
    "ms_ssim_rgb": Metric(ms_ssim_rgb, "MS-SSIM", better="higher", digits=4),
    "delta_e76": Metric(delta_e76, "ΔE76"),
    "ciede2000": Metric(ciede2000, "CIEDE2000"),
    "delta_e_itp": Metric(delta_e_itp, "ΔE ITP"),
    "saturation_ratio": Metric(saturation_ratio, "saturation ratio", better="neither"),
    "lpips_alex": Metric(lpips_alex, "LPIPS", digits=4),
    "psnr_holes": Metric(
        psnr_holes,
        "PSNR in holes (dB)",
        needs=("target", "mask"),
        better="higher",
        on_host=True,
    ),
    "clipped_excess": Metric(clipped_excess, "clipped in excess (%)"),
    "dark_level": Metric(
        dark_level, "dark parts (8-bit units)", needs=("low",), better="neither"
    ),
    "loe": Metric(loe, "LOE", needs=("low",), digits=1, on_host=True),
    "niqe": Metric(niqe, "NIQE", needs=(), on_host=True),
    "brisque": Metric(brisque, "BRISQUE", needs=(), on_host=True),
    "noise_level": Metric(noise_level, "noise (8-bit units)", needs=()),
}

__all__ = ["METRICS", "Metric", *METRICS]
