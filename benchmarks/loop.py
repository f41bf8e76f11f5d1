"""What the training loop costs beside the step that it runs, and how soon it starts.

    python benchmarks/loop.py [--config=configs/dual.py]

Prints, for the real `train` with its data pipeline, logging and saving:
  in the loop     seconds from one step's start to the next one's;
  in the step     of which the compiled step itself took so long;
  bare step       the same compiled step, again and again on one batch, nothing else;
  first step      from the command to the end of its first step, with an empty
                  compilation cache and with the one that this leaves;
  the pipeline    pairs of crops of 128 px that one thread cuts, of images in memory.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 60
BARE_STEPS = 20


def load_config(path: str):
    spec = importlib.util.spec_from_file_location("config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def time_loop(path: str) -> None:
    """One phase of the real loop, its step timed from within."""
    from lowlight_jax.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    import jax

    from lowlight_jax.runtime import parallel
    from lowlight_jax.training import loop as train

    starts, seconds, bare = [], [], []
    compile_step = parallel.compile_step

    def compile_timed_step(step, backend):
        compiled = compile_step(step, backend)

        def timed_step(state, batch):
            starts.append(time.perf_counter())
            result = jax.block_until_ready(compiled(state, batch))
            seconds.append(time.perf_counter() - starts[-1])
            if len(starts) == STEPS:
                state = jax.tree.map(jax.numpy.copy, result[0])
                for _ in range(BARE_STEPS):
                    start = time.perf_counter()
                    state, _ = jax.block_until_ready(compiled(state, batch))
                    bare.append(time.perf_counter() - start)
            return result

        return timed_step

    parallel.compile_step = compile_timed_step
    config = load_config(path)
    for name in config.phases:
        config.phases[name].steps = STEPS if name == "enhance" else 0
    config.checkpoint_every_steps = 20
    config.data.validation_every = 0
    with tempfile.TemporaryDirectory() as workdir:
        train.train(config, workdir)

    warm = slice(5, STEPS)  # without compilation
    laps = [b - a for a, b in zip(starts, starts[1:], strict=False)][warm]
    print(
        f"in the loop  mean {statistics.mean(laps) * 1e3:7.1f} ms  median "
        f"{statistics.median(laps) * 1e3:7.1f} ms"
    )
    for name, values in (("in the step", seconds[warm]), ("bare step", bare)):
        print(
            f"{name:12} mean {statistics.mean(values) * 1e3:7.1f} ms  median "
            f"{statistics.median(values) * 1e3:7.1f} ms"
        )
    outside = sum(laps) / sum(seconds[5 : STEPS - 1]) - 1
    slower = statistics.median(laps) / statistics.median(bare) - 1
    print(f"the loop adds {outside:.1%} to its steps, saving included (mean)")
    print(f"a step in the loop takes {slower:+.1%} of the bare one (medians)")


def time_first_step(path: str) -> None:
    """Of the command itself, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "filled", "filled"):
            start = time.perf_counter()
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "lowlight_jax.main", f"--config={path}"),
                    f"--workdir={folder}/{start}",
                ],
                env=os.environ | {"XDG_CACHE_HOME": folder},
                stderr=subprocess.PIPE,
                text=True,
            )
            for line in process.stderr:
                if "first step" in line:
                    break
            seconds = time.perf_counter() - start
            process.kill()
            process.communicate()
            print(f"first step, {cache} cache: {seconds:.1f} s after the command")


def time_pipeline() -> None:
    """Crops alone, nothing trained."""
    import numpy as np

    from lowlight_jax.data.pipeline import make_batches

    images = np.random.default_rng(0).integers(0, 256, (64, 400, 600, 3), np.uint8)
    scenes = [{"low": image, "high": image} for image in images]
    batches = make_batches(scenes, seed=0, crop_px=128, batch_size=8, threads=1)
    for _ in range(20):
        next(batches)
    start = time.perf_counter()
    for _ in range(200):
        next(batches)
    print(f"the pipeline cuts {1600 / (time.perf_counter() - start):.0f} pairs/s")


def main() -> None:
    parser = argparse.ArgumentParser(description="times the training loop")
    parser.add_argument("--config", default="configs/dual.py")
    path = str(Path(parser.parse_args().config).resolve())
    time_first_step(path)
    time_pipeline()
    time_loop(path)


if __name__ == "__main__":
    main()
