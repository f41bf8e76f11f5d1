"""Benchmarks: what can go wrong on a machine that is not here."""

import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlight_jax import weights
from lowlight_jax.models.layers import Conv, conv2d_transposed
from lowlight_jax.runtime import parallel
from lowlight_jax.tasks.brightening import BRIGHTENING
from lowlight_jax.tasks.task import Network

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def gpu():
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("gpu")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def roofline(gpu):
    return importlib.import_module("roofline")


# Roofline


@pytest.mark.parametrize(
    ("kind", "teraflops", "gb_per_s"),
    [
        ("NVIDIA H100 80GB HBM3", 989, 3350),
        ("NVIDIA H100 PCIe", 756, 2000),
        ("NVIDIA H200", 989, 4800),
        ("NVIDIA A100-SXM4-80GB", 312, 2039),
        ("A100-SXM4-40GB", 312, 1555),
        ("NVIDIA GeForce RTX 4090", 165.2, 1008),
        ("TPU v5 lite", 197, 819),
    ],
)
def test_knows_peaks(roofline, kind, teraflops, gb_per_s):
    peaks = roofline.known_peaks(kind)
    assert peaks.flops["bf16"] == pytest.approx(teraflops * 1e12)
    assert peaks.bandwidth == pytest.approx(gb_per_s * 1e9)
    assert peaks.flops["fp32"] <= peaks.flops["tf32"] <= peaks.flops["bf16"]


@pytest.mark.parametrize(
    "kind", ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA L40S", "RTX 4090 D", "cpu"]
)
def test_unlike_devices_are_unknown(roofline, kind):
    assert roofline.known_peaks(kind) is None


def test_old_gpus_have_no_tf32(roofline):
    assert set(roofline.known_peaks("Tesla T4").flops) == {"fp32"}


# A fusion, a convolution by cuDNN with a scratch buffer, and a token.
GPU_PROGRAM = """
ENTRY %main.9 (x: f32[1,8,8,3], k: f32[3,3,3,16]) -> f32[1,8,8,16] {
  %x = f32[1,8,8,3]{3,2,1,0} parameter(0)
  %k = f32[3,3,3,16]{3,2,1,0} parameter(1)
  %wrapped = bf16[3,3,3,16]{2,1,0,3} fusion(%k), kind=kLoop, calls=%fused
  %token = token[] after-all()
  %cudnn-conv.1 = (f32[1,8,8,16]{3,2,1,0}, u8[4096]{0}) custom-call(%x, %wrapped), \
window={size=3x3 pad=1_1x1_1}, custom_call_target="__cudnn$convForward"
  %own = f32[9]{0} custom-call(%x), custom_call_target="Sharding"
  ROOT %y = f32[1,8,8,16]{3,2,1,0} get-tuple-element(%cudnn-conv.1), index=0
}
"""
CONVOLUTION_BYTES = 4 * 8 * 8 * 3 + 2 * 3 * 3 * 3 * 16 + 4 * 8 * 8 * 16


def stage(answer, text=""):
    def cost_analysis():
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(cost_analysis=cost_analysis, as_text=lambda: text)


def test_counts_what_libraries_read_and_write(roofline):
    assert roofline.library_bytes(GPU_PROGRAM) == CONVOLUTION_BYTES
    lowered = stage({"flops": 1e6})
    compiled = stage({"flops": -1.0, "bytes accessed": 100.0}, GPU_PROGRAM)
    cost = roofline.count_cost(lowered, compiled)
    assert cost == roofline.Cost(1e6, 100 + CONVOLUTION_BYTES, kernels=3)


@pytest.mark.parametrize(
    ("answer", "flops"),
    [
        ({"flops": 7.0, "bytes accessed": 5.0}, 7),
        ([{"flops": 7.0}], 7),  # JAX before 0.5
        ([], 0),
        (None, 0),
        ({}, 0),
        (NotImplementedError("not on this platform"), 0),
    ],
)
def test_takes_any_cost_analysis(roofline, answer, flops):
    assert roofline.count_cost(stage(None), stage(answer)).flops == flops


def test_counts_a_program_for_another_platform(roofline):
    """As it is on CUDA: on a CPU this layer is written with a third more products."""
    x = jax.ShapeDtypeStruct((1, 64, 64, 32), np.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 16, 32), np.float32)
    traced = jax.jit(conv2d_transposed).trace(x, kernel)
    lowered = SimpleNamespace(  # as a back end that is a plug-in answers
        cost_analysis=stage(NotImplementedError()).cost_analysis,
        compiler_ir=traced.lower(lowering_platforms=("cuda",)).compiler_ir,
    )
    cost = roofline.count_cost(lowered, stage(None))
    assert cost.flops == pytest.approx(2 * 9 * 16 * 32 * 64 * 64, rel=0.03)


@pytest.mark.parametrize(
    ("cost", "seconds", "network_s", "limit"),
    [
        ((2e9, 1e6), 3e-3, 0.0, "compute"),
        ((1e9, 4e6), 5e-3, 0.0, "memory bandwidth"),
        ((1e6, 1e3), 9e-3, 0.0, "launch overhead (1000 kernels of 9.0 us)"),
        ((2e9, 1e6), 0.1, 0.0, "slow kernels; compute first"),
        ((2e9, 1e6), 0.1, 4e-3, "host work and copies (bare network: 4%)"),
        ((0.0, 0.0), 0.1, 0.0, "unknown: XLA gives no cost here"),
    ],
)
def test_says_what_limits(roofline, cost, seconds, network_s, limit):
    peaks = roofline.Peaks({"fp32": 1e12}, 1e9, "")
    least = roofline.make_roofline(roofline.Cost(*cost), peaks, "fp32")
    found = roofline.describe_limit(least, seconds, 1000, network_s=network_s)
    assert found == limit


def test_precision_changes_products(roofline):
    before = jax.config.jax_default_matmul_precision
    programs = {}
    try:
        for name in roofline.PRECISIONS:
            roofline.set_precision(name)
            x = jnp.ones((4, 4))
            programs[name] = jax.jit(jnp.matmul).lower(x, x).as_text()
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert "HIGHEST" in programs["fp32"]
    assert "HIGHEST" not in programs["tf32"] and "HIGH" in programs["tf32"]


# The whole


class Tiny(Network):
    """Compiles in no time."""

    task = BRIGHTENING
    stride = 1
    receptive_radius_px = 1

    @nn.compact
    def __call__(self, low):
        return SimpleNamespace(pred=Conv(3, dtype=self.dtype)(low))


def tiny_weights(name):
    kernel = np.full((3, 3, 3, 3), 0.1, np.float32)
    return Tiny(), {"Conv_0": {"kernel": kernel, "bias": np.zeros(3, np.float32)}}


def test_runs_on_a_cpu(gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(weights, "load_shipped", tiny_weights)
    path = tmp_path / "new" / "figures.json"
    words = "--device cpu --small --jobs network Runner --output".split()
    assert gpu.main([*words, str(path), "--seconds", "1e4"]) == 0
    content = json.loads(path.read_text())
    assert [cell["kind"] for cell in content["cells"]] == ["network", "Runner"]
    for cell in content["cells"]:
        assert 0 < cell["reached"] < 3
        assert cell["images_per_s"] == pytest.approx(1 / cell["seconds"])
        assert cell["flops"] > 64 * 96 * 27 and cell["bytes"] > 64 * 96 * 3
    assert "measured: a product" in capsys.readouterr().out
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert jax.config.jax_default_matmul_precision is None


def test_traces_the_training_step(gpu, monkeypatch):
    """Of a network with thumbnails; compiled, it would take half a minute here."""

    def compile_step(step, backend):
        return SimpleNamespace(lower=jax.make_jaxpr(step))

    (job,) = (job for job in gpu.JOBS if job.kind == "train")
    assert (job.batch, job.height) == (32, 256)
    monkeypatch.setattr(parallel, "compile_step", compile_step)
    subject = gpu.Subject("dual_global", "bf16")
    assert subject.network.dtype == jnp.bfloat16
    traced, state, batch = subject.lower_step(job)
    assert len(traced.out_avals) > len(jax.tree.leaves(state))  # and metrics
    assert batch["low"].shape == (32, 256, 256, 3)
    assert state.step == 0


def make_bench(gpu, roofline, seconds=100.0, path=None):
    peaks = roofline.Peaks({"fp32": 1e12, "bf16": 1e12}, 1e9, "")
    gpu.STARTED = gpu.time.monotonic()
    report = gpu.Report(seconds, path)
    return report, gpu.Bench(report, peaks, {"to_device": 1e9, "to_host": 1e9}, 0.01)


class FakeSubject:
    """A network that takes a millisecond for whatever there is to do."""

    def __init__(self, name, precision):
        self.name = name

    def prepare(self, job):
        if self.name == "broken":
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore")
        wait = threading.Event()
        roofline = importlib.import_module("roofline")
        cost = None if job.kind == "Runner" else roofline.Cost(1e8, 0.0, 3)
        return lambda: wait.wait(1e-3), cost


def test_cells_that_cannot_be_timed(gpu, roofline, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu, "Subject", FakeSubject)
    report, bench = make_bench(gpu, roofline, path=tmp_path / "f.json")
    assert report.exit_code() == 1  # nothing was timed
    network, _, runner, train, *_ = gpu.JOBS
    assert (runner.kind, train.kind) == ("Runner", "train")
    bench.try_cell("one", network, "tf32")
    bench.try_cell("one", runner, "fp32")  # no bare network before
    bench.try_cell("one", network, "fp32")
    bench.try_cell("one", runner, "fp32")
    assert report.exit_code() == 0
    bench.try_cell("broken", network, "fp32")
    assert report.exit_code() == 1
    report._end = gpu.time.monotonic() + 9
    bench.try_cell("one", train, "fp32")
    bench.try_cell("one", network, "fp32")  # it is known to be quick
    lines = capsys.readouterr().out.splitlines()
    assert "no units" in lines[0]
    assert "unknown: XLA gives no cost here" in lines[1]
    assert "slow kernels; compute first" in lines[2]
    assert "host transfers" in lines[3]
    assert "failed: out of memory (RESOURCE_EXHAUSTED: Out of memory)" in lines[4]
    assert lines[5].endswith("left out: 9 s are left, it may take 10")
    assert "images" not in lines[6] and len(lines) == 7
    content = json.loads((tmp_path / "f.json").read_text())
    assert (len(content["cells"]), len(content["left_out"])) == (4, 3)


def test_ends_when_time_is_up(gpu, roofline, monkeypatch, capsys):
    report, _ = make_bench(gpu, roofline, seconds=0.2)
    ended = threading.Event()
    codes = []
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), ended.set()))
    report.doing = "a long compilation"
    report.guard()
    assert ended.wait(5) and codes == [1]
    assert "during a long compilation" in capsys.readouterr().out


def test_no_accelerator():
    run = subprocess.run(
        [sys.executable, FOLDER / "gpu.py"],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and not run.stdout
    assert run.stderr.count("\n") == 1 and "no GPU or TPU" in run.stderr


# Video


@pytest.fixture
def video(gpu):
    return importlib.import_module("video")


@pytest.mark.parametrize("motion", ["rest", "pan", "zoom", "shake", "walkers"])
def test_night_clips_move_as_said(video, motion):
    pictures = video.load(None, 2)
    clip = video.make_clip(motion, pictures, (48, 64), 4, 0)
    again = video.make_clip(motion, pictures, (48, 64), 4, 0)
    assert [frame.shape for frame in clip] == 4 * [(48, 64, 3)]
    assert all((a == b).all() for a, b in zip(clip, again, strict=True))
    changed = (clip[0] != clip[-1]).any(-1).mean()
    assert (changed == 0) == (motion == "rest")
    if motion == "walkers":
        assert changed < 0.7  # the camera rests
    dark = video.darken(clip, 3.0, 0.0, 0)
    assert np.mean(dark) < np.mean(clip) / 2


def test_scores_the_truth_best(video):
    truth = video.make_clip("pan", video.load(None, 1), (48, 64), 3, 0)
    rng = np.random.default_rng(0)
    grainy = [np.clip(f + rng.normal(0, 20, f.shape), 0, 255) for f in truth]
    best = video.score(truth, truth)
    worse = video.score([frame.astype(np.uint8) for frame in grainy], truth)
    assert best[2] == 100 and best[3] == pytest.approx(1)
    assert worse[2] < 25 and worse[3] < 0.9 and worse[1] > 2 * best[1]


def test_prints_steadiness_and_times(video, capsys, monkeypatch):
    """With a method that is no network, in a moment."""

    class Doubled(video.Enhancer):
        def __init__(self, backend):
            self.network = SimpleNamespace(needs_mask=False)

        def __call__(self, image, *, scene, **options):
            return np.minimum(image, 127) * np.uint8(2)

    monkeypatch.setattr(video, "Enhancer", Doubled)
    size = "--size 48 64 --timed-size 48 64 --frames 3 --scenes 1".split()
    video.main([*size, "--motions", "shake", "--repeats", "1"])
    out = capsys.readouterr().out
    assert "shake, 3 stops" in out and "a frame of 64x48" in out
    assert "smoothed, temporal" in out and "network, denoise 0" in out
    assert "nan" not in out
