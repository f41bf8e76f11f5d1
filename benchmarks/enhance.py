"""`lowlight enhance` end to end beside the bare network, on this machine.

    python benchmarks/enhance.py [--job "512 px"] [--repeats 5]

Jobs, JPEG to JPEG: folders of 40 photographs of 512x512 and of 10 of 640x360 (one takes
40 ms, of which the system's threads need half to wake up), and one each of 1280x720,
1920x1080 and 6000x4000. `enhance` is the command without its start: files
decoded, brightened and saved; `runner` the same without files, as a library, which does
not keep freed memory; both by JAX and, where it is installed, by ONNX Runtime. The
bare network is the same weights, compiled, on as many pixels, already decoded and on
the device, with freed memory kept; 24 million pixels are 12 pieces of 1336x1504, which
overlap nowhere. Each side is a process of its own and they take turns repeat by repeat,
so that a busy machine slows all alike. Medians, cores kept busy and peak memory.

`--start` times the whole command instead, on one photograph of 400x600, from the shell
to the saved file, by both in turns, with what the run before left in the cache.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

# Photographs, their size; the bare network's pieces, how many for each photograph.
JOBS = {
    "512 px": (40, (512, 512), (512, 512), 1),
    "360p": (10, (360, 640), (360, 640), 1),
    "720p": (1, (720, 1280), (720, 1280), 1),
    "1080p": (1, (1080, 1920), (1080, 1920), 1),
    "24 MP": (1, (4000, 6000), (1336, 1504), 12),
}
BACKENDS = ["jax"] + ["onnxruntime"] * bool(find_spec("onnxruntime"))
SIDES = [f"{kind} {backend}" for kind in ("runner", "enhance") for backend in BACKENDS]


def photograph(h: int, w: int, seed: int) -> np.ndarray:
    """A dark scene: large shapes, texture and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w] / max(h, w)
    waves = [np.sin(9 * x + seed) * np.cos(7 * y), np.sin(80 * x * y), np.sin(300 * y)]
    light = 30 + 12 * waves[0] + 6 * waves[1] + 3 * waves[2]
    return (
        (light[..., None] + rng.normal(0, 3, (h, w, 3))).clip(0, 255).astype(np.uint8)
    )


def make_folder(folder: Path, job: str) -> None:
    from PIL import Image

    count, (h, w), _, _ = JOBS[job]
    folder.mkdir()
    for seed in range(count):
        Image.fromarray(photograph(h, w, seed)).save(folder / f"{seed}.jpg", quality=92)


def enhance_job(folder: Path, backend: str):
    from lowlight_jax.inference.batch import Outcome, enhance_files
    from lowlight_jax.inference.jobs import plan_jobs
    from lowlight_jax.inference.methods import load_method
    from lowlight_jax.inference.runner import DEFAULT_MODEL
    from lowlight_jax.runtime.allocator import PHOTO_BUFFER, keep_freed_memory
    from lowlight_jax.runtime.cache import use_compilation_cache

    if backend == "jax":  # as the command does
        keep_freed_memory(PHOTO_BUFFER)
        use_compilation_cache()
    method = load_method(DEFAULT_MODEL, backend=backend)

    def run() -> None:
        outcome = Outcome()
        jobs = plan_jobs([folder], Path(f"{folder}_out"), "jpg")
        enhance_files(jobs, lambda: method, outcome)
        assert len(outcome.saved) == len(jobs)

    return run


def runner_job(job: str, backend: str):
    from lowlight_jax.inference.runner import Enhancer

    count, (h, w), _, _ = JOBS[job]
    enhancer, image = Enhancer(backend=backend), photograph(h, w, 0)

    def run() -> None:
        for _ in range(count):
            enhancer(image)

    return run


def bare_job(job: str):
    import jax
    import jax.numpy as jnp

    from lowlight_jax import weights
    from lowlight_jax.inference.runner import DEFAULT_MODEL
    from lowlight_jax.models import example_inputs
    from lowlight_jax.runtime.allocator import keep_freed_memory
    from lowlight_jax.runtime.compiler import cpu_compiler_options

    keep_freed_memory()
    count, _, (h, w), pieces = JOBS[job]
    network, params = weights.load_any(DEFAULT_MODEL)
    image, *scene = example_inputs(network, h, w)
    image = jnp.asarray(photograph(h, w, 0)[None], jnp.float32) / 255
    compiled = jax.jit(
        lambda params, *inputs: network.apply({"params": params}, *inputs).pred,
        compiler_options=cpu_compiler_options(),
    )

    def run() -> None:
        for _ in range(count * pieces):
            compiled(params, image, *scene).block_until_ready()

    return run


def work(side: str, job: str, folder: str) -> None:
    """Warms up, then one repeat for each line of input."""
    if side == "make":
        return make_folder(Path(folder), job)
    kind, _, backend = side.partition(" ")
    if kind == "bare":
        run = bare_job(job)
    elif kind == "runner":
        run = runner_job(job, backend)
    else:
        run = enhance_job(Path(folder), backend)
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB
        print(seconds, time.process_time() - cpu, peak, flush=True)


def compare(job: str, repeats: int, root: Path) -> None:
    folder = root / job.replace(" ", "_")
    # By a process of its own: children begin with their parent's peak of memory.
    subprocess.run([sys.executable, __file__, "--worker", "make", job, folder])
    sides = {
        side: subprocess.Popen(
            [sys.executable, __file__, "--worker", side, job, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in ("bare", *SIDES)
    }
    found = {side: [] for side in sides}
    for process in sides.values():
        assert process.stdout.readline() == "ready\n", "a side ended early"
    for _ in range(repeats):
        for side, process in sides.items():
            print("again", file=process.stdin, flush=True)
            found[side].append(list(map(float, process.stdout.readline().split())))
    medians = {
        side: [statistics.median(column) for column in zip(*rows, strict=True)]
        for side, rows in found.items()
    }
    for side, (seconds, cpu, peak) in medians.items():
        print(
            f"{job:8} {side:20} {seconds:8.3f} {seconds / medians['bare'][0]:7.2f}"
            f" {cpu / seconds:7.2f} {peak:9.0f}",
            flush=True,
        )
    for process in sides.values():
        process.communicate()


def time_start(repeats: int, root: Path) -> None:
    photo, out = root / "one.jpg", root / "one.png"
    from PIL import Image

    Image.fromarray(photograph(400, 600, 0)).save(photo)
    lowlight = [Path(sys.executable).parent / "lowlight", "enhance", photo]
    commands = {b: [*lowlight, "--backend", b, "--output", out] for b in BACKENDS}
    seconds = {backend: [] for backend in BACKENDS}
    for _ in range(repeats + 2):
        for backend, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[backend].append(time.perf_counter() - start)
    for backend, (first, second, *others) in seconds.items():
        print(
            f"{backend:12} first run {first:.2f} s, second {second:.2f} s, median of "
            f"the next {repeats}: {statistics.median(others):.2f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="times enhance, end to end")
    parser.add_argument("--job", choices=JOBS, help="only this one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--start", action="store_true", help="time the whole command")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(*args.worker)
    with tempfile.TemporaryDirectory() as folder:
        if args.start:
            return time_start(args.repeats, Path(folder))
        print(f"job      {'side':20}  seconds  / bare   cores  peak MiB")
        for job in [args.job] if args.job else JOBS:
            compare(job, args.repeats, Path(folder))


if __name__ == "__main__":
    main()
