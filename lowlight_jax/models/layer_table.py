"""The layers of a network with their parameters and operations."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from lowlight_jax.models import example_inputs
from lowlight_jax.models.layers import Conv, ConvTransposed


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One call of one layer.

    Attributes:
      name: path of its parameters.
      kind: "conv" or "transposed conv".
      kernel_px, stride: of its kernel.
      inputs, outputs: channels.
      height, width: of its output, pixels.
      parameters: 0 where the weights are those of a row before.
      macs: multiplications with accumulation for one image; biases do not count.
    """

    name: str
    kind: str
    kernel_px: int
    stride: int
    inputs: int
    outputs: int
    height: int
    width: int
    parameters: int
    macs: int


def layer_rows(network: nn.Module, height: int, width: int) -> list[LayerRow]:
    """The layers in the order of their calls, for one image `[1, height, width, 3]`.

    Nothing is computed: shapes alone are followed.
    """
    rows = []
    seen = set()

    def record(
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        out = call(*args, **kwargs)
        layer = context.module
        if context.method_name != "__call__":
            return out
        if not isinstance(layer, Conv | ConvTransposed):
            return out
        (x,) = args
        transposed = isinstance(layer, ConvTransposed)
        weights = layer.kernel_px**2 * x.shape[-1] * layer.features
        # A transposed convolution multiplies at every input pixel, a plain one at
        # every output pixel.
        pixels = math.prod((x if transposed else out).shape[1:3])
        name = "/".join(layer.path)
        rows.append(
            LayerRow(
                name=name,
                kind="transposed conv" if transposed else "conv",
                kernel_px=layer.kernel_px,
                stride=layer.stride,
                inputs=x.shape[-1],
                outputs=layer.features,
                height=out.shape[1],
                width=out.shape[2],
                parameters=0 if name in seen else weights + layer.features,
                macs=weights * pixels,
            )
        )
        seen.add(name)
        return out

    inputs = example_inputs(network, height, width)
    with nn.intercept_methods(record):
        jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return rows
