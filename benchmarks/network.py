"""A network beside the same network in PyTorch: time and memory on this CPU.

    pip install -e '.[bench]' && python benchmarks/network.py [--network dual_global]

PyTorch's side is in torch_networks.py; peers.md tells how to time peers fairly.
Three jobs: a training step (batch 8 at 128 px; L1 loss of the four predictions,
gradients of all parameters, SGD) and inference on one image of 400x600 and 1080x1920.
Contestants:
  jax          the compiled step, or the compiled network on the whole image;
  jax tuned    the same, with freed memory kept, as the command that trains does;
  jax tiled    `enhance` on the image, tile by tile, as users call it (no training);
  torch        eager, channels_last, one thread per core;
  torch tuned  the same, with glibc's malloc told to keep freed memory;
  onnxruntime  our graph of the network in ONNX Runtime, as many threads (no training).
Each is a process of its own, so that its peak memory is its own too, and they take
turns repeat by repeat, so that a busy machine slows all alike. All have the same
weights; results that differ by more than 1e-4 end the run before anything is timed.
"""

import argparse
import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

JOBS = {"train": (8, 128, 128), "400x600": (1, 400, 600), "1080x1920": (1, 1080, 1920)}
SIDES = ("jax", "jax tuned", "jax tiled", "torch", "torch tuned", "onnxruntime")
PEERS = ("torch", "onnxruntime")
UNTRAINED = ("jax tiled", "onnxruntime")
TUNED_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
}
LEARNING_RATE = 1e-3
TOLERANCE = 1e-4
BORDER_PX = 64  # more than the networks' reach


def images(job: str) -> tuple[np.ndarray, np.ndarray]:
    """A dark batch and a bright one, `[b, h, w, 3]`."""
    bright = np.random.default_rng(0).random((*JOBS[job], 3), np.float32)
    return 0.1 * bright, bright


def inputs(name: str, low: np.ndarray) -> list[np.ndarray]:
    """What the network is given: the images, and the thumbnails that some see."""
    from lowlight_jax.ops.thumbnail import make_thumbnail  # without JAX

    return [low] + [np.stack([make_thumbnail(x) for x in low])] * (name != "dual")


def save_weights(name: str, path: Path) -> None:
    """Weights for all sides, as a file: so that PyTorch's process never loads JAX."""
    import flax.traverse_util
    import jax

    from lowlight_jax.models import init_params, make_model

    params = init_params(make_model(name), jax.random.key(0))
    np.savez(path, **flax.traverse_util.flatten_dict(params, sep="/"))


def load_network(name: str, weights: str):
    import flax.traverse_util

    from lowlight_jax.models import make_model

    params = dict(np.load(weights))
    return make_model(name), flax.traverse_util.unflatten_dict(params, sep="/")


def jax_job(name: str, job: str, weights: str):
    """A function that does the job once, to the end, and returns what is compared."""
    import jax
    import jax.numpy as jnp

    from lowlight_jax.runtime.compiler import cpu_compiler_options

    network, params = load_network(name, weights)
    low, target = images(job)
    params, given, target = jax.device_put((params, inputs(name, low), target))

    def forward(params, given):
        return network.apply({"params": params}, *given).pred

    def step(params, given):
        def loss(params):
            output = network.apply({"params": params}, *given)
            module_outputs = (output.enhanced, output.denoised)
            predictions = [p for o in module_outputs for p in (o.coarse_pred, o.pred)]
            return sum(jnp.abs(p - target).mean() for p in predictions)

        value, gradients = jax.value_and_grad(loss)(params)
        new = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, gradients)
        return new, value

    options = cpu_compiler_options()
    if job != "train":
        compiled = jax.jit(forward, compiler_options=options)
        return lambda: np.asarray(compiled(params, given))
    compiled = jax.jit(step, compiler_options=options, donate_argnums=0)

    def train():
        nonlocal params
        params, value = compiled(params, given)
        jax.block_until_ready(params)
        return np.asarray(value)

    return train


def tiled_job(name: str, job: str, weights: str):
    from lowlight_jax.inference.runner import Runner

    enhancer = Runner(*load_network(name, weights))
    low = images(job)[0][0]
    return lambda: enhancer(low)[None]


def onnx_job(name: str, job: str, weights: str):
    from lowlight_jax.inference.onnx_runtime import OnnxNetwork
    from lowlight_jax.onnx_graphs.models import window_model

    model = window_model(*load_network(name, weights))
    network = OnnxNetwork.load(model.SerializeToString())
    low, *thumbnails = inputs(name, images(job)[0])
    thumbnail = thumbnails[0] if thumbnails else None
    whole = {"denoise": 1.0}
    return lambda: network.run(low[0], None, thumbnail, None, 1.0, whole)[None]


def torch_job(name: str, job: str, weights: str):
    import torch
    import torch_networks

    torch.set_num_threads(os.cpu_count())
    model = torch_networks.load_network(name, weights)
    low, target = images(job)
    # NHWC in memory, NCHW in shape: exactly channels_last.
    *given, target = (
        torch.from_numpy(a).permute(0, 3, 1, 2) for a in (*inputs(name, low), target)
    )

    def forward():
        with torch.inference_mode():
            return model(*given)[-1].permute(0, 2, 3, 1).numpy()

    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)

    def train():
        optimizer.zero_grad()
        value = sum((p - target).abs().mean() for p in model(*given))
        value.backward()
        optimizer.step()
        return value.detach().numpy()

    return train if job == "train" else forward


def work(side: str, name: str, job: str, weights: str) -> None:
    """A contestant: warms up, writes its result, then one repeat per line of input."""
    if side == "jax tuned":
        from lowlight_jax.runtime.allocator import keep_freed_memory

        keep_freed_memory()
    makers = {
        "jax": jax_job,
        "jax tuned": jax_job,
        "jax tiled": tiled_job,
        "torch": torch_job,
        "torch tuned": torch_job,
        "onnxruntime": onnx_job,
    }
    run = makers[side](name, job, weights)
    results = [run() for _ in range(3)]  # three steps of training, or thrice the same
    np.save(sys.stdin.readline().strip(), results[-1])
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)  # KiB


class Contestant:
    """A process that runs `work`."""

    def __init__(
        self, side: str, network: str, job: str, weights: Path, result_path: Path
    ):
        self.name = side
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", side, network, job, weights],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (TUNED_MALLOC if side == "torch tuned" else {}),
        )
        self._say(result_path)
        self.result = np.load(result_path)
        self.seconds: list[float] = []

    def _say(self, line) -> str:
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended early; its message stands above")
        return answer

    def repeat(self) -> None:
        self.seconds.append(float(self._say("again")))

    def kill(self) -> None:
        self._process.kill()

    def peak_mib(self) -> float:
        """Ends the process."""
        return int(self._process.communicate()[0]) / 1024


def _difference(expected: np.ndarray, other: Contestant) -> float:
    result = other.result
    if other.name == "onnxruntime":
        expected = np.clip(expected, 0, 1)
    if other.name == "jax tiled":  # clips, and continues the image beyond its borders
        inside = (
            slice(None),
            slice(BORDER_PX, -BORDER_PX),
            slice(BORDER_PX, -BORDER_PX),
        )
        expected, result = np.clip(expected, 0, 1)[inside], result[inside]
    return np.abs(expected - result).max()


def compare(network: str, job: str, repeats: int) -> None:
    """Runs one job on all sides and prints a line for each."""
    sides = [s for s in SIDES if job != "train" or s not in UNTRAINED]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        weights = folder / "weights.npz"
        save_weights(network, weights)
        contestants = [
            Contestant(side, network, job, weights, folder / f"{side}.npy")
            for side in sides
        ]
    for other in contestants[1:]:
        difference = _difference(contestants[0].result, other)
        if not difference <= TOLERANCE:
            for contestant in contestants:
                contestant.kill()
            sys.exit(f"{job}: {other.name} differs from jax by {difference:.1e}")
    for _ in range(repeats):
        for contestant in contestants:
            contestant.repeat()
    medians = {c.name: 1000 * statistics.median(c.seconds) for c in contestants}
    for c in contestants:
        print(
            f"{job:10} {c.name:12} {medians[c.name]:8.1f} {1000 * min(c.seconds):8.1f}"
            f" {medians[c.name] / medians['torch']:8.2f}"
            f" {medians[c.name] / medians['torch tuned']:8.2f} {c.peak_mib():8.0f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="times a network and PyTorch's")
    parser.add_argument("--network", choices=("dual", "dual_global"), default="dual")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--job", choices=JOBS, help="only this one")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if args.worker:
        return work(*args.worker)
    if missing := [name for name in PEERS if importlib.util.find_spec(name) is None]:
        missing = " and ".join(missing)
        sys.exit(f"not installed: {missing}; pip install -e '.[bench]' brings it")
    versions = ", ".join(f"{name} {version(name)}" for name in ("jax", *PEERS))
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {versions}, {args.repeats} repeats of "
        f"{args.network}"
    )
    print(
        f"{'job':10} {'side':12} {'median ms':>8} {'min ms':>8} {'/ torch':>8}"
        f" {'/ tuned':>8} {'peak MiB':>8}"
    )
    for job in [args.job] if args.job else JOBS:
        compare(args.network, job, args.repeats)


if __name__ == "__main__":
    main()
