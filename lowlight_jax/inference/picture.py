"""A network on a whole picture as one pure function of JAX, for any height and width.

`Runner` cuts pictures into windows on the host, so that memory does not grow and few
shapes are compiled. Here all of that is part of the function, as is the thumbnail: what
`lowlight_jax.export` writes, for programs that know nothing of this package.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lowlight_jax.ops.darkness import BRIGHT_MEAN, FADING
from lowlight_jax.ops.padding import MARGIN_PX
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX
from lowlight_jax.tasks.task import Network
from lowlight_jax.types import Size


def picture_function(
    network: Network, params: Any, dtype: DTypeLike = jnp.uint8
) -> Callable[..., jax.Array]:
    """`f(image, strength, **controls)` or, for inpainting, `f(image, mask, strength)`.

    Image and result are `[h, w, 3]`, sRGB, the mask `[h, w]`, not 0 in holes; strength
    and all controls of the network are float32 numbers. Results are those of `Runner`
    for a picture that fits one window exactly; black bars and gray pictures are like
    any other here.

    Args:
      dtype: of image, mask and result: uint8, or float32 in [0, 1].
    """
    full = jnp.iinfo(dtype).max if jnp.issubdtype(dtype, jnp.integer) else 1
    needs_mask = network.task.needs_mask
    margin = 0 if needs_mask else MARGIN_PX

    def on_picture(
        image: jax.Array, *rest: jax.Array, **controls: jax.Array
    ) -> jax.Array:
        *masks, strength = rest
        h, w, _ = image.shape
        rows, columns = (_reflected(n, network.stride, margin) for n in (h, w))
        picture = image.astype(jnp.float32) / full
        context = {}
        if masks:
            holes = (masks[0] > 0).astype(jnp.float32)
            context["mask"] = holes[rows][:, columns][None, ..., None]
        if network.sees_thumbnail:
            context["thumbnail"] = _thumbnail(image, full)
        if network.sees_place:
            sizes = jnp.stack([jnp.float32(h), jnp.float32(w)])
            padded = jnp.stack([jnp.float32(n.shape[0]) for n in (rows, columns)])
            ends = -margin / sizes, (padded - margin) / sizes
            context["place"] = jnp.concatenate(ends)[None]
        window = picture[rows][:, columns][None]
        pred = network.task.predict(network, params, window, controls, **context)
        pred = pred[0, margin : margin + h, margin : margin + w]
        if network.only_for_dark:
            darkness = (BRIGHT_MEAN - picture.mean()) / FADING
            strength = strength * jnp.clip(darkness, 0.0, 1.0)
        mixed = picture + strength * (jnp.clip(pred, 0.0, 1.0) - picture)
        return (jnp.round(mixed * full) if full != 1 else mixed).astype(dtype)

    return on_picture


def _reflected(size: Size, stride: int, margin: int) -> jax.Array:
    """`ops.padding.reflected_indices` of an axis with its margin, up to the stride."""
    padded = (size + 2 * margin + stride - 1) // stride * stride
    position = jnp.abs(jnp.arange(padded) - margin)
    period = jnp.maximum(2 * (jnp.int32(size) - 1), 1)
    position = position % period
    return jnp.minimum(position, jnp.maximum(period - position, 0))


def _thumbnail(image: jax.Array, full: int) -> jax.Array:
    """`ops.thumbnail.make_thumbnail`, `[1, 128, 128, 3]`, as products."""
    h, w, _ = image.shape
    exact = jax.lax.Precision.HIGHEST
    image = image.astype(jnp.float32)
    rows = jnp.einsum("ah,hwc->awc", _boxes(h), image, precision=exact)
    means = jnp.einsum("bw,awc->abc", _boxes(w), rows, precision=exact)
    return means[None] / full


def _boxes(size: Size) -> jax.Array:
    """`[128, size]`: what each pixel weighs in each box."""
    starts = jnp.arange(THUMBNAIL_PX + 1)[:, None] * jnp.int32(size) // THUMBNAIL_PX
    first, after = starts[:-1], jnp.maximum(starts[1:], starts[:-1] + 1)
    pixels = jnp.arange(size)[None]
    inside = (pixels >= first) & (pixels < after)
    return inside.astype(jnp.float32) / (after - first)
