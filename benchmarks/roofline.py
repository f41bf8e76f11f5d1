"""The least time that a compiled program could take on a device, and why it takes more.

The roofline of Williams et al. 2009, doi:10.1145/1498765.1498785: arithmetic over the
device's peak FLOP/s, bytes over its memory bandwidth, whichever takes longer. Bytes are
those that XLA's kernels read and write; caches are not counted, so that a small
program, whose tensors stay in them, can be faster than its roofline.
"""

import dataclasses
import math
import re
import statistics
import time

PRECISIONS = ("fp32", "tf32", "bf16")
FAR = 0.25  # of the roofline; below it something else limits
SHORT_KERNEL_S = 10e-6  # of which launching it, 2 to 5, is a good part


@dataclasses.dataclass(frozen=True)
class Peaks:
    """What a device can do at best.

    Attributes:
      flops: FLOP/s by precision, without sparsity; a precision that is missing there
        has no units of its own on the device.
      bandwidth: of its memory, bytes/s.
      source: where the figures come from.
    """

    flops: dict[str, float]
    bandwidth: float
    source: str


def _data_sheet(
    fp32: float, tf32: float | None, bf16: float | None, gb_per_s: float
) -> Peaks:
    teraflops = {"fp32": fp32, "tf32": tf32, "bf16": bf16}
    flops = {name: 1e12 * value for name, value in teraflops.items() if value}
    return Peaks(flops, 1e9 * gb_per_s, "data sheet")


def _tpu(bf16: float, gb_per_s: float) -> Peaks:
    """A TPU multiplies bf16 alone: float32 takes six passes, "high" takes three."""
    flops = {"fp32": bf16 / 6, "tf32": bf16 / 3, "bf16": bf16}
    flops = {name: 1e12 * value for name, value in flops.items()}
    return Peaks(flops, 1e9 * gb_per_s, "data sheet; float32 as 6, TF32 as 3 bf16s")


# By `device_kind`, without the maker's words: TFLOP/s without sparsity, GB/s.
# Source: NVIDIA's data sheets; for GeForce the white papers of GA102 and AD102; for
# TPUs Google's documentation and jax/_src/pallas/mosaic/tpu_info.py.
PEAKS = {
    "V100-SXM2-16GB": _data_sheet(15.7, None, None, 900),
    "V100-SXM2-32GB": _data_sheet(15.7, None, None, 900),
    "V100-PCIE-16GB": _data_sheet(14.0, None, None, 900),
    "V100-PCIE-32GB": _data_sheet(14.0, None, None, 900),
    "T4": _data_sheet(8.1, None, None, 320),
    "A100-SXM4-40GB": _data_sheet(19.5, 156, 312, 1555),
    "A100-PCIE-40GB": _data_sheet(19.5, 156, 312, 1555),
    "A100-SXM4-80GB": _data_sheet(19.5, 156, 312, 2039),
    "A100 80GB PCIe": _data_sheet(19.5, 156, 312, 1935),
    "L4": _data_sheet(30.3, 60, 121, 300),
    "H100 80GB HBM3": _data_sheet(67, 494.5, 989, 3350),
    "H100 PCIe": _data_sheet(51, 378, 756, 2000),
    "H100 NVL": _data_sheet(60, 417.5, 835, 3900),
    "H200": _data_sheet(67, 494.5, 989, 4800),
    "H200 NVL": _data_sheet(60, 417.5, 835, 4800),
    "RTX 3090": _data_sheet(35.6, 35.6, 71, 936),
    "RTX 4090": _data_sheet(82.6, 82.6, 165.2, 1008),
    "TPU v4": _tpu(275, 1228),
    "TPU v5 lite": _tpu(197, 819),
    "TPU v5e": _tpu(197, 819),
    "TPU v5": _tpu(459, 2765),
    "TPU v5p": _tpu(459, 2765),
    "TPU v6 lite": _tpu(918, 1640),
    "TPU v6e": _tpu(918, 1640),
}


def known_peaks(device_kind: str) -> Peaks | None:
    """Those of a device in the table; None for any other, a part of a GPU (MIG) too."""
    return PEAKS.get(re.sub(r"\b(NVIDIA|Tesla|GeForce)\s+", "", device_kind).strip())


def measured_peaks(side: int, megabytes: int) -> Peaks:
    """By a product of two square matrices of `side` and by a copy of so much."""
    import jax
    import jax.numpy as jnp

    def best(function, *arguments) -> float:
        compiled = jax.jit(function).lower(*arguments).compile()
        jax.block_until_ready(compiled(*arguments))
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            jax.block_until_ready(compiled(*arguments))
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    flops = {}
    for name in PRECISIONS:
        set_precision(name)
        square = jnp.ones((side, side), jnp.bfloat16 if name == "bf16" else jnp.float32)
        flops[name] = 2 * side**3 / best(jnp.matmul, square, square)
    data = jnp.zeros(megabytes * 10**6 // 4, jnp.float32)
    return Peaks(
        flops,
        2 * data.nbytes / best(lambda x: x + 1.0, data),
        f"measured: a product of {side}x{side}, a copy of {megabytes} MB",
    )


def set_precision(name: str) -> None:
    """Of the products of float32 in what is compiled from now on, in all threads."""
    import jax

    values = {"fp32": "float32", "tf32": "tensorfloat32", "bf16": None}
    jax.config.update("jax_default_matmul_precision", values[name])


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one call of a compiled program.

    Attributes:
      flops: as the program is written; 0 where XLA does not say.
      bytes: that its kernels read and write; 0 where XLA does not say.
      kernels: how many, about.
    """

    flops: float
    bytes: float
    kernels: int = 0

    def times(self, factor: float) -> "Cost":
        """Of a program that does the same on so many times the pixels."""
        return Cost(self.flops * factor, self.bytes * factor, self.kernels)


def count_cost(lowered, compiled) -> Cost:
    """The cost of a program, from both stages that `jax.jit` goes through.

    XLA knows nothing of a call of cuDNN or cuBLAS: its flops and bytes are missing in
    the compiled program's analysis. So flops are taken from the program before it is
    compiled, and to the bytes are added those that such calls are given and give back.
    """
    after = analysis(compiled.cost_analysis)
    try:
        text = compiled.as_text() or ""
    except Exception:  # a back end need not have one
        text = ""
    kernels = len(re.findall(r" (?:fusion|custom-call|convolution|dot)\(", text))
    return Cost(
        max(_flops_as_written(lowered), after.get("flops", 0.0)),
        max(0.0, after.get("bytes accessed", 0.0)) + library_bytes(text),
        kernels,
    )


def analysis(ask) -> dict[str, float]:
    """What `ask`, a `cost_analysis`, answers; empty where the back end has none.

    JAX before 0.5 answers with a list of one dict; a back end may answer None, leave
    keys out, or raise.
    """
    try:
        answer = ask()
    except Exception:  # NotImplementedError, JaxRuntimeError, TypeError: it depends
        return {}
    if isinstance(answer, list | tuple):
        answer = answer[0] if answer else None
    return dict(answer) if answer else {}


def _flops_as_written(lowered) -> float:
    """Of the program as it was lowered, counted by XLA's CPU back end if need be.

    Back ends that are plug-ins (CUDA, TPU) do not analyse what is not compiled.
    """
    flops = analysis(lowered.cost_analysis).get("flops")
    if flops is None:
        flops = analysis(lambda: count_on_cpu(lowered)).get("flops", 0.0)
    return flops


def count_on_cpu(lowered) -> dict[str, float]:
    """`lowered.cost_analysis()`, whatever platform it was lowered for."""
    import jax
    from jaxlib import _jax  # JAX itself has no public way

    module = lowered.compiler_ir("hlo").as_hlo_module()
    return _jax.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)


# name = shape operation(operands), attributes
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")  # f32[1,400,600,3]


def library_bytes(text: str) -> int:
    """What calls of cuDNN and cuBLAS read and write, from a compiled program's text."""
    shapes, total = {}, 0
    for line in text.splitlines():
        if not (found := _INSTRUCTION.match(line)):
            continue
        name, shape, operation, rest = found.groups()
        shapes[name] = shape
        if operation == "custom-call" and 'custom_call_target="__cu' in rest:
            # Beside the result there is a scratch buffer of single bytes.
            total += _size(re.sub(r"\bu8\[\d*\]", "", shape))
            operands = re.findall(r"%?([\w.\-]+)", rest.partition(")")[0])
            total += sum(_size(shapes.get(operand, "")) for operand in operands)
    return total


def _size(shape: str) -> int:
    """Bytes of an array, or of all arrays of a tuple."""
    return sum(
        int(bits or 8) * math.prod(int(n) for n in sides.split(",") if n) // 8
        for bits, sides in _ARRAY.findall(shape)
    )


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The least time of one call, and what would limit it then.

    Attributes:
      seconds: 0 where nothing is known.
      limit: "compute", "memory bandwidth" or "host transfers".
    """

    seconds: float
    limit: str


def make_roofline(
    cost: Cost, peaks: Peaks, precision: str, transfer_s: float = 0.0
) -> Roofline:
    """Of a program with this cost, at whose ends `transfer_s` pass in copies at least.

    Raises:
      KeyError: the device has no units for the precision.
    """
    times = {
        "compute": cost.flops / peaks.flops[precision],
        "memory bandwidth": cost.bytes / peaks.bandwidth,
        "host transfers": transfer_s,
    }
    limit = max(times, key=times.get)
    return Roofline(times[limit], limit)


def describe_limit(
    roofline: Roofline, seconds: float, kernels: int, *, network_s: float = 0.0
) -> str:
    """What limits a program that takes `seconds`.

    Args:
      roofline: of the program.
      seconds: that one call takes.
      kernels: about so many it launches; 0: not known.
      network_s: of those, what the bare network takes for as many pixels; 0: this is
        the bare network.
    """
    if not roofline.seconds:
        return "unknown: XLA gives no cost here"
    if roofline.seconds >= FAR * seconds:
        return roofline.limit
    if network_s and network_s < seconds / 2:
        return f"host work and copies (bare network: {network_s / seconds:.0%})"
    each = seconds / kernels if kernels else math.inf
    if each < SHORT_KERNEL_S:
        return f"launch overhead ({kernels} kernels of {each * 1e6:.1f} us)"
    return f"slow kernels; {roofline.limit} first"


def median_seconds(run, seconds: float, *, block) -> float:
    """The median time of a call of `run`, which may return before its work is done.

    Calls are queued, as users of a device do, so many together that waiting for the
    last (`block`) hardly counts.

    Args:
      run: is compiled, and was called before.
      seconds: to spend, about; the samples are at least one.
    """
    start = time.perf_counter()
    block(run())
    single = time.perf_counter() - start
    queued = max(1, min(200, round(0.02 / max(single, 1e-9))))
    samples, began = [], time.perf_counter()
    while not samples or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        for _ in range(queued):
            result = run()
        block(result)
        samples.append((time.perf_counter() - start) / queued)
    return statistics.median(samples)
