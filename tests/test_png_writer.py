"""PNG and TIFF are exact, whole and small, whichever way they are deflated.

Pillow, OpenCV and tifffile read them; the sizes to beat are of zlib's default level.
"""

import io
import itertools
import threading
import zlib

import cv2
import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageCms

from lowlight_jax.images import deflate, png_writer
from lowlight_jax.images.files import ImageFileError, Photo, read_photo, write_photo

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_PROFILE = PROFILE[:16] + b"GRAY" + PROFILE[20:]
MAKE = 0x010F

both = pytest.mark.parametrize("compress", [False, True])
KINDS = list(itertools.product([np.uint8, np.uint16], [1, 3], [False, True]))
every_kind = pytest.mark.parametrize(("dtype", "channels", "alpha"), KINDS)


def samples_of(shape, dtype, seed=0):
    """Smooth and noisy, dark and clipped parts: every turn of the filter."""
    random = np.random.default_rng(seed)
    h, w, c = shape
    x = np.linspace(-0.2, 1.2, w)[:, None] * np.linspace(0.3, 1, h)[:, None, None]
    x = x + random.normal(0, 0.1, (h, w, c)) * (np.arange(h) % 7 > 3)[:, None, None]
    return np.round(np.clip(x, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def make_photo(dtype, channels, alpha, size, **metadata):
    hiding = samples_of((*size, 1), dtype, 1)[:, :, 0] if alpha else None
    return Photo(samples_of((*size, channels), dtype), hiding, **metadata)


@both
@every_kind
def test_bands_meet(tmp_path, monkeypatch, dtype, channels, alpha, compress):
    monkeypatch.setattr(png_writer, "_BAND_BYTES", 2000)
    monkeypatch.setattr(png_writer, "_CACHED_BYTES", 500)
    photo = make_photo(dtype, channels, alpha, (61, 47))
    path = tmp_path / "a.png"
    write_photo(path, photo, compress=compress)
    assert path.read_bytes().count(b"IDAT") > 1

    bgra = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # BGR, BGRA or gray
    assert bgra.dtype == dtype
    if channels == 1 and not alpha:
        bgra = bgra[:, :, None]
    colour = bgra[:, :, :3][:, :, ::-1] if bgra.shape[2] > 1 else bgra
    np.testing.assert_array_equal(colour, np.broadcast_to(photo.pixels, colour.shape))
    if alpha:
        np.testing.assert_array_equal(bgra[:, :, 3], photo.alpha)
    if dtype == np.uint8:  # Pillow has no 16 bits but gray
        with Image.open(path) as image:
            assert image.mode == {1: "L", 3: "RGB"}[channels] + "A" * alpha
            image.load()
            np.testing.assert_array_equal(
                np.asarray(image).reshape(61, 47, -1)[:, :, :channels], photo.pixels
            )
    back = read_photo(path)
    np.testing.assert_array_equal(back.pixels, photo.pixels)


def test_a_large_file(tmp_path):
    pixels = samples_of((900, 1700, 3), np.uint8)  # three bands of the usual size
    write_photo(tmp_path / "a.png", Photo(pixels))
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


@both
@every_kind
def test_png_keeps_all_metadata(tmp_path, dtype, channels, alpha, compress):
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    profile = PROFILE if channels == 3 else GRAY_PROFILE
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    photo = make_photo(
        dtype,
        channels,
        alpha,
        (3, 5),
        icc=profile,
        exif=exif.tobytes(),
        dpi=(300.0, 150.0),
        xmp=xmp,
        text=((b"tEXt", b"Title\0Night"),),
    )
    path = tmp_path / "a.png"
    assert write_photo(path, photo, compress=compress) == []
    with Image.open(path) as image:
        assert image.info["icc_profile"] == profile
        assert image.getexif()[MAKE] == "Maker"
        np.testing.assert_allclose(image.info["dpi"], (300, 150), atol=0.02)
        assert image.info["XML:com.adobe.xmp"].encode() == xmp
        assert image.info["Title"] == "Night"
    back = read_photo(path)
    assert (back.icc, back.xmp, back.text) == (profile, xmp, photo.text)


def test_a_picture_without_pixels_is_no_png(tmp_path):
    with pytest.raises(ImageFileError, match="at least one pixel, found 3x0 px"):
        write_photo(tmp_path / "a.png", Photo(np.zeros((0, 3, 3), np.uint16)))
    assert not list(tmp_path.iterdir())


def deep(pixels, noise=20):
    """16 bits, whose low ones say something."""
    random = np.random.default_rng(0)
    values = pixels * 257.0 + random.normal(0, noise, pixels.shape)
    return np.clip(values, 0, 65535).astype(np.uint16)


def noisy(pixels):
    random = np.random.default_rng(0)
    return np.clip(pixels + random.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)


def framed(pixels):
    return np.pad(pixels, ((200, 200), (0, 0), (0, 0)))


ASTRONAUT = skimage.data.astronaut()
PAGE = skimage.data.page()[:, :, None]
PICTURES = {
    "photograph": ASTRONAUT,
    "noisy": noisy(ASTRONAUT),
    "gray": noisy(skimage.data.camera()[:, :, None]),
    "16 bits": deep(ASTRONAUT),
    "16 bits that were 8": ASTRONAUT * np.uint16(257),
    "framed": framed(ASTRONAUT),
    "page": PAGE,
}


def sub(samples):
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]
    return differences


def usual_size(samples, suffix):
    """Of Pillow's PNG, or what a plain call of zlib makes of differences."""
    if suffix == ".png" and samples.dtype == np.uint8:
        file = io.BytesIO()
        Image.fromarray(samples.squeeze()).save(file, "PNG")
        return file.tell()
    if suffix == ".png":  # of bytes
        h, w, c = samples.shape
        octets = samples.astype(">u2").view(np.uint8).reshape(h, w, 2 * c)
        return len(zlib.compress(sub(octets)))
    return len(zlib.compress(sub(samples)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("name", PICTURES)
def test_size(tmp_path, name, suffix):
    samples = PICTURES[name]
    sizes = []
    for compress in (False, True):
        path = tmp_path / f"{compress}{suffix}"
        write_photo(path, Photo(samples), compress=compress)
        np.testing.assert_array_equal(read_photo(path).pixels, samples)
        sizes.append(path.stat().st_size)
    usual = usual_size(samples, suffix)
    default, small = sizes
    assert default <= 1.1 * usual
    assert small <= min(default, usual)


def test_others_read_our_compressed_tiff(tmp_path):
    path = tmp_path / "a.tif"
    write_photo(path, Photo(ASTRONAUT), compress=True)
    np.testing.assert_array_equal(tifffile.imread(path), ASTRONAUT)


def test_results_come_in_order_and_few_wait(monkeypatch):
    monkeypatch.setattr(deflate.os, "cpu_count", lambda: 3)
    started, lock = [], threading.Lock()

    def square(number):
        with lock:
            started.append(number)
        return number**2

    results = deflate.on_all_cores(square, range(40))
    for taken in range(40):
        assert next(results) == taken**2
        assert len(started) <= taken + 1 + 3 + 1
    assert next(results, None) is None


def test_what_fails_in_a_thread_is_told():
    def fail(number):
        raise OSError(f"number {number}")

    with pytest.raises(OSError, match="number 0"):
        list(deflate.on_all_cores(fail, range(3)))
