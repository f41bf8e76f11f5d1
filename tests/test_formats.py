"""AVIF, HEIC, camera raw files, gain maps and wide-gamut colour profiles.

Pictures are made by the libraries that read them; raw files are small DNG of our own.
"""

import io
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps
from test_fuzz import mutated

from lowlight_jax.enhance import __main__ as command
from lowlight_jax.images import heif, profiles
from lowlight_jax.images.files import (
    ImageFileError,
    Photo,
    image_size,
    read_photo,
    search_images,
    write_photo,
)
from lowlight_jax.images.ifd import LONG, encode_directory, integers_value
from lowlight_jax.images.metadata import Metadata, drop_gain_map
from lowlight_jax.inference.methods import enhance_photo, load_method

H, W = 96, 144
Y, X = np.mgrid[:H, :W]
PIXELS = np.uint8(np.stack([X * 1.5 + 20, Y * 2 + 30, (X + Y) * 0.8 + 10], axis=-1))
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><r tiff:Orientation=\"%d\"/></x:xmpmeta>"


def exif(orientation=1):
    """With a maker note, which keeps its place only where nothing is written anew."""
    block = Image.Exif()
    block[0x010F], block[0x0112] = "Maker", orientation
    block[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x927C: b"note" * 9}
    return block.tobytes()


def curve(*values):
    """A profile's curve: a gamma, or parameters of type 3."""
    if len(values) == 1:
        return b"curv" + struct.pack(">LLHH", 0, 1, round(values[0] * 256), 0)
    numbers = [round(value * 65536) for value in values]
    return b"para" + struct.pack(f">LHH{len(values)}l", 0, 3, 0, *numbers)


def profile(colorants, curve, *, space=b"RGB ", version=4, **extra):
    """A matrix profile; `colorants` are the columns of red, green and blue, in XYZ."""

    def xyz(values):
        numbers = [round(value * 65536) for value in values]
        return b"XYZ " + struct.pack(">L3l", 0, *numbers)

    tags = {
        b"desc": b"mluc" + struct.pack(">LLL", 0, 0, 12),
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
        b"wtpt": xyz([0.9642, 1, 0.8249]),
    }
    for name, column in zip((b"r", b"g", b"b"), np.transpose(colorants), strict=True):
        tags |= {name + b"XYZ": xyz(column), name + b"TRC": curve}
    tags |= {name.encode(): value for name, value in extra.items()}
    place = 132 + 12 * len(tags)
    table = body = b""
    for name, value in tags.items():
        table += struct.pack(">4sLL", name, place + len(body), len(value))
        body += value
    head = struct.pack(">L4sL", place + len(body), b"lcms", version << 24)
    head = (head + b"mntr" + space + b"XYZ ").ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3l", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + body


SRGB_CURVE = curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# As Apple's, Adobe's and Kodak's profiles have them.
P3_COLORANTS = [[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666]]
P3_COLORANTS += [[-0.0011, 0.0419, 0.7841]]
ADOBE_COLORANTS = [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322]]
ADOBE_COLORANTS += [[0.01947, 0.06087, 0.74457]]
PROPHOTO_COLORANTS = [[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001]]
PROPHOTO_COLORANTS += [[0, 0, 0.8249]]
P3 = profile(P3_COLORANTS, SRGB_CURVE)
ADOBE = profile(ADOBE_COLORANTS, curve(2.19921875), version=2)
PROPHOTO = profile(PROPHOTO_COLORANTS, curve(1.8), version=2)
WIDE = {"P3": P3, "Adobe RGB": ADOBE, "ProPhoto": PROPHOTO}


def encoded(suffix, pixels=PIXELS, **options):
    """By the libraries themselves."""
    buffer = io.BytesIO()
    if suffix == "avif":
        Image.fromarray(pixels).save(buffer, "AVIF", quality=95, **options)
    else:
        image = pillow_heif.from_bytes("RGB", pixels.shape[1::-1], pixels.tobytes())
        image.save(buffer, quality=95, **options)
    return buffer.getvalue()


def close(found, expected, levels):
    """Within so many levels of 8 bits, and half of them on average."""
    full = np.iinfo(found.dtype).max
    wanted = expected / np.iinfo(expected.dtype).max
    difference = np.abs(found / full - wanted) * 255
    assert difference.max() <= 4 * levels and difference.mean() <= levels


# AVIF and HEIC


@pytest.mark.parametrize("suffix", ["avif", "heic"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_written_and_read_again(suffix, channels, has_alpha, dtype, tmp_path):
    samples = PIXELS.astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    alpha = samples[..., 1].copy() if has_alpha else None
    icc = P3 if channels == 3 else None
    photo = Photo(samples[..., :channels], alpha, icc, exif(), xmp=XMP % 1)
    assert write_photo(tmp_path / f"a.{suffix}", photo) == []
    again = read_photo(tmp_path / f"a.{suffix}")
    assert (again.icc, again.exif, again.xmp) == (icc, photo.exif, photo.xmp)
    assert again.is_lossy and not again.notes
    is_deep = dtype == np.uint16 and suffix == "heic"
    assert again.pixels.dtype == (np.uint16 if is_deep else np.uint8)
    if suffix == "heic" and not has_alpha:
        assert again.pixels.shape == photo.pixels.shape
    close(again.pixels, np.broadcast_to(photo.pixels, again.pixels.shape), 2)
    assert (again.alpha is None) == (alpha is None)
    if has_alpha:
        close(again.alpha, alpha, 2)


@pytest.mark.parametrize("suffix", ["avif", "heic"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_it_and_exif_does_not_again(suffix, orientation, tmp_path):
    data = encoded(suffix, exif=exif(orientation), xmp=XMP % orientation)
    photo = read_photo(data)
    stored = Image.fromarray(PIXELS)
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    close(photo.pixels, expected, 3)
    assert image_size(data) == expected.shape[:2]
    assert photo.xmp == XMP % 1
    if orientation != 6:
        return
    for target in ("a.jpg", "a.png", "a.avif", "a.heic"):
        write_photo(tmp_path / target, photo)
        close(read_photo(tmp_path / target).pixels, expected, 3)
        if target == "a.heic":
            size, block = image_size(tmp_path / target)[::-1], Image.Exif()
            block.load(pillow_heif.open_heif(tmp_path / target).info["exif"])
        else:
            with Image.open(tmp_path / target) as image:
                size, block = image.size, image.getexif()
        assert size == expected.shape[1::-1] and block.get(0x0112, 1) == 1


def test_xmp_does_not_turn_a_written_heic(tmp_path):
    """As pillow-heif has it; a JPEG's XMP may say what nobody goes by."""
    write_photo(tmp_path / "a.heic", Photo(PIXELS, exif=exif(), xmp=XMP % 6))
    assert image_size(tmp_path / "a.heic") == (H, W)


@pytest.mark.parametrize("suffix", ["avif", "heic"])
def test_exif_that_is_none_is_not_kept(suffix, tmp_path):
    """pillow-heif would turn the picture by it, and Pillow fail."""
    broken = exif(6).replace(b"MM\0*", b"M@\0*")
    lost = write_photo(tmp_path / f"a.{suffix}", Photo(PIXELS, exif=broken))
    assert lost == [f"{suffix.upper()} does not keep its EXIF"]
    assert image_size(tmp_path / f"a.{suffix}") == (H, W)


HAS_DEEP_AVIF = cv2.haveImageWriter("a.avif")
needs_deep_avif = pytest.mark.skipif(
    not HAS_DEEP_AVIF, reason="this OpenCV was built without AVIF"
)


def deep_avif(bits, channels=3):
    full = 2**bits - 1
    samples = np.dstack([PIXELS, PIXELS[..., 0]])[..., :channels]
    samples = np.rint(samples / 255 * full).astype(np.uint16)
    bgra = samples[..., [2, 1, 0, 3][:channels]] if channels > 1 else samples
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
    return cv2.imencode(".avif", bgra, options)[1].tobytes(), samples / full


@needs_deep_avif
@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_avif(bits, channels):
    data, expected = deep_avif(bits, channels)
    photo = read_photo(data)
    assert photo.pixels.dtype == np.uint16 and not photo.notes
    found = (
        photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    )
    assert np.abs(found / 65535 - expected).mean() < 0.5 / 255
    steps = np.arange(2**bits, dtype=np.uint16)
    nearest = np.rint(steps * (65535 / (2**bits - 1)))
    np.testing.assert_array_equal(heif._full_range(steps, bits), nearest)


@needs_deep_avif
def test_deep_avif_without_a_decoder_for_it(monkeypatch):
    monkeypatch.setattr(cv2, "haveImageWriter", lambda name: False)
    photo = read_photo(deep_avif(10)[0])
    assert photo.pixels.dtype == np.uint8
    assert photo.notes == ("its 10 bits are read as 8",)


def test_deep_heic_is_of_full_range(tmp_path):
    """10 bits are written rounded to nearest, and read to the last white."""
    steps = np.repeat(np.arange(0, 65536, 257, dtype=np.uint16), 16).reshape(64, 64)
    write_photo(tmp_path / "a.heic", Photo(steps[..., None]), quality=100)
    found = read_photo(tmp_path / "a.heic").pixels[..., 0]
    assert np.abs(found.astype(int) - steps).max() < 1.5 * 65535 / 1023
    assert found.max() == 65535


def test_what_colours_without_a_profile_are(tmp_path):
    data = encoded("avif")
    place = data.index(b"colrnclx") + 8
    assert read_photo(data).notes == ()

    def noted(primaries, transfer):
        changed = struct.pack(">HH", primaries, transfer)
        (note,) = read_photo(data[:place] + changed + data[place + 4 :]).notes
        return note

    assert noted(9, 16) == "it is HDR (PQ) and read as it is, which looks flat"
    assert "HLG" in noted(9, 18)
    assert "primaries 12, curve 13" in noted(12, 13)


def test_avif_of_a_general_brand_needs_no_extra(without_extras):
    data = encoded("avif")
    close(read_photo(data[:8] + b"mif1" + data[12:]).pixels, PIXELS, 3)


def test_a_moving_avif():
    images = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])]
    buffer = io.BytesIO()
    images[0].save(buffer, "AVIF", save_all=True, append_images=images[1:], quality=95)
    photo = read_photo(buffer.getvalue())
    close(photo.pixels, PIXELS, 3)
    assert photo.notes == ("only the first of its 2 pictures is read",)


FILES = {
    "avif": encoded("avif", exif=exif()),
    "heic": encoded("heic", exif=exif()),
    "heic, tiles": encoded("heic", tile_size=64),  # libheif makes lost ones black
}
if HAS_DEEP_AVIF:
    FILES["deep avif"] = deep_avif(10)[0]


@pytest.mark.parametrize("kind", FILES)
def test_cut_files_are_refused(kind):
    data = FILES[kind]
    read_photo(data)
    for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        with pytest.raises(ImageFileError, match=r"is damaged or cut short \([^\n]+$"):
            read_photo(data[: int(len(data) * part)])


@pytest.mark.parametrize("kind", ["avif", "heic"])
def test_damaged_exif_costs_no_picture(kind):
    data = FILES[kind].replace(b"MM\0*", b"M@\0*")
    assert data != FILES[kind]
    close(read_photo(data).pixels, PIXELS, 3)


def test_what_libheif_says_goes_on_in_the_same_line(monkeypatch):
    def fail(*args, **options):
        raise ValueError("Security limit exceeded: 672 extents\n")

    monkeypatch.setattr(pillow_heif, "open_heif", fail)
    with pytest.raises(ImageFileError, match=r"exceeded: 672 extents\); expected"):
        read_photo(FILES["heic"])


@pytest.mark.parametrize("kind", FILES)
def test_too_many_pixels_are_refused_before_memory_is_taken(kind):
    data = bytearray(FILES[kind])
    for place in (i for i in range(len(data)) if data[i:].startswith(b"ispe")):
        struct.pack_into(">LL", data, place + 8, 20_000, 20_000)
    if b"grid" in data:  # which tells it once more
        place = data.index(b"idat") + 8
        struct.pack_into(">HH", data, place, 20_000, 20_000)
    started = time.perf_counter()
    with pytest.raises(ImageFileError) as info:
        read_photo(bytes(data))
    assert "\n" not in str(info.value)
    assert time.perf_counter() - started < 1


# What the extras are for


@pytest.mark.parametrize(
    ("name", "extra"), [("a.heic", "heif"), ("a.HIF", "heif"), ("a.dng", "raw")]
)
def test_without_the_extra(name, extra, tmp_path, without_extras):
    data = FILES["heic"] if extra == "heif" else dng(PIXELS)
    (tmp_path / name).write_bytes(data)
    files, left_out = search_images(tmp_path)
    assert not files
    install = f"pip install 'lowlight_jax[{extra}]'"
    assert install in left_out.lines()[0]
    with pytest.raises(ImageFileError) as info:
        read_photo(tmp_path / name)
    assert install in str(info.value)


def enhance(*words):
    return command.run(command.parse_args([*words, "--model", "gamma"]), load_method)


def test_heic_is_not_written_without_the_extra(
    tmp_path, without_extras, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_photo("a.png", Photo(PIXELS))
    for words in (["--output", "out.heic"], ["--output", "o", "--format", "heic"]):
        assert enhance("a.png", *words) == 2
        assert "pip install 'lowlight_jax[heif]'" in capsys.readouterr().err
    with pytest.raises(ImageFileError, match="pip install 'lowlight_jax"):
        write_photo("b.heif", Photo(PIXELS))
    assert os.listdir() == ["a.png"]


def test_a_folder_of_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name, data in {
        "a.avif": FILES["avif"],
        "b.HEIC": FILES["heic"],
        "c.dng": dng(PIXELS),
        "d.jpg": ultra_hdr(),
        "e.heic": FILES["heic, tiles"][:-300],
    }.items():
        (Path("in") / name).write_bytes(data)
    assert enhance("in", "--output", "out", "--format", "avif", "--half-size") == 1
    error = capsys.readouterr().err
    assert "1 failed:\n  in/e.heic is damaged or cut short" in error
    assert "note: in/d.jpg: its gain map" in error
    shapes = {p.name: read_photo(p).pixels.shape[:2] for p in Path("out").iterdir()}
    assert shapes == dict.fromkeys(["a.avif", "b.avif", "d.avif"], (H, W)) | {
        "c.avif": (H // 2, W // 2)
    }
    assert enhance("in/a.avif", "--output", "x.hif", "--format", "heic") == 0


def test_raw_beside_a_picture_of_its_name(tmp_path, monkeypatch, capsys):
    """As cameras save both: else nothing could be done with such a folder."""
    monkeypatch.chdir(tmp_path)
    Path("in/sub").mkdir(parents=True)
    for name in ("in/a.DNG", "in/b.dng", "in/sub/c.dng"):
        Path(name).write_bytes(dng(PIXELS))
    write_photo("in/a.jpg", Photo(PIXELS))
    write_photo("in/c.jpg", Photo(PIXELS))
    assert enhance("in", "--output", "out") == 0
    line = "1 left out, raw files beside a picture of the same name, which is taken"
    assert f"{line}: in/a.DNG" in capsys.readouterr().err
    assert read_photo("out/a.png").pixels.dtype == np.uint8
    assert read_photo("out/sub/c.png").pixels.dtype == np.uint16


def test_decoders_are_imported_when_a_file_needs_them(tmp_path):
    write_photo(tmp_path / "a.png", Photo(PIXELS, icc=P3))
    code = (
        "import sys; from lowlight_jax.images.files import read_photo; "
        f"read_photo({str(tmp_path / 'a.png')!r}); "
        "print({'pillow_heif', 'rawpy', 'cv2', 'scipy', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


# Raw files


def linear(srgb):
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def dng(pixels, orientation=1, **tags):
    """A mosaic of red, green, green, blue, of a camera whose colours are sRGB's."""
    h, w = pixels.shape[:2]
    light = np.rint(linear(pixels / 255) * 65535).astype("<u2")
    mosaic = light[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]

    def short(*values):
        return integers_value("<", *values)

    def long(*values):
        return integers_value("<", *values, kind=LONG)

    def text(value):
        return 2, len(value) + 1, value + b"\0"

    def octets(*values):
        return 1, len(values), bytes(values)

    def ratios(kind, *values):
        pairs = [struct.pack("<ll", round(10_000 * v), 10_000) for v in values]
        return kind, len(values), b"".join(pairs)

    from_xyz = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415]
    from_xyz += [0.0557, -0.2040, 1.0570]
    entries = {
        **{254: long(0), 256: long(w), 257: long(h), 258: short(16), 259: short(1)},
        **{262: short(32803), 271: text(b"Maker"), 272: text(b"Model")},
        **{274: short(orientation), 277: short(1), 278: long(h), 279: long(2 * h * w)},
        **{
            33421: short(2, 2),
            33422: octets(0, 1, 1, 2),
            34665: {0x9003: text(b"2020")},
        },
        **{50706: octets(1, 4, 0, 0), 50708: text(b"Maker Model"), 50714: short(0)},
        **{50717: long(65535), 50721: ratios(10, *from_xyz), 50728: ratios(5, 1, 1, 1)},
        **{50778: short(21), 273: long(0)},
    } | {int(tag[1:]): value for tag, value in tags.items()}
    size = 8 + len(encode_directory("<", entries, 8))
    entries[273] = long(size)
    head = b"II*\0" + struct.pack("<L", 8) + encode_directory("<", entries, 8)
    return head + mosaic.tobytes()


def test_raw_is_developed_to_srgb_as_bright_as_it_was():
    """LibRaw would make the brightest pixel white, or more."""
    dark = PIXELS // 2
    photo = read_photo(dng(dark))
    assert photo.pixels.dtype == np.uint16 and photo.icc is None
    assert not photo.is_lossy and not photo.notes
    difference = np.abs(photo.pixels / 65535 - dark / 255)[2:-2, 2:-2]
    assert difference.max() < 2 / 255 and difference.mean() < 0.5 / 255


def test_white_balance_of_the_camera():
    """AsShotNeutral is the colour of gray light on the sensor."""
    gray = np.full((H, W, 3), 128, np.uint8)
    blueish = 5, 3, struct.pack("<6L", 1, 2, 1, 1, 1, 1)
    red, green, blue = read_photo(dng(gray, t50728=blueish)).pixels.mean((0, 1))
    assert red > 1.2 * green and abs(blue - green) < 0.1 * green


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_raw_is_turned_once(orientation, turns, tmp_path):
    data = dng(PIXELS, orientation)
    photo = read_photo(data)
    expected = np.rot90(PIXELS, turns)
    assert image_size(data) == photo.pixels.shape[:2] == expected.shape[:2]
    close(photo.pixels[4:-4, 4:-4], np.ascontiguousarray(expected[4:-4, 4:-4]), 2)
    write_photo(tmp_path / "a.jpg", photo)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif().get(0x0112, 1) == 1


def test_half_size(tmp_path):
    (tmp_path / "a.dng").write_bytes(dng(PIXELS))
    half = read_photo(tmp_path / "a.dng", half_size=True).pixels
    assert half.shape == (H // 2, W // 2, 3)
    close(half, PIXELS[::2, ::2], 3)
    assert read_photo(FILES["avif"], half_size=True).pixels.shape == (H, W, 3)


def test_what_is_kept_of_raw(tmp_path):
    settings = b"<x xmlns:crs='http://ns.adobe.com/camera-raw-settings/1.0/'/>"
    photo = read_photo(dng(PIXELS, t700=(1, len(settings), settings)))
    assert photo.notes == ("its XMP is on how to develop it and is not kept",)
    assert photo.xmp is None
    plain = read_photo(dng(PIXELS, 6, t700=(1, len(XMP % 6), XMP % 6)))
    assert plain.xmp == XMP % 1
    for name in ("a.tif", "a.png"):
        write_photo(tmp_path / name, photo)
        again = read_photo(tmp_path / name)  # no raw file by its tags
        np.testing.assert_array_equal(again.pixels, photo.pixels)
        with Image.open(tmp_path / name) as image:
            block = image.getexif()
            assert block[271] == "Maker" and 50721 not in block
            assert block.get_ifd(34665)[0x9003] == "2020"


def test_exif_of_raw_that_is_no_tiff():
    """It is its preview's; as a TIFF with Olympus' first bytes tells."""
    olympus = b"IIRO" + dng(PIXELS)[4:]
    photo = read_photo(olympus)
    assert photo.pixels.shape == PIXELS.shape and photo.exif is None
    assert photo.notes == ("its EXIF is of a kind that is not read and is not kept",)
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", exif=exif(6))
    preview = buffer.getvalue()
    preview = preview[:2] + preview[20:]  # EXIF comes first, as cameras have it

    def directory(place):
        numbers = {254: 1, 256: W, 257: H, 273: place, 279: len(preview)}
        shorts = {258: (8, 8, 8), 259: (7,), 262: (6,), 277: (3,)}
        rows = {tag: integers_value("<", n, kind=LONG) for tag, n in numbers.items()}
        return rows | {tag: integers_value("<", *n) for tag, n in shorts.items()}

    place = len(dng(PIXELS, t330=directory(0)))
    data = b"IIRO" + dng(PIXELS, t330=directory(place))[4:] + preview
    photo = read_photo(data)
    assert photo.exif == exif(1) and photo.notes == ()


@pytest.mark.parametrize("part", [0.02, 0.3, 0.9, 0.999])
def test_cut_raw_is_refused(part, capfd):
    data = dng(PIXELS)
    with pytest.raises(ImageFileError) as info:
        read_photo(data[: int(len(data) * part)])
    assert "\n" not in str(info.value)
    if part > 0.02:  # more than the directory
        assert capfd.readouterr().err == ""  # LibRaw would write of it


def test_raw_of_too_many_pixels():
    sides = {"t256": integers_value("<", 30_000), "t257": integers_value("<", 30_000)}
    packed = integers_value("<", 7)  # JPEG may be so small
    with pytest.raises(ImageFileError, match="cannot hold|more pixels"):
        read_photo(dng(PIXELS, **sides, t259=packed) + bytes(2**21))


# Gain maps

_HEAD = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><rdf:Description dc:title='me'"
GAIN_MAP_XMP = (
    _HEAD
    + b" xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' hdrgm:Version=\"1.0\">"
    b"<hdrgm:GainMapMax><rdf:Seq><rdf:li>2</rdf:li></rdf:Seq></hdrgm:GainMapMax>"
    b"<Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Semantic='GainMap'/>"
    b"</rdf:li></rdf:Seq></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"
)
APPLE_XMP = b"<x xmlns:HDRGainMap='http://ns.apple.com/HDRGainMap/1.0/'/>"


def two_pictures(first_xmp, second_xmp):
    """An MPF file; Pillow gives the second picture what the first has."""
    buffer = io.BytesIO()
    small = Image.fromarray(PIXELS[::4, ::4])
    small.encoderinfo = {"xmp": second_xmp}
    options = {"quality": 95, "xmp": first_xmp, "exif": exif()}
    Image.fromarray(PIXELS).save(
        buffer, "MPO", save_all=True, append_images=[small], **options
    )
    return buffer.getvalue()


def ultra_hdr():
    return two_pictures(GAIN_MAP_XMP, b"")


NOTE = "its gain map is for HDR and is not kept"


@pytest.mark.parametrize(
    "data",
    [
        ultra_hdr(),
        two_pictures(b"", b"") + APPLE_XMP,
        encoded("avif", xmp=GAIN_MAP_XMP),
        encoded("heic", xmp=GAIN_MAP_XMP),
    ],
    ids=["ultra hdr", "apple", "avif", "heic"],
)
def test_gain_maps_are_dropped_and_said_once(data, tmp_path):
    photo = read_photo(data)
    assert photo.notes == (NOTE,)
    close(photo.pixels, PIXELS, 3)
    for suffix in ("jpg", "png", "avif", "heic"):
        write_photo(tmp_path / f"a.{suffix}", photo)
        written = (tmp_path / f"a.{suffix}").read_bytes()
        for trace in (b"hdrgm:V", b"hdrgm:G", b"GainMap", b"MPF\0", b"Directory"):
            assert trace not in written
        assert read_photo(written).notes == ()
    if photo.xmp and GAIN_MAP_XMP in data:
        assert photo.xmp.startswith(_HEAD)  # the rest is kept


@pytest.mark.parametrize("piece", [b"<hdrgm:a>", b" hdrgm:a", b"<hdrgm:a", b" "])
def test_gain_maps_of_nonsense_end_soon(piece):
    packet = b"hdrgm:" + piece * 2_000_000
    for xmp in (packet, packet[: 2**16]):
        meta = Metadata(xmp=xmp)
        started = time.perf_counter()
        drop_gain_map(meta)
        assert time.perf_counter() - started < 1
        assert NOTE in meta.notes and (meta.xmp is None) == (xmp is packet)


def test_a_second_picture_that_is_no_gain_map_is_said_as_before():
    assert read_photo(two_pictures(XMP % 1, b"")).notes == (
        "only the first of its 2 pictures is read",
    )


# Colour profiles


class Brighter:
    """A method of 16 bits, with gains as large as a network's."""

    needs_mask = False

    def __call__(self, image, mask=None, *, strength=1.0, progress=None):
        self.shown = image
        full = np.iinfo(image.dtype).max
        result = (image / full) ** 0.5
        result = image + strength * (np.rint(result * full) - image)
        if mask is not None:
            result = np.where(mask[..., None] > 0, full // 3, image)
        return result.astype(image.dtype)


class Filler(Brighter):
    needs_mask = True


def in_space(srgb, icc, dtype):
    """A picture `[h, w, 3]` in [0, 1] in another space: an independent formula."""
    colorants = {P3: P3_COLORANTS, ADOBE: ADOBE_COLORANTS, PROPHOTO: PROPHOTO_COLORANTS}
    matrix = np.linalg.solve(np.array(colorants[icc]), profiles._SRGB_XYZ)
    light = np.clip(linear(srgb) @ matrix.T, 0, 1)
    if icc == P3:
        values = np.where(
            light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055
        )
    else:
        values = light ** (1 / {ADOBE: 2.19921875, PROPHOTO: 1.8}[icc])
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_networks_see_what_littlecms_makes(name, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    given = pixels.astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    method = Brighter()
    enhance_photo(method, Photo(given, icc=WIDE[name]))
    expected = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.ImageCmsProfile(io.BytesIO(WIDE[name])),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    difference = np.abs(method.shown / 257 - np.asarray(expected))
    assert difference.max() < 1.2 and difference.mean() < 0.25  # of rounding


@pytest.mark.parametrize("name", WIDE)
def test_colours_do_not_shift(name):
    """A picture in a wider space comes out like the same one in sRGB."""
    srgb = np.random.default_rng(1).uniform(0.02, 0.5, (64, 64, 3))
    plain = enhance_photo(Brighter(), Photo(np.rint(srgb * 65535).astype(np.uint16)))
    expected = in_space(plain.pixels / 65535, WIDE[name], np.uint16)
    given = in_space(srgb, WIDE[name], np.uint16)
    found = enhance_photo(Brighter(), Photo(given, icc=WIDE[name])).pixels
    difference = np.abs(found.astype(int) - expected) / 257
    assert difference.max() < 0.5 and difference.mean() < 0.02
    unconverted = enhance_photo(Brighter(), Photo(given)).pixels
    assert np.abs(unconverted.astype(int) - expected).mean() / 257 > 0.5
    given = in_space(srgb, WIDE[name], np.uint8)
    found = enhance_photo(Brighter(), Photo(given, icc=WIDE[name])).pixels
    difference = np.abs(found - expected / 257)  # rounded before it was brightened
    assert difference.max() < 6 and difference.mean() < 0.7


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_0_gives_the_same_file(name, dtype):
    full = np.iinfo(dtype).max
    steps = np.linspace(0, full, 17).astype(dtype)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(17, -1, 3)
    photo = Photo(cube, icc=WIDE[name])
    same = enhance_photo(Brighter(), photo, strength=0.0)
    np.testing.assert_array_equal(same.pixels, cube)
    assert same.icc == photo.icc and same.notes == ()


def test_saturated_colours_are_not_crushed():
    """Dark primaries of P3, which sRGB does not hold, keep the ratio of their light."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :, 1] = 90
    pixels[:, :, 0] = pixels[:, :, 2] = 6
    found = enhance_photo(Brighter(), Photo(pixels, icc=P3)).pixels[0, 0] / 255
    before, after = linear(pixels[0, 0] / 255), linear(found)
    assert after[1] > 2.5 * before[1]
    assert (after[[0, 2]] / after[1] < before[[0, 2]] / before[1] + 0.02).all()
    space = profiles.colour_space(P3)
    shown = space.to_srgb(pixels)
    cut = space.from_srgb(Brighter()(shown), shown, pixels, is_brighter=False)
    assert cut[0, 0, 0] > found[0] * 255 + 20  # what that would be


def test_gray_stays_gray():
    gray = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    photo = Photo(np.repeat(gray, 3, axis=2), icc=ADOBE)
    method = Brighter()
    result = enhance_photo(method, photo).pixels
    for pixels in (method.shown, result):
        assert (pixels == pixels[..., :1]).all()


def test_repairing_changes_nothing_but_holes():
    """Nor has the fill anything of the saturated colour that was there."""
    pixels = in_space(np.random.default_rng(2).uniform(0, 1, (32, 32, 3)), P3, np.uint8)
    pixels[8:16, 8:16] = 0, 255, 0
    mask = np.zeros((32, 32))
    mask[8:16, 8:16] = 1
    found = enhance_photo(Filler(), Photo(pixels, icc=P3), mask).pixels
    np.testing.assert_array_equal(found[mask == 0], pixels[mask == 0])
    fill = found[mask == 1]
    assert np.ptp(fill) <= 1 and abs(int(fill[0, 0]) - 85) <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_srgb_is_not_converted(dtype):
    """Neither LittleCMS's nor one with a curve of few steps; results are the same."""
    littlecms = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    values = np.rint(linear(np.linspace(0, 1, 1024)) * 65535).astype(">u2")
    table = b"curv" + struct.pack(">LL", 0, 1024) + values.tobytes()
    tabulated = profile(profiles._SRGB_XYZ, table, version=2)
    pixels = PIXELS.astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    for icc in (littlecms, tabulated, None):
        method = Brighter()
        found = enhance_photo(method, Photo(pixels, icc=icc))
        np.testing.assert_array_equal(method.shown, pixels)
        np.testing.assert_array_equal(found.pixels, Brighter()(pixels))
        assert found.notes == () and method.shown.dtype == dtype


GRAY_PROFILE = profile(P3_COLORANTS, SRGB_CURVE, space=b"GRAY")


@pytest.mark.parametrize(
    ("icc", "why", "channels"),
    [
        (b"none", "damaged", 3),
        (P3[:300], "damaged", 3),
        (P3.replace(b"rTRC", b"xTRC"), "damaged", 3),
        (profile(P3_COLORANTS, curve(0.0, 0, 0, 0, 0)), "damaged", 3),
        (profile(np.ones((3, 3)), SRGB_CURVE), "damaged", 3),
        (profile(P3_COLORANTS, SRGB_CURVE, A2B0=b"mft2"), "made of tables", 3),
        (GRAY_PROFILE, "not for RGB", 1),
    ],
)
def test_other_profiles_are_kept_and_said(icc, why, channels):
    method = Brighter()
    photo = Photo(PIXELS[..., :channels], icc=icc, notes=("one before",))
    found = enhance_photo(method, photo)
    np.testing.assert_array_equal(method.shown, photo.pixels)
    note = (
        f"its colour profile is {why} and not converted: it is kept, and the pixels "
        "are taken for sRGB"
    )
    assert found.icc == icc and found.notes == ("one before", note)


# Whatever the input

NOISE = [*FILES.items(), ("dng", dng(PIXELS[:40, :56])), ("icc", P3)]


@pytest.mark.parametrize(("kind", "data"), NOISE, ids=[name for name, _ in NOISE])
@pytest.mark.filterwarnings("ignore")
def test_damaged_files(kind, data, tmp_path, capfd):
    """One sentence or a picture, and it can be written; see test_fuzz."""
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(40):
        damaged = mutated(data, rng, 500)
        if kind == "icc":
            enhance_photo(Brighter(), Photo(PIXELS, icc=damaged))
            continue
        try:
            photo = read_photo(damaged)
        except ImageFileError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
        else:
            write_photo(tmp_path / "a.avif", photo)
            outcomes.add("read")
    assert kind == "icc" or outcomes == {"refused", "read"}
    capfd.readouterr()  # OpenCV and LibRaw write to stderr by themselves
