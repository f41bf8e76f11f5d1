"""The command: what goes where, what is said, and what is left behind on failure.

A stand-in for the network inverts the pixels; one test runs the real one.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from lowlight_jax.baselines import METHODS
from lowlight_jax.enhance import __main__ as command
from lowlight_jax.images import files as image_files
from lowlight_jax.images.files import Photo, read_photo, write_photo
from lowlight_jax.inference import batch, jobs
from lowlight_jax.inference.finish import finish
from lowlight_jax.inference.methods import load_method
from lowlight_jax.inference.runner import DEFAULT_MODEL, Enhancer
from lowlight_jax.models import make_model
from lowlight_jax.weights import WeightsError, save_weights, shipped_names

PHOTO = skimage.data.astronaut()[:41, 50:111] // 2


class Inverter:
    """Takes the place of a network."""

    made = []
    controls = {"denoise": 1.0}
    needs_mask = False

    def __init__(self, model):
        self.model, self.calls = model, []
        Inverter.made.append(self)

    def __call__(self, image, *, progress, **options):
        self.calls.append(options)
        return np.iinfo(image.dtype).max - image


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Inverter.made.clear()


def run(*words, factory=Inverter):
    def load(model, params, backend):
        is_network = model in (*shipped_names(), "work")
        stands_in = is_network and not params
        return factory(model) if stands_in else load_method(model, params, backend)

    return command.run(command.parse_args([str(word) for word in words]), load)


def save(*names, dtype=np.uint8, channels=3, **others):
    """Photos whose first pixel tells them apart."""
    for index, name in enumerate(names):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((4, 6, channels), dtype)
        pixels[0, 0] = index
        write_photo(path, Photo(pixels, **others))


def files():
    """Every file below the current folder, hidden ones too."""
    here = Path()
    return {str(path) for path in here.rglob("*") if path.is_file()}


def is_inverted(source, target):
    before, after = read_photo(source).pixels, read_photo(target).pixels
    full = np.iinfo(before.dtype).max
    return before.dtype == after.dtype and np.array_equal(after, full - before)


# What goes where


def test_file_to_file(capsys):
    save("in.png")
    assert run("in.png", "--output", "results/out.tif") == 0
    assert files() == {"in.png", "results/out.tif"}
    assert is_inverted("in.png", "results/out.tif")
    out, err = capsys.readouterr()
    assert out.startswith("1 photo saved to results/out.tif in ")
    assert err == ""


def test_file_to_folder():
    save("photos/in.bmp")
    assert run("photos/in.bmp", "--output", "results") == 0
    assert files() == {"photos/in.bmp", "results/in.png"}


def test_existing_folder_with_the_suffix_of_an_image():
    save("in.bmp")
    Path("folder.png").mkdir()
    assert run("in.bmp", "--output", "folder.png") == 0
    assert files() == {"in.bmp", "folder.png/in.png"}


@pytest.mark.parametrize("image_format", ["png", "jpg", "webp", "tif"])
def test_folder_keeps_paths_and_stems(image_format, capsys):
    names = ["in/a.b.JPG", "in/sub/c.png", "in/sub/deep/c.webp"]
    save(*names)
    Path("in/notes.txt").touch()
    assert run("in", "--output", "out", "--format", image_format) == 0
    written = {f"out/{name}.{image_format}" for name in ["a.b", "sub/c", "sub/deep/c"]}
    assert files() == {*names, "in/notes.txt", *written}
    out = capsys.readouterr().out
    assert out.startswith(f"3 photos saved to out: a.b.{image_format}, sub/c.")


def test_each_photo_is_saved_under_its_own_name():
    names = [f"in/{index}.png" for index in range(9)]
    save(*names)
    assert run("in", "--output", "out") == 0
    assert all(is_inverted(f"in/{i}.png", f"out/{i}.png") for i in range(9))


def test_files_and_folders_together(capsys):
    save("in/a.png", "in/b.png", "c.png")
    assert run("in", "c.png", "in/a.png", "--output", "out") == 0
    assert {name for name in files() if name.startswith("out")} == {
        "out/a.png",
        "out/b.png",
        "out/c.png",
    }
    assert Inverter.made[0].calls and len(Inverter.made[0].calls) == 3


def test_names_that_differ_by_case_are_two_files(capsys, monkeypatch):
    save("in/a.png", "in/A.png")
    assert run("in", "--output", "out") == 0
    assert len(files()) == 4
    monkeypatch.setattr(jobs, "ignores_case", lambda folder: True)
    Inverter.made.clear()
    refused("in", "--output", "new")
    assert "same:\n  in/A.png and in/a.png" in capsys.readouterr().err


def test_second_run_replaces_the_results():
    save("in.png")
    save("out.png", channels=1)
    assert run("in.png", "--output", "out.png") == 0
    assert is_inverted("in.png", "out.png")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_photographers_expect_to_keep(dtype, channels):
    alpha = np.iinfo(dtype).max - np.arange(24, dtype=dtype).reshape(4, 6)
    icc = bytes(16) + (b"GRAY" if channels == 1 else b"RGB ") + bytes(120)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
    save("in.png", dtype=dtype, channels=channels, alpha=alpha, icc=icc, exif=exif)
    assert run("in.png", "--output", "out.png") == 0
    photo = read_photo("out.png")
    assert is_inverted("in.png", "out.png")
    np.testing.assert_array_equal(photo.alpha, alpha)
    assert (photo.icc, photo.exif) == (icc, exif)


def test_options_reach_the_network():
    save("in.png")
    run("in.png", "--output", "out", "--strength", "0.3", "--no-denoise")
    run("in.png", "--output", "out", "--checkpoint", "work")
    run("in.png", "--output", "out", "--denoise", "0.4")
    first, second, third = Inverter.made
    assert first.model == DEFAULT_MODEL
    assert first.calls == [{"strength": 0.3, "denoise": 0.0}]
    assert second.model == "work"
    assert second.calls == [{"strength": 1.0}]
    assert third.calls == [{"strength": 1.0, "denoise": 0.4}]


# Wrong usage: code 2, before anything starts


def refused(*words):
    """The message of a refusal, which must not have done anything."""
    before = files()
    assert run(*words) == 2
    assert files() == before
    assert not Inverter.made


def test_same_output_name(capsys):
    save("in/a.jpg", "in/a.png", "in/b.png", "other/b.webp")
    refused("in", "other", "--output", "out")
    err = capsys.readouterr().err
    assert "out/a.png from in/a.jpg and in/a.png" in err
    assert "out/b.png from in/b.png and other/b.webp" in err


@pytest.mark.parametrize(
    "words",
    [
        ("in/a.png", "--output", "in/a.png"),
        ("in/a.png", "--output", "in"),
        ("in", "--output", "in"),
        ("in", "--output", "linked"),
        ("in/a.png", "--output", "link.png"),
        ("in/b.jpg", "in/a.png", "--output", "in"),
    ],
)
def test_inputs_are_never_overwritten(words, capsys):
    save("in/a.png", "in/b.jpg")
    Path("linked").symlink_to("in")
    Path("link.png").symlink_to("in/a.png")
    refused(*words)
    assert "would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("in", "no", "nor", "--output", "out"), "do not exist:\n  no\n  nor"),
        (("empty", "--output", "out"), "Nothing to do: no images in empty"),
        (("in", "--output", "out.png"), "out.png names a file"),
        (("in/a.png", "in/b.png", "--output", "out.png"), "out.png names a file"),
        (("in/a.png", "--output", "o.png", "--format", "jpg"), "contradict"),
        (("in", "--output", "notes.txt"), "notes.txt is a file"),
        (("in", "--output", "notes.txt/out"), "notes.txt is a file"),
        (("in/a.png", "--output", "notes.txt/out.png"), "notes.txt is a file"),
        (
            ("in/a.png", "--output", "out.jxl"),
            "out.jxl: no image is written as .jxl",
        ),
        (("in", "--output", "new/out.GIF"), "no image is written as .GIF"),
        (("in", "--output", "in/enhanced"), "in/enhanced lies inside the input folder"),
        (("in", "in/a.png", "--output", "in/b/c"), "lies inside the input folder in"),
        (("in", "--output", "in", "--format", "webp"), "in is the input folder in"),
    ],
)
def test_wrong_names(words, message, capsys):
    save("in/a.png", "in/b.png")
    Path("empty").mkdir()
    Path("notes.txt").touch()
    refused(*words)
    assert message in capsys.readouterr().err


def test_format_may_agree_with_the_name():
    save("in.png")
    assert run("in.png", "--output", "out.jpeg", "--format", "jpg") == 0


@pytest.mark.parametrize("strength", ["-0.1", "1.5", "nan", "much"])
def test_strength_out_of_range(strength, capsys):
    with pytest.raises(SystemExit) as info:
        command.parse_args(["in.png", "--output", "out", "--strength", strength])
    assert info.value.code == 2
    assert "is not a number from 0 to 1" in capsys.readouterr().err


def test_model_and_checkpoint_exclude_each_other():
    with pytest.raises(SystemExit) as info:
        command.parse_args("in --output out --model dual --checkpoint w".split())
    assert info.value.code == 2


def test_missing_weights(capsys):
    def factory(model):
        raise WeightsError(f"there are no weights in {model}")

    save("in.png")
    words = ("in.png", "--output", "out", "--checkpoint", "work")
    assert run(*words, factory=factory) == 2
    assert capsys.readouterr().err == "there are no weights in work\n"
    assert files() == {"in.png"}


@pytest.mark.parametrize("word", ["--no-denoise", "--denoise=1"])
def test_network_without_denoising_module(word, capsys):
    class Brightener(Inverter):
        controls = {}

    save("in.png")
    words = ("in.png", "--output", "out")
    assert run(*words, word, factory=Brightener) == 2
    error = capsys.readouterr().err
    assert f"{DEFAULT_MODEL} has no denoising module" in error
    assert files() == {"in.png"}
    assert run(*words, factory=Brightener) == 0


# Classical methods, and what is done to every result


def run_on(photo, *words):
    """The result of the command for a photo."""
    write_photo("photo.png", photo)
    assert run("photo.png", "--output", "result.png", *words) == 0
    assert not Inverter.made or "--model" not in words
    return read_photo("result.png")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_method_by_its_name(name, channels):
    side = 16 if name in ("ghp", "lssc", "svd") else 99  # they are slow
    pixels = PHOTO[:side, :side, :channels]
    result = run_on(Photo(pixels), "--model", name)
    np.testing.assert_array_equal(result.pixels, METHODS[name](pixels))


def test_parameters_of_a_method():
    words = ["--model", "msr", "--param", "sigmas_px=3,9.5", "--param=clip-percent=0"]
    result = run_on(Photo(PHOTO), *words)
    expected = METHODS["msr"](PHOTO, sigmas_px=(3.0, 9.5), clip_percent=0.0)
    np.testing.assert_array_equal(result.pixels, expected)
    result = run_on(Photo(PHOTO), "--model", "edges", "--param", "detector=canny")
    expected = METHODS["edges"](PHOTO, detector="canny")
    np.testing.assert_array_equal(result.pixels, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_method_on_16_bits(channels):
    pixels = PHOTO[..., :channels].astype(np.uint16) * 257
    alpha = np.arange(pixels[..., 0].size, dtype=np.uint16).reshape(pixels.shape[:2])
    alpha += 10000  # visible
    # 100 more or less do not change the 8 bits
    photo = Photo(pixels + np.where(pixels < 65000, np.uint16(100), 0), alpha=alpha)
    result = run_on(photo, "--model", "gamma")
    expected = METHODS["gamma"](PHOTO[..., :channels]).astype(np.uint16) * 257
    np.testing.assert_array_equal(result.pixels, expected)
    np.testing.assert_array_equal(result.alpha, alpha)
    same = run_on(photo, "--model", "gamma", "--strength", "0")
    np.testing.assert_array_equal(same.pixels, photo.pixels)


def test_strength_of_a_method_mixes_with_the_input():
    result = run_on(Photo(PHOTO), "--model", "negative", "--strength", "0.25")
    expected = PHOTO + 0.25 * (255.0 - 2.0 * PHOTO)
    np.testing.assert_allclose(result.pixels, expected, atol=0.501)


@pytest.mark.parametrize("words", [(), ("--model", "gamma")])
def test_finishing_comes_last(words):
    plain = run_on(Photo(PHOTO), *words).pixels
    result = run_on(Photo(PHOTO), *words, "--unsharp", "0.5", "--saturation", "2")
    expected = finish(plain, unsharp=0.5, saturation=2.0)
    np.testing.assert_array_equal(result.pixels, expected)
    assert not np.array_equal(plain, expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model none", "none: there is no such network, classical method"),
        ("--model none", "`python -m lowlight_jax.enhance --list` shows all"),
        ("--model gamma --param power=2", "no parameter 'power'; expected one of"),
        ("--model gamma --param exponent=x", "exponent is 'x'; expected a number"),
        ("--model gamma --param exponent=-2", "exponent is -2; expected a number"),
        ("--model gamma --param exponent", "'exponent' is no parameter; expected"),
        ("--model negative --param a=1", "no parameter 'a'; expected none"),
        ("--model bit-plane --param plane=1.5", "plane is '1.5'; expected an integer"),
        ("--model median --param size_px=4", "size_px is 4; expected an odd"),
        ("--model msr --param sigmas_px=1,", "sigmas_px is '1,'; expected numbers"),
        ("--model edges --param detector=x", "expected sobel or canny"),
        ("--model intensity-slicing --param low=201", "low is 201 and high 200"),
        ("--model contrast-stretching --param low_percent=99", "low_percent is 99"),
        ("--model lime --no-denoise", "lime has no denoising module; leave --denoise"),
        ("--model lime --denoise 1", "lime has no denoising module; leave --denoise"),
        ("--model dual --param exponent=1", "only classical methods have parameters"),
        ("--checkpoint w --param exponent=1", "only classical methods have parameters"),
    ],
)
def test_what_does_not_fit_the_model(words, message, capsys):
    save("in.png")
    refused("in.png", "--output", "out", *words.split())
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--unsharp 3.1", "'3.1' is not a number from 0 to 3"),
        ("--saturation -1", "'-1' is not a number from 0 to 3"),
        ("--denoise nan", "'nan' is not a number from 0 to 1"),
        ("--denoise 1 --no-denoise", "not allowed with"),
    ],
)
def test_options_out_of_range(words, message, capsys):
    with pytest.raises(SystemExit) as info:
        command.parse_args(["in.png", "--output", "out", *words.split()])
    assert info.value.code == 2
    assert message in capsys.readouterr().err


def test_list_shows_everything(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as info:
        command.main(["--list"])
    assert info.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name in (*METHODS, *shipped_names()):
        (row,) = [line for line in lines if line.startswith(f"│ {name} ")]
        cells = [cell.strip() for cell in row.split("│")[1:-1]]
        assert len(cells) == 4 and cells[1] and cells[3]
    text = "\n".join(lines)
    assert "exponent=0.4 (a number from 0.01 to 100)" in text
    assert "Zuiderveld 1994" in text
    assert "LOL-v1" in text


def test_a_method_does_not_wait_for_jax():
    save("in.png")
    code = (
        "import sys; from lowlight_jax.enhance import __main__ as m\n"
        "m.main(['in.png', '--output', 'out', '--model', 'gamma'])\n"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert files() == {"in.png", "out/in.png"}


# Single files that fail: code 1, the others go on


def test_unreadable_files_are_named(capsys):
    save("in/a.png", "in/z.png")
    write_photo("whole.png", Photo(skimage.data.astronaut()))
    Path("in/cut.png").write_bytes(Path("whole.png").read_bytes()[:9000])
    Path("in/empty.jpg").touch()
    Path("text.doc").write_text("a letter")
    assert run("in", "text.doc", "--output", "out") == 1
    assert {name for name in files() if "out" in name} == {"out/a.png", "out/z.png"}
    out, err = capsys.readouterr()
    assert out.startswith("2 photos saved to out: a.png, z.png in ")
    assert err.startswith("3 failed:\n  in/cut.png is damaged or cut short")
    assert "in/empty.jpg is an empty file" in err
    assert "text.doc is not an image" in err


def test_nothing_readable(capsys):
    Path("bad.png").touch()
    assert run("bad.png", "--output", "out.png") == 1
    assert files() == {"bad.png"}
    assert capsys.readouterr().out.startswith("No photo saved in ")


def test_writer_failing_midway_leaves_nothing(capsys, monkeypatch):
    encode = image_files._encode

    def full_disk(file, suffix, photo, *options):
        if photo.pixels[0, 0, 0] == 255 - 1:  # the second
            file.write(b"half")
            raise OSError(28, "No space left on device")
        encode(file, suffix, photo, *options)

    save("in/a.png", "in/b.png", "in/c.png")
    before = files()
    monkeypatch.setattr(image_files, "_encode", full_disk)
    assert run("in", "--output", "out") == 1
    assert files() == before | {"out/a.png", "out/c.png"}
    assert "out/b.png could not be written (No space left" in capsys.readouterr().err


def test_output_names_taken_by_folders_and_files(capsys):
    save("in/a.png", "in/b/c.png", "in/d.png")
    Path("out/a.png").mkdir(parents=True)
    Path("out/b").touch()
    assert run("in", "--output", "out") == 1
    err = capsys.readouterr().err
    assert "out/a.png could not be written" in err
    assert "out/b" in err
    assert is_inverted("in/d.png", "out/d.png")


def test_too_little_memory(capsys):
    class Greedy(Inverter):
        def __call__(self, image, **options):
            if image[0, 0, 0] == 1:
                raise MemoryError
            return super().__call__(image, **options)

    save("in/a.png", "in/b.png", "in/c.png")
    assert run("in", "--output", "out", factory=Greedy) == 1
    assert "in/b.png does not fit into memory" in capsys.readouterr().err
    assert {"out/a.png", "out/c.png"} <= files()


def test_an_unexpected_error_is_that_of_one_photo(capsys):
    class Broken(Inverter):
        def __call__(self, image, **options):
            if image[0, 0, 0] == 1:
                raise KeyError("nowhere")
            return super().__call__(image, **options)

    save("in/a.png", "in/b.png", "in/c.png")
    assert run("in", "--output", "out", factory=Broken) == 1
    error = capsys.readouterr().err
    assert error == (
        "1 failed:\n  in/b.png: unexpected KeyError: 'nowhere'; --debug shows where\n"
    )
    assert {"out/a.png", "out/c.png"} <= files()


@pytest.mark.parametrize(("image_format", "most"), [("jpg", 65500), ("webp", 16383)])
def test_a_photo_too_large_for_the_format_is_told_before_it_is_computed(
    image_format, most, capfd
):
    save("in/a.png")
    write_photo("in/long.png", Photo(np.zeros((1, most + 1, 3), np.uint8)))
    assert run("in", "--output", "out", "--format", image_format) == 1
    error = capfd.readouterr().err
    assert f"long.{image_format} cannot hold {most + 1}x1 px" in error
    assert len(error.splitlines()) == 2 and len(Inverter.made[0].calls) == 1
    with pytest.raises(image_files.ImageFileError, match="png or tif"):
        write_photo(f"a.{image_format}", Photo(np.zeros((1, most + 1, 3), np.uint8)))
    write_photo(f"a.{image_format}", Photo(np.zeros((1, most, 3), np.uint8)))


def test_mistakes_of_ours_are_not_hidden():
    class Broken(Inverter):
        def __call__(self, image, **options):
            raise AssertionError("ours")

    save("in.png")
    with pytest.raises(AssertionError, match="ours"):
        run("in.png", "--output", "out", factory=Broken)


def test_interrupted(capsys):
    class Interrupted(Inverter):
        def __call__(self, image, **options):
            if image[0, 0, 0] == 2:
                raise KeyboardInterrupt
            return super().__call__(image, **options)

    save("in/a.png", "in/b.png", "in/c.png", "in/d.png")
    before = files()
    assert run("in", "--output", "out", factory=Interrupted) == 130
    assert files() == before | {"out/a.png", "out/b.png"}
    assert capsys.readouterr().err.startswith(
        "Interrupted; 2 photos saved to out: a.png, b.png"
    )


# Small files


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_compress_makes_smaller_files(capsys, suffix):
    page = skimage.data.page()[:, :, None].repeat(3, 2)  # text: much is to be found
    write_photo("a.png", Photo(page))
    sizes = []
    for words in ([], ["--compress"]):
        assert run("a.png", "--output", f"out{suffix}", *words) == 0
        assert is_inverted("a.png", f"out{suffix}")
        sizes.append(Path(f"out{suffix}").stat().st_size)
    assert sizes[1] < 0.95 * sizes[0]
    assert capsys.readouterr().err == ""


def test_compress_without_a_format_that_it_changes(capsys):
    save("in/a.png", "in/b.png")
    assert run("in", "--output", "out", "--format", "jpg", "--compress") == 0
    assert files() >= {"out/a.jpg", "out/b.jpg"}
    assert capsys.readouterr().err == (
        "note: --compress makes png and tif smaller, and changes nothing in .jpg\n"
    )


# Pace


def test_one_photo_is_read_ahead_and_one_written_behind(monkeypatch):
    events, lock = [], threading.Lock()

    def note(kind, action):
        def noted(*args, **options):
            with lock:
                events.append(kind)
            if kind == "write":
                time.sleep(0.02)  # slower than what goes before
            return action(*args, **options)

        return noted

    monkeypatch.setattr(batch, "read_photo", note("read", read_photo))
    monkeypatch.setattr(batch, "write_photo", note("write", write_photo))
    monkeypatch.setattr(Inverter, "__call__", note("enhance", Inverter.__call__))
    save(*(f"in/{index}.png" for index in range(12)))
    assert run("in", "--output", "out") == 0
    for kind in ("read", "enhance", "write"):
        assert events.count(kind) == 12
    for index in range(len(events)):
        done = {kind: events[:index].count(kind) for kind in events}
        assert done["read"] - done["enhance"] <= 2
        assert done["enhance"] - done["write"] <= 2


def test_the_real_network():
    network = make_model("dual")
    side = 8 * network.stride
    key, image = jax.random.key(0), jnp.zeros((1, side, side, 3))
    shapes = jax.eval_shape(network.init, key, image)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 0.1 * rng.standard_normal(leaf.shape), shapes)
    save_weights("new.safetensors", params, model={"name": "dual"}, about={})
    dark = skimage.data.astronaut()[:40, :61] // 4
    Path("in").mkdir()
    write_photo("in/dark.png", Photo(dark))
    Path("in/bad.jpg").touch()
    words = ["in", "--output", "out", "--checkpoint", "new.safetensors"]
    assert command.main([*words, "--strength", "0.5"]) == 1
    expected = Enhancer(checkpoint="new.safetensors")(dark, strength=0.5)
    assert expected.shape == dark.shape
    assert not np.array_equal(expected, dark)
    np.testing.assert_array_equal(read_photo("out/dark.png").pixels, expected)


# Repairing holes


class Painter:
    """Takes the place of a network for inpainting: holes become white."""

    controls = {}
    needs_mask = True

    def __init__(self, model):
        pass

    def __call__(self, image, mask, *, strength, progress):
        if mask.shape != image.shape[:2]:
            raise ValueError("mask has another shape")
        return np.where(mask[..., None], np.iinfo(image.dtype).max, image)


def damaged():
    pixels = np.maximum(PHOTO, 1)
    pixels[10:16, 20:30] = 0
    return pixels


def repair(*words):
    return run("a.png", "--output", "out.png", *words, factory=Painter)


def test_black_regions_are_repaired():
    write_photo("a.png", Photo(damaged()))
    assert repair() == 0
    result = read_photo("out.png").pixels.copy()
    assert (result[10:16, 20:30] == 255).all()
    result[10:16, 20:30] = 0
    np.testing.assert_array_equal(result, damaged())


def test_a_mask_says_where_the_holes_are():
    write_photo("a.png", Photo(damaged()))
    mask = np.zeros((*PHOTO.shape[:2], 1), np.uint8)
    mask[:5] = 255
    mask[5:7] = 100  # below half
    write_photo("mask.png", Photo(mask))
    assert repair("--mask", "mask.png") == 0
    result = read_photo("out.png").pixels
    assert (result[:5] == 255).all()
    np.testing.assert_array_equal(result[5:], damaged()[5:])


def test_without_holes_nothing_is_saved(capsys):
    write_photo("a.png", Photo(np.maximum(PHOTO, 1)))
    assert repair() == 1
    assert "a.png: found no holes" in capsys.readouterr().err
    assert files() == {"a.png"}


def test_a_mask_of_another_size_is_named(capsys):
    write_photo("a.png", Photo(damaged()))
    write_photo("mask.png", Photo(np.full((3, 4, 1), 255, np.uint8)))
    assert repair("--mask", "mask.png") == 1
    assert "a.png: mask has another shape" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--mask", "none.png"], "--mask: none.png"),
        (["b.png", "--mask", "a.png"], "expected one IN file"),
        (["--denoise", "0.5"], "has no denoising module"),
    ],
)
def test_masks_that_cannot_be_used(words, message, capsys):
    write_photo("a.png", Photo(damaged()))
    write_photo("b.png", Photo(damaged()))
    assert run("a.png", *words, "--output", "out", factory=Painter) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_mask_is_for_networks_that_repair(capsys):
    save("in.png")
    for words in ([], ["--model", "gamma"]):
        assert run("in.png", "--output", "out", "--mask", "in.png", *words) == 2
        assert "only methods that repair" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "module"), [("lssc", "sklearn"), ("ghp", "sklearn"), ("dwt-svd", "pywt")]
)
def test_a_missing_extra_is_told_before_anything_is_computed(
    model, module, monkeypatch, capsys
):
    save("in.png")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.cluster", None)
    monkeypatch.setitem(sys.modules, f"{module}.decomposition", None)
    assert run("in.png", "--output", "out", "--model", model) == 2
    error = capsys.readouterr().err
    assert "pip install 'lowlight_jax[baselines]'" in error and error.count("\n") == 1
    assert not Path("out").exists()


def test_progress_counts_a_slow_photo_as_far_as_it_is(monkeypatch):
    shown = []
    monkeypatch.setattr(
        command, "_show", lambda *args: shown.append((args[2], args[4]))
    )
    Path("in").mkdir()
    for name in ("a.png", "b.png"):
        write_photo(Path("in", name), Photo(PHOTO))
    assert run("in", "--output", "out", "--model", "svd") == 0
    assert (0, 0.5) in shown and (1, 0.5) in shown
    assert shown[-1] == (1, 1.0)
