"""How fast the metrics are, as ratios within one run on one machine.

    python benchmarks/metrics.py        # with torch and pytorch-msssim for its rows

SSIM and MS-SSIM of 16 pairs of 128x128x3, forward and with the gradient of the first
image; MS-SSIM also of 4 pairs of 256x256x3, as many pixels; NIQE and BRISQUE of one
600x400 image. Everything of JAX is compiled first. Contestants take turns, so that a
machine that slows down slows all of them; the median of their times counts.

At 128 px MS-SSIM has four scales, the fifth needs 161 px. pytorch-msssim refuses images
that small, so its own steps are put together here for four; at 256 px its public
function runs.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lowlight_jax import metrics
from lowlight_jax.ops.structure import (
    MS_SSIM_WEIGHTS,
    ms_ssim_terms,
    ssim_terms,
    usable_scales,
    weighted_product,
)

SMALL, LARGE = (16, 128, 128, 3), (4, 256, 256, 3)
REFERENCE = "dm_pix.ssim"  # ratios of SSIM and MS-SSIM are to this


def our_ssim(pred: jax.Array, target: jax.Array) -> jax.Array:
    """What the losses use, in place of `dm_pix.ssim`."""
    return ssim_terms(pred, target)[0].mean(axis=1)


def our_ms_ssim(pred: jax.Array, target: jax.Array) -> jax.Array:
    """`metrics.ms_ssim_rgb`, with the scales that fit."""
    scales = usable_scales(pred.shape[1])
    terms = jax.nn.relu(ms_ssim_terms(pred, target, scales))
    return weighted_product(terms, jnp.asarray(MS_SSIM_WEIGHTS[:scales]))


def jax_runs(metric: Callable, pred: np.ndarray, target: np.ndarray) -> tuple:
    """Forward and gradient, compiled."""
    x, y = jnp.asarray(pred), jnp.asarray(target)
    forward = jax.jit(metric)
    gradient = jax.jit(jax.grad(lambda a, b: metric(a, b).sum()))
    return (
        lambda: jax.block_until_ready(forward(x, y)),
        lambda: jax.block_until_ready(gradient(x, y)),
    )


def torch_runs(metric: Callable, pred: np.ndarray, target: np.ndarray) -> tuple:
    """Forward and gradient, in torch's layout."""
    import torch

    x, y = (torch.from_numpy(a.transpose(0, 3, 1, 2).copy()) for a in (pred, target))

    def forward():
        with torch.no_grad():
            metric(x, y)

    def gradient():
        a = x.clone().requires_grad_()
        metric(a, y).sum().backward()

    return forward, gradient


def torch_measures() -> dict[str, tuple[Callable, tuple]]:
    """pytorch-msssim's functions and the shape each is run on; empty without it."""
    try:
        import torch
        from pytorch_msssim import ms_ssim, ssim
        from pytorch_msssim.ssim import _fspecial_gauss_1d, _ssim
    except ImportError:
        return {}
    window = _fspecial_gauss_1d(11, 1.5).repeat([3, 1, 1, 1])
    weights = torch.tensor(MS_SSIM_WEIGHTS[:4]).reshape(-1, 1, 1)

    def ms_ssim_of_four_scales(x, y):
        terms = []
        for i in range(4):
            value, contrast = _ssim(x, y, 1.0, window, size_average=False)
            terms.append(torch.relu(value if i == 3 else contrast))
            x, y = (torch.nn.functional.avg_pool2d(z, 2) for z in (x, y))
        return torch.prod(torch.stack(terms) ** weights, dim=0).mean(1)

    def per_image(function):
        return lambda x, y: function(x, y, data_range=1.0, size_average=False)

    return {
        "pytorch-msssim ssim": (per_image(ssim), SMALL),
        "pytorch-msssim ms_ssim": (ms_ssim_of_four_scales, SMALL),
        "pytorch-msssim ms_ssim, 256 px": (per_image(ms_ssim), LARGE),
    }


def medians(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, after one run that does not count."""
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    for _ in track(range(rounds), description="rounds", transient=True):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="runs of each")
    rounds = parser.parse_args().rounds
    random = np.random.default_rng(0)
    pairs = {shape: random.random((2, *shape), np.float32) for shape in (SMALL, LARGE)}

    runs = {
        REFERENCE: jax_runs(dm_pix.ssim, *pairs[SMALL]),
        "our SSIM terms": jax_runs(our_ssim, *pairs[SMALL]),
        "our MS-SSIM": jax_runs(our_ms_ssim, *pairs[SMALL]),
        "our MS-SSIM, 256 px": jax_runs(our_ms_ssim, *pairs[LARGE]),
    }
    for name, (metric, shape) in torch_measures().items():
        runs[name] = torch_runs(metric, *pairs[shape])
    forward = medians({name: run[0] for name, run in runs.items()}, rounds)
    gradient = medians({name: run[1] for name, run in runs.items()}, rounds)

    table = Table(title="times in ms; speed: how many times that of dm_pix.ssim")
    for column in ("", "forward", "speed", "gradient", "speed"):
        table.add_column(column, justify="right" if column else "left")
    for name in runs:
        cells = []
        for seconds in (forward, gradient):
            cells.append(f"{1000 * seconds[name]:.1f}")
            cells.append(f"{seconds[REFERENCE] / seconds[name]:.2f}")
        table.add_row(name, *cells)
    console = Console()
    console.print(table)

    image = jnp.asarray(random.random((1, 400, 600, 3), np.float32))
    alone = {name: metrics.METRICS[name] for name in ("niqe", "brisque")}
    for name, seconds in medians(
        {name: lambda m=m: m(image) for name, m in alone.items()}, rounds
    ).items():
        console.print(f"{name}, 600x400: {1000 * seconds:.0f} ms")


if __name__ == "__main__":
    main()
