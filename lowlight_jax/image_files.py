"""Photographs from and to files, with everything a photographer expects to keep.

Read: PNG, JPEG, BMP, WebP, TIFF (and GIF, when named), 8 or 16 bits per channel, one
channel (grayscale) or three (RGB), with or without alpha; of animations and documents
of many pages the first picture. Pixels come out upright: EXIF orientation is applied,
and the tag is reset. Palettes and CMYK become RGB, bilevel becomes grayscale.
Write: by suffix, to a temporary name beside the target that is then renamed, so that a
file is there whole or not at all. What each format keeps:

    format      16 bits  grayscale  alpha  ICC  EXIF
    png, tif    yes      yes        yes    yes  yes
    webp        as 8     as RGB     yes    yes  yes
    jpg         as 8     yes        no     yes  yes
    bmp         as 8     yes        no     no   no

Pixels are as stored in the file: colour profiles are carried along, not converted
(except CMYK, whose profile cannot describe RGB). Not here: resizing, ranges of floats.
"""

import contextlib
import dataclasses
import io
import os
import struct
import threading
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MAX_PIXELS = 250_000_000  # a larger file is taken for a decompression bomb

_READABLE = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF")
_EXIF_HEADER = b"Exif\0\0"
_JPEG_EXIF_MAX_BYTES = 65533  # one marker; Pillow refuses more
_BAND_ROWS = 256  # rows compressed at a time by our own writers
# What Pillow raises on damaged input: the first three seen on 50,000 files damaged at
# random, the others in its code.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)


class ImageFileError(ValueError):
    """A file cannot be read or written as an image; the message is for the user."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """A decoded photograph, upright.

    Attributes:
      pixels: `[h, w, c]` uint8 or uint16; c is 1 (grayscale) or 3 (RGB).
      alpha: `[h, w]` of the same dtype, not premultiplied; None if there is none.
      icc: the colour profile of `pixels`.
      exif: the EXIF block ("Exif\\0\\0" and a TIFF header), its orientation 1.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None

    def __post_init__(self):
        pixels, alpha = self.pixels, self.alpha
        if (
            pixels.ndim != 3
            or pixels.shape[2] not in (1, 3)
            or pixels.dtype not in (np.uint8, np.uint16)
        ):
            raise ValueError(
                "expected pixels [h, w, 1 or 3] of uint8 or uint16, got "
                f"{list(pixels.shape)} of {pixels.dtype}"
            )
        if alpha is not None and (
            alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype
        ):
            raise ValueError(
                f"expected alpha {list(pixels.shape[:2])} of {pixels.dtype}, got "
                f"{list(alpha.shape)} of {alpha.dtype}"
            )


# Reading


def find_images(path: str | Path) -> list[Path]:
    """The image files below a folder (or the one file itself), by suffix, sorted."""
    path = Path(path)
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )


def image_size(path: str | Path) -> tuple[int, int]:
    """`(h, w)` as `read_photo` would return it, from the header alone.

    Raises:
      ImageFileError: not an image; damage further down in the file goes unnoticed.
    """
    path = Path(path)
    with _open(path) as image:
        w, h = image.size
        turned = _find_orientation(_raw_exif(path, image))[0] >= 5
    return (w, h) if turned else (h, w)


def read_rgb8(path: str | Path) -> np.ndarray:
    """Any readable image as `[h, w, 3]` uint8, upright, alpha dropped.

    Raises:
      ImageFileError: as `read_photo`.
    """
    pixels = _to_uint8(read_photo(path).pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def read_photo(path: str | Path) -> Photo:
    """Decodes a file; see the module's head for what is kept.

    Raises:
      ImageFileError: missing, not an image, damaged, of an unsupported kind, or above
        `MAX_PIXELS`. A truncated file is an error, never a half-gray picture.
    """
    path = Path(path)
    with _open(path) as image:
        exif = _raw_exif(path, image)
        if _is_deep_colour(path, image):
            samples = _read_deep_colour(path, image)
            icc = image.info.get("icc_profile")
        else:
            image.load()
            icc = image.info.get("icc_profile")
            image, icc = _to_plain_mode(path, image, icc)
            samples = np.asarray(image)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.dtype == ">u2":
        samples = samples.astype(np.uint16)
    samples = _upright(samples, _find_orientation(exif)[0])
    channels = samples.shape[2]
    alpha = None
    if channels in (2, 4):
        alpha = np.ascontiguousarray(samples[:, :, -1])
        samples = samples[:, :, :-1]
    pixels = np.ascontiguousarray(samples)
    return Photo(pixels, alpha, _fitting_icc(icc, pixels.shape[2]), _reset_exif(exif))


_open_lock = threading.Lock()


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """A lazily opened image; every decoder error inside becomes an ImageFileError."""
    if path.is_dir():
        raise ImageFileError(f"{path} is a folder; expected an image file")
    try:
        # Pillow warns from 89 million pixels on, through a global; ours is MAX_PIXELS.
        with _open_lock:
            guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(path, formats=_READABLE)
            finally:
                Image.MAX_IMAGE_PIXELS = guard
        with image:
            w, h = image.size
            if w * h > MAX_PIXELS:
                raise ImageFileError(
                    f"{path} has {w}x{h} px, more than the {MAX_PIXELS // 10**6} "
                    "million that are read; make it smaller or cut it up"
                )
            yield image
    except ImageFileError:
        raise
    except FileNotFoundError as error:
        raise ImageFileError(f"{path} does not exist") from error
    except Image.UnidentifiedImageError as error:
        kind = "an empty file" if path.stat().st_size == 0 else "not an image"
        raise ImageFileError(
            f"{path} is {kind}, or of an unknown kind; expected PNG, JPEG, BMP, WebP "
            "or TIFF, so convert it to one of these"
        ) from error
    except _DECODER_ERRORS as error:
        raise ImageFileError(
            f"{path} is damaged or cut short ({error}); expected a whole image, so "
            "copy or download it again"
        ) from error


def _to_plain_mode(
    path: Path, image: Image.Image, icc: bytes | None
) -> tuple[Image.Image, bytes | None]:
    """Converts to L, LA, RGB, RGBA or I;16 without loss, and the profile with it."""
    if image.mode in ("I", "F"):
        raise ImageFileError(
            f"{path} has 32 bits per channel; expected 8 or 16, so convert it first"
        )
    if image.mode == "CMYK":
        return _cmyk_to_rgb(image, icc), None
    if image.mode.startswith("I;16"):
        return image, icc
    transparent = "transparency" in image.info
    plain = {
        "1": "LA" if transparent else "L",
        "L": "LA" if transparent else "L",
        "La": "LA",
        "LA": "LA",
        "P": "RGBA" if transparent else "RGB",
        "PA": "RGBA",
        "RGB": "RGBA" if transparent else "RGB",
        "RGBA": "RGBA",
        "RGBa": "RGBA",
        "RGBX": "RGB",
        "YCbCr": "RGB",
    }
    if image.mode not in plain:
        raise ImageFileError(
            f"{path} has the colour space {image.mode}; expected grayscale, RGB, CMYK "
            "or a palette, so convert it first"
        )
    return image.convert(plain[image.mode]), icc


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """To sRGB by the file's own profile, or the plain formula without one."""
    if icc:
        try:
            return ImageCms.profileToProfile(
                image, io.BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except ImageCms.PyCMSError:
            pass  # a broken profile: as if there were none
    return image.convert("RGB")


def _fitting_icc(icc: bytes | None, channels: int) -> bytes | None:
    """The profile, unless it describes another colour space than the pixels have."""
    space = {1: b"GRAY", 3: b"RGB "}[channels]
    return icc if icc and icc[16:20] == space else None


# 16 bits per channel in colour: Pillow halves them to 8 when reading, so OpenCV reads


def _is_deep_colour(path: Path, image: Image.Image) -> bool:
    if image.mode not in ("RGB", "RGBA", "RGBa", "RGBX"):
        return False
    if image.format == "PNG":
        return _png_header(path)[0] == 16
    return image.format == "TIFF" and image.tag_v2[258][0] == 16  # BitsPerSample


def _png_header(path: Path) -> tuple[int, int]:
    """Bit depth and colour type, at their fixed place in every PNG."""
    with path.open("rb") as file:
        depth, colour_type = file.read(26)[24:26]
    return depth, colour_type


def _read_deep_colour(path: Path, image: Image.Image) -> np.ndarray:
    """`[h, w, 2, 3 or 4]` uint16. TIFF comes upright, as Pillow's TIFF does too."""
    import cv2  # heavy, and only for this

    if image.format == "TIFF" and image.tag_v2.get(284, 1) != 1:  # PlanarConfiguration
        raise ImageFileError(
            f"{path} stores 16-bit colour in separate planes; expected interleaved "
            "channels, so save it as PNG or as an ordinary TIFF"
        )
    mode = image.mode
    if image.format == "PNG":
        image.verify()  # OpenCV is silent about some damage: check every checksum
    bgra = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgra is None or bgra.dtype != np.uint16 or bgra.ndim != 3:
        raise OSError("the 16-bit pixels cannot be decoded")
    if image.format == "PNG" and _png_header(path)[1] == 4:  # grayscale with alpha
        return bgra[:, :, [0, 3]]
    rgba = bgra[:, :, [2, 1, 0, 3][: bgra.shape[2]]]
    if mode == "RGBX":
        return rgba[:, :, :3]
    if mode == "RGBa":
        return _unpremultiply(rgba)
    return rgba


def _unpremultiply(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[:, :, 3:].astype(np.float64)
    colour = np.rint(rgba[:, :, :3] * (65535 / np.maximum(alpha, 1)))
    return np.dstack([np.minimum(colour, 65535).astype(np.uint16), rgba[:, :, 3]])


# EXIF


def _raw_exif(path: Path, image: Image.Image) -> bytes | None:
    """The file's EXIF block as `Photo.exif` has it, orientation still as stored.

    (Not for TIFF, which Pillow and OpenCV turn upright themselves.)
    """
    if image.format == "TIFF":
        return _descriptive_exif(image.getexif())
    exif = image.info.get("exif")
    if exif is None and image.format == "PNG":
        exif = _find_png_chunk(path, b"eXIf")  # it may follow the pixels
    if not exif:
        return None
    return exif if exif.startswith(_EXIF_HEADER) else _EXIF_HEADER + exif


def _find_png_chunk(path: Path, wanted: bytes) -> bytes | None:
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">L4s", head)
            if kind == wanted:
                return file.read(length)
            file.seek(length + 4, os.SEEK_CUR)
    return None


# Tags that describe the photograph, not how one TIFF file stores its pixels.
_DESCRIPTIVE_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
_DESCRIPTIVE_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


def _descriptive_exif(source: Image.Exif) -> bytes | None:
    """A TIFF's own directory holds its EXIF between the tags of the file itself."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in source:
            kept[tag] = source[tag]
    for ifd in _DESCRIPTIVE_IFDS:
        if entries := source.get_ifd(ifd):
            kept[ifd] = dict(entries)
    return kept.tobytes() if len(kept) else None


def _find_orientation(exif: bytes | None) -> tuple[int, int, str]:
    """`(value, its offset in exif, byte order)`; `(1, 0, "")` if there is none.

    By hand, because Pillow's rewriting loses maker notes, which hold absolute offsets.
    """
    if exif is None or exif[6:10] not in (b"II*\0", b"MM\0*"):
        return 1, 0, ""
    order = "<" if exif[6:8] == b"II" else ">"
    try:
        (ifd,) = struct.unpack_from(order + "L", exif, 10)
        (count,) = struct.unpack_from(order + "H", exif, 6 + ifd)
        for entry in range(8 + ifd, 8 + ifd + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHLH", exif, entry)
            if tag == ExifTags.Base.Orientation and kind == 3:  # SHORT
                return (value if 1 <= value <= 8 else 1), entry + 8, order
    except struct.error:
        pass  # a damaged block has no orientation
    return 1, 0, ""


def _reset_exif(exif: bytes | None) -> bytes | None:
    """The same block with orientation 1; every other byte as it was."""
    _, offset, order = _find_orientation(exif)
    if not offset:
        return exif
    return exif[:offset] + struct.pack(order + "H", 1) + exif[offset + 2 :]


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation: rows and columns exchanged from 5 on, then flips."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples


# Writing


def write_photo(path: str | Path, photo: Photo, *, quality: int = 95) -> None:
    """Encodes by the suffix of `path`; the file appears whole or not at all.

    Args:
      path: in a folder that exists; an existing file is replaced.
      photo: what the format cannot hold is reduced as the module's head tells.
      quality: of JPEG and WebP, 1 to 100.
    Raises:
      ImageFileError: unknown suffix, unwritable place, or too large for the format.
    """
    path = Path(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ImageFileError(
            f"{path} has no suffix of an image; expected one of "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
    unfinished = path.with_name(f".unfinished-{uuid.uuid4().hex[:12]}")
    try:
        try:
            with unfinished.open("xb") as file:
                _encode(file, path.suffix.lower(), photo, quality)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, ValueError, struct.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageFileError(
            f"{path} could not be written ({reason}); check the folder and the disk, "
            "or choose another format"
        ) from error


def _encode(file: BinaryIO, suffix: str, photo: Photo, quality: int) -> None:
    if suffix == ".png" and photo.pixels.dtype == np.uint16:
        _write_deep_png(file, photo)
        return
    if suffix in (".tif", ".tiff"):
        _write_tiff(file, photo)
        return
    pixels = _to_uint8(photo.pixels)
    if photo.alpha is not None and suffix in (".png", ".webp"):
        pixels = np.dstack([pixels, _to_uint8(photo.alpha)])
    options = {"icc_profile": photo.icc, "exif": photo.exif or b""}
    if suffix in (".jpg", ".jpeg"):
        if len(photo.exif or b"") > _JPEG_EXIF_MAX_BYTES:
            options["exif"] = b""
        options |= {"format": "JPEG", "quality": quality}
    elif suffix == ".webp":
        options |= {"format": "WEBP", "quality": quality}
    elif suffix == ".png":
        options |= {"format": "PNG"}
    else:
        options = {"format": "BMP"}
    # Pillow takes grayscale as [h, w]
    squeezed = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(squeezed).save(file, **options)


def _to_uint8(samples: np.ndarray) -> np.ndarray:
    """16 bits to 8, rounded to nearest: 65535 / 255 = 257."""
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _interleaved(photo: Photo) -> np.ndarray:
    if photo.alpha is None:
        return photo.pixels
    return np.dstack([photo.pixels, photo.alpha])


def _write_deep_png(file: BinaryIO, photo: Photo) -> None:
    """16 bits per channel, which Pillow writes for grayscale only."""
    samples = _interleaved(photo)
    h, w, c = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[c]
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">LLBBBBB", w, h, 16, colour_type, 0, 0, 0)
    _write_chunk(file, b"IHDR", header)
    if photo.icc:
        _write_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        _write_chunk(file, b"eXIf", photo.exif.removeprefix(_EXIF_HEADER))
    compressor = zlib.compressobj()
    for top in range(0, h, _BAND_ROWS):
        band = samples[top : top + _BAND_ROWS].astype(">u2")
        octets = band.reshape(len(band), -1).view(np.uint8)
        filtered = np.empty((len(band), 1 + octets.shape[1]), np.uint8)
        filtered[:, 0] = 1  # filter "Sub": each byte minus that of the pixel before
        filtered[:, 1:] = octets
        filtered[:, 1 + 2 * c :] -= octets[:, : -2 * c]
        _write_chunk(file, b"IDAT", compressor.compress(filtered.tobytes()))
    _write_chunk(file, b"IDAT", compressor.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    file.write(struct.pack(">L", len(content)) + kind)
    file.write(content)
    file.write(struct.pack(">L", checksum))


def _write_tiff(file: BinaryIO, photo: Photo) -> None:
    """Deflate with horizontal prediction; Pillow's own writer has no 16-bit colour."""
    samples = _interleaved(photo)
    if samples.shape[2] == 2 and samples.dtype == np.uint16:
        samples = samples[:, :, [0, 0, 0, 1]]  # few readers know 16-bit gray + alpha
    h, w, c = samples.shape
    strips = []
    for top in range(0, h, _BAND_ROWS):
        band = samples[top : top + _BAND_ROWS].astype(samples.dtype.newbyteorder("<"))
        band[:, 1:] -= samples[top : top + _BAND_ROWS, :-1]
        strips.append(zlib.compress(band.tobytes()))
    directory = ImageFileDirectory_v2(prefix=b"II")
    if photo.exif:
        for tag, value in _tiff_tags(photo.exif).items():
            directory[tag] = value
    if photo.icc:
        directory[34675] = photo.icc
    directory[256], directory[257] = w, h
    directory[258] = (8 * samples.dtype.itemsize,) * c
    directory[259] = 8  # Compression: Deflate
    directory[262] = 2 if c >= 3 else 1  # PhotometricInterpretation: RGB, gray
    directory[277] = c
    directory[278] = _BAND_ROWS
    directory[279] = tuple(len(strip) for strip in strips)
    starts = np.cumsum([0, *directory[279][:-1]])
    directory[273] = tuple(starts.tolist())  # made absolute by `save`
    directory[317] = 2  # Predictor: horizontal differences
    if c in (2, 4):
        directory[338] = 2  # ExtraSamples: alpha, not premultiplied
    directory.save(file)
    for strip in strips:
        file.write(strip)


def _tiff_tags(exif: bytes) -> dict:
    source = Image.Exif()
    try:
        source.load(exif)
        kept = _descriptive_exif(source)
    except _DECODER_ERRORS:
        return {}  # a damaged block is worth less than the picture
    if kept is None:
        return {}
    source.load(kept)
    return {
        tag: dict(source.get_ifd(tag)) if tag in _DESCRIPTIVE_IFDS else source[tag]
        for tag in source
    }
