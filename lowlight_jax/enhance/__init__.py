"""Enhance one image of any size: `enhance(image)`; the command is in `__main__`.

An image is cut into overlapping tiles of a few fixed shapes. The overlap is the
network's reach, so tiles agree exactly with the whole image, memory does not grow with
the image, and 100 sizes compile a handful of shapes.
"""

import functools
import math

import numpy as np

from lowlight_jax.ops.padding import reflected_window

# Sides of the tiles in pixels, height and width, overlap included. An image takes the
# shape that covers it with the fewest pixels: 400x600 and 1080x1920, either way up, fit
# without waste. Time per pixel hardly depends on the shape, the overlap does.
TILE_SHAPES = (
    (96, 96),
    (192, 192),
    (384, 384),
    (448, 648),
    (648, 448),
    (576, 576),
    (1128, 1008),
    (1008, 1128),
)


def _reach(network) -> int:
    """The network's reach, rounded up to its stride so that tiles stay in phase."""
    return -(-network.reach_px // network.stride) * network.stride


def darkness(image: np.ndarray) -> float:
    """1 for a photograph that needs light, 0 for one that is bright already.

    Falls from 1 to 0 while the mean of all pixels goes from 0.32 to 0.42 of white;
    LOL's dark pictures lie below 0.31, normal exposures around 0.45. A network that was
    trained on dark pictures alone, and sees 21 px around a pixel, takes every shadow
    for one of them. chosen, not in the paper.
    """
    integer = np.issubdtype(image.dtype, np.integer)
    mean = image.mean(dtype=np.float64) / (np.iinfo(image.dtype).max if integer else 1)
    return float(np.clip((0.42 - mean) / 0.1, 0.0, 1.0))


def choose_tile_shape(h: int, w: int, reach: int) -> tuple[int, int]:
    """The shape of TILE_SHAPES that covers `[h, w]` with the fewest pixels in all."""

    def pixels(tile):
        height, width = _kept(tile, reach)
        return math.ceil(h / height) * math.ceil(w / width) * math.prod(tile)

    return min(TILE_SHAPES, key=pixels)


def _kept(tile: tuple[int, int], reach: int) -> tuple[int, int]:
    """Height and width of a tile without its overlap."""
    return tile[0] - 2 * reach, tile[1] - 2 * reach


class Enhancer:
    """Weights loaded once, compiled once for each tile shape and kind of pixel.

    Args:
      model: name of weights that ship with the package.
      checkpoint: instead, the workdir of a training or a `.safetensors` file.
    Raises:
      WeightsError: there are no such weights.
    """

    def __init__(self, model: str = "dual", checkpoint: str | None = None):
        from lowlight_jax import weights

        if checkpoint is None:
            network, params = weights.load_shipped(model)
        else:
            network, params = weights.load_checkpoint(checkpoint)
        self._bind(network, params)

    @classmethod
    def from_params(cls, network, params) -> "Enhancer":
        """An enhancer of a network in memory."""
        enhancer = cls.__new__(cls)
        enhancer._bind(network, params)
        return enhancer

    def _bind(self, network, params) -> None:
        self._reach = _reach(network)
        self._params = params
        self._run = _compiled(network)

    def __call__(
        self, image: np.ndarray, *, strength: float = 1.0, denoise: bool = True
    ) -> np.ndarray:
        """The enhanced image, of the same shape and dtype.

        Args:
          image: `[h, w, c]` or `[b, h, w, c]`, c = 3 (RGB) or 1 (gray), sRGB: uint8,
            uint16 (full range), or floating point in [0, 1].
          strength: 0 (the image itself) to 1 (the network's result); in between, the
            two are mixed. Multiplied by `darkness`: a bright image stays as it is.
          denoise: False stops after the enhancement module.
        Raises:
          ValueError: shape, dtype or strength is none of these.
        """
        image = np.asarray(image)
        _check(image, strength)
        if image.ndim == 4:
            results = [self(one, strength=strength, denoise=denoise) for one in image]
            return np.stack(results) if results else image.copy()
        h, w = image.shape[:2]
        out = np.empty_like(image)
        if not out.size:
            return out
        strength *= darkness(image)
        reach, tile = self._reach, choose_tile_shape(h, w, self._reach)
        height, width = _kept(tile, reach)
        for top in range(0, h, height):
            for left in range(0, w, width):
                window = reflected_window(image, top - reach, left - reach, *tile)
                result = self._run(self._params, window, np.float32(strength), denoise)
                kept = out[top : top + height, left : left + width]
                rows, columns = kept.shape[:2]
                kept[...] = np.asarray(result)[reach:, reach:][:rows, :columns]
        return out


def _check(image: np.ndarray, strength: float) -> None:
    kinds = (np.uint8, np.uint16, np.floating)
    if not any(np.issubdtype(image.dtype, kind) for kind in kinds):
        raise ValueError(
            f"image has dtype {image.dtype}; expected uint8, uint16 or floating point"
        )
    if image.ndim not in (3, 4) or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"image has shape {image.shape}; expected [h, w, c] or [b, h, w, c] with "
            "c = 3 or 1"
        )
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength is {strength}; expected 0 to 1")


@functools.cache
def _compiled(network):
    """One jitted function for each network, shared by all its enhancers."""
    import jax
    import jax.numpy as jnp

    from lowlight_jax.compile import cpu_compiler_options

    @functools.partial(
        jax.jit, static_argnums=3, compiler_options=cpu_compiler_options()
    )
    def run(params, window, strength, denoise):
        integer = jnp.issubdtype(window.dtype, jnp.integer)
        full = jnp.iinfo(window.dtype).max if integer else 1
        given = window[None].astype(jnp.float32) / full
        low = jnp.broadcast_to(given, (*given.shape[:-1], 3))
        pred = network.apply({"params": params}, low, method="enhance").pred
        if denoise:
            pred = network.apply({"params": params}, pred, method="denoise").pred
        if given.shape[-1] == 1:
            pred = pred.mean(-1, keepdims=True)
        # Clip, then mix, then round: nothing wraps, and strength 0 is the image itself.
        mixed = given + strength * (jnp.clip(pred, 0.0, 1.0) - given)
        if integer:
            mixed = jnp.round(mixed * full)
        return mixed[0].astype(window.dtype)

    return run


@functools.cache
def _enhancer(model: str, checkpoint: str | None) -> Enhancer:
    return Enhancer(model, checkpoint)


def enhance(
    image: np.ndarray,
    *,
    model: str = "dual",
    checkpoint: str | None = None,
    strength: float = 1.0,
    denoise: bool = True,
) -> np.ndarray:
    """Enhances a dark image: see `Enhancer` and `Enhancer.__call__`.

    Weights are loaded at the first call and kept.
    """
    enhancer = _enhancer(model, checkpoint)
    return enhancer(image, strength=strength, denoise=denoise)
