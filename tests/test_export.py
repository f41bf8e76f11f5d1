"""Networks outside JAX: ONNX graphs, ONNX Runtime as a back end, exported files."""

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import export as jax_export
from one_piece import in_one_piece
from PIL import Image

from lowlight_jax import Enhancer, Repairer, export, weights
from lowlight_jax.enhance import __main__ as command
from lowlight_jax.inference import onnx_runtime
from lowlight_jax.inference.onnx_runtime import OnnxNetwork, load_onnx, takes_onnx
from lowlight_jax.inference.runner import Runner
from lowlight_jax.models import init_params, make_model
from lowlight_jax.models.dual_global import GlobalDenoising
from lowlight_jax.onnx_graphs.models import window_model
from lowlight_jax.ops.thumbnail import make_thumbnail

NAMES = weights.shipped_names()


def dark_picture(h, w, seed=0):
    """Smooth light with noise, as dark pictures have."""
    random = np.random.default_rng(seed)
    light = np.outer(np.linspace(0.02, 0.4, h), np.linspace(1, 0.3, w))[..., None]
    picture = light * [1.0, 0.8, 0.6] + random.normal(0, 0.02, (h, w, 3))
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def assert_close(found, expected, worst=1, share=1e-4):
    """At most `worst` apart, in at most `share` of the values."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    apart = np.abs(found.astype(np.float64) - expected)
    assert apart.max() <= worst
    assert (apart > 0).mean() <= share


@pytest.mark.parametrize("name", NAMES)
def test_graphs_that_ship_are_those_of_the_weights(name):
    """`python -m lowlight_jax.onnx_graphs` writes them anew."""
    kept = onnx.load(weights.SHIPPED / f"{name}.onnx")
    made = window_model(*weights.load_shipped(name))
    # Products of kernels that are made one differ in their last bit between CPUs.
    pairs = zip(kept.graph.initializer, made.graph.initializer, strict=True)
    for before, after in pairs:
        values = [onnx.numpy_helper.to_array(tensor) for tensor in (before, after)]
        np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-7)
        after.CopyFrom(before)
    assert kept == made


@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_jax(name):
    in_jax = Runner(*weights.load_shipped(name))
    in_onnx = Runner(load_onnx(name))
    assert in_onnx.controls == in_jax.controls and in_onnx.name == in_jax.name
    assert in_onnx.task is in_jax.task
    image = dark_picture(100, 150)
    if in_jax.needs_mask:
        image[30:50, 60:90] = 0
        assert_close(in_onnx(image), in_jax(image))
        return
    turned = {"exposure": 0.6, "shadows": 0.9}
    if "denoise" in in_jax.controls:
        turned["denoise"] = 0.4
    # Nothing turned: below, of what is exported.
    assert_close(
        in_onnx(image, strength=0.7, **turned), in_jax(image, strength=0.7, **turned)
    )
    np.testing.assert_array_equal(in_onnx(image, strength=0), image)


def test_other_types_of_pixels():
    in_jax = Enhancer("cnn", backend="jax")
    in_onnx = Enhancer("cnn", backend="onnxruntime")
    image = dark_picture(60, 70)
    deep = image.astype(np.uint16) * 257
    apart = in_onnx(deep).astype(int) - in_jax(deep)
    assert np.abs(apart).max() <= 1  # of 65535
    unit = image.astype(np.float32) / 255
    np.testing.assert_allclose(in_onnx(unit), in_jax(unit), atol=1e-5)
    gray = image[..., :1]
    assert_close(in_onnx(gray), in_jax(gray), share=1e-3)


def test_tiles_agree_with_the_whole():
    network = load_onnx("dual_global")
    runner = Runner(network)
    image = dark_picture(1500, 1900)
    window, inside = in_one_piece(image, runner._overlap, network.stride)
    thumbnail = make_thumbnail(image)[None]
    active = {"denoise": 1.0}
    whole = network.run(window, None, thumbnail, None, 1.0, active)[inside]
    assert_close(runner(image), whole)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "cnn", "width": 4, "layers": 2},
        {"name": "dual", "fine_layers": 5, "share_stages": False},
        {"name": "dual", "fine_layers": 0, "denoises": False},
        {"name": "dual_global", "uses_thumbnail": False, "max_gain": 8.0},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_other_fields_of_the_networks(fields):
    network = make_model(**fields)
    params = init_params(network, jax.random.key(3))
    params = jax.tree.map(lambda x: x + 0.01, params)  # biases that are not 0
    content = export.to_onnx(network, params, {})
    assert onnx.load_from_string(content).graph.name == fields["name"]


def test_a_network_without_a_graph():
    network = make_model("mirnet")
    with pytest.raises(ValueError, match="no ONNX graph for MIRNet.*stablehlo"):
        window_model(network, {})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folders, by network, of `photo.onnx` and `photo.stablehlo`."""

    @functools.cache
    def export_both(name):
        folder = tmp_path_factory.mktemp(name)
        for form in ("onnx", "stablehlo"):
            words = ["--model", name, "--format", form]
            assert export.main([*words, "--output", str(folder / f"photo.{form}")]) == 0
        return folder

    return export_both


@pytest.mark.parametrize("name", ["cnn", "dual_global_photo"])
def test_exported_files_are_what_enhance_does(name, exported):
    """128x128 with its margin is a window exactly."""
    image = dark_picture(128, 128)
    network, _ = weights.load_shipped(name)
    controls = {n: control.default for n, control in network.controls.items()}
    expected = Enhancer(name, backend="jax")(image)

    session = onnxruntime.InferenceSession(exported(name) / "photo.onnx")
    numbers = {"strength": 1.0} | controls
    feed = {n: np.array(value, np.float32) for n, value in numbers.items()}
    # The thumbnail is summed in another order, so that a few more values round apart.
    assert_close(session.run(None, {"image": image, **feed})[0], expected, share=1e-3)
    about = session.get_modelmeta().custom_metadata_map
    assert about["model"] == name and "research use" in about["licence"]

    content = (exported(name) / "photo.stablehlo").read_bytes()
    in_stablehlo = jax_export.deserialize(bytearray(content))
    assert in_stablehlo.platforms == ("cpu", "cuda", "tpu")
    found = np.asarray(in_stablehlo.call(image, 1.0, **controls))
    assert_close(found, expected, share=1e-3)


def test_a_workdir(tmp_path):
    network = make_model("dual")
    params = init_params(network, jax.random.key(0))
    fields = {"name": "dual"}
    path = tmp_path / weights.WORKDIR_FILE
    weights.save_weights(path, params, model=fields, about={"steps": "7"})
    output = tmp_path / "mine.onnx"
    words = ["--checkpoint", str(tmp_path), "--format", "onnx", "--output", str(output)]
    assert export.main(words) == 0
    about = {entry.key: entry.value for entry in onnx.load(output).metadata_props}
    assert about["steps"] == "7" and about["model"] == tmp_path.name
    image = dark_picture(50, 60)
    in_onnx = Enhancer(checkpoint=tmp_path, backend="onnxruntime")
    in_jax = Enhancer(checkpoint=tmp_path, backend="jax")
    assert isinstance(in_onnx.network, OnnxNetwork)
    assert_close(in_onnx(image), in_jax(image), share=1e-3)


def test_what_differs_is_not_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "MOST_DIFFERENCE", 1e-12)
    path = tmp_path / "cnn.onnx"
    words = ["--model", "cnn", "--format", "onnx", "--output", str(path)]
    assert export.main(words) == 1
    assert "differs from JAX by" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_a_graph_is_found(monkeypatch):
    """The smallest there could be: noise is subtracted a thousandth more."""
    original = GlobalDenoising.__call__
    network, params = weights.load_shipped("dual_global")

    def wrong(self, *args):
        denoised = original(self, *args)
        return denoised.replace(noise=1.001 * denoised.noise)

    monkeypatch.setattr(GlobalDenoising, "__call__", wrong)
    with pytest.raises(export.ExportError, match="differs from JAX"):
        export.to_onnx(network, params, {})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "cnn", "--output", "cnn.bin"], "expected a name ending in .onnx"),
        (["--model", "nobody", "--output", "a.onnx"], "there are no weights 'nobody'"),
    ],
)
def test_bad_words(words, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export.main([*words, "--format", "onnx"]) == 1
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def without(monkeypatch, *missing):
    found = importlib.util.find_spec

    def find_spec(name, *args):
        return None if name in missing else found(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_which_back_end(monkeypatch):
    without(monkeypatch, *onnx_runtime._ACCELERATORS)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert takes_onnx("auto", "dual_global") and takes_onnx("onnxruntime", "dual")
    assert not takes_onnx("jax", "dual_global")
    assert not takes_onnx("auto", "workdir") and not takes_onnx("auto", "a/dual")
    with pytest.raises(ValueError, match="backend is 'torch'; expected one of auto"):
        Enhancer(backend="torch")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert not takes_onnx("auto", "dual_global")
    monkeypatch.delenv("JAX_PLATFORMS")
    assert takes_onnx("auto", "dual_global")
    without(monkeypatch, "onnxruntime")
    assert not takes_onnx("auto", "dual_global")
    with pytest.raises(ImportError, match=r"pip install 'lowlight_jax\[onnx\]'"):
        Repairer(backend="onnxruntime")


def test_the_command_takes_jax_for_much(tmp_path, monkeypatch):
    """By the headers alone; what cannot be read does not count."""
    Image.new("L", (1000, 3000)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    Image.new("L", (3001, 1000)).save(tmp_path / "c.png")
    words = ["--output", str(tmp_path / "out")]
    asked = []

    def load(model, params, backend):
        asked.append(backend)
        raise ValueError("enough")

    for names, options in (("ab", []), ("abc", []), ("abc", ["--backend=onnxruntime"])):
        photos = [str(tmp_path / f"{name}.png") for name in names]
        args = command.parse_args([*photos, *words, *options])
        assert command.run(args, load) == 2
    assert asked == ["auto", "jax", "onnxruntime"]


def test_a_gpu_is_jax_s(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(onnx_runtime, "_ACCELERATORS", ("json",))  # that is there
    assert not takes_onnx("auto", "dual_global")


def test_weights_for_another_task():
    with pytest.raises(weights.WeightsError, match="are for inpainting; expected"):
        Enhancer("inpaint", backend="onnxruntime")


def test_the_command_does_without_jax(tmp_path):
    """A folder with a gray and a transparent photo, and a network's holes."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(dark_picture(80, 90)).save(photos / "a.png")
    Image.fromarray(dark_picture(80, 90)[..., 0]).save(photos / "gray.jpg")
    Image.fromarray(dark_picture(30, 40)).convert("RGBA").save(photos / "b.png")
    holes = dark_picture(60, 60) + 20
    holes[20:30, 20:40] = 0
    Image.fromarray(holes).save(tmp_path / "holes.png")
    program = f"""
import sys
from lowlight_jax.cli import main
words = ["--backend", "onnxruntime", "--output"]
assert main(["enhance", {str(photos)!r}, *words, {str(tmp_path / "out")!r}]) == 0
holes = [{str(tmp_path / "holes.png")!r}, "--model", "inpaint"]
assert main(["enhance", *holes, *words, {str(tmp_path / "filled.png")!r}]) == 0
heavy = {{"jax", "flax", "optax", "scipy", "onnx"}} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert (np.asarray(Image.open(tmp_path / "filled.png"))[25, 25:35] > 0).all()


DOCS = (Path(__file__).parents[1] / "docs" / "export.md").read_text()


def code_of(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def exported_photo(exported):
    """A folder with what the page's examples read."""
    folder = exported("dual_global_photo")
    Image.fromarray(dark_picture(40, 56)).save(folder / "night.jpg", quality=95)
    return folder


def test_the_page_s_python(exported_photo, monkeypatch):
    monkeypatch.chdir(exported_photo)
    results = []
    for code, name in zip(code_of("python"), ("onnx", "stablehlo"), strict=True):
        exec(compile(code, name, "exec"), {})
        results.append(np.asarray(Image.open(f"night_{name}.png")))
    assert_close(*results, share=1e-3)
    assert results[0].mean() > 1.5 * np.asarray(Image.open("night.jpg")).mean()


@pytest.fixture(scope="module")
def onnxruntime_web(tmp_path_factory):
    """The folder `dist` of the npm package."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("npm")
    words = [npm, "install", "--prefix", str(folder), "--no-save", "--ignore-scripts"]
    installed = subprocess.run([*words, "onnxruntime-web"], capture_output=True)
    if installed.returncode:
        pytest.skip("npm could not install onnxruntime-web")
    return folder / "node_modules" / "onnxruntime-web" / "dist"


@pytest.mark.browser
def test_the_page_s_javascript(exported_photo, onnxruntime_web):
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    (html,) = code_of("html")
    (exported_photo / "page.html").write_text(html)
    (exported_photo / "dist").symlink_to(onnxruntime_web)
    handler = functools.partial(QuietHandler, directory=exported_photo)
    image = dark_picture(40, 56)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_api.sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
        page.wait_for_function("() => window.enhance !== undefined")
        opaque = np.full((40, 56, 1), 255, np.uint8)
        rgba = np.concatenate([image, opaque], axis=-1)
        result = page.evaluate(
            """async (data) => {
                const image = new ImageData(new Uint8ClampedArray(data), 56, 40);
                return Array.from((await window.enhance(image)).data);
            }""",
            rgba.ravel().tolist(),
        )
        browser.close()
        server.shutdown()
    result = np.reshape(result, rgba.shape).astype(np.uint8)
    np.testing.assert_array_equal(result[..., 3:], opaque)
    session = onnxruntime.InferenceSession(exported_photo / "photo.onnx")
    controls = {"strength": 1.0, "exposure": 0.0, "shadows": 0.5, "denoise": 1.0}
    feed = {name: np.array(value, np.float32) for name, value in controls.items()}
    expected = session.run(None, {"image": image, **feed})[0]
    assert_close(result[..., :3], expected, share=1e-3)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
