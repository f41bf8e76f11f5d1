"""Real processes on loopback: they end where one process ends, and none hangs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

ROOT = Path(__file__).parents[1]
COMMAND = [
    "--config=configs/smoke.py",
    "--config.optimizer.name=sgd",  # RMSProp would hide a gradient off by a factor
    "--config.data.validation_every=3",
    "--config.data.crop_px=24",
    "--config.phases.joint.steps=0",
    "--config.grid_images=1",
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """7 pairs: 4 to train on, of which batches of 4 take uneven shares; 3 held out."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for side in ("low", "high"):
        (root / side).mkdir()
    for i in range(7):
        high = rng.integers(60, 255, (5, 6, 3)).repeat(8, 0).repeat(8, 1)
        Image.fromarray(np.uint8(high)).save(root / "high" / f"{i}.png")
        Image.fromarray(np.uint8(high // 6)).save(root / "low" / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHON": sys.executable}


def start(environment, workdir, pairs, count, *flags):
    if count == 1:
        launcher = [sys.executable, "-m", "lowlight_jax.main"]
    else:
        launcher = ["launch/local_processes.sh", str(count)]
    arguments = [*COMMAND, f"--config.data.root={pairs}", f"--workdir={workdir}"]
    return subprocess.Popen(
        [*launcher, *arguments, *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    output, error = process.communicate(timeout=500)
    assert process.returncode == 0, error
    return output, error


def tensors(workdir):
    return safetensors.numpy.load_file(workdir / "weights.safetensors")


def assert_same_parameters(workdir, expected, atol):
    for name, tensor in tensors(expected).items():
        np.testing.assert_allclose(
            tensors(workdir)[name], tensor, atol=atol, err_msg=name
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory, environment, pairs):
    workdir = tmp_path_factory.mktemp("alone")
    output, _ = finish(start(environment, workdir, pairs, 1))
    assert "4 pairs to train on, 3 held out" in output
    return workdir


@pytest.fixture(scope="module")
def together(tmp_path_factory, environment, pairs):
    workdir = tmp_path_factory.mktemp("together")
    return workdir, *finish(start(environment, workdir, pairs, 2))


def test_two_processes_end_with_the_parameters_of_one(alone, together):
    assert_same_parameters(together[0], alone, 1e-5)


def test_their_evaluation_is_that_of_one(alone, together):
    """3 images over 2 processes: none twice, none left out, in order."""
    mine, theirs = (
        json.loads((workdir / "scores.json").read_text())
        for workdir in (together[0], alone)
    )
    assert len(mine["rows"]) == len(theirs["rows"])
    for row, expected in zip(mine["rows"], theirs["rows"], strict=True):
        assert row["image"] == expected["image"]
        assert row["method"] == expected["method"]
        if row["method"] in ("input", "gamma 0.4", "CLAHE", "truth"):
            assert row == expected
        else:
            np.testing.assert_allclose(row["psnr_rgb"], expected["psnr_rgb"], atol=0.05)


def test_only_one_process_writes(together):
    workdir, output, error = together
    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").open()]
    assert [row["step"] for row in rows] == list(range(5, 41, 5))
    assert output.count("pairs held out") == 1
    assert error.count("enhance step 5/40") == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
def test_what_two_have_saved_another_number_restores(
    tmp_path, environment, pairs, alone, count
):
    """SIGTERM to the launcher of two; one or four go on from where they stopped."""
    two = start(environment, tmp_path / "run", pairs, 2)
    for line in two.stderr:
        if "enhance step 10/40" in line:
            two.terminate()
            break
    _, error = two.communicate(timeout=100)
    assert two.returncode == 75, error
    assert error.count("stopped by SIGTERM") == 1
    output, _ = finish(start(environment, tmp_path / "run", pairs, count))
    assert "resuming at step" in output
    assert_same_parameters(tmp_path / "run", alone, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_ends_the_others_and_a_restart_goes_on(
    tmp_path, environment, pairs, alone, lost
):
    workdir = tmp_path / "run"
    two = start(environment, workdir, pairs, 2)
    for line in two.stderr:
        if "enhance step 20/40" in line:
            break
    ours = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if is_process(folder, workdir, lost)
    ]
    assert len(ours) == 1
    os.kill(ours[0], signal.SIGKILL)
    killed = time.monotonic()
    _, error = two.communicate(timeout=60)
    assert time.monotonic() - killed < 40  # parallel.LOST_PROCESS_S and some
    assert two.returncode not in (0, 75)
    assert "lost another one" in error, error
    assert "goes on from the last checkpoint" in error
    assert "Traceback" not in error
    output, _ = finish(start(environment, workdir, pairs, 2))
    assert "resuming at step" in output
    assert_same_parameters(workdir, alone, 1e-5)


def is_process(folder, workdir, number):
    try:
        command = (folder / "cmdline").read_text()
        environment = (folder / "environ").read_text().split("\0")
    except OSError:
        return False
    return (
        f"--workdir={workdir}" in command
        and "lowlight_jax.main" in command
        and f"JAX_PROCESS_ID={number}" in environment
    )
