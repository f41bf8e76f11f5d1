"""Photographs from and to files, with everything a photographer expects to keep.

Read: PNG, JPEG, BMP, WebP, TIFF (and GIF, when named), 8 or 16 bits per channel, one
channel (grayscale) or three (RGB), with or without alpha. Of animations and multi-page
files, the first picture is read. Pixels come out upright: EXIF orientation is applied,
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
from PIL import Image, ImageCms

from lowlight_jax.checks import number
from lowlight_jax.images.deep import (
    is_deep_colour,
    read_deep_colour,
    write_deep_png,
    write_tiff,
)
from lowlight_jax.images.exif import orientation, read_exif, reset_exif, upright
from lowlight_jax.images.source import ImageSource

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MAX_PIXELS = 250_000_000  # a larger file is taken for a decompression bomb

Source = str | Path | bytes | BinaryIO
_READABLE = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF")
_JPEG_EXIF_MAX_BYTES = 65533  # one marker; Pillow refuses more
# What Pillow raises on damaged input; a test damages files at random.
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
      is_lossy: it was read from JPEG or WebP, which smear what lies beside an edge.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    is_lossy: bool = False

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
    """The files below a folder with one of `IMAGE_SUFFIXES`, sorted; a file is itself.

    Hidden ones (macOS keeps `._name.jpg` beside photographs) are left out.

    Raises:
      ImageFileError: there is no such file or folder.
    """
    path = Path(path)
    if not path.exists():
        raise ImageFileError(f"{path} does not exist; expected an image or a folder")
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
    )


def image_size(source: Source) -> tuple[int, int]:
    """`(h, w)` as `read_photo` would return it, from the header alone.

    Raises:
      ImageFileError: not an image; damage further down in the file goes unnoticed.
    """
    source = ImageSource.of(source)
    with _open(source) as image:
        w, h = image.size
        turned = orientation(read_exif(source, image)) >= 5
    return (w, h) if turned else (h, w)


def read_rgb8(source: Source) -> np.ndarray:
    """Any readable image as `[h, w, 3]` uint8, upright, alpha dropped.

    Raises:
      ImageFileError: as `read_photo`.
    """
    pixels = _to_uint8(read_photo(source).pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def read_photo(source: Source) -> Photo:
    """Decodes an image; see the module's head for what is kept.

    Args:
      source: a path, the bytes of a file, or a file that is open for reading.

    Raises:
      ImageFileError: missing, not an image, damaged, of an unsupported kind, or above
        `MAX_PIXELS`. A truncated file is an error, never a half-gray picture.
    """
    source = ImageSource.of(source)
    with _open(source) as image:
        is_lossy = image.format in ("JPEG", "MPO", "WEBP")
        exif = read_exif(source, image)
        if is_deep_colour(source, image):
            if image.format == "TIFF" and image.tag_v2.get(284, 1) != 1:
                raise ImageFileError(
                    f"{source} stores 16-bit colour in separate planes; expected "
                    "interleaved channels, so save it as PNG or as an ordinary TIFF"
                )
            samples = read_deep_colour(source, image)
            icc = image.info.get("icc_profile")
        else:
            image.load()
            icc = image.info.get("icc_profile")
            key = image.info.get("transparency")
            image = _to_plain_mode(source, image)
            samples = np.asarray(image)
            if image.mode.startswith("I;16") and key is not None:
                opaque = np.where(samples == key, 0, 65535).astype(np.uint16)
                samples = np.dstack([samples, opaque])
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.dtype == ">u2":
        samples = samples.astype(np.uint16)
    samples = upright(samples, orientation(exif))
    channels = samples.shape[2]
    alpha = None
    if channels in (2, 4):
        alpha = np.ascontiguousarray(samples[:, :, -1])
        samples = samples[:, :, :-1]
    pixels = np.ascontiguousarray(samples)
    icc = _fitting_icc(icc, pixels.shape[2])
    return Photo(pixels, alpha, icc, reset_exif(exif), is_lossy)


_readers, _limit_before = 0, None
_readers_lock = threading.Lock()


@contextlib.contextmanager
def _pixel_limit() -> Iterator[None]:
    """`MAX_PIXELS` for Pillow too, which else warns from 89 million on.

    Its limit is a global: ours while anyone reads, then what it was.
    """
    global _readers, _limit_before
    with _readers_lock:
        if not _readers:
            _limit_before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        _readers += 1
    try:
        yield
    finally:
        with _readers_lock:
            _readers -= 1
            if not _readers:
                Image.MAX_IMAGE_PIXELS = _limit_before


@contextlib.contextmanager
def _open(source: ImageSource) -> Iterator[Image.Image]:
    """A lazily opened image; every decoder error inside becomes an ImageFileError."""
    if source.is_folder:
        raise ImageFileError(f"{source} is a folder; expected an image file")
    try:
        with (
            _pixel_limit(),
            source.open() as file,
            Image.open(file, formats=_READABLE) as image,
        ):
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except Image.DecompressionBombError as error:
        raise ImageFileError(
            f"{source} has more pixels than the {MAX_PIXELS // 10**6} million that are "
            "read; make it smaller or cut it up"
        ) from error
    except ImageFileError:
        raise
    except FileNotFoundError as error:
        raise ImageFileError(f"{source} does not exist") from error
    except Image.UnidentifiedImageError as error:
        kind = "an empty file" if not source.read() else "not an image"
        raise ImageFileError(
            f"{source} is {kind}, or of an unknown kind; expected PNG, JPEG, BMP, WebP "
            "or TIFF, so convert it to one of these"
        ) from error
    except _DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise ImageFileError(
                f"{source} cannot be read ({error.strerror}); check its permissions"
            ) from error
        raise ImageFileError(
            f"{source} is damaged or cut short ({error}); expected a whole image, so "
            "copy or download it again"
        ) from error


def _to_plain_mode(source: ImageSource, image: Image.Image) -> Image.Image:
    """Converts to L, LA, RGB, RGBA or I;16, from all but CMYK without loss."""
    if image.mode in ("I", "F"):
        raise ImageFileError(
            f"{source} has 32 bits per channel; expected 8 or 16, so convert it first"
        )
    if image.mode == "CMYK":
        return _cmyk_to_rgb(image)
    if image.mode.startswith("I;16"):
        return image
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
            f"{source} has the colour space {image.mode}; expected grayscale, RGB, "
            "CMYK or a palette, so convert it first"
        )
    return image.convert(plain[image.mode])


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """To sRGB by the file's own profile, or the plain formula without one."""
    if icc := image.info.get("icc_profile"):
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


# Writing


def write_photo(path: str | Path, photo: Photo, *, quality: int = 95) -> None:
    """Encodes by the suffix of `path`; the file appears whole or not at all.

    Args:
      path: in a folder that exists; an existing file is replaced.
      photo: what the format cannot hold is reduced as the module's head tells.
      quality: of JPEG and WebP, 1 to 100.
    Raises:
      ImageFileError: unknown suffix, unwritable place, or too large for the format.
      ValueError: quality is none of these.
    """
    path = Path(path)
    quality = round(number("quality", quality, 1, 100))
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
    deep = photo.pixels.dtype == np.uint16
    if suffix == ".png" and deep:
        write_deep_png(file, _interleaved(photo), photo.icc, photo.exif)
        return
    if suffix in (".tif", ".tiff"):
        samples, icc = _interleaved(photo), photo.icc
        if deep and samples.shape[2] == 2:  # which few programs can read
            samples, icc = samples[:, :, [0, 0, 0, 1]], _fitting_icc(icc, 3)
        write_tiff(file, samples, icc, photo.exif)
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
        options["icc_profile"] = _fitting_icc(photo.icc, 3)  # gray becomes RGB
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
