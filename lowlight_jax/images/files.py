"""Photographs from and to files, with everything a photographer expects to keep.

Read: PNG, JPEG, BMP, WebP, TIFF, AVIF (and GIF, when named), HEIC with the extra
`[heif]` and raw files of cameras with `[raw]`; 8 or 16 bits per channel (10 and 12
become 16), one channel (grayscale) or three (RGB), with or without alpha. Of animations
and multi-page files, the first picture is read, and of HDR pictures with a gain map the
one without it. Pixels come out upright: EXIF orientation is applied, and the tag is
reset. Palettes and CMYK become RGB, bilevel becomes grayscale.
Write: by suffix, to a temporary name beside the target that is then renamed, so that a
file is there whole or not at all. What each format keeps:

    format      16 bits  grayscale  alpha  ICC  EXIF  XMP  resolution  text
    png         yes      yes        yes    yes  yes   yes  yes         yes
    tif         yes      yes        yes    yes  yes   yes  yes         no
    webp        as 8     as RGB     yes    yes  yes   yes  in EXIF     no
    avif        as 8     as RGB     yes    yes  yes   yes  in EXIF     no
    heic        as 10    yes        yes    yes  yes   yes  in EXIF     no
    jpg         as 8     yes        no     yes  yes   yes  yes         no
    bmp         as 8     yes        no     no   no    no   yes         no

(With a new Pillow, gray AVIF without transparency is gray indeed.)
What a file or a format loses is told in sentences: `Photo.notes`, and what
`write_photo` returns. Metadata above `metadata.MAX_BYTES` is lost, and so is what is
damaged; neither costs the picture. Pixels are as stored in the file: colour profiles
are carried along, not converted (except CMYK, whose profile cannot describe RGB, and
raw files, which are developed to sRGB).
Not here: resizing, ranges of floats; the formats (`png`, `jpeg`, `tiff`, `deep`,
`isobmff` and `heif`, `raw`); what networks are shown (`profiles`).
"""

import contextlib
import dataclasses
import io
import math
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, features

from lowlight_jax.checks import number
from lowlight_jax.images.alpha import hidden_part, nearest_visible
from lowlight_jax.images.deep import (
    is_deep_colour,
    read_deep_colour,
    write_tiff,
)
from lowlight_jax.images.exif import (
    ExifAsStored,
    as_block,
    exif_with_dpi,
    is_tiff,
    orientation,
    reset_exif,
    upright,
)
from lowlight_jax.images.heif import open_heic, read_deep_avif, write_heic
from lowlight_jax.images.isobmff import Container, split_isobmff
from lowlight_jax.images.jpeg import START, Jpeg, split_jpeg
from lowlight_jax.images.jpeg import read_header as read_jpeg_header
from lowlight_jax.images.kinds import (
    HEAD_BYTES,
    HEIC_SUFFIXES,
    RAW_SUFFIXES,
    UNREAD,
    missing_extra,
    readable_suffixes,
    suffix_of,
)
from lowlight_jax.images.metadata import (
    MAX_BYTES,
    TOO_LARGE,
    Metadata,
    dpi_of,
    drop_gain_map,
    upright_xmp,
)
from lowlight_jax.images.png import SIGNATURE, split_png
from lowlight_jax.images.png_writer import write_png
from lowlight_jax.images.raw import open_raw
from lowlight_jax.images.search import LeftOut, search
from lowlight_jax.images.source import ImageSource
from lowlight_jax.images.tiff import HEADERS, Tiff, dng_ends_early, split_tiff

_BUILT_IN = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".avif")
IMAGE_SUFFIXES = (*_BUILT_IN, *HEIC_SUFFIXES)  # HEIC with the extra [heif]
_READ_SUFFIXES = (*_BUILT_IN, ".jfif", ".jpe")  # others of JPEG
MAX_PIXELS = 250_000_000  # a larger file is taken for a decompression bomb
_BAND_ROWS = 64  # of pixels taken from Pillow at a time

Source = str | Path | bytes | BinaryIO
_READABLE = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "AVIF")
# Of a side, by what is encoded or read again: libjpeg, libwebp, libavif, libheif.
_MAX_SIDE_PX = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".avif": 32768}
_MAX_SIDE_PX |= dict.fromkeys(HEIC_SUFFIXES, 32768)
# JPEG takes a bit for each 8x8 px; of GIF and moving WebP, far more than is found. (PNG
# and TIFF are checked where they are taken apart; flat WebP has no bound.)
_PX_PER_BYTE = {"JPEG": 512, "GIF": 5000, "WEBP": 10_000}
_JPEG_EXIF_MAX_BYTES = 65533  # one marker; Pillow refuses more
_JPEG_XMP_MAX_BYTES = 65504  # and its name
_JPEG_ICC_MAX_BYTES = 255 * 65519  # markers are counted by a byte


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
      is_lossy: it was read from JPEG, WebP, AVIF or HEIC, which smear what lies beside
        an edge.
      dpi: horizontal and vertical resolution.
      xmp: the XMP packet, its orientation 1.
      text: PNG's text chunks, `(kind, content)`.
      notes: a sentence for each thing in the file that could not be read or kept.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    is_lossy: bool = False
    _: dataclasses.KW_ONLY
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    text: tuple[tuple[bytes, bytes], ...] = ()
    notes: tuple[str, ...] = ()

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


def search_images(
    path: str | Path, more: tuple[str, ...] = ()
) -> tuple[list[Path], LeftOut]:
    """The images below a folder, sorted, and what is left out; a file is itself.

    Args:
      path: of a folder or file.
      more: suffixes of other files that are searched for.
    Raises:
      ImageFileError: there is no such file or folder.
    """
    path = Path(path)
    if not path.exists():
        raise ImageFileError(f"{path} does not exist; expected an image or a folder")
    if not path.is_dir():
        return [path], LeftOut()
    return search(path, readable_suffixes(_READ_SUFFIXES) + more)


def image_size(source: Source) -> tuple[int, int]:
    """`(h, w)` as `read_photo` would return it, from the header alone.

    Raises:
      ImageFileError: not an image; damage further down in the file goes unnoticed.
    """
    return read_header(source)[0]


def read_header(source: Source) -> tuple[tuple[int, int], tuple[str, ...]]:
    """`image_size`, and a sentence for each thing that reading leaves out.

    Raises:
      ImageFileError: as `image_size`.
    """
    with _open(ImageSource.of(source), pixels=False) as opened:
        w, h = opened.size
        turned, notes = opened.turned >= 5, tuple(opened.meta.notes)
    return ((w, h) if turned else (h, w)), notes


def read_rgb8(source: Source) -> np.ndarray:
    """Any readable image as `[h, w, 3]` uint8, upright, alpha dropped.

    Raises:
      ImageFileError: as `read_photo`.
    """
    pixels = to_uint8(read_photo(source).pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def read_visible_rgb8(source: Source) -> np.ndarray:
    """As `read_rgb8`, but what is transparent has the nearest colour that can be seen.

    Raises:
      ImageFileError: as `read_photo`, or nothing can be seen.
    """
    photo = read_photo(source)
    pixels = to_uint8(photo.pixels)
    hidden = hidden_part(photo.alpha)
    if hidden is not None:
        if hidden.all():
            raise ImageFileError(
                f"{ImageSource.of(source)} is transparent everywhere; expected a "
                "picture that can be seen"
            )
        pixels = pixels[nearest_visible(hidden)]
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def read_photo(source: Source, *, half_size: bool = False) -> Photo:
    """Decodes an image; see the module's head for what is kept.

    Args:
      source: a path, the bytes of a file, or a file that is open for reading.
      half_size: a camera's raw file comes out at half its width and height, several
        times faster; other files are not changed.

    Raises:
      ImageFileError: missing, not an image, damaged, of an unsupported kind, or above
        `MAX_PIXELS`. A truncated file is an error, never a half-gray picture.
    """
    source = ImageSource.of(source)
    with _open(source, half_size=half_size) as opened:
        meta = opened.meta
        samples = (opened.decode or partial(_pillow_samples, source, opened))()
    if samples.ndim == 2:
        samples = samples[:, :, None]
    samples = upright(samples, opened.turned)
    channels = samples.shape[2]
    alpha = None
    if channels in (2, 4):
        alpha = np.ascontiguousarray(samples[:, :, -1])
        samples = samples[:, :, :-1]
    pixels = np.ascontiguousarray(samples)
    icc = _fitting_icc(meta.icc, pixels.shape[2])
    if meta.icc and not icc and not opened.is_cmyk:
        meta.drop("colour profile", "for other pixels than it has")
    dpi = meta.dpi[::-1] if meta.dpi and opened.turned >= 5 else meta.dpi
    return Photo(
        pixels,
        alpha,
        icc,
        reset_exif(meta.exif),
        opened.is_lossy,
        dpi=dpi,
        xmp=meta.xmp,
        text=meta.text,
        notes=tuple(meta.notes),
    )


def _pillow_samples(source: ImageSource, opened: "_Opened") -> np.ndarray:
    """Of what Pillow reads, and of 16 bits in colour, which it does not."""
    image = opened.image
    if opened.content is not None and is_deep_colour(opened.content, image):
        return read_deep_colour(opened.content, image)
    if opened.avif is not None and opened.avif.bits > 8:
        samples = read_deep_avif(opened.avif.plain, opened.avif.bits)
        if samples is not None:
            return samples
        opened.meta.notes.append(f"its {opened.avif.bits} bits are read as 8")
    image.load()
    if opened.jpeg is not None:
        _check_whole(opened.jpeg, image)
    return _plain_samples(source, opened)


def _check_whole(jpeg: Jpeg, image: Image.Image) -> None:
    """Raises an OSError for half a picture; a missing end marker alone is noted."""
    if jpeg.incomplete:
        raise OSError(jpeg.incomplete)
    if jpeg.may_lack_pixels(_rows(image, image.height - 1, image.height)):
        with Image.open(io.BytesIO(jpeg.probe), formats=["JPEG"]) as probe:
            if not np.array_equal(np.asarray(probe), np.asarray(image)):
                raise OSError("it ends before its last pixels")
    if not jpeg.has_end:
        jpeg.meta.notes.append("it lacks its end marker; all of its pixels are there")


def _plain_samples(source: ImageSource, opened: "_Opened") -> np.ndarray:
    """`[h, w]` or `[h, w, c]`, uint8 or uint16, of a loaded image."""
    key = opened.image.info.get("transparency")
    bits = 16
    if opened.tiff is not None:
        bits = opened.image.tag_v2.get(258, (1,))[0]  # BitsPerSample
        if opened.image.mode == "CMYK" and bits == 16:
            opened.meta.notes.append("its CMYK of 16 bits is read as 8")
    image = _to_plain_mode(source, opened.image, opened.meta.icc)
    samples = _as_array(image)
    if image.mode.startswith("I;16"):
        samples = samples.astype(np.uint16)
        if bits < 16:
            full = 2**bits - 1
            samples = ((samples * 65535.0 + full // 2) // full).astype(np.uint16)
        if opened.tiff is not None and opened.tiff.folded:
            samples = opened.tiff.unfold(samples)
        if key is not None:
            opaque = np.where(samples == key, 0, 65535).astype(np.uint16)
            samples = np.dstack([samples, opaque])
    if opened.tiff is not None and opened.tiff.invert:
        gray = samples if samples.ndim == 2 else samples[..., :1]
        inverted = np.iinfo(samples.dtype).max - gray
        samples = np.dstack(
            [inverted, samples[..., 1:]] if samples.ndim > 2 else [inverted]
        )
    return samples


def _as_array(image: Image.Image) -> np.ndarray:
    """`np.asarray` by rows: 20 instead of 70 ms, and 72 instead of 144 MB, of 24 MP."""
    h, row = image.height, _rows(image, 0, 1)
    samples = np.empty((h, *row.shape[1:]), row.dtype)
    for top in range(0, h, _BAND_ROWS):
        samples[top : top + _BAND_ROWS] = _rows(image, top, min(top + _BAND_ROWS, h))
    return samples


def _rows(image: Image.Image, top: int, bottom: int) -> np.ndarray:
    return np.asarray(image.crop((0, top, image.width, bottom)))


@dataclasses.dataclass
class _Opened:
    """A lazily opened image.

    Attributes:
      size: width and height as stored.
      turned: its orientation, 1 to 8, which its pixels do not have.
      meta: its metadata.
      is_lossy: see `Photo`.
      is_cmyk: whether its profile is of CMYK, which becomes RGB.
      decode: gives `[h, w]` or `[h, w, c]`, uint8 or uint16, c = 1 to 4; None: `image`
        does.
      image: of a file without metadata, where Pillow would act on it.
      content: the file that `image` is of, if it is PNG or TIFF; maybe its header only.
      jpeg, tiff, avif: its parts.
    """

    size: tuple[int, int]
    turned: int
    meta: Metadata
    is_lossy: bool = False
    is_cmyk: bool = False
    decode: Callable[[], np.ndarray] | None = None
    image: Image.Image | None = None
    content: bytes | None = None
    jpeg: Jpeg | None = None
    tiff: Tiff | None = None
    avif: Container | None = None


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
def _open(
    source: ImageSource, *, pixels: bool = True, half_size: bool = False
) -> Iterator[_Opened]:
    """A lazily opened image; every decoder error inside becomes an ImageFileError."""
    if source.is_folder:
        raise ImageFileError(f"{source} is a folder; expected an image file")
    if source.is_special:
        raise ImageFileError(f"{source} is no ordinary file; expected an image file")
    parts: dict = {}
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_pixel_limit())
            opened = _split(source, pixels, half_size, stack, parts)
            if math.prod(opened.size) > MAX_PIXELS:
                raise Image.DecompressionBombError
            _read_notes(opened)
            yield opened
    except (ImageFileError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageFileError(
            f"{source} has more pixels than the {MAX_PIXELS // 10**6} million that are "
            "read; make it smaller or cut it up"
        ) from error
    except FileNotFoundError as error:
        raise ImageFileError(f"{source} does not exist") from error
    except Image.UnidentifiedImageError as error:
        raise _unidentified(source, parts) from error
    except Exception as error:  # decoders raise anything, assertions too
        if isinstance(error, OSError) and error.errno:
            raise ImageFileError(
                f"{source} cannot be read ({error.strerror}); check its permissions"
            ) from error
        raise _damaged(source, str(error)) from error


def _read_notes(opened: _Opened) -> None:
    """What the metadata of one upright base picture says, and what else there was."""
    meta = opened.meta
    drop_gain_map(meta)
    if opened.turned != 1:
        meta.xmp = upright_xmp(meta.xmp)
    if meta.pictures > 1:
        meta.notes.append(f"only the first of its {meta.pictures} pictures is read")


def _split(
    source: ImageSource,
    pixels: bool,
    half_size: bool,
    stack: contextlib.ExitStack,
    parts: dict,
) -> _Opened:
    """Takes the file apart, so that decoders see nothing but its pixels."""
    file = stack.enter_context(source.open())
    head = file.read(HEAD_BYTES)
    file.seek(0)
    turned, content, meta = 1, None, None
    kind = suffix_of(head)
    if head.startswith(SIGNATURE):
        content, meta = split_png(file, pixels)
        file = io.BytesIO(content)
    elif head.startswith(START + b"\xff"):
        jpeg = split_jpeg(file.read() if pixels else read_jpeg_header(file))
        parts["jpeg"], meta = jpeg, jpeg.meta
        if not jpeg.scans:
            raise OSError("it ends before its pixels")
        file = io.BytesIO(jpeg.plain)
    elif head.startswith(HEADERS):
        parts["tiff"] = tiff = split_tiff(source)
        meta, turned = tiff.meta, tiff.turned
        if source.suffix in RAW_SUFFIXES or kind:
            tiff.is_raw = True
        if tiff.is_raw or tiff.maybe_raw:
            return _open_raw(source, stack, half_size, tiff)
        if tiff.refused:
            raise ImageFileError(f"{source} {tiff.refused}")
        content = tiff.content
        if content is None and pixels:
            content = file.read()
        if content is not None:
            file = io.BytesIO(content)
    elif kind == ".avif":
        parts["avif"] = avif = split_isobmff(file.read())
        meta, file = avif.meta, io.BytesIO(avif.plain)
    elif kind in HEIC_SUFFIXES:
        return _open_heic(source)
    elif kind in RAW_SUFFIXES or source.suffix in RAW_SUFFIXES:
        return _open_raw(source, stack, half_size)
    file.seek(0)
    image = stack.enter_context(Image.open(file, formats=_READABLE))
    if pixels:
        _check_size(image, file)
    if meta is None:
        meta = _pillow_metadata(image)
    size = image.size
    if "tiff" in parts:
        size = tiff.size
    elif "avif" in parts:  # whose boxes tell it, of which Pillow makes EXIF
        turned, _ = orientation(image.info.get("exif"))
        meta.pictures = image.n_frames
    else:
        turned, wrong = orientation(meta.exif)
        meta.notes += [wrong] * bool(wrong)
    return _Opened(
        size,
        turned,
        meta,
        is_lossy=image.format in ("JPEG", "WEBP", "AVIF"),
        is_cmyk=image.mode == "CMYK",
        image=image,
        content=content,
        **parts,
    )


def _open_heic(source: ImageSource) -> _Opened:
    """It comes upright by its boxes, of whose orientation EXIF's is only a copy."""
    if missing_extra(".heic"):
        raise _unread(source, ".heic")
    container = split_isobmff(source.read())
    size, container.meta.pictures, decode = open_heic(container.plain)
    return _Opened(size, 1, container.meta, is_lossy=True, decode=decode)


def _open_raw(
    source: ImageSource,
    stack: contextlib.ExitStack,
    half_size: bool,
    tiff: Tiff | None = None,
) -> _Opened:
    """Of a raw file, or of a TIFF that may be one: it has a small preview first."""
    if missing_extra(".dng") and (tiff is None or tiff.is_raw):
        raise _unread(source, ".dng")
    if tiff is not None and dng_ends_early(source):
        raise OSError("it ends before its last pixels")
    opened = None if missing_extra(".dng") else open_raw(source, stack, half_size)
    if opened is None:
        refused = "is a camera's raw file of an unknown kind; develop it to a TIFF"
        raise ImageFileError(f"{source} {(tiff and tiff.refused) or refused}")
    size, decode, preview_exif = opened
    meta = Metadata() if tiff is None else tiff.meta
    meta.exif = meta.exif or preview_exif()
    if meta.exif is None:
        meta.drop("EXIF", "of a kind that is not read")
    if b"/camera-raw-settings/" in (meta.xmp or b""):
        meta.xmp = None
        meta.drop("XMP", "on how to develop it")
    meta.xmp = upright_xmp(meta.xmp)
    meta.icc, meta.dpi, meta.pictures = None, None, 1  # those of previews
    return _Opened(size, 1, meta, decode=decode)


def _check_size(image: Image.Image, file: BinaryIO) -> None:
    """Before memory is taken: an OSError for pixels that the file cannot hold."""
    most = _PX_PER_BYTE.get(image.format)
    if most is None or (image.format == "WEBP" and not image.is_animated):
        return
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    if image.width * image.height > most * (size + 64):
        raise OSError(f"{size} bytes cannot hold {image.width}x{image.height} px")


def _pillow_metadata(image: Image.Image) -> Metadata:
    """Of BMP, WebP and GIF, which Pillow reads without complaint."""
    meta = Metadata(pictures=getattr(image, "n_frames", 1))
    fields = {"exif": "EXIF", "icc_profile": "colour profile", "xmp": "XMP"}
    for key, name in fields.items():
        value = image.info.get(key)
        if isinstance(value, bytes) and len(value) > MAX_BYTES:
            meta.drop(name, TOO_LARGE)
        elif isinstance(value, bytes) and value:
            setattr(meta, key.removesuffix("_profile"), value)
    meta.exif = as_block(meta.exif)
    if image.format == "BMP" and "dpi" in image.info:
        meta.dpi = dpi_of(*image.info["dpi"])
    return meta


def _damaged(source: ImageSource, how: str) -> ImageFileError:
    how = " ".join(how.split())  # in one line
    return ImageFileError(
        f"{source} is damaged or cut short ({how}); expected a whole image, so copy or "
        "download it again"
    )


def _unread(source: ImageSource, suffix: str) -> ImageFileError:
    name, advice = UNREAD[suffix]
    return ImageFileError(f"{source} is {name}, which is not read; {advice}")


def _unidentified(source: ImageSource, parts: dict) -> ImageFileError:
    with source.open() as file:
        head = file.read(HEAD_BYTES)
    if "tiff" in parts:
        return ImageFileError(
            f"{source} is a TIFF of {parts['tiff'].kind}; expected 8 or 16 bits of "
            "gray, RGB, CMYK or a palette, so convert it first"
        )
    if "avif" in parts and features.check("avif"):
        return _damaged(source, "its pixels make no sense")
    kind = suffix_of(head)
    if kind in UNREAD:
        return _unread(source, kind)
    what = "not an image" if head else "an empty file"
    return ImageFileError(
        f"{source} is {what}, or of an unknown kind; expected PNG, JPEG, BMP, WebP, "
        "AVIF or TIFF, so convert it to one of these"
    )


def _to_plain_mode(
    source: ImageSource, image: Image.Image, icc: bytes | None
) -> Image.Image:
    """Converts to L, LA, RGB, RGBA or I;16, from all but CMYK without loss."""
    if image.mode in ("I", "F"):
        raise ImageFileError(
            f"{source} has 32 bits per channel; expected 8 or 16, so convert it first"
        )
    if image.mode == "CMYK":
        return _cmyk_to_rgb(image, icc)
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
    mode = plain[image.mode]
    return image if mode == image.mode else image.convert(mode)  # of its own, a copy


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


# Writing


def check_fits_format(path: str | Path, h: int, w: int) -> None:
    """Whether a file of this suffix can hold so many pixels.

    Raises:
      ImageFileError: a side is too long for the format.
    """
    most = _MAX_SIDE_PX.get(Path(path).suffix.lower(), max(h, w))
    if max(h, w) > most:
        raise ImageFileError(
            f"{path} cannot hold {w}x{h} px: {Path(path).suffix} ends at {most} px a "
            "side; choose another format, png or tif"
        )


def write_photo(
    path: str | Path, photo: Photo, *, quality: int = 95, compress: bool = False
) -> list[str]:
    """Encodes by the suffix of `path`; the file appears whole or not at all.

    Args:
      path: in a folder that exists; an existing file is replaced.
      photo: what the format cannot hold is reduced as the module's head tells.
      quality: of JPEG, WebP, AVIF and HEIC, 1 to 100.
      compress: PNG and TIFF become smaller, and take many times longer to write; the
        other formats are not changed.
    Returns:
      A sentence for what the format cannot hold.
    Raises:
      ImageFileError: unknown suffix, unwritable place, too large for the format, or
        what writes it is not installed.
      ValueError: quality is none of these.
    """
    path = Path(path)
    quality = round(number("quality", quality, 1, 100))
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ImageFileError(
            f"{path} has no suffix of an image; expected one of "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
    if install := missing_extra(path.suffix.lower()):
        raise ImageFileError(f"{path}: to write {path.suffix}, {install}")
    check_fits_format(path, *photo.pixels.shape[:2])
    unfinished = path.with_name(f".unfinished-{uuid.uuid4().hex[:12]}")
    try:
        try:
            with unfinished.open("xb") as file:
                lost = _encode(file, path.suffix.lower(), photo, quality, compress)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageFileError(
            f"{path} could not be written ({reason}); check the folder and the disk, "
            "or choose another format"
        ) from error
    if not lost:
        return []
    return [f"{path.suffix[1:].upper()} does not keep its {', '.join(lost)}"]


# What the formats hold of `Photo`, besides pixels; see the module's head.
_HOLDS = {
    ".png": {"alpha", "icc", "exif", "dpi", "xmp", "text"},
    ".tif": {"alpha", "icc", "exif", "dpi", "xmp"},
    ".webp": {"alpha", "icc", "exif", "xmp"},
    ".jpg": {"icc", "exif", "dpi", "xmp"},
    ".bmp": {"dpi"},
}
_HOLDS |= {".tiff": _HOLDS[".tif"], ".jpeg": _HOLDS[".jpg"]}
_HOLDS |= dict.fromkeys((".avif", *HEIC_SUFFIXES), _HOLDS[".webp"])
_NAMES = {"alpha": "transparency", "icc": "colour profile", "exif": "EXIF"}
_NAMES |= {"dpi": "resolution", "xmp": "XMP", "text": "text"}


def _encode(
    file: BinaryIO, suffix: str, photo: Photo, quality: int, compress: bool
) -> list[str]:
    """Returns the names of what is lost."""
    photo, lost = _reduced(photo, suffix)
    deep = photo.pixels.dtype == np.uint16
    if suffix == ".png":
        write_png(file, _interleaved(photo), photo, compress=compress)
        return lost
    if suffix in (".tif", ".tiff"):
        samples, icc = _interleaved(photo), photo.icc
        if deep and samples.shape[2] == 2:  # which few programs can read
            samples, icc = samples[:, :, [0, 0, 0, 1]], _fitting_icc(icc, 3)
        tags = write_tiff(file, samples, icc, photo, compress=compress)
        return lost + [f"EXIF's {name}" for name in tags]
    if suffix in HEIC_SUFFIXES:
        samples = _interleaved(photo)
        if samples.shape[2] == 2:  # which it has not
            samples = samples[:, :, [0, 0, 0, 1]]
        write_heic(file, samples, photo, quality)
        return lost
    pixels = to_uint8(photo.pixels)
    if photo.alpha is not None:
        pixels = np.dstack([pixels, to_uint8(photo.alpha)])
    options = {"icc_profile": photo.icc, "exif": photo.exif or b""}
    if suffix in (".jpg", ".jpeg"):
        options |= {"format": "JPEG", "quality": quality, "xmp": photo.xmp or b""}
        options |= {"dpi": photo.dpi} if photo.dpi else {}
    elif suffix == ".webp":
        options |= {"format": "WEBP", "quality": quality, "xmp": photo.xmp or b""}
    elif suffix == ".avif":
        options |= {"format": "AVIF", "quality": quality, "xmp": photo.xmp or b""}
        options["exif"] = ExifAsStored(photo.exif or b"")
    else:
        options = {"format": "BMP"} | ({"dpi": photo.dpi} if photo.dpi else {})
    # Pillow takes grayscale as [h, w]
    squeezed = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(squeezed).save(file, **options)
    return lost


def _reduced(photo: Photo, suffix: str) -> tuple[Photo, list[str]]:
    """The photo without what a format cannot hold, and the names of that."""
    holds = set(_HOLDS[suffix])
    if suffix in (".jpg", ".jpeg"):
        holds -= {"exif"} if len(photo.exif or b"") > _JPEG_EXIF_MAX_BYTES else set()
        holds -= {"xmp"} if len(photo.xmp or b"") > _JPEG_XMP_MAX_BYTES else set()
        holds -= {"icc"} if len(photo.icc or b"") > _JPEG_ICC_MAX_BYTES else set()
        if photo.dpi and not 1 <= min(photo.dpi) <= max(photo.dpi) <= 65535:
            holds.discard("dpi")
    elif suffix in (".webp", ".avif", *HEIC_SUFFIXES):
        is_rgb = suffix not in HEIC_SUFFIXES or photo.alpha is not None
        if is_rgb and not _fitting_icc(photo.icc, 3):
            holds.discard("icc")
        if not photo.exif and photo.dpi:  # there is no other place for it
            photo = dataclasses.replace(photo, exif=exif_with_dpi(photo.dpi))
        if photo.exif:
            photo = dataclasses.replace(photo, dpi=None)
        # Of other blocks, Pillow's encoder fails or pillow-heif's turns the picture.
        if suffix != ".webp" and not is_tiff(photo.exif):
            holds.discard("exif")
    lost, kept = [], {}
    for field, name in _NAMES.items():
        value = getattr(photo, field)
        if field in holds or value is None or not len(value):
            continue
        kept[field] = () if field == "text" else None
        if field != "alpha" or (value != np.iinfo(value.dtype).max).any():
            lost.append(name)
    return dataclasses.replace(photo, **kept), lost


def to_uint8(samples: np.ndarray) -> np.ndarray:
    """16 bits to 8, rounded to nearest: 65535 / 255 = 257."""
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _interleaved(photo: Photo) -> np.ndarray:
    if photo.alpha is None:
        return photo.pixels
    return np.dstack([photo.pixels, photo.alpha])
