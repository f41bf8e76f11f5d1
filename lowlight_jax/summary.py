"""What a network is made of: a table of its layers, parameters and operations.

python -m lowlight_jax.summary --model dual --height 384 --width 384
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lowlight_jax.runtime.command import NOTHING_WRITTEN, add_debug_flag, run_command
from lowlight_jax.runtime.devices import check_devices

if TYPE_CHECKING:
    import flax.linen as nn

PROG = "python -m lowlight_jax.summary"


def print_summary(network: "nn.Module", height: int, width: int) -> None:
    """The table of layers, with totals."""
    from rich.console import Console
    from rich.table import Table

    from lowlight_jax.models.layer_table import layer_rows

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


def run(argv: Sequence[str] | None, prog: str) -> int:
    """Does what was asked and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Print a network's layers, parameters and operations.",
    )
    parser.add_argument(
        "--model",
        default="dual",
        metavar="NAME",
        help="dual, cnn, ...: see lowlight_jax/models (default: %(default)s)",
    )
    parser.add_argument("--height", type=int, default=384, help="pixels")
    parser.add_argument("--width", type=int, default=384, help="pixels")
    add_debug_flag(parser)
    args = parser.parse_args(argv)
    check_devices()
    from lowlight_jax.models import MODELS, make_model  # JAX: --help is fast

    if args.model not in MODELS:
        parser.error(f"--model {args.model}: expected one of {', '.join(MODELS)}")
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


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    return run_command(lambda: run(argv, prog), interrupted=NOTHING_WRITTEN)


if __name__ == "__main__":
    sys.exit(main())
