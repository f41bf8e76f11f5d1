"""Crops that are cut on the device, where all images stay, from first step to last.

The same crops, bit for bit, as `pipeline.make_batches` cuts on the host, which then
only draws where: a batch is a few numbers, and no input pipeline is in the way of a
fast device.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lowlight_jax.data.pairs import PairsError
from lowlight_jax.data.pipeline import Geometry, Views
from lowlight_jax.types import Batch


def stack_views(examples: Sequence[Views], geometry: Geometry) -> dict[str, np.ndarray]:
    """Each view of all images, `[n, ...]`, to be put on the device.

    Raises:
      PairsError: they are not of one size, or are turned by degrees.
    """
    sizes = {next(iter(views.values())).shape[:2] for views in examples}
    if len(sizes) > 1 or geometry.rotate_degrees:
        found = f"{len(sizes)} sizes" if len(sizes) > 1 else "rotate_degrees"
        raise PairsError(
            f"data.on_device cuts crops on the device: found {found}, expected images "
            "of one size and no rotation by degrees; leave it out"
        )
    names = examples[0].keys()
    return {name: np.stack([views[name] for views in examples]) for name in names}


def device_crops(images: Batch, windows: Batch, crop_px: int) -> Batch:
    """A batch of crops, as the objectives want it.

    Args:
      images: of `stack_views`.
      windows: a batch of `make_batches(..., on_device=True)`.
      crop_px: side of the crops.
    """
    crops = {
        name: jax.vmap(_cut, (None, 0, None))(view, windows, crop_px)
        for name, view in images.items()
        if view.ndim > 1 and not name.endswith("_thumbnail")
    }
    for name, view in images.items():
        if name.endswith("_thumbnail"):
            crops[name] = jax.vmap(_framed, (None, 0))(view, windows)
        elif view.ndim == 1:
            crops[name] = view[windows["index"]]
    used = ("index", "window", "frames")
    return crops | {k: v for k, v in windows.items() if k not in used}


def _cut(images: jax.Array, drawn: Batch, side: int) -> jax.Array:
    """One crop `[side, side, c]`, reflected where it leaves its image."""
    top, left, turns, flip = drawn["window"]
    h, w = images.shape[1:3]
    i, j = _turned(side, turns, flip)
    rows, columns = _reflected(top + i, h), _reflected(left + j, w)
    return images[drawn["index"], rows, columns]


def _framed(thumbnails: jax.Array, drawn: Batch) -> jax.Array:
    """One thumbnail, a part of it stretched to the whole."""
    _, _, turns, flip = drawn["window"]
    side = thumbnails.shape[1]
    rows, columns = (
        start + position * size // side
        for (start, size), position in zip(
            drawn["frames"], _turned(side, turns, flip), strict=True
        )
    )
    return thumbnails[drawn["index"], rows, columns]


def _turned(
    side: int, turns: jax.Array, flip: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """For each pixel of a square, the row and column that come there.

    As of `np.rot90(image, turns)`, then mirrored.
    """
    i, j = jnp.mgrid[:side, :side]
    j = jnp.where(flip, side - 1 - j, j)
    for turn in range(3):
        is_turned = turn < turns
        i, j = jnp.where(is_turned, j, i), jnp.where(is_turned, side - 1 - i, j)
    return i, j


def _reflected(position: jax.Array, size: int) -> jax.Array:
    """See `ops.padding.reflected_indices`."""
    period = max(2 * (size - 1), 1)
    position = jnp.abs(position) % period
    return jnp.minimum(position, period - position) if size > 1 else position
