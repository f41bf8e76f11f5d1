"""Repair holes in one image of any size: `repair(image)`."""

import functools

import numpy as np

from lowlight_jax.inference.enhancer import check_image
from lowlight_jax.inference.tiles import overlap_px, plan_tiles
from lowlight_jax.ops.padding import reflected_window

# Multiples of the network's stride; BSDS's 321x481, either way up, fits one.
_TILE_SHAPES = (
    (128, 128),
    (256, 256),
    (352, 512),
    (512, 352),
    (640, 640),
    (1024, 1024),
)


class Repairer:
    """Weights loaded once, compiled once for each tile shape and kind of pixel.

    Args:
      model: name of weights that ship with the package.
      checkpoint: instead, the workdir of a training or a `.safetensors` file.
    Raises:
      WeightsError: there are no such weights, or they do not repair holes.
    """

    repairs = True
    can_denoise = False

    def __init__(self, model: str = "inpaint", checkpoint: str | None = None):
        from lowlight_jax import weights

        network, params = weights.load_any(model if checkpoint is None else checkpoint)
        if "repair" not in network.phases:
            raise weights.WeightsError(
                f"the weights {checkpoint or model} brighten and do not repair holes; "
                "use lowlight_jax.enhance"
            )
        self._bind(network, params)

    @classmethod
    def from_params(cls, network, params) -> "Repairer":
        """A repairer of a network in memory."""
        repairer = cls.__new__(cls)
        repairer._bind(network, params)
        return repairer

    def _bind(self, network, params) -> None:
        self._params = params
        self._overlap = overlap_px(network)
        self._run = _compiled(network)

    def __call__(self, image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """The repaired image, of the same shape and dtype, unchanged outside holes.

        Args:
          image: `[h, w, c]`, c = 3 (RGB) or 1 (gray), sRGB: uint8, uint16 (full range),
            or floating point in [0, 1].
          mask: `[h, w]` or `[h, w, 1]`, not 0 in holes; None: regions of pure black,
            see `ops.damage.find_holes`.
        Raises:
          ValueError: the image or the mask is none of these.
        """
        from lowlight_jax.ops.damage import find_holes

        image = np.asarray(image)
        check_image(image)
        if image.ndim != 3:
            raise ValueError(f"image has shape {image.shape}; expected [h, w, c]")
        holes = find_holes(image) if mask is None else np.asarray(mask)
        if holes.size != image.shape[0] * image.shape[1]:
            raise ValueError(
                f"mask has shape {holes.shape}; expected that of the image, "
                f"{image.shape[:2]}"
            )
        holes = np.uint8(holes != 0).reshape(*image.shape[:2], 1)
        out = image.copy()
        for tile in _plan(*image.shape[:2], self._overlap):
            kept = holes[tile.rows, tile.columns]
            if kept.any():
                window, missing = (
                    reflected_window(a, *tile[:4]) for a in (image, holes)
                )
                result = np.asarray(self._run(self._params, window, missing))
                out[tile.rows, tile.columns] = np.where(
                    kept, result[tile.inside], image[tile.rows, tile.columns]
                )
        return out


def _plan(h: int, w: int, overlap: int):
    """One tile where one is enough, which needs no overlap; else overlapping ones."""
    fits = any(h <= height and w <= width for height, width in _TILE_SHAPES)
    return plan_tiles(h, w, 0 if fits else overlap, _TILE_SHAPES)


@functools.cache
def _compiled(network):
    import jax
    import jax.numpy as jnp

    from lowlight_jax.runtime.compiler import cpu_compiler_options

    @functools.partial(jax.jit, compiler_options=cpu_compiler_options())
    def run(params, window, holes):
        integer = jnp.issubdtype(window.dtype, jnp.integer)
        full = jnp.iinfo(window.dtype).max if integer else 1
        given = window[None].astype(jnp.float32) / full
        image = jnp.broadcast_to(given, (*given.shape[:-1], 3))
        holes = holes[None].astype(jnp.float32)
        pred = network.apply({"params": params}, image, holes).pred
        if given.shape[-1] == 1:
            pred = pred.mean(-1, keepdims=True)
        pred = jnp.clip(pred, 0.0, 1.0)
        if integer:
            pred = jnp.round(pred * full)
        return pred[0].astype(window.dtype)

    return run


@functools.cache
def _repairer(model: str, checkpoint: str | None) -> Repairer:
    return Repairer(model, checkpoint)


def repair(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    model: str = "inpaint",
    checkpoint: str | None = None,
) -> np.ndarray:
    """Repairs an image with holes: see `Repairer` and `Repairer.__call__`.

    Weights are loaded at the first call and kept.
    """
    return _repairer(model, checkpoint)(image, mask)
