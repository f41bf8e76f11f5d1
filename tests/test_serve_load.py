"""The server under load, against its promises: minutes, and a machine that is idle."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_serve import Client, night

from lowlight_jax.images.files import read_photo, write_photo
from lowlight_jax.inference.methods import enhance_photo
from lowlight_jax.serve.options import load_network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc"),
]
ROOT = Path(__file__).parents[1]
MB = 10**6


@pytest.fixture
def client(tmp_path):
    """A server of its own, warm."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lowlight_jax.serve", "--port=0", "--no-browser"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
        client = Client(port, tmp_path)
        client.pid = process.pid
        while not client.json("GET", "/healthz")["ready"]:
            time.sleep(0.5)
        yield client
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0 and not list(tmp_path.glob("lowlight_serve-*"))


def memory(pid, field):
    """VmRSS, now, or VmHWM, at most, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", text)[1])


def jpeg(h, w, seed=0):
    file = io.BytesIO()
    Image.fromarray(night(h, w, seed)).save(file, "JPEG", quality=92)
    return file.getvalue()


def test_24_megapixels(client, tmp_path):
    body = jpeg(4000, 6000)
    (tmp_path / "in.jpg").write_bytes(body)
    latencies, ended = [], threading.Event()

    def watch():
        while not ended.wait(0.02):
            started = time.monotonic()
            client.ask("GET", "/healthz")
            latencies.append(time.monotonic() - started)

    def served():
        started = time.monotonic()
        name = client.add(body, "")
        events = client.events(name)
        client.ask("GET", f"/api/jobs/{name}/result")
        return time.monotonic() - started, events

    def commanded():
        started = time.monotonic()
        out = ["--output", str(tmp_path / "out.jpg")]
        subprocess.run(
            [sys.executable, "-m", "lowlight_jax.enhance", tmp_path / "in.jpg", *out],
            check=True,
            capture_output=True,
        )
        return time.monotonic() - started

    served()
    commanded()
    watching = threading.Thread(target=watch)
    watching.start()
    seconds, events = served()
    ended.set()
    watching.join()
    pairs = [(seconds, commanded())] + [(served()[0], commanded()) for _ in range(2)]
    server_s, command_s = np.median(pairs, axis=0)
    peak = memory(client.pid, "VmHWM")
    fractions = {status["fraction"] for _, status in events}
    worst = max(latencies)
    told = {
        "server s": round(server_s, 2),
        "command s": round(command_s, 2),
        "peak MB": peak // MB,
        "fractions": len(fractions),
        "health ms, median": round(1000 * np.median(latencies), 1),
        "health ms, 99 %": round(1000 * np.quantile(latencies, 0.99), 1),
        "health ms, most": round(1000 * worst, 1),
    }
    print(json.dumps(told))
    assert len(fractions) >= 20
    assert peak < 1500 * MB
    assert server_s < 1.3 * command_s
    assert np.quantile(latencies, 0.99) < 0.05


def test_twenty_clients(client, tmp_path):
    bodies = [jpeg(1155, 1732, seed) for seed in range(20)]

    def visit(body):
        for _ in range(600):
            answer = client.ask("POST", "/api/jobs?model=cnn", body)
            if answer.status != 429:
                break
            time.sleep(float(answer.headers["Retry-After"]) / 4)
        name = json.loads(answer.content)["id"]
        assert client.events(name)[-1][0] == "done"
        return client.ask("GET", f"/api/jobs/{name}/result").content

    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(visit, bodies))
    seconds = time.monotonic() - started
    peak = memory(client.pid, "VmHWM")
    print(json.dumps({"seconds": round(seconds, 1), "peak MB": peak // MB}))
    method = load_network("cnn")
    for body, result in list(zip(bodies, results, strict=True))[::7]:
        write_photo(tmp_path / "out.jpg", enhance_photo(method, read_photo(body)))
        assert result == (tmp_path / "out.jpg").read_bytes()
    assert peak < 1500 * MB


def test_a_thousand_requests(client):
    body = jpeg(200, 300)
    sizes = []
    for i in range(1000):
        name = client.add(body, "model=cnn")
        if i % 2:
            picture = client.json("POST", "/api/pictures", body, 201)["id"]
            query = f"model=cnn&exposure={i / 1000}"
            client.ask("GET", f"/api/pictures/{picture}/preview?{query}")
            client.ask("DELETE", f"/api/pictures/{picture}")
        assert client.events(name)[-1][0] == "done"
        client.ask("GET", f"/api/jobs/{name}/result")
        if i % 100 == 99:
            sizes.append(memory(client.pid, "VmRSS") // MB)
    print(json.dumps({"RSS MB after each hundred": sizes}))
    assert sizes[-1] < sizes[1] + 60
