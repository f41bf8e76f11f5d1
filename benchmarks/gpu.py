"""Images per second on a GPU or TPU, beside what its arithmetic and memory allow.

    python benchmarks/gpu.py [--seconds 180] [--output FILE.json]

Inference of one picture of 400x600, 1080x1920 and 4000x6000 (24 megapixels), and
training steps on 32 crops of 256 px, with the weights that ship:
  network  the compiled network alone, on data that is on the device already;
  Runner   `Runner(image)`, as `enhance` calls it: 8 bits in and out, windows, and the
           copies between host and device; no files. Its roofline is the network's for
           as many pixels, or the copies where they take longer;
  train    the training's own compiled step of phase "joint", with the losses of the
           weights' configuration, batch after batch on the device.
fp32 and TF32 say how products of float32 are computed; bf16 is the network's `dtype`.

"roofline" is explained in benchmarks/roofline.py, "reached" is the measured part of it.
Times are medians of queued calls after a call or two to warm up; "compile" holds the
compilation and the first of these. What is left of the time limit decides whether a
cell still begins, the most telling ones first; where one overruns even so, the run ends
with what it has.
With JAX_COMPILATION_CACHE_DIR set, a second run gets further.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import sys
import threading
import time
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import roofline

from lowlight_jax.runtime.command import add_debug_flag, run_command
from lowlight_jax.runtime.errors import sentence, trace
from lowlight_jax.runtime.outputs import PathError, check_file, user_path
from lowlight_jax.runtime.whole_file import write_whole

STARTED = time.monotonic()
NETWORKS = ("dual_global_photo", "dual_global", "dual")
PRECISIONS = ("tf32", "bf16", "fp32")  # the default of float32 on a GPU first
GUESS_S = 10.0  # what a cell takes, before one like it has been timed


@dataclasses.dataclass(frozen=True)
class Job:
    """Something to be timed: `kind` is "network", "Runner" or "train"."""

    kind: str
    batch: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.batch * self.height * self.width

    def __str__(self) -> str:
        batch = f"{self.batch} x " if self.batch > 1 else ""
        return f"{self.kind} {batch}{self.height}x{self.width}"


JOBS = (  # a step takes longest to compile
    Job("network", 1, 1080, 1920),
    Job("network", 1, 400, 600),
    Job("Runner", 1, 4000, 6000),
    Job("train", 32, 256, 256),
    Job("Runner", 1, 1080, 1920),
    Job("Runner", 1, 400, 600),
)
KINDS = ("network", "train", "Runner")
SMALL_JOBS = (
    Job("network", 1, 64, 96),
    Job("train", 2, 24, 24),
    Job("Runner", 1, 64, 96),
)


class Report:
    """What is printed and, if wanted, saved, as it comes; and the time limit."""

    def __init__(self, seconds: float, path: Path | None):
        self._end = STARTED + seconds
        self._path = path
        self._content = {"cells": [], "left_out": []}
        self._lock = threading.RLock()
        self.failures = 0
        self.doing = "the preparations"

    def remaining(self) -> float:
        """Seconds until the limit."""
        return self._end - time.monotonic()

    def describe(self, about: dict) -> None:
        """What the figures are of."""
        with self._lock:
            self._content = about | self._content

    def add(self, name: str, job: Job, precision: str, **values) -> None:
        """A cell that was timed."""
        reached = f"{values['reached']:7.0%}" if values["reached"] else f"{'?':>7}"
        with self._lock:
            print(
                f"{name:17} {str(job):21} {precision:5} {values['images_per_s']:9.1f} "
                f"{values['roofline_images_per_s']:9.1f} {reached} "
                f"{1e3 * values['seconds']:9.2f} {values['compile_s']:7.1f}  "
                f"{values['limit']}",
                flush=True,
            )
            self._note("cells", name, job, precision, values)

    def leave_out(self, name: str, job: Job, precision: str, reason: str) -> None:
        """A cell that was not timed."""
        with self._lock:
            print(f"{name:17} {str(job):21} {precision:5} {reason}", flush=True)
            self._note("left_out", name, job, precision, {"reason": reason})

    def _note(self, part: str, name: str, job: Job, precision: str, values) -> None:
        cell = {"network": name, **dataclasses.asdict(job), "precision": precision}
        self._content[part].append({**cell, **values})
        if self._path:
            text = json.dumps(self._content, indent=1) + "\n"
            write_whole(self._path, text.encode())

    def exit_code(self) -> int:
        """1 where something failed or nothing was timed."""
        return int(self.failures > 0 or not self._content["cells"])

    def guard(self) -> threading.Timer:
        """Ends the process a little before the limit, whatever it is doing."""
        margin = min(2.0, 0.05 * self.remaining())
        timer = threading.Timer(max(0.0, self.remaining() - margin), self._end_now)
        timer.daemon = True
        timer.start()
        return timer

    def _end_now(self) -> None:
        with self._lock:
            print(f"time is up during {self.doing}: the rest is left out", flush=True)
            os._exit(self.exit_code())


def load_config(name: str):
    """The configuration that the weights of this name were trained by."""
    path = Path(__file__).parents[1] / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"config_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


class Subject:
    """A network with the weights that ship, in one precision."""

    def __init__(self, name: str, precision: str):
        import jax.numpy as jnp

        from lowlight_jax import weights

        self.name = name
        self.network, self.params = weights.load_shipped(name)
        if precision == "bf16":
            self.network = self.network.clone(dtype=jnp.bfloat16)

    def prepare(self, job: Job):
        """`(run, cost)`: `run` may return early; cost None: of the bare network."""
        makers = {"network": self._network, "train": self._train}
        if job.kind in makers:
            return makers[job.kind](job)
        return self._runner(job), None

    def _network(self, job: Job):
        import jax

        from lowlight_jax.models import example_inputs
        from lowlight_jax.runtime.compiler import cpu_compiler_options

        def forward(params, *inputs):
            return self.network.apply({"params": params}, *inputs).pred

        # Dark noise in place of black: constant data draws less power, and runs faster.
        keys = jax.random.split(jax.random.key(0), 3)
        inputs = [
            0.2 * jax.random.uniform(key, x.shape) if x.ndim == 4 else x
            for key, x in zip(
                keys, example_inputs(self.network, job.height, job.width), strict=False
            )
        ]
        jitted = jax.jit(forward, compiler_options=cpu_compiler_options())
        lowered = jitted.lower(self.params, *inputs)
        compiled = lowered.compile()
        cost = roofline.count_cost(lowered, compiled)
        return partial(compiled, self.params, *inputs), cost

    def _runner(self, job: Job):
        from lowlight_jax.inference.runner import Runner

        shape = job.height, job.width, 3
        image = np.random.default_rng(0).integers(0, 51, shape, np.uint8)
        return partial(Runner(self.network, self.params), image)

    def _train(self, job: Job):
        lowered, state, batch = self.lower_step(job)
        compiled = lowered.compile()

        def run():
            nonlocal state
            state, metrics = compiled(state, batch)
            return state, metrics

        return run, roofline.count_cost(lowered, compiled)

    def lower_step(self, job: Job):
        """`(lowered, state, batch)` of the step that the training runs."""
        import jax

        from lowlight_jax.config import only_phase
        from lowlight_jax.runtime import parallel
        from lowlight_jax.tasks.task import make_objective
        from lowlight_jax.training.loop import make_settings, plan_phases
        from lowlight_jax.training.step import init_train_state, train_step

        config = load_config(self.name)
        only_phase(config, "joint", steps=10_000, learning_rate=1e-6)
        (phase,) = plan_phases(config)
        step = partial(
            train_step,
            objective=make_objective(
                phase.name, model=self.network, settings=make_settings(config)
            ),
            tx=phase.tx,
            ema_decay=config.optimizer.ema_decay,
            accumulate=config.optimizer.accumulate,
        )
        params = jax.tree.map(np.array, self.params)  # the step consumes its state
        init_state = jax.jit(partial(init_train_state, tx=phase.tx))
        state = parallel.place_state(init_state(jax.random.key(0), params), "jit")
        batch = parallel.place_batch(self._batch(job), "jit")
        lowered = parallel.compile_step(step, "jit").lower(state, batch)
        return lowered, state, batch

    def _batch(self, job: Job) -> dict[str, np.ndarray]:
        """Pairs of crops, as `data.pipeline` cuts them."""
        from lowlight_jax.ops.thumbnail import THUMBNAIL_PX
        from lowlight_jax.types import WHOLE

        rng = np.random.default_rng(0)
        high = rng.integers(0, 256, (job.batch, job.height, job.width, 3), np.uint8)
        number = np.arange(job.batch, dtype=np.uint32)
        batch = {"low": high // 8, "high": high, "number": number}
        if self.network.sees_thumbnail:
            shape = job.batch, THUMBNAIL_PX, THUMBNAIL_PX, 3
            bright = rng.random(shape, np.float32)
            batch |= {"low_thumbnail": bright / 8, "high_thumbnail": bright}
            batch["place"] = np.tile(np.float32([WHOLE]), (job.batch, 1))
        return batch


class Bench:
    """Times cells one after the other, while there is time."""

    def __init__(
        self, report: Report, peaks: roofline.Peaks, copies: dict, cell_s: float
    ):
        self._report, self._peaks, self._copies = report, peaks, copies
        self._cell_s = cell_s
        self._taken: dict[Job, float] = {}  # the longest cell of each job
        self._bare: dict[tuple, tuple] = {}  # job, cost, seconds of a bare network

    def try_cell(self, name: str, job: Job, precision: str) -> None:
        """Times a cell, or says why not."""
        self._report.doing = f"{name}, {job}, {precision}"
        leave_out = partial(self._report.leave_out, name, job, precision)
        if precision not in self._peaks.flops:
            leave_out("left out: this device has no units for it")
            return
        left, expected = self._report.remaining(), self._taken.get(job, GUESS_S)
        if left < 1.2 * expected:
            leave_out(f"left out: {left:.0f} s are left, it may take {expected:.0f}")
            return
        start = time.monotonic()
        try:
            values = self._time_cell(name, job, precision)
        except Exception as error:  # one cell must not end the others
            trace(error)
            self._report.failures += 1
            leave_out(f"failed: {sentence(error)}")
        else:
            self._report.add(name, job, precision, **values)
        taken = time.monotonic() - start
        self._taken[job] = max(taken, self._taken.get(job, 0.0))

    def _time_cell(self, name: str, job: Job, precision: str) -> dict:
        import jax

        roofline.set_precision(precision)
        start = time.perf_counter()
        run, cost = Subject(name, precision).prepare(job)
        jax.block_until_ready(run())
        compile_s = time.perf_counter() - start
        seconds = roofline.median_seconds(
            run, self._cell_s, block=jax.block_until_ready
        )
        transfer_s = network_s = 0.0
        if job.kind == "network":
            self._bare.setdefault((name, precision), (job, cost, seconds))
        elif job.kind == "Runner":
            transfer_s = 3 * job.pixels / min(self._copies.values())
            cost = roofline.Cost(0.0, 0.0)
            if found := self._bare.get((name, precision)):
                bare_job, bare_cost, bare_s = found
                cost = bare_cost.times(job.pixels / bare_job.pixels)
                network_s = bare_s * job.pixels / bare_job.pixels
            else:
                transfer_s = 0.0  # not half a roofline
        least = roofline.make_roofline(cost, self._peaks, precision, transfer_s)
        return {
            "images_per_s": job.batch / seconds,
            "roofline_images_per_s": job.batch / least.seconds if least.seconds else 0,
            "reached": least.seconds / seconds,
            "seconds": seconds,
            "compile_s": compile_s,
            "limit": roofline.describe_limit(
                least, seconds, cost.kernels, network_s=network_s
            ),
            **dataclasses.asdict(cost),
        }


def copy_rates(megabytes: int) -> dict[str, float]:
    """Bytes per second from ordinary memory of the host to the device, and back."""
    import jax
    import jax.numpy as jnp

    def best(copy, make) -> float:
        seconds = []
        for _ in range(4):
            given = make()
            start = time.perf_counter()
            copy(given)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    host = np.zeros(megabytes * 10**6, np.uint8)
    device = jax.device_put(host)
    fresh = jax.jit(lambda x: x + jnp.uint8(1))  # an array keeps its copy on the host
    return {
        "to_device": host.size / best(_put, lambda: host),
        "to_host": host.size
        / best(np.asarray, lambda: fresh(device).block_until_ready()),
    }


def _put(array: np.ndarray) -> None:
    import jax

    jax.device_put(array).block_until_ready()


def find_device(wanted: str):
    """The device to be timed.

    Raises:
      ValueError: there is none.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if wanted == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif platforms and "cpu" not in platforms:  # which counts flops
        os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"
    import jax

    from lowlight_jax.runtime.devices import check_devices

    check_devices()
    device = jax.devices()[0]
    if wanted != "cpu" and device.platform == "cpu":
        raise ValueError(
            "JAX sees no GPU or TPU here, only the CPU; install JAX for yours "
            "(pip install -e '.[cuda]' or '.[tpu]'), or pass --device cpu --small to "
            "try the benchmark out"
        )
    return device


def describe(device, peaks: roofline.Peaks, copies: dict) -> dict:
    """What the figures are of; printed, and saved with them."""
    about = {
        "device": device.device_kind,
        "platform": device.platform,
        "runtime": " ".join(device.client.platform_version.split()),
        "jax": version("jax"),
        "host_cores": os.cpu_count(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "peaks": dataclasses.asdict(peaks),
        "copies": copies,
    }
    flops = ", ".join(f"{n} {f / 1e12:.4g}" for n, f in peaks.flops.items())
    print(
        f"{about['device']} ({about['runtime']}), JAX {about['jax']}, "
        f"{about['host_cores']} host cores, {about['date']}\n"
        f"peaks ({peaks.source}): {flops} TFLOP/s, {peaks.bandwidth / 1e9:.4g} GB/s\n"
        f"copies (measured): {copies['to_device'] / 1e9:.3g} GB/s to the device, "
        f"{copies['to_host'] / 1e9:.3g} back",
        flush=True,
    )
    return about


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="times the networks on a GPU or TPU")
    parser.add_argument("--seconds", type=float, default=180, help="for everything")
    parser.add_argument("--output", type=user_path, help="a JSON file for the figures")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--jobs", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    parser.add_argument(
        "--device", choices=("accelerator", "cpu"), default="accelerator"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="tiny, to try it out; dual in bf16 unless others are named",
    )
    add_debug_flag(parser)
    args = parser.parse_args(argv)
    if args.output:
        try:
            check_file(args.output, "--output", (".json",))
        except PathError as error:
            parser.error(str(error))
    if not 0 < args.seconds < float("inf"):
        parser.error(f"--seconds is {args.seconds:g}; expected a number above 0")
    args.networks = args.networks or (("dual",) if args.small else NETWORKS)
    args.precisions = args.precisions or (("bf16",) if args.small else PRECISIONS)
    return args


def main(argv=None) -> int:
    args = parse_arguments(argv)
    report = Report(args.seconds, args.output)
    timer = report.guard()
    device = find_device(args.device)
    import jax

    before = jax.config.jax_default_matmul_precision
    if args.small:  # compiled in little time: the figures are good for nothing anyway
        jax.config.update("jax_disable_most_optimizations", True)
    try:
        peaks = roofline.known_peaks(device.device_kind)
        if peaks is None:
            is_slow = args.small or device.platform == "cpu"
            peaks = roofline.measured_peaks(*((512, 16) if is_slow else (4096, 512)))
        copies = copy_rates(1 if args.small else 64)
        report.describe(describe(device, peaks, copies))
        bench = Bench(report, peaks, copies, 0.1 if args.small else 1.5)
        print(
            f"{'network':17} {'job':21} {'':5} {'images/s':>9} {'roofline':>9} "
            f"{'reached':>7} {'ms/call':>9} {'compile':>7}  limited by"
        )
        for name in args.networks:
            for job in SMALL_JOBS if args.small else JOBS:
                for precision in args.precisions if job.kind in args.jobs else ():
                    bench.try_cell(name, job, precision)
    finally:
        timer.cancel()
        jax.config.update("jax_default_matmul_precision", before)
        if args.small:
            jax.config.update("jax_disable_most_optimizations", False)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="interrupted; what stands above was timed"))
