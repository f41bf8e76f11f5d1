"""The networks that brighten, side by side: one picture of 400x600, milliseconds.

    python benchmarks/networks.py [NAME...]             # all cores
    taskset -c 0 python benchmarks/networks.py [NAME...]  # one

By default dual, dual_global and cnn. Everything is compiled first, then they take
turns, so that a busy machine slows all alike; the least and the median of their times,
freed memory kept as by the commands that train and enhance.
"""

import argparse
import statistics
import time

HEIGHT, WIDTH = 400, 600


def make_job(name: str):
    """The network's parameters and a function that runs it once, to the end."""
    import jax
    import numpy as np

    from lowlight_jax.models import example_inputs, init_params, make_model
    from lowlight_jax.runtime.compiler import cpu_compiler_options

    network = make_model(name)
    params = init_params(network, jax.random.key(0))
    inputs = [image + 0.1 for image in example_inputs(network, HEIGHT, WIDTH)]

    def forward(params, *inputs):
        return network.apply({"params": params}, *inputs).pred

    compiled = jax.jit(forward, compiler_options=cpu_compiler_options())
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return count, lambda: np.asarray(compiled(params, *inputs))


def main() -> None:
    parser = argparse.ArgumentParser(description="times the networks")
    parser.add_argument("names", nargs="*", default=["dual", "dual_global", "cnn"])
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()

    from lowlight_jax.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    jobs = {name: make_job(name) for name in args.names}
    seconds = {name: [] for name in jobs}
    for repeat in range(args.repeats + 1):
        for name, (_, run) in jobs.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first one compiles
                seconds[name].append(time.perf_counter() - start)
    for name, (count, _) in jobs.items():
        least, middle = min(seconds[name]), statistics.median(seconds[name])
        print(
            f"{name:12} {count:10,} parameters  least {least * 1e3:6.1f} ms  "
            f"median {middle * 1e3:6.1f} ms"
        )


if __name__ == "__main__":
    main()
