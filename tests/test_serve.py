"""The server over HTTP, on a port of its own: `cnn` mostly, which compiles quickly."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from lowlight_jax.images.files import read_photo, write_photo
from lowlight_jax.inference.methods import enhance_photo
from lowlight_jax.serve import __main__ as command
from lowlight_jax.serve.app import PAGE, make_app
from lowlight_jax.serve.guard import LOCAL_NAMES
from lowlight_jax.serve.jobs import Job, Store, Superseded, Upload
from lowlight_jax.serve.options import (
    Options,
    clean_name,
    describe_networks,
    load_network,
)
from lowlight_jax.serve.pictures import (
    MOST_PX,
    WHOLE,
    WINDOWS,
    Picture,
    Previews,
    place_of,
    preview_size,
)
from lowlight_jax.serve.server import make_server
from lowlight_jax.serve.uploads import Limits

ROOT = Path(__file__).parents[1]
EXIF = Image.Exif()
EXIF[0x010E] = "a night"


def night(h, w, seed=0):
    """A dark picture with structure, uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(5, 90, (h // 16 + 1, w // 16 + 1, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC)
    return np.asarray(smooth)


def encoded(pixels, file_format="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


NIGHT = encoded(night(64, 96), quality=92, exif=EXIF.tobytes())


class Client:
    """One connection for each request, so that nothing is hidden by reuse."""

    def __init__(self, port, folder):
        self.port, self.folder = port, folder

    def ask(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            # A body that is refused by its length may be answered before it is sent.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return SimpleNamespace(
            status=response.status, headers=response.headers, content=content
        )

    def json(self, method, path, body=None, expect=200):
        answer = self.ask(method, path, body)
        assert answer.status == expect, answer.content
        return json.loads(answer.content)

    def raw(self, content):
        """What is answered to bytes as they are."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as line:
            line.sendall(content)
            return line.makefile("rb").read()

    def add(self, body, query="model=cnn"):
        return self.json("POST", f"/api/jobs?{query}", body, 202)["id"]

    def events(self, name):
        text = self.ask("GET", f"/api/jobs/{name}/events").content.decode()
        blocks = [block.split("\n") for block in text.split("\n\n") if block]
        return [
            (event.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
            for event, data in blocks
        ]

    def result(self, body, query="model=cnn"):
        name = self.add(body, query)
        assert self.events(name)[-1][0] == "done"
        return self.ask("GET", f"/api/jobs/{name}/result")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    store = Store(folder)
    limits = Limits(2 * 10**6, 2 * 10**6, patience_s=0.6)
    app = make_app(store, limits, (*LOCAL_NAMES, "photos.example"), warm=False)
    server = make_server(app, store)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        client = Client(listening.getsockname()[1], folder)
        client.store, client.limits = store, limits
        yield client
        server.should_exit = True
        thread.join()


def files_of(client):
    return sorted(str(path) for path in client.folder.rglob("*"))


# Jobs


def test_a_result_is_what_the_command_writes(client, tmp_path):
    answer = client.result(NIGHT, "model=cnn&exposure=0.5&unsharp=1&name=a.jpg")
    photo = enhance_photo(
        load_network("cnn"), read_photo(NIGHT), exposure=0.5, unsharp=1.0
    )
    write_photo(tmp_path / "out.jpg", photo)
    assert answer.content == (tmp_path / "out.jpg").read_bytes()
    assert Image.open(io.BytesIO(answer.content)).getexif()[0x010E] == "a night"
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Disposition"] == (
        'attachment; filename="a_enhanced.jpg"'
    )


def test_events_lead_from_progress_to_done(client):
    name = client.add(NIGHT)
    events = client.events(name)
    assert [event for event, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    event, status = events[-1]
    assert event == status["state"] == "done" and status["fraction"] == 1
    fractions = [status["fraction"] for _, status in events]
    assert fractions == sorted(fractions) and fractions[0] < 1
    assert client.json("GET", f"/api/jobs/{name}") == status


@pytest.mark.parametrize(
    ("given", "query", "expected"),
    [
        (encoded(night(20, 30), "PNG"), "", "PNG"),
        (encoded(night(20, 30), "BMP"), "", "BMP"),
        (encoded(night(20, 30), "WEBP"), "", "WEBP"),
        (encoded(night(20, 30), "TIFF"), "", "TIFF"),
        (encoded(night(20, 30), "GIF"), "", "PNG"),
        (NIGHT, "&format=png", "PNG"),
    ],
    ids=["png", "bmp", "webp", "tif", "gif", "jpg to png"],
)
def test_the_format_is_kept_or_chosen(client, given, query, expected):
    answer = client.result(given, "model=cnn" + query)
    assert Image.open(io.BytesIO(answer.content)).format == expected
    assert answer.headers["Content-Type"] == f"image/{expected.lower()}"


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd.jpg", "passwd"),
        ("C:\\photos\\night.jpg", "night"),
        ('a"; filename="evil.html', "a; filename=evil"),
        ("<script>alert(1)</script>.jpg", "script"),
        ("night\r\nX-Evil: 1.jpg", "nightX-Evil 1"),
        ("Nächte \N{NIGHT WITH STARS}.jpg", "Nächte \N{NIGHT WITH STARS}"),
        ("..", "photo"),
        ("a" * 500 + ".jpg", "a" * 100),
    ],
)
def test_names_of_files_are_harmless(client, name, clean):
    assert clean_name(name) == clean
    job = client.add(NIGHT, f"model=cnn&name={quote(name, safe='')}")
    client.events(job)
    answer = client.ask("GET", f"/api/jobs/{job}/result")
    found = answer.headers["Content-Disposition"]
    safe = f'attachment; filename="{clean}_enhanced.jpg"'
    encoded_name = f"attachment; filename*=utf-8''{quote(f'{clean}_enhanced.jpg')}"
    assert found in (safe, encoded_name)
    assert "X-Evil" not in answer.headers


def test_a_deleted_job_has_gone(client):
    before = files_of(client)
    name = client.add(NIGHT)
    client.events(name)
    assert files_of(client) != before
    assert client.ask("DELETE", f"/api/jobs/{name}").status == 204
    assert files_of(client) == before
    for method, path in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
        assert client.ask(method, f"/api/jobs/{name}{path}").status == 404


class Held:
    """The thread that computes, doing nothing until it is let go."""

    def __init__(self, store):
        self._go = threading.Event()
        upload = Upload("held", Path("held"), "held", (1, 1), ".png")
        upload.picture = SimpleNamespace(reduced=self)
        store.preview(upload, Options("cnn", {}), WHOLE, True)

    @property
    def pixels(self):  # the first thing that a preview asks for
        self._go.wait()
        raise ValueError

    def let_go(self):
        self._go.set()


@pytest.fixture
def held(client):
    held = Held(client.store)
    yield held
    held.let_go()


def test_a_waiting_job_can_be_cancelled(client, held):
    before = files_of(client)
    first, second = client.add(NIGHT), client.add(NIGHT)
    assert client.json("GET", f"/api/jobs/{second}")["ahead"] == 1
    job = client.store.find(Job, second)
    assert client.ask("GET", f"/api/jobs/{second}/result").status == 409
    assert client.ask("DELETE", f"/api/jobs/{second}").status == 204
    assert job.state == "cancelled"
    held.let_go()
    assert client.events(first)[-1][0] == "done"
    client.ask("DELETE", f"/api/jobs/{first}")
    assert files_of(client) == before


def test_a_running_job_ends_at_its_next_window(client, monkeypatch):
    """The network is held in the first of many windows."""
    ticking, go = threading.Event(), threading.Event()

    def slow(method, photo, mask, *, progress, **values):
        progress(0.1)
        ticking.set()
        go.wait()
        progress(0.2)
        raise AssertionError("it went on")

    monkeypatch.setattr("lowlight_jax.serve.jobs.enhance_photo", slow)
    name = client.add(NIGHT)
    ticking.wait()
    job = client.store.find(Job, name)
    client.ask("DELETE", f"/api/jobs/{name}")
    go.set()
    deadline = time.monotonic() + 10
    while job.folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert job.state == "cancelled" and not job.error


def test_a_full_queue_is_429(client, held):
    names = [client.add(NIGHT) for _ in range(8)]
    before = files_of(client)
    answer = client.ask("POST", "/api/jobs?model=cnn", NIGHT)
    assert answer.status == 429 and answer.headers["Retry-After"] == "2"
    assert files_of(client) == before
    held.let_go()
    for name in names:
        assert client.events(name)[-1][0] == "done"
    client.add(NIGHT)


def test_health_answers_while_a_photograph_is_computed(client, held):
    client.add(NIGHT)
    assert client.json("GET", "/healthz") == {"status": "ok", "ready": True}


def test_a_zip_has_every_result_under_a_name_of_its_own(client):
    names = [client.add(NIGHT, "model=cnn&name=a.jpg") for _ in range(2)]
    results = []
    for name in names:
        client.events(name)
        results.append(client.ask("GET", f"/api/jobs/{name}/result").content)
    answer = client.ask("GET", f"/api/results.zip?job={names[0]}&job={names[1]}")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a_enhanced.jpg", "a_enhanced_2.jpg"]
        assert [archive.read(name) for name in archive.namelist()] == results
    assert client.ask("GET", "/api/results.zip").status == 422
    assert client.ask("GET", "/api/results.zip?job=none").status == 404


# What is refused


def png_header(w, h):
    """The 48 kB of a PNG that claims so many pixels."""

    def chunk(kind, content):
        checked = kind + content
        crc = zlib.crc32(checked).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + checked + crc

    size = w.to_bytes(4, "big") + h.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    pixels = zlib.compress(bytes(48 * 10**6), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("path", ["/api/jobs?model=cnn", "/api/pictures"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"no picture at all", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", 415),
        (b"<!doctype html><script>alert(1)</script>", 415),
        (b"\x00\x00\x00\x18ftypheic", 422),
        (b"8BPS\0\1", 415),
        (NIGHT[:60], 422),
        (encoded(night(1500, 1400)), 413),
        (bytes(2 * 10**6 + 1), 413),
        (png_header(20_000, 20_000), 413),
    ],
    ids="empty text svg html heic psd cut megapixels megabytes bomb".split(),
)
def test_what_is_no_photograph_is_refused(client, path, body, status):
    before = files_of(client)
    started = time.monotonic()
    answer = client.ask("POST", path, body)
    assert answer.status == status, answer.content
    assert time.monotonic() - started < 2
    sentence = json.loads(answer.content)["error"]
    assert "image is not an image" not in sentence
    assert re.fullmatch(r"[A-Z][^\n]*\.", sentence)
    assert files_of(client) == before
    assert client.store._reserved == 0


def test_a_body_without_length_is_cut_at_the_limit(client):
    before = files_of(client)
    sent = 0

    def endless():
        nonlocal sent
        while sent < 50 * 10**6:
            sent += 100_000
            yield bytes(100_000)

    # The server ends the connection, perhaps before its answer is read.
    try:
        assert client.ask("POST", "/api/jobs?model=cnn", endless()).status == 413
    except (ConnectionError, http.client.HTTPException):
        pass
    assert sent < 20 * 10**6  # 2 MB, and what the system's buffers hold
    assert files_of(client) == before


def test_a_chunked_body_just_too_large_is_413(client):
    chunks = b"".join(b"10000\r\n" + bytes(65536) + b"\r\n" for _ in range(31))
    head = b"POST /api/jobs?model=cnn HTTP/1.1\r\nHost: localhost\r\n"
    answer = client.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("pause_s", [0.8, 0.1], ids=["silent", "dripping"])
def test_a_slow_upload_is_given_up(client, pause_s):
    before = files_of(client)
    head = b"POST /api/jobs?model=cnn HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=5) as line:
        line.sendall(head + b"Content-Length: 1000\r\n\r\n" + NIGHT[:10])
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - started < 4:
                time.sleep(pause_s)
                line.sendall(b"x")
        assert time.monotonic() - started < 4
    assert files_of(client) == before and client.store._reserved == 0


def test_a_slow_upload_is_told_so(client):
    head = b"POST /api/jobs?model=cnn HTTP/1.1\r\nHost: localhost\r\n"
    answer = client.raw(head + b"Content-Length: 1000\r\n\r\n" + NIGHT[:10])
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_damaged_photograph_fails_alone(client):
    whole = encoded(night(200, 300), quality=95)
    name = client.add(whole[: len(whole) // 2])
    event, status = client.events(name)[-1]
    assert event == "failed" and "cut short" in status["error"]
    answer = client.ask("GET", f"/api/jobs/{name}/result")
    assert answer.status == 422 and b"cut short" in answer.content
    assert client.result(NIGHT).status == 200


@pytest.mark.parametrize(
    "query",
    [
        "model=none",
        "model=../../secret",
        "exposure=3",
        "exposure=nan",
        "strength=much",
        "model=cnn&denoise=1",
        "exposur=1",
        "format=exe",
        "view=0,0,1",
    ],
)
def test_a_wrong_parameter_is_422(client, query):
    answer = client.ask("POST", f"/api/jobs?{query}", NIGHT)
    assert answer.status == 422
    assert "expected" in json.loads(answer.content)["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Host": "127.0.0.1.evil.example"}, 400),
        ({"Host": "evil.example:8000@127.0.0.1"}, 400),
        ({"Host": "["}, 400),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "[::1]:{port}"}, 200),
        ({"Host": "photos.example"}, 200),
        ({"Origin": "https://evil.example"}, 400),
        ({"Origin": "null"}, 400),
        ({"Origin": "http://localhost:1"}, 400),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "https://photos.example"}, 200),
    ],
    ids=str,
)
def test_foreign_hosts_and_origins_are_refused(client, headers, status):
    filled = {k: v.replace("{port}", str(client.port)) for k, v in headers.items()}
    answer = client.ask("GET", "/api/models", headers=filled)
    assert answer.status == status, answer.content


def test_two_hosts_are_refused(client):
    answer = client.raw(
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fapp.py",
        "//etc/passwd",
        "/samples/../../app.py",
        "/api/jobs/..%2f..%2fapp.py/result",
        "/app.py",
        "/none",
    ],
)
def test_no_path_leads_out_of_the_page(client, path):
    answer = client.ask("GET", path)
    assert answer.status == 404
    assert set(json.loads(answer.content)) == {"error"}


@pytest.mark.parametrize("path", ["/", "/app.js", "/api/models", "/none", "/healthz"])
def test_every_answer_has_safe_headers_and_tells_nothing(client, path):
    answer = client.ask("GET", path)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "Server" not in answer.headers
    told = str(answer.headers).encode() + answer.content
    for secret in (str(client.folder), str(ROOT), "uvicorn", "starlette", "Python/"):
        assert secret.lower().encode() not in told.lower()


def test_a_mistake_of_ours_tells_nothing(client, monkeypatch, capfd):
    def fail(*_, **__):
        raise RuntimeError(f"secret in {client.folder}")

    monkeypatch.setattr("lowlight_jax.serve.jobs.enhance_photo", fail)
    event, status = client.events(client.add(NIGHT))[-1]
    assert event == "failed" and "secret" not in status["error"]
    monkeypatch.setattr("lowlight_jax.serve.app.describe_networks", fail)
    answer = client.ask("GET", "/api/models")
    assert answer.status == 500 and b"secret" not in answer.content
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "secret" in capfd.readouterr().err


def test_the_page_asks_no_other_host_and_has_nothing_inline():
    for path in PAGE.rglob("*"):
        if path.suffix in (".html", ".js", ".css", ".svg"):
            text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "//" not in re.sub(r"^\s*//.*$| // .*$", "", text, flags=re.M), path
            assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", text), path


# Previews


def preview(client, name, query):
    answer = client.ask("GET", f"/api/pictures/{name}/preview?{query}")
    assert answer.status == 200, answer.content
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)


def test_a_picture_is_shown_as_it_is_and_enhanced(client):
    pixels = night(64, 96)
    body = encoded(pixels, "PNG")
    made = client.json("POST", "/api/pictures?name=a.png", body, 201)
    assert (made["width"], made["height"], made["name"]) == (96, 64, "a.png")
    assert client.json("GET", f"/api/pictures/{made['id']}") == made
    before = preview(client, made["id"], "strength=0")
    assert np.abs(before - pixels).mean() < 2  # JPEG
    after = preview(client, made["id"], "model=cnn&fast=1")
    expected = load_network("cnn")(pixels)
    assert np.abs(after - expected).mean() < 3 < np.abs(after - pixels).mean()
    assert client.ask("DELETE", f"/api/pictures/{made['id']}").status == 204
    answer = client.ask("GET", f"/api/pictures/{made['id']}/preview")
    assert answer.status == 404


def test_a_part_is_as_bright_as_in_the_whole(tmp_path):
    """Bright above and dark below, in black bars: alone, each part would be changed."""
    pixels = night(112, 128)
    pixels = np.concatenate([pixels[:50] + np.uint8(150), pixels[50:] // 2])
    pixels[:14] = pixels[-14:] = 0
    path = tmp_path / "upload"
    path.write_bytes(encoded(pixels, "PNG"))
    picture = Picture.read(path)
    assert picture.inside == (14 / 112, 0, 98 / 112, 1)
    # One window, and one set of controls: one compilation.
    options = Options("dual_global_photo", {})
    method = load_network("dual_global_photo")
    whole = enhance_photo(method, read_photo(path), **options.all_on()).pixels
    previews = Previews()
    for view in (WHOLE, (0.5, 0.0, 1.0, 1.0), (0.0, 0.25, 0.75, 1.0)):
        content, media_type = previews.make(picture, options, view, MOST_PX)
        shown = np.asarray(Image.open(io.BytesIO(content))).astype(int)
        rows, columns = (
            slice(round(view[i] * side), round(view[i + 2] * side))
            for i, side in enumerate((112, 128))
        )
        expected = whole[rows, columns].astype(int)
        assert shown.shape == expected.shape and media_type == "image/jpeg"
        inner = (slice(10, -10), slice(10, -10))  # at its sides it sees less
        apart = np.abs(shown[inner] - expected[inner]).mean()
        assert apart < 1.6, (view, apart)  # 1 of it by JPEG


@pytest.mark.parametrize(
    ("part", "whole", "place"),
    [
        ((0.25, 0, 0.75, 1), WHOLE, (0.25, 0, 0.75, 1)),
        ((0.25, 0, 0.75, 1), (0.25, 0, 0.75, 1), WHOLE),
        ((0.5, 0.5, 0.75, 1), (0.25, 0, 0.75, 1), (0.5, 0.5, 1, 1)),
    ],
    ids=["of all", "the same", "of a part"],
)
def test_the_place_of_a_part(part, whole, place):
    assert place_of(part, whole) == place


@pytest.mark.parametrize("most_px", [65_536, 250_000, MOST_PX])
@pytest.mark.parametrize("size", [(4000, 6000), (3000, 1000), (10, 9000), (50, 60)])
def test_a_preview_fits_a_window_that_is_compiled(size, most_px):
    h, w = preview_size(*size, most_px)
    assert h * w <= most_px and any(h <= wh and w <= ww for wh, ww in WINDOWS)
    if size == (4000, 6000):
        assert h * w > 0.45 * most_px and abs(w / h - 1.5) < 0.01


def test_a_later_preview_supersedes_the_one_that_waits(client, held):
    made = client.json("POST", "/api/pictures", NIGHT, 201)
    upload = client.store.find(Upload, made["id"])
    options = Options("cnn", {})
    first, second = (client.store.preview(upload, options, WHOLE, True) for _ in "ab")
    held.let_go()
    with pytest.raises(Superseded):
        first.result(10)
    assert second.result(10)[1] == "image/jpeg"


def test_who_goes_away_ends_nothing(client, held):
    made = client.json("POST", "/api/pictures", NIGHT, 201)
    upload = client.store.find(Upload, made["id"])
    options = Options("cnn", {})
    for _ in range(2):  # the second supersedes the first
        assert client.store.preview(upload, options, WHOLE, True).cancel()
    held.let_go()
    assert client.ask("GET", f"/api/pictures/{made['id']}/preview").status == 200


def test_what_is_painted_is_repaired(client):
    pixels = night(64, 96) + np.uint8(60)
    made = client.json("POST", "/api/pictures", encoded(pixels, "PNG"), 201)
    path = f"/api/pictures/{made['id']}"
    answer = client.ask("GET", f"{path}/preview?model=inpaint")
    assert answer.status == 422 and b"paint over" in answer.content
    mask = np.zeros((32, 48), np.uint8)  # at half the size
    mask[10:14, 20:26] = 255
    assert client.ask("PUT", f"{path}/mask", encoded(mask, "PNG")).status == 204
    job = client.add(None, f"model=inpaint&picture={made['id']}")
    assert client.events(job)[-1][0] == "done"
    result = client.ask("GET", f"/api/jobs/{job}/result").content
    changed = (np.asarray(Image.open(io.BytesIO(result))) != pixels).any(-1)
    hole = np.kron(mask, np.ones((2, 2))) > 0
    assert changed[hole].any() and not changed[~hole].any()
    assert client.ask("PUT", f"{path}/mask", b"no mask").status == 415
    black = encoded(np.zeros((8, 8), np.uint8), "PNG")
    assert client.ask("PUT", f"{path}/mask", black).status == 204
    assert client.ask("GET", f"{path}/preview?model=inpaint").status == 422


# What is kept


def kept(store, kind=Upload, **options):
    name, folder = store.new_folder()
    (folder / "upload").write_bytes(bytes(1000))
    one = kind(name, folder, "a", (1, 1), ".png", **options)
    store.keep(one)
    return one


def test_what_is_old_is_deleted_but_not_what_is_computed(tmp_path):
    store = Store(tmp_path, keep_s=0.05)
    old, busy = kept(store), kept(store, Job)
    time.sleep(0.1)
    store.sweep()
    assert not old.folder.exists() and busy.folder.exists()


def test_the_oldest_go_where_they_take_too_much(tmp_path):
    store = Store(tmp_path, keep_bytes=2500)
    all_of_them = [kept(store) for _ in range(4)]
    assert [one.folder.exists() for one in all_of_them] == [False, False, True, True]


# The command


def test_the_description_is_of_this_api(client):
    described = client.json("GET", "/api/openapi.json")
    app = make_app(client.store, client.limits, ()).app
    routes = {
        (route.path, method.lower())
        for route in app.routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }
    methods = {"get", "post", "put", "delete"}
    assert routes == {
        (path, method)
        for path, item in described["paths"].items()
        for method in methods & set(item)
    }
    given = described["paths"]["/api/jobs"]["post"]["parameters"]
    ranges = {one["name"]: one["schema"] for one in given}
    default = describe_networks()[0]
    assert client.json("GET", "/api/models")["models"][0] == default
    assert ranges["model"]["default"] == default["name"]
    for name, control in default["controls"].items():
        schema = ranges[name]
        found = schema["minimum"], schema["maximum"], schema["default"]
        assert found == (control["lowest"], control["highest"], control["default"])


def test_the_examples_run(client, tmp_path):
    Image.fromarray(night(64, 96)).save(tmp_path / "night.jpg")
    Image.fromarray(night(64, 96)).convert("1").save(tmp_path / "mask.png")
    text = (ROOT / "docs" / "serve.md").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 4
    script = "set -euo pipefail\n" + "\n".join(blocks)
    result = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"SERVER": f"http://127.0.0.1:{client.port}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert "event: done" in result.stdout and '"status":"ok"' in result.stdout
    for name in ("night_enhanced.jpg", "preview.jpg"):
        assert Image.open(tmp_path / name).format == "JPEG"


def test_every_flag_is_described(capsys):
    with pytest.raises(SystemExit):
        command.parse_args(["--help"])
    flags = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    text = (ROOT / "docs" / "serve.md").read_text("utf-8")
    described = set(re.findall(r"^\| `(--[a-z-]+)`", text, re.M))
    assert flags - {"--help", "--debug"} == described


def test_sigterm_cancels_and_leaves_no_file(tmp_path):
    pixels = np.tile(night(500, 500), (4, 4, 1))
    process = subprocess.Popen(
        [sys.executable, "-m", "lowlight_jax.serve", "--port=0", "--no-browser"],
        env=os.environ | {"TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
        client = Client(port, tmp_path)
        name = client.add(encoded(pixels), "model=cnn")
        stream = threading.Thread(target=client.events, args=(name,))
        stream.start()
        assert list(tmp_path.glob("lowlight_serve-*/*/upload"))
    finally:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    stream.join()
    assert (process.returncode, err) == (0, "")
    assert out == "Stopped; uploads and results are deleted\n"
    assert not list(tmp_path.glob("lowlight_serve-*"))


def test_a_port_that_is_taken(client, capsys):
    assert command.main([f"--port={client.port}", "--no-browser"]) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: cannot listen on 127\.0\.0\.1 port \d+ .*\n", err)


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert command.main(["--no-browser"]) == 1
    assert "pip install 'lowlight_jax[web]'" in capsys.readouterr().err
