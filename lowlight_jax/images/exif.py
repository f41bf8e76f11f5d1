"""EXIF as bytes: found in any format, its orientation applied and reset.

A block is "Exif\\0\\0" and a TIFF header, as Pillow and JPEG have it. It is patched in
place, because rewriting it would lose maker notes, which hold absolute offsets.
"""

import os
import struct

import numpy as np
from PIL import ExifTags, Image

from lowlight_jax.images.source import ImageSource

EXIF_HEADER = b"Exif\0\0"
_NEXT_DIRECTORY = -1  # not a tag


def read_exif(source: ImageSource, image: Image.Image) -> bytes | None:
    """The file's EXIF block as `Photo.exif` has it, orientation still as stored.

    (Not for TIFF, which Pillow and OpenCV turn upright themselves.)
    """
    if image.format == "TIFF":
        return _descriptive_exif(image.getexif())
    exif = image.info.get("exif")
    if exif is None and image.format == "PNG":
        exif = _find_png_chunk(source, b"eXIf")  # it may follow the pixels
    if not exif:
        return None
    return exif if exif.startswith(EXIF_HEADER) else EXIF_HEADER + exif


def _find_png_chunk(source: ImageSource, wanted: bytes) -> bytes | None:
    with source.open() as file:
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


def orientation(exif: bytes | None) -> int:
    """1 (upright) to 8, as EXIF counts; 1 where the block says nothing usable."""
    for kind, offset, order in _first_directory(exif):
        if kind == ExifTags.Base.Orientation:
            (value,) = struct.unpack_from(order + "H", exif, offset)
            return value if 1 <= value <= 8 else 1
    return 1


def reset_exif(exif: bytes | None) -> bytes | None:
    """The block with orientation 1 and without the link to its thumbnail.

    The thumbnail would go on showing the picture as it was, dark and unturned. Every
    other byte stays.
    """
    if exif is None:
        return None
    patched = bytearray(exif)
    for kind, offset, order in _first_directory(exif):
        if kind == ExifTags.Base.Orientation:
            struct.pack_into(order + "H", patched, offset, 1)
        elif kind == _NEXT_DIRECTORY:
            struct.pack_into(order + "L", patched, offset, 0)
    return bytes(patched)


def _first_directory(exif: bytes | None) -> list[tuple[int, int, str]]:
    """`(tag, offset of its value, byte order)` of each entry; empty if damaged.

    The last is `_NEXT_DIRECTORY`, the offset at which the thumbnail is linked.
    """
    if exif is None or exif[6:10] not in (b"II*\0", b"MM\0*"):
        return []
    order = "<" if exif[6:8] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "L", exif, 10)
        start += 6  # offsets count from behind "Exif\0\0"
        (count,) = struct.unpack_from(order + "H", exif, start)
        places = [start + 2 + 12 * i for i in range(count)]
        tags = [struct.unpack_from(order + "H", exif, place)[0] for place in places]
        struct.unpack_from(order + "L", exif, start + 2 + 12 * count)
    except struct.error:
        return []
    entries = [(tag, p + 8, order) for tag, p in zip(tags, places, strict=True)]
    return [*entries, (_NEXT_DIRECTORY, start + 2 + 12 * count, order)]


def upright(samples: np.ndarray, turned: int) -> np.ndarray:
    """Undoes an EXIF orientation: rows and columns exchanged from 5 on, then flips."""
    if turned >= 5:
        samples = samples.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        samples = samples[::-1]
    if turned in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples


def tiff_tags(exif: bytes) -> dict:
    """The block as entries of a TIFF file's own directory; empty if damaged."""
    source = Image.Exif()
    try:
        source.load(exif)
        kept = _descriptive_exif(source)
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error):
        return {}  # a damaged block is worth less than the picture
    if kept is None:
        return {}
    source.load(kept)
    return {
        tag: dict(source.get_ifd(tag)) if tag in _DESCRIPTIVE_IFDS else source[tag]
        for tag in source
    }
