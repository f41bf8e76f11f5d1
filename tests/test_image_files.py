"""Photographs survive the way through files, and damaged files are never pictures.

Reference files come from Pillow, OpenCV and tifffile, not from the code under test.
"""

import io
import itertools
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageCms, ImageOps
from skimage.color import rgb2lab

from lowlight_jax.images import files as image_files
from lowlight_jax.images.files import (
    ImageFileError,
    Photo,
    image_size,
    read_photo,
    read_rgb8,
    search_images,
    write_photo,
)

tolerant = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow: odd tags

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]  # only the header is looked at
ORIENTATION, MAKE, EXIF_IFD, TAKEN = 0x0112, 0x010F, 0x8769, 0x9003


def random_samples(shape, dtype, seed=0):
    high = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def exif_block(orientation=1):
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    exif[ORIENTATION] = orientation
    exif[EXIF_IFD] = {TAKEN: "2020:01:02 03:04:05"}
    return exif.tobytes()


def make_photo(dtype=np.uint8, channels=3, alpha=False, size=(5, 7)):
    return Photo(
        random_samples((*size, channels), dtype),
        random_samples(size, dtype, seed=1) if alpha else None,
        SRGB if channels == 3 else GRAY,
        exif_block(),
    )


def assert_same(got, expected):
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.fixture
def photograph():
    return skimage.data.astronaut()[50:170, 150:310]


# Round trips


@pytest.mark.parametrize("size", [(1, 1), (300, 17)])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_png_and_tiff_keep_every_value(tmp_path, suffix, dtype, channels, alpha, size):
    photo = make_photo(dtype, channels, alpha, size)
    path = tmp_path / f"photo{suffix}"
    write_photo(path, photo)
    back = read_photo(path)
    becomes_rgb = suffix == ".tif" and dtype == np.uint16 and channels == 1 and alpha
    assert_same(back.pixels, photo.pixels.repeat(3, 2) if becomes_rgb else photo.pixels)
    if alpha:
        assert_same(back.alpha, photo.alpha)
    else:
        assert back.alpha is None
    assert back.icc == (None if becomes_rgb else photo.icc)
    assert image_size(path) == size


@pytest.mark.parametrize(
    ("suffix", "keeps"),
    [
        (".png", {"deep", "gray", "alpha", "icc", "exif"}),
        (".tif", {"deep", "gray", "alpha", "icc", "exif"}),
        (".TIFF", {"deep", "gray", "alpha", "icc", "exif"}),
        (".webp", {"alpha", "icc", "exif"}),
        (".jpg", {"gray", "icc", "exif"}),
        (".JPEG", {"gray", "icc", "exif"}),
        (".bmp", {"gray"}),
    ],
)
def test_formats_keep_what_the_table_says(tmp_path, suffix, keeps):
    path = tmp_path / f"photo{suffix}"

    write_photo(path, make_photo(np.uint16, 3, alpha=True))
    back = read_photo(path)
    assert (back.pixels.dtype == np.uint16) == ("deep" in keeps)
    assert (back.alpha is not None) == ("alpha" in keeps)
    assert back.icc == (SRGB if "icc" in keeps else None)
    exif = Image.Exif()
    exif.load(back.exif or b"")
    assert exif.get(MAKE) == ("Maker" if "exif" in keeps else None)
    taken = exif.get_ifd(EXIF_IFD).get(TAKEN)
    assert taken == ("2020:01:02 03:04:05" if "exif" in keeps else None)

    write_photo(path, make_photo(channels=1))
    back = read_photo(path)
    assert (back.pixels.shape[2] == 1) == ("gray" in keeps)
    assert back.icc == (GRAY if {"gray", "icc"} <= keeps else None)
    with Image.open(path) as image:  # a gray profile must not describe RGB
        assert (image.info.get("icc_profile") is None) == (back.icc is None)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_stay_close(tmp_path, suffix, photograph):
    path = tmp_path / f"photo{suffix}"
    write_photo(path, Photo(photograph))
    difference = read_photo(path).pixels.astype(float) - photograph
    assert np.abs(difference).mean() < 2.5
    sizes = [path.stat().st_size]
    write_photo(path, Photo(photograph), quality=30)
    assert path.stat().st_size < sizes[0] / 2


@pytest.mark.parametrize("channels", [1, 3])
def test_others_read_our_16_bit_png(tmp_path, channels):
    photo = make_photo(np.uint16, channels, alpha=channels == 3, size=(300, 5))
    write_photo(tmp_path / "photo.png", photo)
    theirs = cv2.imread(str(tmp_path / "photo.png"), cv2.IMREAD_UNCHANGED)
    if channels == 3:
        assert_same(theirs[:, :, 2::-1], photo.pixels)
        assert_same(theirs[:, :, 3], photo.alpha)
    else:
        assert_same(theirs, photo.pixels[:, :, 0])
    with Image.open(tmp_path / "photo.png") as image:
        image.load()
        assert image.info["icc_profile"] == photo.icc
        assert image.getexif()[MAKE] == "Maker"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_others_read_our_tiff(tmp_path, dtype, channels):
    # OpenCV multiplies alpha into 8-bit TIFF, so there it is tried without.
    alpha = channels == 3 and dtype == np.uint16
    photo = make_photo(dtype, channels, alpha, size=(300, 5))
    write_photo(tmp_path / "photo.tif", photo)
    theirs = cv2.imread(str(tmp_path / "photo.tif"), cv2.IMREAD_UNCHANGED)
    if channels == 3:
        theirs = theirs[:, :, [2, 1, 0, 3][: theirs.shape[2]]]
    if alpha:
        assert_same(theirs[:, :, 3], photo.alpha)
    assert_same(theirs.reshape(300, 5, -1)[:, :, :channels], photo.pixels)
    with Image.open(tmp_path / "photo.tif") as image:
        assert image.info["icc_profile"] == photo.icc
        assert image.getexif()[MAKE] == "Maker"


# Orientation


def turned(samples, orientation):
    """What Pillow makes of an EXIF orientation, for samples of any depth."""
    h, w = samples.shape[:2]
    index = np.arange(h * w, dtype=np.uint8).reshape(h, w)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(index).save(buffer, "PNG", exif=exif)
    index = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    return samples.reshape(h * w, -1)[index]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_pixels_come_upright_once(tmp_path, suffix, orientation):
    path = tmp_path / f"stored{suffix}"
    samples = random_samples((5, 7, 3), np.uint8)
    lossless = {"lossless": True} if suffix == ".webp" else {}
    stored = Image.fromarray(samples)
    stored.save(path, exif=exif_block(orientation), **lossless)
    if suffix == ".jpg":
        samples = np.asarray(Image.open(path))
    expected = turned(samples, orientation)

    photo = read_photo(path)
    assert_same(photo.pixels, expected)
    assert image_size(path) == expected.shape[:2]
    assert_same(read_rgb8(path), expected)
    exif = Image.Exif()
    exif.load(photo.exif)
    assert exif.get(ORIENTATION, 1) == 1
    assert exif[MAKE] == "Maker"

    write_photo(tmp_path / "again.png", photo)
    with Image.open(tmp_path / "again.png") as image:
        assert_same(np.asarray(ImageOps.exif_transpose(image)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_pixels_come_upright_once(tmp_path, suffix, orientation):
    path = tmp_path / f"stored{suffix}"
    samples = random_samples((5, 7, 3), np.uint16)
    if suffix == ".png":
        chunk = png_chunk(b"eXIf", exif_block(orientation)[6:])
        path.write_bytes(png_bytes(samples, 2, before_pixels=chunk))
    else:
        tag = (ORIENTATION, 3, 1, orientation, True)
        tifffile.imwrite(path, samples, photometric="rgb", extratags=[tag])
    expected = turned(samples, orientation)
    assert_same(read_photo(path).pixels, expected)
    assert image_size(path) == expected.shape[:2]


def test_orientation_behind_the_pixels_of_a_png(tmp_path):
    samples = random_samples((5, 7, 3), np.uint16)
    chunk = png_chunk(b"eXIf", exif_block(6)[6:])
    path = tmp_path / "late.png"
    path.write_bytes(png_bytes(samples, 2, behind_pixels=chunk))
    assert image_size(path) == (7, 5)
    assert_same(read_photo(path).pixels, turned(samples, 6))


def test_exif_is_patched_not_rewritten(tmp_path):
    """Maker notes hold absolute offsets; the thumbnail shows the picture as it was."""
    note, thumbnail = b"note at its own offset", b"\xff\xd8dark\xff\xd9"
    entries = struct.pack("<HHLL", MAKE, 2, 4, int.from_bytes(b"abc\0", "little"))
    entries += struct.pack("<HHLHH", ORIENTATION, 3, 1, 6, 0)
    head = b"II*\0" + struct.pack("<LH", 8, 2)
    link = struct.pack("<L", 8 + 2 + 24 + 4 + len(note))
    block = b"Exif\0\0" + head + entries + link + note + b"\0\0\0\0\0\0" + thumbnail
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (4, 2)).save(path, exif=block)
    got = read_photo(path).exif
    expected = bytearray(block)
    expected[6 + 8 + 2 + 12 + 8] = 1
    expected[6 + 8 + 2 + 24 : 6 + 8 + 2 + 24 + 4] = b"\0\0\0\0"
    assert got == bytes(expected)


@pytest.mark.parametrize(
    "tiff", [b"", b"junk, no list", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\1"]
)
@tolerant
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_damaged_exif_does_not_cost_the_picture(tmp_path, tiff, suffix):
    path = tmp_path / "photo.png"
    path.write_bytes(
        png_bytes(np.zeros((3, 2, 3), np.uint16), 2, png_chunk(b"eXIf", tiff))
    )
    photo = read_photo(path)
    assert photo.pixels.shape == (3, 2, 3)
    write_photo(tmp_path / f"copy{suffix}", photo)
    assert image_size(tmp_path / f"copy{suffix}") == (3, 2)


def test_exif_too_long_for_jpeg_is_left_out(tmp_path):
    photo = Photo(np.zeros((2, 2, 3), np.uint8), exif=exif_block() + bytes(70_000))
    write_photo(tmp_path / "photo.jpg", photo)
    assert read_photo(tmp_path / "photo.jpg").exif is None
    write_photo(tmp_path / "photo.png", photo)
    assert read_photo(tmp_path / "photo.png").exif == photo.exif


# Kinds of pixels


def png_chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    length = struct.pack(">L", len(content))
    return length + kind + content + struct.pack(">L", checksum)


def png_bytes(samples, colour_type, before_pixels=b"", behind_pixels=b""):
    """A 16-bit PNG without filters; Pillow writes none in colour."""
    h, w = samples.shape[:2]
    rows = [b"\0" + row.astype(">u2").tobytes() for row in samples]
    header = struct.pack(">LLBBBBB", w, h, 16, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + before_pixels
        + png_chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + behind_pixels
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_16_bit_png(tmp_path, colour_type, channels):
    samples = random_samples((4, 6, channels), np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(samples, colour_type))
    photo = read_photo(path)
    if channels in (2, 4):
        assert_same(photo.alpha, samples[:, :, -1])
        samples = samples[:, :, :-1]
    else:
        assert photo.alpha is None
    assert_same(photo.pixels, samples)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3)])
def test_16_bit_png_with_a_transparent_colour(tmp_path, colour_type, channels):
    samples = random_samples((4, 6, channels), np.uint16)
    key = png_chunk(b"tRNS", samples[2, 3].astype(">u2").tobytes())
    path = tmp_path / "keyed.png"
    path.write_bytes(png_bytes(samples, colour_type, key))
    photo = read_photo(path)
    assert_same(photo.pixels, samples)
    expected = np.full((4, 6), 65535, np.uint16)
    expected[2, 3] = 0
    assert_same(photo.alpha, expected)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_tiff(tmp_path, byteorder, channels):
    samples = random_samples((4, 6, channels), np.uint16)
    path = tmp_path / "deep.tif"
    photometric = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(
        path, samples.squeeze(), byteorder=byteorder, photometric=photometric
    )
    assert_same(read_photo(path).pixels, samples)


def test_16_bit_tiff_with_premultiplied_alpha(tmp_path):
    colour = random_samples((4, 6, 3), np.uint16)
    alpha = np.full((4, 6), 32768, np.uint16)
    samples = np.dstack([np.rint(colour * (32768 / 65535)).astype(np.uint16), alpha])
    path = tmp_path / "associated.tif"
    tifffile.imwrite(path, samples, photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(path)
    assert_same(photo.alpha, alpha)
    np.testing.assert_allclose(photo.pixels, colour, atol=1)


def test_16_bit_tiff_in_planes_is_refused(tmp_path):
    """OpenCV 5.0 returns the planes mixed up without a word."""
    path = tmp_path / "planes.tif"
    samples = random_samples((3, 4, 6), np.uint16)
    tifffile.imwrite(path, samples, photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageFileError, match=r"planes\.tif .*separate planes"):
        read_photo(path)


def bilevel():
    image = Image.fromarray(random_samples((4, 6), np.uint8)).convert("1")
    return image, np.asarray(image.convert("L"))[:, :, None], None


def gray_alpha():
    samples = random_samples((4, 6, 2), np.uint8)
    return Image.fromarray(samples), samples[:, :, :1], samples[:, :, 1]


def palette():
    image = Image.fromarray(random_samples((4, 6, 3), np.uint8)).convert("P")
    return image, np.asarray(image.convert("RGB")), None


def palette_with_transparency():
    image, pixels, _ = palette()
    clear = np.asarray(image)[1, 2]
    image.info["transparency"] = int(clear)
    return image, pixels, np.where(np.asarray(image) == clear, 0, 255)


def gray_with_a_transparent_level():
    samples = random_samples((4, 6), np.uint8)
    image = Image.fromarray(samples)
    image.info["transparency"] = int(samples[1, 2])
    return image, samples[:, :, None], np.where(samples == samples[1, 2], 0, 255)


def rgb_with_a_transparent_colour():
    samples = random_samples((4, 6, 3), np.uint8)
    image = Image.fromarray(samples)
    image.info["transparency"] = tuple(samples[1, 2].tolist())
    alpha = np.full((4, 6), 255)
    alpha[1, 2] = 0
    return image, samples, alpha


@pytest.mark.parametrize(
    "kind",
    [
        bilevel,
        gray_alpha,
        palette,
        palette_with_transparency,
        gray_with_a_transparent_level,
        rgb_with_a_transparent_colour,
    ],
)
def test_8_bit_kinds_of_png(tmp_path, kind):
    image, pixels, alpha = kind()
    image.save(tmp_path / "kind.png", **image.info)
    photo = read_photo(tmp_path / "kind.png")
    assert_same(photo.pixels, pixels)
    if alpha is None:
        assert photo.alpha is None
    else:
        assert_same(photo.alpha, alpha.astype(np.uint8))


@pytest.mark.parametrize("icc", [None, b"not a profile at all" * 10])
def test_cmyk_becomes_rgb(tmp_path, photograph, icc):
    image = Image.fromarray(photograph).convert("CMYK")
    image.save(tmp_path / "cmyk.jpg", quality=95, icc_profile=icc)
    photo = read_photo(tmp_path / "cmyk.jpg")
    assert np.abs(photo.pixels.astype(float) - photograph).mean() < 5
    assert photo.icc is None


def cmyk_profile():
    """The plain formula as an ICC profile, but its cyan ink is a gray (L 50)."""
    grid = itertools.product([0.0, 1.0], repeat=4)  # K runs fastest
    lab = [rgb2lab((1 - np.array([c, m, y])) * (1 - k)) for c, m, y, k in grid]
    lab = np.array(lab)
    lab[8] = [50, 0, 0]
    table = np.rint(lab * [2.55, 1, 1] + [0, 128, 128]).clip(0, 255).astype(np.uint8)
    ramp = bytes(range(256))
    identity = struct.pack(">9l", *(65536 * np.eye(3, dtype=int)).ravel().tolist())
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity
    lut += 4 * ramp + table.tobytes() + 3 * ramp
    white = b"XYZ \0\0\0\0" + struct.pack(">3l", 63190, 65536, 54061)
    tags = struct.pack(">L", 2)
    tags += struct.pack(">4sLL", b"A2B0", 156, len(lut))
    tags += struct.pack(">4sLL", b"wtpt", 156 + len(lut), len(white))
    size = 156 + len(lut) + len(white)
    head = struct.pack(">LLL4s4s4s", size, 0, 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3l", 63190, 65536, 54061) + bytes(48)
    return head + tags + lut + white


def test_cmyk_by_its_own_profile(tmp_path):
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    image.save(tmp_path / "cmyk.tif", icc_profile=cmyk_profile())
    photo = read_photo(tmp_path / "cmyk.tif")
    np.testing.assert_allclose(photo.pixels, 119, atol=3)  # else (0, 255, 255)
    assert photo.icc is None


def test_profile_of_another_colour_space_is_dropped(tmp_path):
    image = Image.new("L", (3, 2))
    image.save(tmp_path / "gray.jpg", icc_profile=SRGB)
    assert read_photo(tmp_path / "gray.jpg").icc is None


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_first_picture_of_several(tmp_path, suffix):
    first, second = Image.new("RGB", (6, 4), "white"), Image.new("RGB", (6, 4), "red")
    path = tmp_path / f"several.{suffix}"
    first.save(path, save_all=True, append_images=[second])
    assert_same(read_photo(path).pixels, np.full((4, 6, 3), 255, np.uint8))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "science.tif")
    with pytest.raises(ImageFileError, match=r"science\.tif has 32 bits"):
        read_photo(tmp_path / "science.tif")


def test_lab_is_refused(tmp_path):
    Image.new("LAB", (3, 2)).save(tmp_path / "lab.tif")
    with pytest.raises(ImageFileError, match=r"lab\.tif has the colour space LAB"):
        read_photo(tmp_path / "lab.tif")


def test_read_rgb8(tmp_path):
    deep = np.array([[[0], [128], [129], [385], [386], [65535]]], np.uint16)
    write_photo(tmp_path / "deep.png", Photo(deep, alpha=deep[:, :, 0]))
    expected = np.rint(deep / 257).astype(np.uint8).repeat(3, axis=2)
    assert_same(read_rgb8(tmp_path / "deep.png"), expected)
    write_photo(tmp_path / "gray.png", make_photo(channels=1, size=(3, 2)))
    assert read_rgb8(tmp_path / "gray.png").shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (np.zeros((4, 6), np.uint8), None),
        (np.zeros((4, 6, 4), np.uint8), None),
        (np.zeros((4, 6, 3), np.float32), None),
        (np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint16)),
    ],
)
def test_photo_states_its_contract(pixels, alpha):
    with pytest.raises(ValueError, match="expected"):
        Photo(pixels, alpha)


# Damage


def encoded(suffix, dtype, photograph, folder):
    samples = photograph[:60, :50]
    deep = samples if dtype == np.uint8 else samples.astype(np.uint16) * 257
    photo = Photo(deep, icc=SRGB, exif=exif_block(6))
    path = folder / f"whole{suffix}"
    write_photo(path, photo)
    return path.read_bytes()


CODECS = [
    (".png", np.uint8),
    (".png", np.uint16),
    (".tif", np.uint8),
    (".tif", np.uint16),
    (".jpg", np.uint8),
    (".webp", np.uint8),
    (".bmp", np.uint8),
]


@tolerant
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.9])
@pytest.mark.parametrize(("suffix", "dtype"), CODECS)
def test_truncated_file(tmp_path, photograph, suffix, dtype, fraction):
    data = encoded(suffix, dtype, photograph, tmp_path)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(ImageFileError, match="cut"):
        read_photo(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_damaged_checksum_of_a_png(tmp_path, photograph, dtype):
    data = bytearray(encoded(".png", dtype, photograph, tmp_path))
    data[-20] ^= 1  # in the last chunk of pixels
    (tmp_path / "flipped.png").write_bytes(data)
    with pytest.raises(ImageFileError, match="damaged"):
        read_photo(tmp_path / "flipped.png")


@tolerant
@pytest.mark.parametrize(("suffix", "dtype"), CODECS)
def test_random_damage_gives_a_photo_or_our_error(tmp_path, photograph, suffix, dtype):
    data = encoded(suffix, dtype, photograph, tmp_path)
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 600), 4):
            damaged[place] = rng.integers(256)
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(damaged)
        for read in (read_photo, image_size):
            try:
                read(path)
            except ImageFileError as error:
                failures += 1
                assert str(path) in str(error)
    assert failures


@pytest.mark.parametrize("read", [read_photo, read_rgb8, image_size])
def test_what_is_not_an_image(tmp_path, read):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("a letter")
    (tmp_path / "folder.png").mkdir()
    for name, what in [
        ("empty.png", "empty file"),
        ("text.jpg", "not an image"),
        ("folder.png", "is a folder"),
        ("missing.png", "does not exist"),
    ]:
        with pytest.raises(ImageFileError, match=f"{name} .*{what}"):
            read(tmp_path / name)


def test_unreadable_file(tmp_path, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", deny)
    (tmp_path / "secret.png").touch()
    with pytest.raises(ImageFileError, match=r"cannot be read \(Permission denied\)"):
        read_photo(tmp_path / "secret.png")


def bilevel_png(path, side):
    """A small file of many pixels."""
    header = struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + -(-side // 8)) * side), 1)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b""))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_large_photos_are_read_without_a_warning(tmp_path, suffix):
    path = tmp_path / f"large{suffix}"
    if suffix == ".png":
        bilevel_png(path, 10_000)
    else:
        Image.new("1", (10_000, 10_000)).save(path, compression="group4")
    guard = Image.MAX_IMAGE_PIXELS
    assert guard < 10_000**2  # Pillow would warn
    assert read_photo(path).pixels.shape == (10_000, 10_000, 1)
    assert guard == Image.MAX_IMAGE_PIXELS


def test_pillows_limit_is_restored_after_simultaneous_reading(tmp_path, photograph):
    write_photo(tmp_path / "photo.png", Photo(photograph))
    guard = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read_photo, [tmp_path / "photo.png"] * 64))
    assert guard == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("side", [16_000, 30_000])
@pytest.mark.parametrize("read", [read_photo, image_size])
def test_decompression_bomb(tmp_path, read, side):
    bilevel_png(tmp_path / "bomb.png", side)
    with pytest.raises(ImageFileError, match=r"bomb\.png has more pixels"):
        read(tmp_path / "bomb.png")


# Writing


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize(
    ("error", "seen"),
    [(OSError(28, "No space left"), ImageFileError), (KeyboardInterrupt(),) * 2],
)
def test_failing_midway_leaves_nothing(
    tmp_path, monkeypatch, suffix, dtype, error, seen
):
    def full_disk(file, *_):
        file.write(b"half")
        raise error

    path = tmp_path / f"photo{suffix}"
    path.write_bytes(b"the file from before")
    monkeypatch.setattr(image_files, "_encode", full_disk)
    expected = seen if isinstance(seen, type) else type(seen)
    with pytest.raises(expected) as info:
        write_photo(path, make_photo(dtype))
    if expected is ImageFileError:
        assert f"{path} could not be written (No space left)" in str(info.value)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [
        b"the file from before"
    ]


def test_written_files_have_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_photo(tmp_path / "photo.png", make_photo())
    modes = {file.stat().st_mode for file in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("name", ["photo", "photo.gif", "missing/photo.png"])
def test_unwritable_names(tmp_path, name):
    with pytest.raises(ImageFileError, match=name):
        write_photo(tmp_path / name, make_photo())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "side"),
    [("wide.jpg", 65_536), ("wide.webp", 16_384), ("wide.avif", 32_769)],
)
def test_too_large_for_the_format(tmp_path, name, side):
    with pytest.raises(ImageFileError, match="another format"):
        write_photo(tmp_path / name, Photo(np.zeros((1, side, 3), np.uint8)))
    assert not list(tmp_path.iterdir())


# Folders


def test_search_images(tmp_path):
    wanted = ["B.PNG", "a.jpg", "sub/c.JPeG", "sub/deep/d.webp", "z.tiff"]
    others = [".hidden.png", ".cache/e.png", "sub/._c.jpg", "notes.txt", "clip.gif"]
    for name in wanted + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [str(path.relative_to(tmp_path)) for path in search_images(tmp_path)[0]]
    assert found == wanted
    assert search_images(tmp_path / "notes.txt")[0] == [tmp_path / "notes.txt"]
    with pytest.raises(ImageFileError, match="does not exist"):
        search_images(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["a.jpg", "deep.png", "deep.tif"])
def test_bytes_and_open_files_read_as_their_file_does(name, tmp_path):
    deep = np.uint16 if name.startswith("deep") else np.uint8
    pixels = np.arange(5 * 7 * 3, dtype=deep).reshape(5, 7, 3)
    alpha = None if name == "a.jpg" else np.full((5, 7), 777, deep)
    write_photo(tmp_path / name, Photo(pixels, alpha))
    expected = read_photo(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    with (tmp_path / name).open("rb") as file:
        for given in (content, io.BytesIO(content), file):
            photo = read_photo(given)
            np.testing.assert_array_equal(photo.pixels, expected.pixels)
            assert (photo.alpha is None) == (expected.alpha is None)
            assert photo.is_lossy == expected.is_lossy


@pytest.mark.parametrize("content", [b"", b"a letter"])
def test_bytes_that_are_no_image_are_refused(content):
    with pytest.raises(ImageFileError, match="^the image is (an empty|not an image)"):
        read_photo(content)
