"""Enhance one image of any size: `enhance(image)`; the command is in `__main__`.

Not here: how an image is cut (`tiles`), and repairing holes (`repair`).
"""

import functools
from collections.abc import Iterator

import numpy as np

from lowlight_jax.inference.tiles import Tile, overlap_px, plan_tiles
from lowlight_jax.ops.padding import reflected_window
from lowlight_jax.ops.thumbnail import make_thumbnail

DEFAULT_MODEL = "dual_global_photo"  # of weights that ship: for anybody's photographs
_WHOLE_OVERLAP_PX = 24  # of the tiles of networks that see the whole image


def darkness(image: np.ndarray) -> float:
    """1 for a photograph that needs light, 0 for one that is bright already.

    Falls from 1 to 0 while the mean of all pixels goes from 0.32 to 0.42 of white;
    LOL's dark pictures lie below 0.31, normal exposures around 0.45. A network that was
    trained on dark pictures alone takes every shadow for one of them. chosen, not in
    the paper.
    """
    integer = np.issubdtype(image.dtype, np.integer)
    mean = image.mean(dtype=np.float64) / (np.iinfo(image.dtype).max if integer else 1)
    return float(np.clip((0.42 - mean) / 0.1, 0.0, 1.0))


class Enhancer:
    """Weights loaded once, compiled once for each tile shape and kind of pixel.

    What a network sees of the whole scene is computed once and shared by all tiles.

    Args:
      model: name of weights that ship with the package.
      checkpoint: instead, the workdir of a training or a `.safetensors` file.
    Raises:
      WeightsError: there are no such weights.
    """

    repairs = False

    def __init__(self, model: str = DEFAULT_MODEL, checkpoint: str | None = None):
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
        if "repair" in network.phases:
            from lowlight_jax.weights import WeightsError

            raise WeightsError(
                "these weights repair holes and do not brighten; use them with "
                "lowlight_jax.repair, or --model inpaint"
            )
        self._params = params
        self._sees_thumbnail = network.sees_thumbnail
        # One that sees how bright the scene is was taught to leave bright ones alone.
        self._fades = not (network.sees_thumbnail and network.uses_maxima)
        self._reach_px = network.reach_px
        self._overlap = overlap_px(network) if self._reach_px else _WHOLE_OVERLAP_PX
        self.can_denoise = hasattr(network, "denoise")
        self._run = _compiled(network)

    def __call__(
        self, image: np.ndarray, *, strength: float = 1.0, denoise: float = 1.0
    ) -> np.ndarray:
        """The enhanced image, of the same shape and dtype.

        Args:
          image: `[h, w, c]` or `[b, h, w, c]`, c = 3 (RGB) or 1 (gray), sRGB: uint8,
            uint16 (full range), or floating point in [0, 1].
          strength: 0 (the image itself) to 1 (the network's result); in between, the
            two are mixed. A bright image stays as it is: either the network was taught
            so, or this is multiplied by `darkness`.
          denoise: how much of the learnt noise is subtracted, 0 to 1; 0 stops after
            the enhancement module.
        Raises:
          ValueError: shape, dtype, strength or denoise is none of these, or `denoise`
            is below 1 and the network has no denoising module.
        """
        image = np.asarray(image)
        check_image(image)
        for name, value in (("strength", strength), ("denoise", denoise)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}; expected 0 to 1")
        if denoise != 1 and not self.can_denoise:
            raise ValueError(
                f"denoise is {denoise}, but this network has no denoising module; "
                "leave it at 1"
            )
        if image.ndim == 4:
            results = [self(one, strength=strength, denoise=denoise) for one in image]
            return np.stack(results) if results else image.copy()
        if not image.size:
            return image.copy()
        if self._fades:
            strength *= darkness(image)
        thumbnail = (make_thumbnail(image)[None],) if self._sees_thumbnail else ()
        results = (
            (
                tile,
                self._run(
                    self._params, window, thumbnail, strength, denoise, denoise > 0
                ),
            )
            for tile, window in self._windows(image)
        )
        if self._reach_px is None:
            return _blend(image, results, 2 * self._overlap)
        out = np.empty_like(image)
        for tile, result in results:
            out[tile.rows, tile.columns] = np.asarray(result)[tile.inside]
        return out

    def _windows(self, image: np.ndarray) -> Iterator[tuple[Tile, np.ndarray]]:
        for tile in plan_tiles(*image.shape[:2], self._overlap):
            yield tile, reflected_window(image, *tile[:4])


def _blend(
    image: np.ndarray, results: Iterator[tuple[Tile, np.ndarray]], overlap: int
) -> np.ndarray:
    """Tiles faded into each other where they overlap by `overlap` pixels.

    A network that sees the whole image sees each tile as one, so that tiles differ.
    """
    h, w, c = image.shape
    total, weight = np.zeros((h, w, c), np.float32), np.zeros((h, w, 1), np.float32)
    for tile, result in results:
        fades = []
        for side in (tile.height, tile.width):
            nearest = np.minimum(np.arange(side), np.arange(side)[::-1]) + 1
            fades.append(np.minimum(nearest / (overlap + 1), 1).astype(np.float32))
        fade = fades[0][:, None, None] * fades[1][None, :, None]
        top, left = max(tile.top, 0), max(tile.left, 0)
        bottom, right = min(tile.top + tile.height, h), min(tile.left + tile.width, w)
        inside = (
            slice(top - tile.top, bottom - tile.top),
            slice(left - tile.left, right - tile.left),
        )
        total[top:bottom, left:right] += fade[inside] * np.asarray(result)[inside]
        weight[top:bottom, left:right] += fade[inside]
    total /= weight
    if np.issubdtype(image.dtype, np.integer):
        total = np.rint(total)
    return total.astype(image.dtype)


def check_image(image: np.ndarray) -> None:
    """Raises a ValueError of one sentence for what is no image."""
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


@functools.cache
def _compiled(network):
    """One jitted function for each network, shared by all its enhancers."""
    import jax
    import jax.numpy as jnp

    from lowlight_jax.runtime.compiler import cpu_compiler_options

    @functools.partial(
        jax.jit, static_argnums=5, compiler_options=cpu_compiler_options()
    )
    def run(params, window, thumbnail, strength, denoise, is_denoised):
        integer = jnp.issubdtype(window.dtype, jnp.integer)
        full = jnp.iinfo(window.dtype).max if integer else 1
        given = window[None].astype(jnp.float32) / full
        low = jnp.broadcast_to(given, (*given.shape[:-1], 3))
        if hasattr(network, "denoise"):
            enhanced = network.apply(
                {"params": params}, low, *thumbnail, method="enhance"
            )
            pred = enhanced.pred
            if is_denoised:
                denoised = network.apply(
                    {"params": params}, pred, enhanced.illumination, method="denoise"
                )
                pred = pred - denoise * denoised.noise
        else:
            pred = network.apply({"params": params}, low, *thumbnail).pred
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
    model: str = DEFAULT_MODEL,
    checkpoint: str | None = None,
    strength: float = 1.0,
    denoise: float = 1.0,
) -> np.ndarray:
    """Enhances a dark image: see `Enhancer` and `Enhancer.__call__`.

    Weights are loaded at the first call and kept.
    """
    enhancer = _enhancer(model, checkpoint)
    return enhancer(image, strength=strength, denoise=denoise)
