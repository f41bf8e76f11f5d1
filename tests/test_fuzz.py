"""Whatever the input, there is a result or one clear error: never another exception.

Seeds are fixed. What was read is written again in every format, because damage that
does not cost the picture (EXIF, profiles, text) must not cost the result either.
"""

import io
import os
import random
import resource
import time

import numpy as np
import pytest
from PIL import Image, ImageCms

from lowlight_jax.config import (
    ConfigError,
    base_config,
    flat,
    model_config,
    only_phase,
    validate,
)
from lowlight_jax.images.files import (
    ImageFileError,
    Photo,
    image_size,
    read_photo,
    write_photo,
)
from lowlight_jax.models import MODELS
from lowlight_jax.training.loop import make_settings, plan_phases

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow: odd tags

FILES = 250  # mutated files of each format
SLOWEST_S = 5.0  # of one file of some kB; usual is 0.005
MOST_MEMORY = 400 * 2**20  # more than before, for pictures of 7 kB


def block():
    """EXIF with a directory below, every usual type, and an orientation."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A] = "Maker", 6, 72.0
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x927C: b"note" * 9}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return exif.tobytes()


def pixels():
    y, x = np.mgrid[:40, :56]
    noise = np.random.default_rng(0).integers(0, 20, (40, 56, 3))
    return np.uint8(np.stack([x * 4, y * 5, (x + y) * 2], -1) + noise)


def ours(folder, suffix, dtype, *, alpha=True):
    """A file of `write_photo` with all metadata that the format holds."""
    samples = pixels().astype(dtype) * (257 if dtype == np.uint16 else 1)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = Photo(
        samples,
        samples[..., 0] if alpha else None,
        profile,
        block(),
        dpi=(300.0, 300.0),
        xmp=b"<x tiff:Orientation='6'/>",
        text=((b"tEXt", b"Author\0me"),),
    )
    write_photo(folder / f"a{suffix}", photo)
    return (folder / f"a{suffix}").read_bytes()


def pillows(image_format, mode="RGB", pages=1, **options):
    """A file of another writer, maybe with several pictures."""
    images = [
        Image.fromarray(pixels()[:: (-1) ** i]).convert(mode) for i in range(pages)
    ]
    if pages > 1:
        options |= {"save_all": True, "append_images": images[1:]}
    buffer = io.BytesIO()
    images[0].save(buffer, image_format, **options)
    return buffer.getvalue()


KINDS = {
    "png": lambda folder: ours(folder, ".png", np.uint8),
    "png, 16 bits": lambda folder: ours(folder, ".png", np.uint16),
    "png, palette": lambda folder: pillows("PNG", "P", transparency=3),
    "png, moving": lambda folder: pillows("PNG", pages=2),
    "tiff": lambda folder: ours(folder, ".tif", np.uint8, alpha=False),
    "tiff, 16 bits": lambda folder: ours(folder, ".tif", np.uint16),
    "tiff, plain": lambda folder: pillows("TIFF", pages=2, exif=block()),
    "tiff, lzw": lambda folder: pillows("TIFF", "L", compression="tiff_lzw"),
    "tiff, fax": lambda folder: pillows("TIFF", "1", compression="group4"),
    "jpeg": lambda folder: ours(folder, ".jpg", np.uint8),
    "jpeg, progressive": lambda folder: pillows("JPEG", "CMYK", progressive=True),
    "jpeg, two": lambda folder: pillows("MPO", pages=2),
    "webp": lambda folder: ours(folder, ".webp", np.uint8),
    "webp, moving": lambda folder: pillows("WEBP", pages=2, lossless=True),
    "bmp": lambda folder: ours(folder, ".bmp", np.uint8),
    "gif": lambda folder: pillows("GIF", pages=2),
}


def mutated(data, rng, first):
    """Bytes, numbers, a cut, a piece gone or twice; mostly in the first bytes."""
    data = bytearray(data)
    end = min(len(data), first if rng.random() < 0.7 else len(data))
    start, stop = sorted(rng.integers(0, len(data), 2))
    kind = rng.integers(6)
    if kind < 3:
        for place in rng.integers(0, end, rng.integers(1, 5)):
            data[place] = rng.integers(256)
    elif kind == 3:
        number = rng.choice([2**32 - 1, 0, 2**31 - 1, 1]).item()
        place = rng.integers(0, end)
        data[place : place + 4] = number.to_bytes(4, rng.choice(["big", "little"]))
    elif kind == 4:
        del data[start:]
    elif rng.random() < 0.5:
        del data[start:stop]
    else:
        data[start:start] = data[start:stop]
    return bytes(data)


@pytest.fixture
def no_c_messages(capfd):
    """libtiff and libpng write to stderr by themselves."""
    yield
    capfd.readouterr()


def read_and_write(data, folder, suffixes):
    """Whether it could be read; anything but our error fails the test."""
    started = time.perf_counter()
    try:
        photo = read_photo(data)
    except ImageFileError as error:
        assert "\n" not in str(error)
        photo = None
    with_size = True
    try:
        size = image_size(data)
    except ImageFileError:
        with_size = False
    if photo is not None:
        assert with_size and size == photo.pixels.shape[:2]
        for suffix in suffixes:
            write_photo(folder / f"again{suffix}", photo)
    assert time.perf_counter() - started < SLOWEST_S
    return photo is not None


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind, tmp_path, no_c_messages):
    data = KINDS[kind](tmp_path)
    rng = np.random.default_rng(0)
    before = peak_memory()
    assert read_and_write(data, tmp_path, [".png"])
    read = 0
    for index in range(FILES):
        suffixes = [".tif", ".jpg"] if index % 5 == 0 else []
        read += read_and_write(mutated(data, rng, 400), tmp_path, suffixes)
    assert read < FILES
    assert peak_memory() - before < MOST_MEMORY


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif(image_format, tmp_path, no_c_messages):
    """A block costs no picture, whatever is in it, nor a file that is made of it."""
    rng = np.random.default_rng(1)
    for index in range(FILES):
        exif = b"Exif\0\0" + mutated(block()[6:], rng, 200)
        data = pillows(image_format, exif=exif)
        suffixes = [(".tif", ".jpg", ".png", ".webp")[index % 4]]
        assert read_and_write(data, tmp_path, suffixes), exif


@pytest.mark.parametrize("count", [0, 1, 7, 40, 4000])
@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"II*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08",
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0",
        b"RIFF\xff\xff\xff\xffWEBPVP8X",
        b"BM",
        b"GIF89a",
        b"\0\0\0\x18ftypheic",
    ],
)
def test_noise(start, count, tmp_path, no_c_messages):
    rng = np.random.default_rng(count)
    for _ in range(5):
        assert not read_and_write(start + rng.bytes(count), tmp_path, [])
    assert not read_and_write(start + bytes(count), tmp_path, [])


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 2**21,
        b"\xff\xd8" * 2**19,
        b"\xff\xd8" + b"\xff\xe1\0\2" * 2**18,
        b"\xff\xd8" + b"\xff\xda\0\2" * 2**18,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0tEXtaaaa" * 2**16,
        # Directories of 65,535 entries that lie over each other.
        b"II*\0\x08\0\0\0" + (np.arange(2**18, dtype="<u4") * 4 | 3).tobytes(),
    ],
)
def test_long_nonsense_ends_soon(data, tmp_path, no_c_messages):
    assert not read_and_write(data, tmp_path, [])


def test_nothing_is_left_behind(tmp_path):
    """Neither open files nor half-written ones."""
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    path = tmp_path / "a.png"
    path.write_bytes(pillows("PNG")[:300])
    for _ in range(20):
        with pytest.raises(ImageFileError):
            read_photo(path)
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert os.listdir(tmp_path) == ["a.png"]


# Configurations

VALUES = {
    bool: (True, False),
    int: (-1, 0, 1, 2, 3, 5, 7, 24, 25, 1000, 2**40),
    float: (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-30, 0.5, 1.0, 1.5, 1e30),
    str: ("", "x", "dual", "adam", "cosine", "pmap", "\0", "é" * 10),
    tuple: ((), (0.5,), (np.nan, 0.5), ("a",), (3, 4)),
}


def test_a_config_is_refused_in_words_or_can_be_trained_by():
    outcomes = set()
    for seed in range(300):
        rng = random.Random(seed)
        config = base_config()
        config.model = model_config(rng.choice(list(MODELS)))
        for key, value in rng.sample(list(flat(config).items()), rng.randint(1, 4)):
            config.update_from_flattened_dict({key: rng.choice(VALUES[type(value)])})
        if config.model.name in MODELS and rng.random() < 0.7:
            phase = rng.choice(MODELS[config.model.name].phases)
            numbers = rng.choice(VALUES[int]), rng.choice(VALUES[float])
            only_phase(config, phase, steps=numbers[0], learning_rate=numbers[1])
        try:
            validate(config)
        except ConfigError as error:
            outcomes.add("refused")
            assert len(str(error).splitlines()) > 1
        else:
            outcomes.add("taken")
            make_settings(config)
            assert plan_phases(config)
    assert outcomes == {"refused", "taken"}
