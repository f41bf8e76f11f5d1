"""Metadata by the standards, not by the usual camera, and JPEG that ends early.

Files are made by Pillow and tifffile, or byte by byte.
"""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lowlight_jax.images.exif import upright
from lowlight_jax.images.files import (
    ImageFileError,
    Photo,
    image_size,
    read_header,
    read_photo,
    write_photo,
)

ORIENTATION, MAKE = 0x0112, 0x010F
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)
ORDERS = pytest.mark.parametrize("order", ["<", ">"])
# Type, format and how many of each integer type of TIFF 6.0.
INTEGERS = [(1, "B"), (3, "H"), (4, "L"), (6, "b"), (8, "h"), (9, "l")]


def encoded(image_format, pixels=PIXELS, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def exif_block(order, *entries, link=0):
    """A block of `(tag, type, count, 4 bytes)`, as they are."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", 8)
    rows = [struct.pack(order + "HHL", *e[:3]) + e[3] for e in entries]
    count = struct.pack(order + "H", len(entries))
    return b"Exif\0\0" + head + count + b"".join(rows) + struct.pack(order + "L", link)


def tags_of(path):
    return dict(Image.open(path).getexif())


# EXIF


@ORDERS
@pytest.mark.parametrize(("kind", "code"), INTEGERS)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_orientation_of_any_integer_type(image_format, kind, code, order, tmp_path):
    value = struct.pack(order + code, 6).ljust(4, b"\0")
    exif = exif_block(order, (ORIENTATION, kind, 1, value))
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(image_format, exif=exif, **lossless)
    photo = read_photo(data)
    stored = np.asarray(Image.open(io.BytesIO(encoded(image_format, **lossless))))
    np.testing.assert_array_equal(photo.pixels, upright(stored, 6))
    assert image_size(data) == (24, 20)
    assert photo.notes == ()
    write_photo(tmp_path / "a.png", photo)
    assert tags_of(tmp_path / "a.png")[ORIENTATION] == 1


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0], PIXELS * np.uint16(257)])
@pytest.mark.parametrize(("kind", "code"), INTEGERS)
def test_orientation_of_any_integer_type_in_tiff(kind, code, pixels, tmp_path):
    path = tmp_path / "a.tif"
    tag = (ORIENTATION, kind, 1, 8, True)
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, photometric=photometric, extratags=[tag])
    expected = upright(pixels.reshape(20, 24, -1), 8)
    np.testing.assert_array_equal(read_photo(path).pixels, expected)
    assert image_size(path) == (24, 20)


def test_orientation_with_several_values():
    """Count 4, so that the values lie elsewhere; the first one counts."""
    exif = exif_block("<", (ORIENTATION, 3, 4, struct.pack("<L", 26)))
    exif += struct.pack("<4H", 6, 1, 1, 1)
    assert image_size(encoded("JPEG", exif=exif)) == (24, 20)


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ((ORIENTATION, 3, 1, b"\x09\0\0\0"), "9"),
        ((ORIENTATION, 4, 1, b"\0\0\1\0"), "65536"),
        ((ORIENTATION, 9, 1, b"\xff\xff\xff\xff"), "-1"),
        ((ORIENTATION, 2, 2, b"6\0\0\0"), "no number"),
        ((ORIENTATION, 5, 1, b"\xff\xff\0\0"), "no number"),
        ((ORIENTATION, 77, 1, b"\6\0\0\0"), "no number"),
        ((ORIENTATION, 3, 2**32 - 1, b"\6\0\0\0"), "no number"),
    ],
)
def test_unusable_orientation_is_said(entry, found):
    data = encoded("JPEG", exif=exif_block("<", entry))
    photo = read_photo(data)
    assert photo.pixels.shape == (20, 24, 3)
    assert photo.notes == read_header(data)[1]
    (note,) = photo.notes
    assert f"its EXIF orientation is {found}; expected 1 to 8" in note
    write_photo_and_read = encoded("JPEG", exif=photo.exif)
    assert read_photo(write_photo_and_read).notes == ()  # reset to 1


def test_directory_without_its_end():
    """Some writers leave the link to the next directory out."""
    exif = exif_block("<", (ORIENTATION, 3, 1, b"\6\0\0\0"))[:-4]
    assert image_size(encoded("PNG", exif=exif)) == (24, 20)


@ORDERS
@pytest.mark.parametrize("kind", [2, 1, 3, 4, 5, 7, 9, 10, 11, 12])
def test_text_of_any_type_survives_into_tiff(kind, order, tmp_path):
    exif = exif_block(order, (MAKE, kind, 1, struct.pack(order + "L", 26)))
    exif += struct.pack(order + "LL", 72, 1)
    photo = read_photo(encoded("JPEG", exif=exif))
    for suffix in (".tif", ".png", ".webp", ".jpg"):
        assert write_photo(tmp_path / f"a{suffix}", photo) == []
        assert MAKE in tags_of(tmp_path / f"a{suffix}")
    assert read_photo(tmp_path / "a.tif").exif is not None


@ORDERS
def test_damaged_tags_are_dropped_and_said(order, tmp_path):
    """Beyond the end, of no type, and a directory that is its own child."""
    exif = exif_block(
        order,
        (MAKE, 2, 99, struct.pack(order + "L", 2**31)),
        (0x0110, 99, 1, b"abcd"),
        (0x0131, 2, 4, b"abc\0"),
        (0x8769, 4, 1, struct.pack(order + "L", 8)),
        link=8,
    )
    (note,) = write_photo(tmp_path / "a.tif", Photo(PIXELS, exif=exif))
    assert note.startswith("TIF does not keep its EXIF's Make, EXIF's Model")
    tags = tags_of(tmp_path / "a.tif")
    assert tags[0x0131] == "abc" and MAKE not in tags
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels, PIXELS)


def test_exif_goes_into_tiff_and_back_byte_by_byte(tmp_path):
    exif = Image.Exif()
    exif.endian = ">"
    exif[MAKE], exif[0x9C9B] = "Maker", "title".encode("utf-16-le")
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x829A: 0.01}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    write_photo(tmp_path / "a.tif", Photo(PIXELS, exif=exif.tobytes()))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), PIXELS)
    write_photo(tmp_path / "a.png", read_photo(tmp_path / "a.tif"))
    for name in ("a.tif", "a.png"):
        back = Image.open(tmp_path / name).getexif()
        assert back[MAKE] == "Maker" and 0x9C9B in back
        assert back.get_ifd(0x8769)[0x829A] == 0.01
        assert back.get_ifd(0x8825)[2] == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    "tag",
    [
        (282, 2, 3, "ab", True),  # resolution as text
        (283, 12, 1, 72.0, True),
        (296, 2, 3, "in", True),
        (34675, 2, 3, "ab", True),  # a colour profile
        (700, 4, 1, 5, True),  # XMP
        (271, 12, 1, 1.5, True),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_tags_of_unusual_types(tag, dtype, tmp_path):
    pixels = PIXELS.astype(dtype)
    own = {"resolution": (72, 72)} if tag[0] not in (282, 283, 296) else {}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", extratags=[tag], **own)
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, pixels)
    write_photo(tmp_path / "b.tif", photo)
    write_photo(tmp_path / "b.jpg", photo)


# PNG's chunks


def chunk(kind, content):
    checksum = struct.pack(">L", zlib.crc32(kind + content))
    return struct.pack(">L", len(content)) + kind + content + checksum


def with_chunks(*chunks):
    data = encoded("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


MANY = zlib.compress(bytes(20 * 2**20))
LARGE = bytes(16) + b"RGB " + np.random.default_rng(0).bytes(3 * 2**20)


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        (chunk(b"zTXt", b"Comment\0\0" + MANY), "text is larger than 16 MiB"),
        (chunk(b"iTXt", b"Comment\0\1\0\0\0" + MANY), "text is larger than 16 MiB"),
        (chunk(b"iCCP", b"x\0\0" + MANY), "colour profile is larger than 16 MiB"),
        (chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + MANY), "XMP is larger"),
        (chunk(b"zTXt", b"Comment\0\0junk"), "text is larger than 16 MiB or damaged"),
        (chunk(b"tEXt", b"Comment\0a")[:-1] + b"!", "text is damaged"),
        (chunk(b"iCCP", b""), "colour profile is damaged"),
        (
            chunk(b"iCCP", b"x\0\1abc"),
            "colour profile is larger than 16 MiB or damaged",
        ),
        (chunk(b"eXIf", b"II")[:-1] + b"!", "EXIF is damaged"),
        (chunk(b"pHYs", b"ab"), None),
        (chunk(b"gAMA", b""), None),
        (chunk(b"cHRM", b"a"), None),
        (chunk(b"tIME", b""), None),
        (chunk(b"acTL", b"a"), None),
        (chunk(b"zzZz", b"whatever"), None),
    ],
)
def test_chunks_that_nobody_needs_cost_no_picture(extra, note, tmp_path):
    data = with_chunks(extra)
    photo = read_photo(data)
    np.testing.assert_array_equal(photo.pixels, PIXELS)
    assert image_size(data) == (20, 24)
    assert [note in found for found in photo.notes] == [True] * (note is not None)
    write_photo(tmp_path / "a.png", photo)


def test_large_profile_and_long_text_are_kept(tmp_path):
    """Above the limits at which Pillow gives up the file: 1 MiB each, 64 in all."""
    text = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 * 2**20)))
    texts = [text, (b"tEXt", b"Author\0me"), (b"tEXt", b"Long\0" + b"a" * 2**21)]
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(LARGE))
    photo = read_photo(with_chunks(profile, *(chunk(*one) for one in texts)))
    assert photo.icc == LARGE and photo.text == tuple(texts) and photo.notes == ()
    for dtype in (np.uint8, np.uint16):
        copy = Photo(PIXELS.astype(dtype), icc=photo.icc, text=photo.text)
        write_photo(tmp_path / "a.png", copy)
        back = read_photo(tmp_path / "a.png")
        assert back.icc == LARGE and back.text == photo.text
    (note,) = write_photo(tmp_path / "a.jpg", photo)
    assert note == "JPG does not keep its text"


# Resolution and XMP

XMP = b"<x:xmpmeta tiff:Orientation='6'><tiff:Orientation>6</tiff:Orientation></x>"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resolution_and_xmp_are_kept(suffix, dtype, tmp_path):
    photo = Photo(PIXELS.astype(dtype), dpi=(300.0, 150.0), xmp=XMP)
    lost = write_photo(tmp_path / f"a{suffix}", photo)
    assert lost == (["BMP does not keep its XMP"] if suffix == ".bmp" else [])
    back = read_photo(tmp_path / f"a{suffix}")
    assert back.xmp == (None if suffix == ".bmp" else XMP)
    if suffix == ".webp":  # it has a place in EXIF only
        assert tags_of(tmp_path / "a.webp")[282] == 300
    else:
        assert back.dpi == pytest.approx((300, 150), rel=1e-3)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_resolution_and_xmp_of_other_writers(image_format):
    options = {"dpi": (300, 150), "xmp": XMP}
    if image_format == "TIFF":
        options["tiffinfo"] = {700: options.pop("xmp")}
    if image_format == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    photo = read_photo(encoded(image_format, **options))
    assert photo.xmp == XMP
    if image_format != "WEBP":
        assert photo.dpi == pytest.approx((300, 150), rel=1e-3)


def test_what_is_turned_upright_says_so(tmp_path):
    exif = exif_block("<", (ORIENTATION, 3, 1, b"\6\0\0\0"))
    photo = read_photo(encoded("JPEG", exif=exif, xmp=XMP, dpi=(300, 150)))
    assert photo.xmp == XMP.replace(b"6", b"1")
    assert photo.dpi == (150, 300)
    # What Pillow does by the XMP of a TIFF alone, it does in no other format.
    assert read_photo(encoded("TIFF", tiffinfo={700: XMP})).pixels.shape[:2] == (20, 24)


def test_metadata_above_a_jpeg_segment_is_dropped_and_said(tmp_path):
    photo = Photo(PIXELS, xmp=b"x" * 70_000, exif=b"Exif\0\0" + bytes(70_000))
    lost = write_photo(tmp_path / "a.jpg", photo)
    assert lost == ["JPG does not keep its EXIF, XMP"]
    assert write_photo(tmp_path / "a.png", photo) == []


def test_lost_transparency_is_said(tmp_path):
    alpha = np.full(PIXELS.shape[:2], 255, np.uint8)
    assert write_photo(tmp_path / "a.jpg", Photo(PIXELS, alpha)) == []
    alpha[0, 0] = 0
    lost = write_photo(tmp_path / "a.jpg", Photo(PIXELS, alpha))
    assert lost == ["JPG does not keep its transparency"]


# Several pictures


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_pictures_that_are_not_read_are_counted(image_format):
    others = [Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS[::-1].copy())]
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(image_format, save_all=True, append_images=others, **lossless)
    note = "only the first of its 3 pictures is read"
    assert read_photo(data).notes == (note,)
    assert read_header(data)[1] == (note,)
    alone = "JPEG" if image_format == "MPO" else image_format
    first = read_photo(encoded(alone, **lossless))
    np.testing.assert_array_equal(read_photo(data).pixels, first.pixels)


def test_thumbnails_are_no_pictures(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(PIXELS, photometric="rgb")
        tiff.write(PIXELS[::4, ::4], photometric="rgb", subfiletype=1)
    assert read_photo(tmp_path / "a.tif").notes == ()
    with tifffile.TiffWriter(tmp_path / "raw.tif") as tiff:
        tiff.write(PIXELS[::4, ::4], photometric="rgb", subfiletype=1)
        tiff.write(PIXELS, photometric="rgb")
    with pytest.raises(ImageFileError, match="begins with a small preview"):
        read_photo(tmp_path / "raw.tif")


# TIFF's kinds of pixels

GRAY, ALPHA = (PIXELS[..., i].astype(np.uint16) * 257 for i in (0, 1))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("extra", [None, "unassalpha", "unspecified"])
def test_gray_tiff(
    photometric, deep, extra, compression, predictor, byteorder, tmp_path
):
    gray, alpha = (GRAY, ALPHA) if deep else (PIXELS[..., 0], PIXELS[..., 1])
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        gray if extra is None else np.dstack([gray, alpha]),
        photometric=photometric,
        byteorder=byteorder,
        compression=compression,
        predictor=predictor and compression is not None,
        extrasamples=[extra] if extra else None,
    )
    photo = read_photo(path)
    if photometric == "miniswhite":
        gray = np.iinfo(gray.dtype).max - gray
    np.testing.assert_array_equal(photo.pixels[..., 0], gray)
    assert photo.pixels.dtype == gray.dtype and image_size(path) == gray.shape
    if extra == "unassalpha":
        np.testing.assert_array_equal(photo.alpha, alpha)
    else:
        assert photo.alpha is None


def test_premultiplied_gray_tiff(tmp_path):
    alpha = np.full(GRAY.shape, 32768, np.uint16)
    stored = np.rint(GRAY * (32768 / 65535)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.dstack([stored, alpha]),
        photometric="minisblack",
        extrasamples=["assocalpha"],
    )
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_allclose(photo.pixels[..., 0], GRAY, atol=1)


@pytest.mark.parametrize("photometric", [0, 1])
def test_12_bit_tiff_is_as_bright_as_it_was(photometric):
    values = np.random.default_rng(0).integers(0, 4096, (2, 4))
    bits = "".join(f"{value:012b}" for value in values.ravel())
    strip = int(bits, 2).to_bytes(12, "big")
    tags = {256: 4, 257: 2, 258: 12, 259: 1, 262: photometric, 273: 8, 277: 1}
    tags |= {278: 2, 279: 12}
    rows = [struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items()]
    data = b"II*\0" + struct.pack("<L", 20) + strip + struct.pack("<H", len(rows))
    photo = read_photo(data + b"".join(rows) + bytes(4))
    expected = (values if photometric else 4095 - values) * (65535 / 4095)
    np.testing.assert_allclose(photo.pixels[..., 0], expected, atol=0.51)


@pytest.mark.parametrize(
    ("pixels", "options", "found"),
    [
        (np.float16(GRAY), {"photometric": "minisblack"}, "floating point"),
        (np.float32(PIXELS), {"photometric": "rgb"}, "32 bits per channel"),
        (np.float64(GRAY), {"photometric": "miniswhite"}, "64 bits per channel"),
        (np.int8(GRAY // 600), {"photometric": "minisblack"}, "signed integers"),
        (np.int16(GRAY // 9), {"photometric": "minisblack"}, "signed integers"),
        (PIXELS, {"photometric": "icclab"}, "ICCLab, 3 x 8 bits"),
        (PIXELS * np.uint16(9), {"photometric": "cielab"}, "CIELab, 3 x 16 bits"),
        (GRAY, {"photometric": "cfa"}, "a camera's raw file"),
    ],
)
def test_kinds_of_tiff_that_are_not_read_are_said(pixels, options, found, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(ImageFileError, match=found):
        read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\xff\x0a", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"v/1\x01", "floating point"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera's raw file"),
        (b"FUJIFILMCCD-RAW", "a camera's raw file"),
    ],
)
def test_known_kinds_are_named_whatever_their_suffix(
    head, name, tmp_path, without_extras
):
    path = tmp_path / "photo.jpg"
    path.write_bytes(head + bytes(200))
    with pytest.raises(ImageFileError, match=f"photo.jpg is {name}, which is not read"):
        read_photo(path)


def test_no_memory_is_taken_for_pixels_that_cannot_be_there():
    header = struct.pack(">LLBBBBB", 15_000, 15_000, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x" * 99)
    with pytest.raises(ImageFileError, match="99 bytes cannot hold 15000x15000 px"):
        read_photo(png + chunk(b"IEND", b""))


def test_no_memory_is_taken_for_a_chunk_that_cannot_be_there(tmp_path):
    """OpenCV, which reads 16 bits, takes it; 2 GB cost six seconds."""
    write_photo(tmp_path / "a.png", Photo(PIXELS * np.uint16(257)))
    data = bytearray((tmp_path / "a.png").read_bytes())
    place = data.index(b"IDAT") - 4
    data[place : place + 4] = b"\x7f\xff\xff\xff"
    with pytest.raises(ImageFileError, match="cut short .it ends within a chunk"):
        read_photo(bytes(data))


# JPEG that ends early


def textured(size=(90, 111)):
    y, x = np.mgrid[: size[0], : size[1]]
    noise = np.random.default_rng(0).integers(0, 40, (*size, 3))
    return np.uint8(np.stack([x, y, x + y], -1) + noise)


JPEGS = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "progressive, fine": {"progressive": True, "quality": 98, "subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "gray": {},
}


def jpeg(kind):
    pixels = textured()
    return encoded("JPEG", pixels[..., 0] if kind == "gray" else pixels, **JPEGS[kind])


@pytest.mark.parametrize("kind", JPEGS)
def test_missing_end_marker_is_noted(kind):
    data = jpeg(kind)
    photo = read_photo(data[:-2])
    np.testing.assert_array_equal(photo.pixels, read_photo(data).pixels)
    assert photo.notes == ("it lacks its end marker; all of its pixels are there",)
    assert read_photo(data).notes == ()


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("part", [0.35, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("end", [b"\xff\xd9", b""])
def test_half_a_jpeg_is_no_picture(kind, part, end):
    data = jpeg(kind)
    with pytest.raises(ImageFileError, match="cut short"):
        read_photo(data[: int(len(data) * part)] + end)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_flat_jpeg_is_whole(value, options):
    flat = np.full((50, 70, 3), value, np.uint8)
    data = encoded("JPEG", flat, **options)
    for content in (data, data + b"trailing", data[:-2]):
        np.testing.assert_array_equal(read_photo(content).pixels, flat)


def test_segments_that_pillow_fails_at_cost_no_picture():
    data = encoded("JPEG")
    for marker, content in [
        (0xEE, b"Adobe"),
        (0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
        (0xE2, b"ICC_PROFILE\0\1"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
        (0xED, b"Photoshop 3.0\x008BIM\4\4"),
        (0xE0, b"JFIF\0"),
    ]:
        segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
        photo = read_photo(data[:2] + segment + data[2:])
        np.testing.assert_array_equal(photo.pixels, read_photo(data).pixels)
