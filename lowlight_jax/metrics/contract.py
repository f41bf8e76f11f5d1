"""What every metric asks of its images, checked at the door in one sentence.

`[b, h, w, c]`, floating point, sRGB in [0, 1]; what is a hair outside is clipped
(`lowlight_jax.checks`). Values are looked at where they are known, which they are not
while a function is compiled.

And how a metric takes images of many sizes without being compiled for each: they are
padded at the right and the bottom, with anything, to one shape, and `size` tells what
is theirs.
"""

import functools
import inspect
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from lowlight_jax.checks import same_shape, unit_range
from lowlight_jax.ops.structure import Sizes
from lowlight_jax.types import Images, PerImage


def compiled_metric(
    *,
    channels: Sequence[int] = (1, 3),
    min_side_px: int = 1,
    options: Sequence[str] = (),
    undefined: str = "",
) -> Callable:
    """Decorator: checks the images of a metric, then runs it, compiled for each shape.

    Args:
      channels, min_side_px: as of `check_images`.
      options: names of keywords with numbers that it is compiled for.
      undefined: when it has no score; NaN becomes a ValueError that says so, where
        values are known.

    The metric takes `size`, see the module's head, beside its images.
    """

    def decorate(function: Callable[..., PerImage]) -> Callable[..., PerImage]:
        compiled = jax.jit(function, static_argnames=tuple(options))
        signature = inspect.signature(function)
        names = [n for n, p in signature.parameters.items() if p.kind != p.KEYWORD_ONLY]
        name = function.__name__

        @functools.wraps(function)
        def metric(*args: ArrayLike, **keywords) -> PerImage:
            given = signature.bind(*args, **keywords).arguments
            images = [given.pop(role) for role in names]
            for other in images[1:]:
                same_shape(name, images[0], other)
            images = [
                check_images(name, image, channels=channels, min_side_px=min_side_px)
                for image in images
            ]
            _check_size(name, images[0], given.get("size"), min_side_px)
            scores = compiled(*images, **given)
            return check_defined(name, scores, undefined) if undefined else scores

        metric.min_side_px = min_side_px
        return metric

    return decorate


def check_images(
    metric: str,
    image: ArrayLike,
    *,
    channels: Sequence[int] = (1, 3),
    min_side_px: int = 1,
) -> Images:
    """The images as a JAX array of float32 (or float64), or a `ValueError`.

    Args:
      metric: name of the metric, for the message.
      image: `[b, h, w, c]` array of JAX or numpy.
      channels: the numbers of channels that the metric is defined for.
      min_side_px: the smallest side that it is defined for.
    Raises:
      ValueError: wrong rank, type, number of channels, too small, or values that are
        not in [0, 1].
    """
    shape, dtype = jnp.shape(image), jnp.result_type(image)
    if len(shape) != 4:
        raise ValueError(
            f"{metric} needs images of shape [b, h, w, c], found shape {shape}: "
            "add a batch axis with image[None], or a channel axis with image[..., None]"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"{metric} needs floating point images in [0, 1], found {dtype}: "
            "divide 8-bit images by 255"
        )
    if shape[3] not in channels:
        wanted = " or ".join(str(c) for c in channels)
        remedy = "drop the alpha channel, or repeat a grey one"
        if shape[1] in (1, 3):
            remedy = "channels come first here, np.moveaxis(image, 1, -1) mends it"
        raise ValueError(
            f"{metric} needs {wanted} channels, found {shape[3]} in shape {shape}: "
            f"{remedy}"
        )
    check_sides(metric, *shape[1:3], min_side_px=min_side_px)
    image = unit_range(f"{metric}: an image", image)
    # bfloat16 and float16 would lose the last bits of a code value: widen them.
    return jnp.asarray(image, jnp.promote_types(dtype, jnp.float32))


def check_sides(metric: str, h: int, w: int, *, min_side_px: int) -> None:
    """Raises a `ValueError` for an image that a metric is not defined for."""
    if min(h, w) < min_side_px:
        raise ValueError(
            f"{metric} needs images of at least {min_side_px}x{min_side_px} px, found "
            f"{h}x{w}: leave this metric out for images this small"
        )


def _check_size(
    metric: str, images: Images, size: ArrayLike | None, min_side_px: int
) -> None:
    if size is None or isinstance(size, jax.core.Tracer):
        return
    size, (b, *sides, _) = np.asarray(size), images.shape
    if size.shape != (b, 2) or (size < min_side_px).any() or (size > sides).any():
        raise ValueError(
            f"{metric}: size is {size.tolist()}; expected height and width of each of "
            f"{b} images, {min_side_px} px to {sides[0]}x{sides[1]}"
        )


def check_pair(
    metric: str,
    pred: ArrayLike,
    target: ArrayLike,
    *,
    channels: Sequence[int] = (1, 3),
    min_side_px: int = 1,
) -> tuple[Images, Images]:
    """Both images as `check_images` returns them, which must have the same shape.

    Raises:
      ValueError: shapes differ (nothing is broadcast), or as for `check_images`.
    """
    # The shapes first: the sentence about them says most.
    same_shape(metric, pred, target)
    pred = check_images(metric, pred, channels=channels, min_side_px=min_side_px)
    target = check_images(metric, target, channels=channels, min_side_px=min_side_px)
    return pred, target


def check_defined(
    metric: str, scores: PerImage | Float[np.ndarray, " b"], undefined: str
) -> PerImage | Float[np.ndarray, " b"]:
    """The scores; a `ValueError` where one is NaN, unless they are traced.

    Args:
      metric: its name.
      scores: `[b]`.
      undefined: why an image has none.
    """
    if isinstance(scores, jax.core.Tracer):
        return scores
    for i in np.flatnonzero(np.isnan(scores)):
        which = "this image" if len(scores) == 1 else f"image {i} of the batch"
        raise ValueError(f"{metric} is not defined for {which}: {undefined}")
    return scores


def inside(size: Sizes, h: int, w: int) -> Bool[Array, "b h w"]:
    """True for the pixels of images of a size, of those of `[b, h, w]`."""
    rows = jnp.arange(h)[None] < size[:, :1]
    columns = jnp.arange(w)[None] < size[:, 1:]
    return rows[:, :, None] & columns[:, None, :]


def pixel_mean(
    values: Float[Array, "b h w"], size: Sizes | None = None, *, border_px: int = 0
) -> PerImage:
    """Mean over the pixels of each image.

    Args:
      values: of every pixel.
      size: of the images, where `values` are padded.
      border_px: by how much a window made `values` smaller than the images.
    """
    # Row by row first: one float32 sum over millions of pixels loses digits.
    if size is None:
        return jnp.mean(jnp.mean(values, axis=2), axis=1)
    size = size - border_px
    values = jnp.where(inside(size, *values.shape[1:]), values, 0.0)
    rows = jnp.sum(values, axis=2) / size[:, 1:]
    return jnp.sum(rows, axis=1) / size[:, 0]
