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

from lowlight_jax import image_files
from lowlight_jax.enhance import Enhancer
from lowlight_jax.enhance import __main__ as command
from lowlight_jax.image_files import Photo, read_photo, write_photo
from lowlight_jax.models import make_model
from lowlight_jax.weights import WeightsError, save_weights


class Inverter:
    """Takes the place of `lowlight_jax.enhance.Enhancer`."""

    made = []

    def __init__(self, model, checkpoint):
        self.model, self.checkpoint, self.calls = model, checkpoint, []
        Inverter.made.append(self)

    def __call__(self, image, *, strength, denoise):
        self.calls.append({"strength": strength, "denoise": denoise})
        return np.iinfo(image.dtype).max - image


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Inverter.made.clear()


def run(*words, factory=Inverter):
    return command.run(command.parse_args([str(word) for word in words]), factory)


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


def test_results_are_not_taken_for_photos():
    save("in/a.jpg")
    for _ in range(2):
        assert run("in", "--output", "in/enhanced") == 0
        assert files() == {"in/a.jpg", "in/enhanced/a.png"}


def test_second_run_replaces_the_results():
    save("in.png")
    save("out.png", channels=1)
    assert run("in.png", "--output", "out.png") == 0
    assert is_inverted("in.png", "out.png")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_photographers_expect_to_keep(dtype, channels):
    alpha = np.arange(24, dtype=dtype).reshape(4, 6)
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
    first, second = Inverter.made
    assert (first.model, first.checkpoint) == ("dual", None)
    assert first.calls == [{"strength": 0.3, "denoise": False}]
    assert str(second.checkpoint) == "work"
    assert second.calls == [{"strength": 1.0, "denoise": True}]


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
    def factory(model, checkpoint):
        raise WeightsError(f"there are no weights named {model}")

    save("in.png")
    words = ("in.png", "--output", "out", "--model", "none")
    assert run(*words, factory=factory) == 2
    assert capsys.readouterr().err == "there are no weights named none\n"
    assert files() == {"in.png"}


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

    def full_disk(file, suffix, photo, quality):
        if photo.pixels[0, 0, 0] == 255 - 1:  # the second
            file.write(b"half")
            raise OSError(28, "No space left on device")
        encode(file, suffix, photo, quality)

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

    monkeypatch.setattr(command, "read_photo", note("read", read_photo))
    monkeypatch.setattr(command, "write_photo", note("write", write_photo))
    monkeypatch.setattr(Inverter, "__call__", note("enhance", Inverter.__call__))
    save(*(f"in/{index}.png" for index in range(12)))
    assert run("in", "--output", "out") == 0
    for kind in ("read", "enhance", "write"):
        assert events.count(kind) == 12
    for index in range(len(events)):
        done = {kind: events[:index].count(kind) for kind in events}
        assert done["read"] - done["enhance"] <= 2
        assert done["enhance"] - done["write"] <= 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from lowlight_jax.enhance import __main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: sys.exit(str({'jax', 'flax', 'cv2', 'skimage', 'grain'}"
        " & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"
    assert "--output OUT" in done.stdout


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
