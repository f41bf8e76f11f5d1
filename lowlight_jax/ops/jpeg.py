"""What JPEG leaves of a picture, as a function on the device: for augmentation.

Contract: `[b, h, w, 3]` float32 sRGB in [0, 1] in and out.
Source: ITU-T T.81, its example tables K.1 and K.2, scaled to a quality as libjpeg does;
colours by JFIF 1.02, halved in both directions (4:2:0). Entropy coding loses nothing
and is left out. Colours are enlarged as libjpeg does by default, a quarter of each
sample from its neighbour.
"""

import jax
import jax.numpy as jnp
import numpy as np

from lowlight_jax.checks import unit_range
from lowlight_jax.types import Images

_BLOCK = 8

# fmt: off
_LUMA = np.array([
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
], np.float32).reshape(_BLOCK, _BLOCK)
_CHROMA = np.full((_BLOCK, _BLOCK), 99, np.float32)
_CHROMA[:4, :4] = [
    [17, 18, 24, 47],
    [18, 21, 26, 66],
    [24, 26, 56, 99],
    [47, 66, 99, 99],
]
_TO_YCBCR = np.array([
    [0.299, 0.587, 0.114],
    [-0.168736, -0.331264, 0.5],
    [0.5, -0.418688, -0.081312],
], np.float32)
# fmt: on
_TO_RGB = np.linalg.inv(_TO_YCBCR.astype(np.float64)).astype(np.float32)
_LEVEL_SHIFT = np.array([128.0, 0.0, 0.0], np.float32)[:, None, None]


def _cosines() -> np.ndarray:
    """The orthonormal DCT-II of 8 values."""
    n = np.arange(_BLOCK)
    matrix = np.cos(np.pi * (2 * n + 1) * n[:, None] / (2 * _BLOCK)) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


_DCT = _cosines()


def compress(images: Images, quality: jax.Array) -> Images:
    """The images after JPEG of this quality, `[b]`, 1 to 100, in multiples of 1/255."""
    images = unit_range("images", images)
    _, height, width, _ = images.shape
    edges = ((0, 0), (0, -height % 16), (0, -width % 16), (0, 0))
    rgb = jnp.pad(images * 255.0, edges, mode="edge")
    ycbcr = jnp.einsum("bhwc,dc->bdhw", rgb, _TO_YCBCR) - _LEVEL_SHIFT[None]
    quality = quality.reshape(-1, 1, 1, 1, 1, 1)
    scale = jnp.where(quality < 50, 50.0 / quality, 2.0 - quality / 50.0)
    luma = _quantised(ycbcr[:, :1], _LUMA, scale)
    b, _, h, w = ycbcr.shape
    halved = ycbcr[:, 1:].reshape(b, 2, h // 2, 2, w // 2, 2).mean((3, 5))
    chroma = _doubled(_doubled(_quantised(halved, _CHROMA, scale), 2), 3)
    ycbcr = jnp.concatenate([luma, chroma], axis=1) + _LEVEL_SHIFT[None]
    rgb = jnp.einsum("bdhw,cd->bhwc", ycbcr, _TO_RGB)[:, :height, :width]
    return jnp.round(jnp.clip(rgb, 0.0, 255.0)) / 255.0


def _doubled(planes: jax.Array, axis: int) -> jax.Array:
    """Twice as many samples along an axis, between those that there are."""
    size = planes.shape[axis]

    def neighbour(step: int) -> jax.Array:
        at = np.clip(np.arange(size) + step, 0, size - 1)
        return 0.75 * planes + 0.25 * planes.take(at, axis)

    both = jnp.stack([neighbour(-1), neighbour(1)], axis + 1)
    return both.reshape(*planes.shape[:axis], 2 * size, *planes.shape[axis + 1 :])


def _quantised(planes: jax.Array, table: np.ndarray, scale: jax.Array) -> jax.Array:
    """Planes `[b, n, h, w]`, coefficients of their blocks rounded to steps."""
    b, n, h, w = planes.shape
    blocks = planes.reshape(b, n, h // _BLOCK, _BLOCK, w // _BLOCK, _BLOCK)
    coefficients = jnp.einsum("bnhiwj,ui,vj->bnhuwv", blocks, _DCT, _DCT)
    steps = jnp.clip(
        jnp.floor(table[None, None, None, :, None, :] * scale + 0.5), 1.0, 255.0
    )
    coefficients = jnp.round(coefficients / steps) * steps
    blocks = jnp.einsum("bnhuwv,ui,vj->bnhiwj", coefficients, _DCT, _DCT)
    return blocks.reshape(b, n, h, w)
