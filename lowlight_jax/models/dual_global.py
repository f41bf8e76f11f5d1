"""The dual network that knows the whole scene: gain by curve, then learnt noise.

Exposure is a property of the scene, which 21 px around a pixel do not show. So beside
the image this member of the dual family is given a thumbnail of the whole picture
(`lowlight_jax.ops.thumbnail`), and its coarse illumination is a curve for each channel
that is read off the thumbnail's statistics. The rest is the family's: the fine
illumination corrects the coarse one from what is around a pixel, both divide (formula 2
of paper A), and the noise of the result is learnt and subtracted coarse to fine
(2.1.2).
Source: ours, except for these ideas; all sizes are chosen.
Height and width must be multiples of `STRIDE`.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lowlight_jax.models.layers import (
    Conv,
    ConvTransposed,
    Output,
    receptive_radius,
)
from lowlight_jax.models.scene import log_value, on_curve, quantiles, tiles_of
from lowlight_jax.ops.materialized import materialized
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX
from lowlight_jax.tasks.brightening import BRIGHTENING, LIGHT_AND_NOISE
from lowlight_jax.tasks.task import Network
from lowlight_jax.types import (
    Denoised,
    DualOutput,
    Enhanced,
    Images,
    Places,
    Size,
    Thumbnails,
)

STRIDE = 8  # three downsamplings

_LEAST_ILLUMINATION = 1e-6  # before a logarithm; the network's own lies far above
_KNOTS = 6  # of a curve
_BAND_STEPS = 1, 2, 4  # px, between the taps of filters of 3
_SMALL = nn.initializers.normal(1e-3)  # an untrained layer then gives almost 0


class ToneCurve(nn.Module):
    """The coarse stage: log gain as a curve of a pixel's value, one for each channel.

    The curve is piecewise linear in log(value), relative to the thumbnail's mean of it.
    A hidden layer of 64 maps quantiles of the thumbnail's channels to the heights of
    the curves; with all heights 0 the thumbnail's mean becomes exp(-1). It sees
    statistics because a convolution over the thumbnail overfits LOL's few hundred
    scenes: it was 1.5 dB worse on unseen ones. The statistics are of the means of 32x32
    tiles.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, low: Images, thumbnail: Thumbnails) -> tuple[Images, jax.Array]:
        tiles = tiles_of(thumbnail)
        x = jnp.concatenate([quantiles(tiles), tiles.level], axis=-1)
        x = nn.relu(Conv(64, kernel_px=1, name="hidden", dtype=self.dtype)(x))
        heights = Conv(3 * _KNOTS, 1, kernel_init=_SMALL, name="heights")(x)
        curve = on_curve(heights.astype(jnp.float32), log_value(low, tiles))
        return curve - tiles.mean - 1.0, jnp.float32(0.0)


class LocalCorrection(nn.Module):
    """The fine stage: what is to be added to the log gain, from the surroundings.

    Light varies slowly: means of 4 by 4 pixels are all that it sees.
    """

    features: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, coarse_pred: Images, coarse_log_gain: Images) -> Images:
        x = jnp.concatenate([coarse_pred, coarse_log_gain], axis=-1)
        b, h, w, c = x.shape
        x = x.reshape(b, h // 4, 4, w // 4, 4, c).mean((2, 4))
        x = nn.relu(Conv(self.features, name="quarter", dtype=self.dtype)(x))
        x = nn.relu(Conv(self.features, 1, name="mix", dtype=self.dtype)(x))
        x = ConvTransposed(self.features // 2, name="up_half", dtype=self.dtype)(x)
        x = nn.relu(x)
        x = ConvTransposed(3, kernel_init=_SMALL, name="up_full", dtype=self.dtype)(x)
        return x.astype(jnp.float32)


class GlobalEnhancement(nn.Module):
    """Illumination by a coarse stage, corrected by `LocalCorrection`; division by it.

    Log gains are bounded smoothly, so that illumination stays in [1 / max_gain,
    1 / min_gain], but for a toe; in the middle of the bounds they stay as they are.

    Attributes:
      coarse: `(low, *scene) -> (log gain, log toe)` from what is known of the whole
        picture; the toe, up to 0, is what blacks lose of the bounded gain.
      max_gain, min_gain: the largest and the smallest gain.
      features: of the fine stage.
    """

    coarse: nn.Module
    max_gain: float = 32.0
    min_gain: float = 1.0
    features: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, low: Images, *scene: Thumbnails | Places) -> Enhanced:
        lowest, highest = math.log(self.min_gain), math.log(self.max_gain)
        middle, width = (lowest + highest) / 2, highest - lowest

        def bounded(log_gain: Images) -> Images:
            return lowest + width * nn.sigmoid(4.0 / width * (log_gain - middle))

        # Or XLA on CPU would compute the curves anew for each of their uses.
        log_gain, log_toe = self.coarse(low, *scene)
        log_gain = materialized(log_gain)
        coarse_log_gain = materialized(bounded(log_gain) + log_toe)
        coarse_pred = materialized(low * jnp.exp(coarse_log_gain))
        fine = LocalCorrection(self.features, self.dtype, name="fine")
        correction = fine(coarse_pred, coarse_log_gain)
        illumination = jnp.exp(-bounded(log_gain + correction) - log_toe)
        return Enhanced(
            low / illumination, illumination, coarse_pred, jnp.exp(-coarse_log_gain)
        )


class GlobalDenoising(nn.Module):
    """Subtracts learnt noise twice, coarse to fine, in one pass down and up.

    The image is split into bands of detail (`_bands`). For each pixel the network
    learns how much of each band is noise, and a residual; removing half of every band
    already denoises. Convolutions run at a half, a quarter and an eighth of the size.
    The quarter gives the coarse noise (blotches), the half, shown what that leaves, the
    fine noise. The illumination tells how far the noise has been amplified.

    Attributes:
      half, quarter, eighth: features of convolutions at that part of the size.
    """

    half: int = 24
    quarter: int = 32
    eighth: int = 36
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, noisy: Images, illumination: Images) -> Denoised:
        def conv(features: int, name: str, **options) -> Conv:
            return Conv(features, name=name, dtype=self.dtype, **options)

        def up(features: int, name: str) -> ConvTransposed:
            return ConvTransposed(features, name=name, dtype=self.dtype)

        def per_pixel(x: Images, count: int, side: int, name: str) -> list[Output]:
            """So many images, from features of blocks."""
            x = conv(side * side * 3 * count, name, kernel_px=1, kernel_init=_SMALL)(x)
            return jnp.split(_spread_blocks(x.astype(jnp.float32), side), count, -1)

        def noise_of(bands: Sequence[Images], rest: Images, *shares: Images) -> Images:
            return rest + sum(
                nn.sigmoid(share) * band
                for share, band in zip(shares, bands, strict=True)
            )

        # Or XLA on CPU would compute the noise's gradients again for each of its uses.
        noisy = materialized(noisy)
        illumination = materialized(illumination)
        *fine_bands, coarse_band = _bands(noisy)
        log_gain = -jnp.log(jnp.maximum(illumination, _LEAST_ILLUMINATION))
        log_gain = materialized(log_gain.mean(-1, keepdims=True))
        x = _gather_blocks(jnp.concatenate([noisy, log_gain], axis=-1), 2)
        half = nn.relu(conv(self.half, "half")(x))
        x = nn.relu(conv(self.quarter, "to_quarter", stride=2)(half))
        quarter = nn.relu(conv(self.quarter, "quarter")(x))
        x = nn.relu(conv(self.eighth, "to_eighth", stride=2)(quarter))
        x = nn.relu(conv(self.eighth, "eighth")(x))
        x = nn.relu(up(self.quarter, "up_quarter")(x)) + quarter
        x = nn.relu(conv(self.quarter, "merge_quarter")(x))
        coarse_noise = noise_of([coarse_band], *per_pixel(x, 2, 4, "coarse_noise"))
        coarse_pred = materialized(noisy - coarse_noise)
        x = nn.relu(up(self.half, "up_half")(x)) + half
        seen = _gather_blocks(coarse_pred, 2)
        x = x + conv(self.half, "show_half", kernel_px=1)(seen)
        x = nn.relu(conv(self.half, "merge_half")(x))
        x = x + conv(self.half, "refine_end")(nn.relu(conv(self.half, "refine")(x)))
        noise = coarse_noise + noise_of(fine_bands, *per_pixel(x, 3, 2, "noise"))
        return Denoised(noisy - noise, noise, coarse_pred, coarse_noise)


class DualGlobalNetwork(Network):
    """Both modules in line: low and its thumbnail, enhanced, denoised.

    `apply(..., method="enhance")` and `method="denoise"` run one module alone.

    Attributes:
      uses_thumbnail: False (ablation): every picture gets the same thumbnail.
      max_gain: the largest gain, 1 / the smallest illumination.
      dtype: of the convolutions; parameters and the rest are float32.
    """

    uses_thumbnail: bool = True
    max_gain: float = 32.0
    dtype: DTypeLike = jnp.float32

    task = BRIGHTENING
    phases = ("enhance", "denoise", "joint", "supervised")
    stride = STRIDE
    sees_thumbnail = True
    only_for_dark = True
    controls = LIGHT_AND_NOISE

    def __post_init__(self):
        if not 1 < self.max_gain < math.inf:
            raise ValueError(
                f"model.max_gain is {self.max_gain}; expected a finite number above 1"
            )
        super().__post_init__()

    def setup(self) -> None:
        self.enhancement = GlobalEnhancement(
            ToneCurve(self.dtype), self.max_gain, dtype=self.dtype
        )
        self.denoising = GlobalDenoising(dtype=self.dtype)

    def __call__(
        self, low: Images, thumbnail: Thumbnails, *place: Places
    ) -> DualOutput:
        """See `enhance`."""
        enhanced = self.enhance(low, thumbnail, *place)
        denoised = self.denoise(enhanced.pred, enhanced.illumination)
        return DualOutput(denoised.pred, enhanced, denoised)

    def enhance(self, low: Images, thumbnail: Thumbnails, *place: Places) -> Enhanced:
        """The enhancement module alone.

        Args:
          low: `[b, h, w, 3]` in [0, 1], h and w multiples of 8.
          thumbnail: `[b, 128, 128, 3]` in [0, 1], `make_thumbnail` of the pictures.
          *place: where `low` lies in them; only for a network that sees it.
        """
        _check_size(low)
        if thumbnail.shape != (low.shape[0], THUMBNAIL_PX, THUMBNAIL_PX, 3):
            raise ValueError(
                f"the thumbnails of {len(low)} images have shape {thumbnail.shape}; "
                f"expected {(low.shape[0], THUMBNAIL_PX, THUMBNAIL_PX, 3)}"
            )
        if not self.uses_thumbnail:
            thumbnail = jnp.full_like(
                thumbnail, 0.05
            )  # the mean of LOL's dark pictures
        return self.enhancement(low, thumbnail, *place)

    def denoise(self, noisy: Images, illumination: Images) -> Denoised:
        """The denoising module alone, on what the division by `illumination` gave."""
        _check_size(noisy)
        return self.denoising(noisy, illumination)

    @property
    def receptive_radius_px(self) -> int:
        """How far an output pixel sees of `low`: the overlap that makes tiles exact."""
        full, half, up = (3, 1, False), (3, 2, False), (3, 2, True)
        pooled = [(3, 2, False), (3, 2, False)]  # more than the mean of 4 by 4 sees
        illumination = [*pooled, full, up, up]
        noise = [half, full, half, full, half, full, up, full, up, full, full, full, up]
        return receptive_radius(illumination + noise)


def _bands(image: Images) -> list[Images]:
    """What binomial filters of 3, then 5, then 9 pixels take away, finest first.

    Source: the a trous wavelet transform, Holschneider et al. 1989.
    """
    b, h, w, c = image.shape
    rows = image.reshape(b, h, w * c)  # a last axis of 3 makes slow loops on CPU
    bands = []
    for step in _BAND_STEPS:
        smooth = _smooth(_smooth(rows, step, axis=1), step * c, axis=2)
        bands.append((rows - smooth).reshape(image.shape))
        rows = smooth
    return bands


def _smooth(rows: jax.Array, step: int, axis: int) -> jax.Array:
    """Weights 1 2 1; beyond the border, a sample's neighbour is the sample itself."""
    size = rows.shape[axis]

    def part(start: Size, stop: Size) -> jax.Array:
        return jax.lax.slice_in_dim(rows, start, stop, axis=axis)

    def mean(before: jax.Array, here: jax.Array, after: jax.Array) -> jax.Array:
        return 0.25 * (before + after) + 0.5 * here

    first, last = part(0, step), part(size - step, size)
    inner = part(step, size - step)
    parts = (
        mean(first, first, part(step, 2 * step)),
        mean(part(0, size - 2 * step), inner, part(2 * step, size)),
        mean(part(size - 2 * step, size - step), last, last),
    )
    # Or XLA on CPU would compute all the filters anew for each of the last.
    return materialized(jnp.concatenate(parts, axis))


def _gather_blocks(x: jax.Array, side: int) -> jax.Array:
    """`[b, h, w, c]` to `[b, h / side, w / side, side * side * c]`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c).swapaxes(2, 3)
    return x.reshape(b, h // side, w // side, side * side * c)


def _spread_blocks(x: jax.Array, side: int) -> jax.Array:
    """The inverse of `_gather_blocks`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, side, side, c // side**2).swapaxes(2, 3)
    return x.reshape(b, h * side, w * side, c // side**2)


def _check_size(image: Images) -> None:
    _, h, w, c = image.shape
    if c != 3 or h % STRIDE or w % STRIDE:
        raise ValueError(
            f"the network takes [b, h, w, 3] with h and w multiples of {STRIDE}, not "
            f"{image.shape}; lowlight_jax.ops.padding pads and crops"
        )
