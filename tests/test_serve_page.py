"""The page in a real browser: Chromium, driven by playwright."""

import io
import re
import shutil
import socket
import threading
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lowlight_jax.images.files import read_photo, write_photo
from lowlight_jax.inference.methods import enhance_photo
from lowlight_jax.serve.app import make_app
from lowlight_jax.serve.guard import LOCAL_NAMES
from lowlight_jax.serve.jobs import Store
from lowlight_jax.serve.options import describe_networks, load_network
from lowlight_jax.serve.server import make_server
from lowlight_jax.serve.uploads import Limits

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
DEFAULT = "cnn"  # here; it compiles quickly
SIZE = (96, 128)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr("lowlight_jax.inference.runner.DEFAULT_MODEL", DEFAULT)
    describe_networks.cache_clear()
    store = Store(tmp_path_factory.mktemp("served"))
    app = make_app(store, Limits(10**7, 10**7), LOCAL_NAMES, warm=False)
    server = make_server(app, store)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        yield SimpleNamespace(url=url, store=store)
        server.should_exit = True
        thread.join()
    patch.undo()
    describe_networks.cache_clear()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # A container's root has no sandbox; the page is our own.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(server, browser):
    """`f(**options of the context) -> page`; any error of a script fails the test."""
    contexts, faults = [], []

    def open_page(**options):
        context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 800}} | options
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", note)
        page.on("request", lambda request: outside(request.url))
        page.goto(server.url)
        page.wait_for_selector("body[data-ready]")
        return page

    def note(message):
        # What the server refuses is told there too, and meant.
        if message.type == "error" and "status of" not in message.text:
            faults.append(message.text)

    def outside(url):
        if not url.startswith((server.url, "blob:", "data:")):
            faults.append(f"it asked for {url}")

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def picture(path, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    h, w = size
    coarse = rng.integers(5, 50, (h // 16 + 1, w // 16 + 1, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x010E] = "a night"
    smooth.save(path, exif=exif.tobytes(), dpi=(300, 300))
    return path


@pytest.fixture
def night(tmp_path):
    return picture(tmp_path / "night.png")


def drop(page, *paths):
    """As a hand does: files are dragged over the page and let go."""
    files = [{"name": path.name, "bytes": list(path.read_bytes())} for path in paths]
    transfer = page.evaluate_handle(
        """(files) => {
          const transfer = new DataTransfer();
          for (const { name, bytes } of files) {
            transfer.items.add(new File([new Uint8Array(bytes)], name));
          }
          return transfer;
        }""",
        files,
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})


def until(page, condition, timeout_s=30):
    """Waits; playwright's own way would need eval(), which the page forbids."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def wait_for_preview(page):
    until(page, "document.body.dataset.preview === 'there'")


def colour(page, x, y):
    """Of the stage, at fractions of its size."""
    return np.array(
        page.evaluate(
            """([x, y]) => {
              const canvas = document.querySelector("#canvas");
              const at = [x * canvas.width, y * canvas.height].map(Math.round);
              return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
            }""",
            [x, y],
        )[:3]
    ).astype(int)


def value(page, name):
    return float(page.input_value(f"#{name}"))


def expected_bytes(path, out, **values):
    method = load_network(DEFAULT)
    write_photo(out, enhance_photo(method, read_photo(path), **values))
    return out.read_bytes()


def test_drop_compare_adjust_and_download(open_page, night, tmp_path):
    page = open_page()
    drop(page, night)
    wait_for_preview(page)
    # Left is before, right is after, until the divider is moved.
    dark, bright = colour(page, 0.47, 0.5), colour(page, 0.53, 0.5)
    assert bright.sum() > 1.3 * dark.sum()
    box = page.locator("#handle").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 100, steps=4)
    page.mouse.up()
    page.wait_for_timeout(100)
    assert int(page.get_attribute("#handle", "aria-valuenow")) > 55
    assert np.abs(colour(page, 0.53, 0.5) - dark).max() < 40

    # A slider by mouse.
    box = page.locator("#exposure").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    assert 0.8 < value(page, "exposure") < 1.2
    with page.expect_download() as download:
        page.click("#download")
    found = download.value
    assert found.suggested_filename == "night_enhanced.png"
    exposure = value(page, "exposure")
    expected = expected_bytes(night, tmp_path / "out.png", exposure=exposure)
    assert found.path().read_bytes() == expected
    image = Image.open(io.BytesIO(expected))
    assert image.getexif()[0x010E] == "a night" and image.size == SIZE[::-1]

    page.click("#reset")
    assert value(page, "exposure") == 0
    assert "default" in page.text_content("#live")


def test_keyboard_alone(open_page, night, server):
    page = open_page()
    focused = "document.activeElement.id"
    passed = []
    while "choose" not in passed:
        page.keyboard.press("Tab")
        passed.append(page.evaluate(focused))
        assert len(passed) < 10, passed
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(10):  # Chromium, driven so, does not take each key for a person's
        page.keyboard.press("Enter")
        page.wait_for_timeout(200)
        if choosers:
            break
    choosers[0].set_files(night)
    wait_for_preview(page)
    visited = []
    for _ in range(40):
        page.keyboard.press("Tab")
        visited.append(page.evaluate(focused))
        if visited[-1] == "handle":
            page.keyboard.press("End")
            page.wait_for_timeout(100)
            assert page.get_attribute("#handle", "aria-valuetext") == "100 % before"
        elif visited[-1] == "canvas":
            page.keyboard.press("1")
            assert page.text_content("#zoom-level") == "100 %"
            page.keyboard.press("+")
            page.keyboard.press("ArrowLeft")
            assert page.text_content("#zoom-level") == "125 %"
            page.keyboard.press("0")
        elif visited[-1] == "shadows":
            page.keyboard.press("ArrowRight")
            assert value(page, "shadows") == 0.51
        elif visited[-1] == "download":
            with page.expect_download():
                page.keyboard.press("Enter")
            break
    controls = "exposure shadows saturation unsharp strength".split()
    for name in ["canvas", "handle", "zoom-in", "model", *controls, "format", "reset"]:
        assert name in visited


def test_touch_at_the_size_of_a_phone(open_page, night):
    page = open_page(
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        color_scheme="dark",
    )
    assert page.is_visible("#photograph")
    page.set_input_files("#files", night)
    wait_for_preview(page)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide == 390
    for selector in ("#download", "#add", "#zoom-in", "#reset"):
        assert page.locator(selector).bounding_box()["height"] >= 43, selector
    slider = page.locator("#saturation")
    box = slider.bounding_box()
    slider.tap(position={"x": 0.6 * box["width"], "y": box["height"] / 2})
    assert value(page, "saturation") == pytest.approx(1.8, abs=0.15)
    # A finger on the picture moves the divider.
    page.evaluate("scrollTo(0, 0)")
    box = page.locator("#stage").bounding_box()
    page.touchscreen.tap(box["x"] + 300, box["y"] + 100)
    line = page.context.new_cdp_session(page)
    for kind, x in (("touchStart", 195), ("touchMove", 260), ("touchMove", 300)):
        points = [{"x": x, "y": box["y"] + box["height"] / 2}]
        line.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    line.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(100)
    assert int(page.get_attribute("#handle", "aria-valuenow")) > 65


def test_zoomed_in_the_pixels_are_the_results(open_page, tmp_path):
    """Of a picture above a megapixel, whose preview shows fewer of them."""
    fine = (1000, 1800)
    pixels = np.zeros((*fine, 3), np.uint8)
    pixels[:, ::2] = 90  # lines that a preview cannot show
    Image.fromarray(pixels).save(tmp_path / "fine.png")
    page = open_page()
    page.set_input_files("#files", tmp_path / "fine.png")
    page.wait_for_selector(".stage:not(.is-bare)")

    def spread():
        values = [colour(page, 0.3 + i / 1000, 0.5).sum() for i in range(12)]
        return max(values) - min(values)

    assert spread() < 150
    whole = colour(page, 0.7, 0.5).sum()
    page.click("#zoom-level")
    deadline = time.monotonic() + 30
    while spread() < 220:
        assert time.monotonic() < deadline
        page.wait_for_timeout(100)
    # A slider acts on that part, and on the whole once it is looked at again.
    page.fill("#exposure", "1.5")
    wait_for_preview(page)
    page.click("#zoom-level")
    while colour(page, 0.7, 0.5).sum() < 1.2 * whole:
        assert time.monotonic() < deadline + 30
        page.wait_for_timeout(100)


class Gate:
    """Holds the thread that computes, once a photograph is in its first window."""

    def __init__(self, monkeypatch):
        self._go, self.is_in = threading.Event(), threading.Event()

        def slow(method, photo, mask, *, progress, **values):
            for step in range(1, 100):
                progress(step / 100)
                self.is_in.set()
                if self._go.wait(0.1):
                    break
            return enhance_photo(method, photo, mask, **values)

        monkeypatch.setattr("lowlight_jax.serve.jobs.enhance_photo", slow)

    def open(self):
        self._go.set()


def test_progress_and_cancel(open_page, night, monkeypatch, server):
    page = open_page()
    page.set_input_files("#files", night)
    wait_for_preview(page)
    gate = Gate(monkeypatch)
    page.click("#download")
    until(page, "document.querySelector('#progress').value > 0.08")
    until(page, "document.querySelector('#job-text').textContent.startsWith('Enh')")
    assert re.fullmatch(r"Enhancing, \d+ %", page.text_content("#job-text"))
    page.click("#cancel")
    page.wait_for_selector("#download:visible")
    assert page.text_content("#live") == "Cancelled."
    gate.open()


def test_a_reload_in_mid_job(open_page, night, monkeypatch, tmp_path):
    page = open_page()
    page.set_input_files("#files", night)
    wait_for_preview(page)
    gate = Gate(monkeypatch)
    page.click("#download")
    page.wait_for_selector("#job:visible")
    gate.is_in.wait()
    page.wait_for_timeout(100)
    page.reload()
    page.wait_for_selector("#job:visible")
    with page.expect_download() as download:
        gate.open()
    assert download.value.path().read_bytes() == expected_bytes(
        night, tmp_path / "out.png"
    )


def test_a_broken_file_beside_a_good_one(open_page, night, tmp_path):
    broken = tmp_path / "<img src=x onerror=alert(1)>.png"
    broken.write_bytes(night.read_bytes()[:200])
    page = open_page()
    drop(page, broken)
    page.wait_for_selector("#message:visible")
    sentence = page.text_content("#message-text")
    assert sentence.startswith(broken.name) and "\n" not in sentence
    assert page.is_visible("#welcome")
    drop(page, night)
    wait_for_preview(page)
    assert page.is_hidden("#message")


def test_several_at_once_as_a_zip(open_page, tmp_path):
    paths = [picture(tmp_path / f"{i}.png", seed=i) for i in range(3)]
    page = open_page()
    page.set_input_files("#files", paths)
    wait_for_preview(page)
    page.fill("#strength", "0.5")
    page.click("#all-alike")
    with page.expect_download() as download:
        page.click("#download-all")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert sorted(archive.namelist()) == [f"{i}_enhanced.png" for i in range(3)]
        expected = expected_bytes(paths[2], tmp_path / "out.png", strength=0.5)
        assert archive.read("2_enhanced.png") == expected


def test_paint_and_repair(open_page, night, tmp_path):
    page = open_page()
    page.set_input_files("#files", night)
    page.wait_for_selector(".stage:not(.is-bare)")
    page.select_option("#model", "inpaint")
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.focus("#canvas")
    page.mouse.move(x + 60, y + 60)
    page.mouse.down()
    page.mouse.move(x + 90, y + 60, steps=3)
    page.mouse.up()
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    with page.expect_download() as download:
        page.click("#download")
    changed = np.asarray(Image.open(download.value.path())) != np.asarray(
        Image.open(night)
    )
    rows, columns = np.nonzero(changed.any(-1))
    assert len(rows) > 20
    assert rows.min() > SIZE[0] // 2 and columns.min() > SIZE[1] // 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_violation_of_accessibility(open_page, night, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(color_scheme=scheme)

    def check(where):
        page.wait_for_timeout(250)  # colours fade
        found = axe.run(page).response["violations"]
        told = [
            (one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found
        ]
        assert not told, where

    check("welcome")
    page.set_input_files("#files", [night, night])
    wait_for_preview(page)
    check("editor")
    page.select_option("#model", "inpaint")
    page.wait_for_selector("#brush-bar:visible")
    check("repair")


def test_a_sample_and_a_pasted_picture(open_page, night):
    page = open_page()
    for name, told in (("text", "textContent"), ("label", "ariaLabel")):
        elements = f"[...document.querySelectorAll('[data-{name}]')]"
        assert page.evaluate(f"{elements}.every((one) => one.{told})")
    page.click("text=Coffee")
    page.wait_for_selector(".stage:not(.is-bare)")
    page.evaluate(
        """(bytes) => {
          const clipboardData = new DataTransfer();
          const file = new File([new Uint8Array(bytes)], "image.png");
          clipboardData.items.add(file);
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
        }""",
        list(night.read_bytes()),
    )
    until(page, "document.querySelectorAll('.shot').length === 2")
    page.wait_for_selector(f"text={SIZE[1]} × {SIZE[0]}")
