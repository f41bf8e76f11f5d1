"""EXIF as bytes: its orientation applied and reset, its way into TIFF and out of it.

A block is "Exif\\0\\0" and a TIFF header, as Pillow and JPEG have it. It is patched in
place, because rewriting it would lose maker notes, which hold absolute offsets.
"""

import io
import struct

import numpy as np
from PIL import ExifTags, Image

from lowlight_jax.images.ifd import (
    ORIENTATION,
    RATIONAL,
    SHORT,
    Entries,
    Entry,
    TiffReader,
    encode_directory,
    integers_value,
)

EXIF_HEADER = b"Exif\0\0"
# Tags that lead to directories of their own.
_DIRECTORIES = {
    ExifTags.IFD.Exif.value,
    ExifTags.IFD.GPSInfo.value,
    ExifTags.IFD.Interop.value,
}
# Tags of how one file stores its pixels, or that are kept in another place.
NOT_EXIF = {
    *range(254, 267),
    *(273, ORIENTATION, *range(277, 282), 284, *range(288, 294), 297, 317),
    *(*range(320, 326), 330, *range(332, 348), *range(512, 533), 700),
    *(33421, 33422, 34675, *range(50706, 51200)),
    *range(52525, 52600),  # from 50706 on, DNG's: how to develop it
}
_LARGEST_VALUE = 65_536  # bytes; scientific TIFF files hold whole tables
_LARGEST_BLOCK = 2**20  # bytes; many entries may claim the same ones


def as_block(exif: bytes | None) -> bytes | None:
    """With its header, which PNG and some WebP leave out; None if there is nothing."""
    while exif and exif.startswith(EXIF_HEADER):
        exif = exif.removeprefix(EXIF_HEADER)
    return EXIF_HEADER + exif if exif else None


def _first_directory(
    exif: bytes | None,
) -> tuple[TiffReader, list[Entry]] | None:
    if not exif:
        return None
    try:
        reader = TiffReader(io.BytesIO(exif), len(EXIF_HEADER))
    except ValueError:
        return None
    return reader, reader.directory(reader.first)[0]


class ExifAsStored(Image.Exif):
    """A block that Pillow does not take apart, at which it fails where it is damaged.

    Args:
      block: its orientation 1.
    """

    def __init__(self, block: bytes):
        super().__init__()
        self._block = block

    def __bool__(self) -> bool:
        return bool(self._block)

    def __contains__(self, tag: object) -> bool:
        return False

    def tobytes(self, offset: int = 8) -> bytes:
        return self._block


def is_tiff(exif: bytes | None) -> bool:
    """Whether there is a block that can be read at all."""
    return _first_directory(exif) is not None


def orientation(exif: bytes | None) -> tuple[int, str]:
    """1 (upright) to 8, as EXIF counts, and what is wrong with it, or ""."""
    if (found := _first_directory(exif)) is None:
        return 1, ""
    reader, entries = found
    return orientation_of(reader, entries)


def orientation_of(reader: TiffReader, entries: list[Entry]) -> tuple[int, str]:
    """As `orientation`, of a directory; any type of integer is taken."""
    for entry in entries:
        if entry.tag == ORIENTATION:
            values = reader.integers(entry)
            if values and 1 <= values[0] <= 8:
                return values[0], ""
            if values[:1] == (0,):  # of cameras that do not know
                return 1, ""
            found = values[0] if values else "no number"
            return 1, (
                f"its EXIF orientation is {found}; expected 1 to 8, taken as upright"
            )
    return 1, ""


def reset_exif(exif: bytes | None) -> bytes | None:
    """The block with orientation 1 and without the link to its thumbnail.

    The thumbnail would go on showing the picture as it was, dark and unturned. Every
    other byte stays.
    """
    if (found := _first_directory(exif)) is None:
        return exif
    reader, entries = found
    patched = bytearray(exif)
    for entry in entries:
        if entry.tag == ORIENTATION:
            row = struct.pack(reader.order + "HHLHH", ORIENTATION, SHORT, 1, 1, 0)
            place = len(EXIF_HEADER) + entry.place
            patched[place : place + len(row)] = row
    link = len(EXIF_HEADER) + reader.link_place(reader.first, len(entries))
    if entries and link + 4 <= len(patched):
        patched[link : link + 4] = bytes(4)
    return bytes(patched)


def upright(samples: np.ndarray, turned: int) -> np.ndarray:
    """Undoes an EXIF orientation: rows and columns exchanged from 5 on, then flips."""
    if turned >= 5:
        samples = samples.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        samples = samples[::-1]
    if turned in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples


def tiff_entries(exif: bytes | None) -> tuple[str, Entries, list[str]]:
    """A block's byte order, its entries for a TIFF file, and the names of lost ones."""
    if (found := _first_directory(exif)) is None:
        return "<", {}, []
    reader, entries = found
    lost: list[str] = []
    return reader.order, kept_entries(reader, entries, lost), lost


def exif_of(reader: TiffReader, entries: list[Entry], lost: list[str]) -> bytes | None:
    """A block of what a TIFF file's own directory holds; `lost` is added to."""
    kept = kept_entries(reader, entries, lost)
    if not kept:
        return None
    magic = {"<": b"II*\0", ">": b"MM\0*"}[reader.order]
    head = magic + struct.pack(reader.order + "L", 8)
    return EXIF_HEADER + head + encode_directory(reader.order, kept, 8)


def exif_with_dpi(dpi: tuple[float, float]) -> bytes:
    """A block that holds nothing but a resolution in dots per inch."""
    values = [
        (tag, (RATIONAL, 1, struct.pack("<LL", round(1000 * value), 1000)))
        for tag, value in zip((282, 283), dpi, strict=True)
    ]
    entries = dict(values) | {296: integers_value("<", 2)}
    head = b"II*\0" + struct.pack("<L", 8)
    return EXIF_HEADER + head + encode_directory("<", entries, 8)


def kept_entries(reader: TiffReader, entries: list[Entry], lost: list[str]) -> Entries:
    """What describes the photograph, not how a file stores its pixels.

    `lost` gets the names of what is damaged or too large.
    """
    left = _LARGEST_BLOCK

    def keep(entries: list[Entry], depth: int) -> Entries:
        nonlocal left
        kept = {}
        for entry in entries:
            if entry.tag in kept or (not depth and entry.tag in NOT_EXIF):
                continue
            if entry.tag in _DIRECTORIES:
                start = reader.integers(entry)
                # A directory may claim to lie within itself.
                below = reader.directory(start[0])[0] if start and depth < 2 else []
                if inside := keep(below, depth + 1):
                    kept[entry.tag] = inside
                continue
            raw = reader.raw(entry, min(_LARGEST_VALUE, left))
            if raw is None or entry.kind > 13:  # BigTIFF's own types
                lost.append(ExifTags.TAGS.get(entry.tag, str(entry.tag)))
            else:
                left -= len(raw)
                kept[entry.tag] = entry.kind, entry.count, raw
        return kept

    return keep(entries, 0)
