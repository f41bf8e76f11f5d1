"""A network that repairs holes in photographs: image and mask in, whole image out.

Holes are first filled with the colours around them, smoothly, from coarse to fine; a
U-Net then corrects that filling. Source: paper B, task 3, names a CNN that removes
black holes from images of the Berkeley set, but no layers; the filling is that of
Gortler et al. 1996 ("push-pull"), the rest chosen after Ronneberger et al. 2015.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lowlight_jax.models.layers import Conv, ConvTransposed, Output, receptive_radius
from lowlight_jax.tasks.inpainting import INPAINTING
from lowlight_jax.tasks.task import Network
from lowlight_jax.types import Images, Mask, Repaired

_WIDER = (1, 2, 4, 6, 8)  # at full resolution, half, quarter, eighth, sixteenth


def fill_smoothly(image: Images, holes: Mask, levels: int) -> Images:
    """Fills holes with averages of what surrounds them, over 2 ** levels pixels.

    Args:
      image: `[b, h, w, c]`, h and w multiples of 2 ** levels; holes hold anything.
      holes: `[b, h, w, 1]`, 1 in holes, 0 elsewhere.
      levels: how often the image is halved; what is farther than that from any pixel
        becomes 0.
    Source: Gortler, Grzeszczuk, Szeliski, Cohen, "The Lumigraph", 1996, section 3.4.
    """
    known = 1.0 - holes
    image = image * known
    pyramid = []
    for _ in range(levels):
        pyramid.append((image, known))
        total, weight = _sum_2x2(image * known), _sum_2x2(known)
        image, known = total / jnp.maximum(weight, 1e-6), jnp.minimum(weight, 1.0)
    for finer, known in reversed(pyramid):
        b, h, w, c = finer.shape
        image = jax.image.resize(image, (b, h, w, c), "linear")
        image = known * finer + (1.0 - known) * image
    return image


def _sum_2x2(x: Images) -> Output:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).sum((2, 4))


class InpaintNetwork(Network):
    """A U-Net on the smoothly filled image and the mask, added to it inside the holes.

    Attributes:
      width: channels at full resolution; below, `_WIDER` times as many.
      fill_levels: of `fill_smoothly`, 4 to 8.
      dtype: of the convolutions; parameters and the rest are float32.
    """

    width: int = 16
    fill_levels: int = 5
    dtype: DTypeLike = jnp.float32

    task = INPAINTING
    phases = ("repair",)

    def __post_init__(self):
        if self.width < 1 or not 4 <= self.fill_levels <= 8:
            raise ValueError(
                f"model.width is {self.width}, model.fill_levels {self.fill_levels}; "
                "expected 1 or more, and 4 to 8"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, image: Images, holes: Mask) -> Repaired:
        """`[b, h, w, 3]` in [0, 1] and `[b, h, w, 1]`, 1 in holes, to `Repaired`.

        h and w are multiples of `stride`; what the image holds in its holes is ignored.
        """
        filled = fill_smoothly(image, holes, self.fill_levels)
        *widths, deepest = (self.width * wider for wider in _WIDER)
        x = jnp.concatenate([filled - 0.5, holes], axis=-1)
        skips = []
        for i, width in enumerate(widths):
            x = self._conv(width, f"down_{i}a", stride=2 if i else 1)(x)
            x = self._conv(width, f"down_{i}b")(x)
            skips.append(x)
        x = self._conv(deepest, "deepest_a", stride=2)(x)
        x = self._conv(deepest, "deepest_b")(x)
        for i, width in reversed(list(enumerate(widths))):
            up = ConvTransposed(width, name=f"up_{i}a", dtype=self.dtype)
            x = jnp.concatenate([nn.relu(up(x)), skips[i]], axis=-1)
            x = self._conv(width, f"up_{i}b")(x)
        # Small, so that an untrained network leaves the filling almost as it is.
        small = nn.initializers.normal(1e-3)
        x = Conv(3, kernel_init=small, name="image", dtype=self.dtype)(x)
        repaired = filled + x.astype(jnp.float32)
        return Repaired(jnp.where(holes > 0, repaired, image), filled)

    def _conv(self, width: int, name: str, stride: int = 1):
        conv = Conv(width, stride=stride, name=name, dtype=self.dtype)
        return lambda x: nn.relu(conv(x))

    @property
    def stride(self) -> int:
        return 2**self.fill_levels

    @property
    def receptive_radius_px(self) -> int:
        """How far an output pixel sees, `fill_smoothly` included."""
        full, half, up = (3, 1, False), (3, 2, False), (3, 2, True)
        depth = len(_WIDER) - 1
        layers = [full, full] + depth * [half, full] + depth * [up, full] + [full]
        return receptive_radius(layers) + 3 * 2**self.fill_levels
