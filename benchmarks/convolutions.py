"""The convolutions of the networks, forward and their gradients, beside PyTorch's.

    pip install -e '.[bench]' && python benchmarks/convolutions.py

For layers as `dual` and `dual_global` have them, on a batch of 8 crops of 128 px (or
what is left of them at that depth): the output, the gradient of the input and that of
the kernel, in ms. Each side is a process of its own with freed memory kept, PyTorch
with channels_last; they take turns layer by layer.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from network import TUNED_MALLOC
from rich.console import Console
from rich.table import Table

BATCH, REPEATS = 8, 15
# Side in px, channels in and out, stride; kernels are 3x3.
LAYERS = (
    (128, 3, 16, 1),
    (128, 16, 16, 1),
    (128, 16, 32, 2),
    (64, 24, 24, 1),
    (64, 32, 32, 1),
    (64, 32, 64, 2),
    (32, 32, 32, 1),
    (32, 64, 64, 1),
)
WORK = ("output", "of the input", "of the kernel")


def arrays(side: int, c_in: int, c_out: int, stride: int) -> tuple[np.ndarray, ...]:
    """Input, kernel and the gradient of the output."""
    rng = np.random.default_rng(0)
    shapes = (
        (BATCH, side, side, c_in),
        (3, 3, c_in, c_out),
        (BATCH, side // stride, side // stride, c_out),
    )
    return tuple(rng.random(shape, np.float32) for shape in shapes)


def jax_work(*layer: int) -> tuple[Callable, ...]:
    import jax

    from lowlight_jax.models.layers import conv2d, conv2d_transposed, kernel_gradient
    from lowlight_jax.runtime.compiler import cpu_compiler_options

    stride = layer[-1]
    x, kernel, y = map(jax.device_put, arrays(*layer))

    def compiled(function: Callable, *given: jax.Array) -> Callable:
        function = jax.jit(function, compiler_options=cpu_compiler_options())
        return lambda: jax.block_until_ready(function(*given))

    return (
        compiled(lambda x, kernel: conv2d(x, kernel, stride), x, kernel),
        compiled(lambda y, kernel: conv2d_transposed(y, kernel, stride), y, kernel),
        compiled(lambda x, y: kernel_gradient(x, y, 3, stride), x, y),
    )


def torch_work(*layer: int) -> tuple[Callable, ...]:
    import torch

    torch.set_num_threads(os.cpu_count())
    stride = layer[-1]
    x, kernel, y = map(torch.from_numpy, arrays(*layer))
    x, y = (images.permute(0, 3, 1, 2) for images in (x, y))  # channels_last
    kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)

    def backward(*of: bool) -> Callable:
        return lambda: torch.ops.aten.convolution_backward(
            y, x, kernel, None, [stride] * 2, [1, 1], [1, 1], False, [0, 0], 1, of
        )

    return (
        lambda: torch.nn.functional.conv2d(x, kernel, stride=stride, padding=1),
        backward(True, False, False),
        backward(False, True, False),
    )


def worker(make: Callable[..., tuple[Callable, ...]]) -> None:
    """For each line of input a layer's median times, in ms."""
    for line in sys.stdin:
        medians = []
        for run in make(*LAYERS[int(line)]):
            seconds = []
            for _ in range(REPEATS + 3):  # compiled, and warm
                start = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - start)
            medians.append(1000 * statistics.median(seconds[3:]))
        print(*medians, flush=True)


def main() -> None:
    sides = {"jax": jax_work, "torch": torch_work}
    parser = argparse.ArgumentParser(description="times convolutions and PyTorch's")
    parser.add_argument("--worker", choices=sides, help=argparse.SUPPRESS)
    if side := parser.parse_args().worker:
        return worker(sides[side])
    if importlib.util.find_spec("torch") is None:
        sys.exit("PyTorch is not installed; pip install -e '.[bench]' brings it")
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--worker", side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | TUNED_MALLOC | {"JAX_PLATFORMS": "cpu"},
        )
        for side in sides
    ]
    table = Table("layer", *WORK, title="ms, ours / PyTorch's")
    for i, (side_px, c_in, c_out, stride) in enumerate(LAYERS):
        medians = []
        for process in processes:
            print(i, file=process.stdin, flush=True)
            medians.append([float(ms) for ms in process.stdout.readline().split()])
        cells = [
            f"{ours:.2f} / {theirs:.2f} = {ours / theirs:.1f}"
            for ours, theirs in zip(*medians, strict=True)
        ]
        table.add_row(f"{c_in} to {c_out} at {side_px} px, stride {stride}", *cells)
    for process in processes:
        process.communicate()
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
