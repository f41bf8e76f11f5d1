"""Step time and all-reduced bytes for 1, 2, 4 and 8 devices, the batch of each fixed.

    python benchmarks/scaling.py [--per-device 1] [--crop 64]

The devices are virtual: parts of one CPU, so the time of a step grows with their
number, and what is to be seen is how little it grows beyond that. The bytes are read
off the compiled program and are the same on any hardware.
"""

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import time

DEVICES = (1, 2, 4, 8)
BYTES = {"f32": 4, "bf16": 2, "u32": 4, "s32": 4}


def all_reduced_bytes(program: str) -> int:
    """Bytes that each device hands in to all-reduces, from the compiled program."""
    total = 0
    for line in program.splitlines():
        if result := re.search(r"= (.*?) all-reduce(?:-start)?\(", line):
            for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", result[1]):
                total += BYTES[dtype] * math.prod(int(n) for n in shape.split(",") if n)
    return total


def work(backend: str, per_device: int, crop: int) -> None:
    """One contestant: prints median step in ms and bytes."""
    from functools import partial

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from lowlight_jax.models.dual import DualNetwork
    from lowlight_jax.runtime import parallel
    from lowlight_jax.tasks.task import Settings, make_objective
    from lowlight_jax.training.optimizer import make_optimizer
    from lowlight_jax.training.step import init_train_state, train_step

    network = DualNetwork()
    tx = make_optimizer(optax.constant_schedule(1e-4))
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    state = init_train_state(jax.random.key(0), params["params"], tx)
    objective = make_objective("enhance", model=network, settings=Settings())
    step = partial(train_step, objective=objective, tx=tx)
    compiled = parallel.compile_step(step, backend)

    size = per_device * jax.device_count()
    rng = np.random.default_rng(0)
    high = rng.integers(0, 256, (size, crop, crop, 3), dtype=np.uint8)
    number = np.arange(size, dtype=np.uint32)
    batch = {"low": high // 8, "high": high, "number": number}
    batch = parallel.place_batch(batch, backend)
    state = parallel.place_state(jax.device_get(state), backend)
    program = compiled.lower(state, batch).compile().as_text()
    seconds = []
    for _ in range(13):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, batch))
        seconds.append(time.perf_counter() - start)
    print(1000 * statistics.median(seconds[3:]), all_reduced_bytes(program))


def main() -> None:
    parser = argparse.ArgumentParser(description="times steps on virtual devices")
    parser.add_argument("--per-device", type=int, default=1, help="images each")
    parser.add_argument("--crop", type=int, default=64, help="pixels, square")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args.worker, args.per_device, args.crop)
    print(f"{os.cpu_count()} cores; {args.per_device} crop(s) of {args.crop} px each")
    headings = ("devices", "back end", "ms/step", "ms/crop", "kB reduced")
    print(" ".join(f"{heading:>10}" for heading in headings))
    for devices in DEVICES:
        for backend in ("jit",) if devices == 1 else ("pmap", "mesh"):
            result = subprocess.run(
                [
                    *(sys.executable, __file__, "--worker", backend),
                    *("--per-device", str(args.per_device), "--crop", str(args.crop)),
                ],
                env=os.environ
                | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            milliseconds, reduced = map(float, result.stdout.split())
            per_crop = milliseconds / devices / args.per_device
            print(
                f"{devices:10} {backend:>10} {milliseconds:10.1f} {per_crop:10.1f} "
                f"{reduced / 1e3:10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
