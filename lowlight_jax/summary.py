"""What a network is made of: a table of its layers, parameters and operations.

python -m lowlight_jax.summary --model dual --height 384 --width 384
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence

import flax.linen as nn
import jax
from rich.console import Console
from rich.table import Table

from lowlight_jax.models import MODELS, example_inputs, make_model
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

    def record(call, args, kwargs, context):
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


def print_summary(network: nn.Module, height: int, width: int) -> None:
    """The table of layers, with totals."""
    rows = layer_rows(network, height, width)
    table = Table(
        title=f"{type(network).__name__} at {width}x{height} px",
        caption="parameters of a layer used twice count once; MAC: one multiplication "
        "with its addition, for one image",
    )
    table.add_column("layer")
    table.add_column("kind")
    for heading in ("kernel", "stride", "channels", "output", "parameters", "MMAC"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            row.kind,
            f"{row.kernel_px}x{row.kernel_px}",
            str(row.stride),
            f"{row.inputs} -> {row.outputs}",
            f"{row.width}x{row.height}",
            f"{row.parameters:,}" if row.parameters else "shared",
            f"{row.macs / 1e6:.1f}",
        )
    table.add_section()
    parameters = sum(row.parameters for row in rows)
    macs = sum(row.macs for row in rows)
    table.add_row("total", *[""] * 5, f"{parameters:,}", f"{macs / 1e6:.1f}")
    Console(width=110).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lowlight_jax.summary",
        description="Print a network's layers, parameters and operations.",
    )
    parser.add_argument("--model", default="dual", choices=sorted(MODELS))
    parser.add_argument("--height", type=int, default=384, help="pixels")
    parser.add_argument("--width", type=int, default=384, help="pixels")
    args = parser.parse_args(argv)
    network = make_model(args.model)
    if (
        min(args.height, args.width) < 1
        or args.height % network.stride
        or (args.width % network.stride)
    ):
        parser.error(
            f"--height {args.height} --width {args.width}: expected positive multiples "
            f"of {network.stride}"
        )
    print_summary(network, args.height, args.width)
    return 0


if __name__ == "__main__":
    sys.exit(main())
