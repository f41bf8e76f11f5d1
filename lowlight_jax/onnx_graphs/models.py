"""Whole ONNX models: of windows, for `inference.onnx_runtime`, and of pictures.

A picture's model is what `lowlight_jax.inference.picture` is in JAX: an image of any
size goes in, and the image of the same size comes out.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import onnx
from onnx import TensorProto, helper

from lowlight_jax import __version__
from lowlight_jax.models import name_of
from lowlight_jax.onnx_graphs import DECLARED
from lowlight_jax.onnx_graphs.builder import Graph, Value, tensor
from lowlight_jax.onnx_graphs.networks import Inputs, predict
from lowlight_jax.ops.darkness import BRIGHT_MEAN, FADING
from lowlight_jax.ops.padding import MARGIN_PX
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX
from lowlight_jax.tasks.task import Network

_FLOAT = TensorProto.FLOAT


def window_model(network: Network, params: Any) -> onnx.ModelProto:
    """A network on windows that are already cut and padded, as `Runner` cuts them.

    Inputs: `image`, float32 `[height, width, 3]` in [0, 1], multiples of the stride;
    where the network takes them `mask` `[height, width, 1]`, `thumbnail`
    `[128, 128, 3]` and `place` `[4]`; `strength` and each control. Output: `result`,
    like `image`, clipped.

    Raises:
      ValueError: there is no graph for this network.
    """
    g = Graph()
    inputs = [tensor("image", "height", "width", 3)]
    if network.task.needs_mask:
        inputs.append(tensor("mask", "height", "width", 1))
    if network.sees_thumbnail:
        inputs.append(tensor("thumbnail", THUMBNAIL_PX, THUMBNAIL_PX, 3))
    if network.sees_place:
        inputs.append(tensor("place", 4))
    given = {info.name: info.name for info in inputs}
    inputs += [tensor(name) for name in ("strength", *network.controls)]
    images = {name: _to_nchw(g, given[name]) for name in given if name != "place"}
    pred = predict(g, network, _numpy(params), _inputs(network, given | images))
    mixed = _mixed(g, images["image"], pred, "strength")
    result = g.op("Squeeze", g.transpose(mixed, 0, 2, 3, 1), g.integers(0))
    return g.model(
        inputs,
        {result: tensor("result", "height", "width", 3)},
        name=name_of(network),
        about={DECLARED: json.dumps(_declared(network))},
    )


def picture_model(
    network: Network,
    params: Any,
    about: Mapping[str, str],
    *,
    dtype: Any = np.uint8,
) -> onnx.ModelProto:
    """A network on whole pictures of any size.

    Inputs: `image` `[height, width, 3]`, sRGB, and for inpainting `mask`
    `[height, width]`, not 0 in holes; `strength` and the controls of the network,
    float32. Output: `result`, like `image`.

    Args:
      about: what the file says of the weights, beside what it says of the network.
      dtype: of image, mask and result: uint8, or float32 in [0, 1].
    Raises:
      ValueError: there is no graph for this network.
    """
    g = Graph()
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = [tensor("image", "height", "width", 3, dtype=kind)]
    margin = MARGIN_PX
    if network.task.needs_mask:
        inputs.append(tensor("mask", "height", "width", dtype=kind))
        margin = 0
    h, w = g.size("image", 0), g.size("image", 1)
    rows, columns = (_reflected(g, side, network.stride, margin) for side in (h, w))

    def window(name: str) -> Value:
        x = g.op("Gather", g.op("Gather", name, rows, axis=0), columns, axis=1)
        return g.op("Cast", x, to=_FLOAT)

    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    given = {"image": _to_nchw(g, g.div(window("image"), full))}
    if network.task.needs_mask:
        holes = g.op("Greater", window("mask"), 0.0)
        holes = g.op("Unsqueeze", g.op("Cast", holes, to=_FLOAT), g.integers(0, 1))
        given["mask"] = holes
    picture = g.op("Cast", "image", to=_FLOAT)
    if network.sees_thumbnail:
        given["thumbnail"] = g.div(_thumbnail(g, picture, h, w), full)
    if network.sees_place:
        given["place"] = _place(g, (h, w), (rows, columns), margin)
    pred = predict(g, network, _numpy(params), _inputs(network, given))
    bottom, right = (g.op("Add", side, g.integers(margin)) for side in (h, w))
    pred = g.slice(g.slice(pred, 2, margin, bottom), 3, margin, right)
    pred = g.op("Squeeze", g.transpose(pred, 0, 2, 3, 1), g.integers(0))
    strength = "strength"
    if network.only_for_dark:
        mean = g.op("ReduceMean", picture, keepdims=0)
        darkness = g.div(g.sub(BRIGHT_MEAN, g.div(mean, full)), FADING)
        strength = g.mul(strength, g.clip(darkness, 0.0, 1.0))
    result = _mixed(g, g.div(picture, full), pred, strength)
    if full != 1:
        result = g.op("Cast", g.op("Round", g.mul(result, full)), to=kind)
    inputs += [tensor(name) for name in ("strength", *network.controls)]
    return g.model(
        inputs,
        {result: tensor("result", "height", "width", 3, dtype=kind)},
        name=name_of(network),
        about={**_about(network), **about},
    )


def _numpy(params: Any) -> Any:
    return jax.tree.map(np.asarray, params)


def _inputs(network: Network, given: Mapping[str, Value]) -> Inputs:
    fields = {name: given.get(name) for name in ("mask", "thumbnail", "place")}
    controls = {name: name for name in network.controls}
    return Inputs(given["image"], **fields, controls=controls)


def _to_nchw(g: Graph, image: Value) -> Value:
    return g.op("Unsqueeze", g.transpose(image, 2, 0, 1), g.integers(0))


def _mixed(g: Graph, given: Value, pred: Value, strength: Value) -> Value:
    """Clip, then mix, as `runner` does."""
    return g.add(given, g.mul(g.sub(g.clip(pred, 0.0, 1.0), given), strength))


def _reflected(g: Graph, size: Value, stride: int, margin: int) -> Value:
    """Pixel numbers of a padded axis, `ops.padding.reflected_indices`."""
    one, zero = g.integers(1), g.integers(0)
    rounded = g.op("Add", size, g.integers(2 * margin + stride - 1))
    rounded = g.op("Div", rounded, g.integers(stride))
    padded = g.op("Mul", rounded, g.integers(stride))
    scalars = [
        g.op("Squeeze", value)
        for value in (
            g.integers(-margin),
            g.op("Sub", padded, g.integers(margin)),
            one,
        )
    ]
    position = g.op("Abs", g.op("Range", *scalars))
    last = g.op("Sub", size, one)
    period = g.op("Max", g.op("Add", last, last), one)
    position = g.op("Mod", position, period)
    back = g.op("Max", g.op("Sub", period, position), zero)
    # Of a single pixel the period is 1, and every position 0.
    return g.op("Min", position, back)


def _thumbnail(g: Graph, picture: Value, h: Value, w: Value) -> Value:
    """`ops.thumbnail.make_thumbnail`, `[1, 3, 128, 128]`: means of boxes as products.

    Args:
      picture: `[h, w, 3]`.
    """
    planes = g.transpose(picture, 2, 0, 1)
    means = g.op("MatMul", _boxes(g, h), planes)
    means = g.op("MatMul", means, g.transpose(_boxes(g, w), 1, 0))
    return g.op("Unsqueeze", means, g.integers(0))


def _boxes(g: Graph, size: Value) -> Value:
    """`[128, size]`: what each pixel weighs in each box."""
    numbers = np.arange(THUMBNAIL_PX + 1, dtype=np.int64)[:, None]
    starts = g.op(
        "Div", g.op("Mul", g.constant(numbers), size), g.integers(THUMBNAIL_PX)
    )
    first = g.slice(starts, 0, 0, THUMBNAIL_PX)
    after = g.slice(starts, 0, 1, THUMBNAIL_PX + 1)
    after = g.op("Max", after, g.op("Add", first, g.integers(1)))
    ends = [g.op("Squeeze", value) for value in (g.integers(0), size, g.integers(1))]
    pixels = g.op("Range", *ends)
    inside = g.op(
        "And", g.op("GreaterOrEqual", pixels, first), g.op("Less", pixels, after)
    )
    lengths = g.op("Cast", g.op("Sub", after, first), to=_FLOAT)
    return g.div(g.op("Cast", inside, to=_FLOAT), lengths)


def _place(
    g: Graph, sizes: tuple[Value, Value], axes: tuple[Value, Value], margin: int
) -> Value:
    """Of the padded picture in the picture itself, `types.Places`."""
    sizes = [g.op("Cast", size, to=_FLOAT) for size in sizes]
    padded = [g.op("Cast", g.size(axis, 0), to=_FLOAT) for axis in axes]
    starts = [g.div(float(-margin), size) for size in sizes]
    ends = [
        g.div(g.sub(length, float(margin)), size)
        for length, size in zip(padded, sizes, strict=True)
    ]
    return g.concat(*starts, *ends, axis=0)


def _declared(network: Network) -> dict[str, Any]:
    """What `Runner` asks a network for."""
    return {
        "name": name_of(network),
        "task_name": network.task.name,
        "needs_mask": network.task.needs_mask,
        "window_shapes": network.task.window_shapes,
        "stride": network.stride,
        "receptive_radius_px": network.receptive_radius_px,
        "sees_thumbnail": network.sees_thumbnail,
        "sees_place": network.sees_place,
        "only_for_dark": network.only_for_dark,
        "controls": {
            name: dataclasses.asdict(control)
            for name, control in network.controls.items()
        },
    }


def _about(network: Network) -> dict[str, str]:
    return {
        "network": name_of(network),
        "task": network.task.name,
        "version": __version__,
    }
