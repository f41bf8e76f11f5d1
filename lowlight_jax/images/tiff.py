"""TIFF: what Pillow and OpenCV are given, metadata, and what neither of them reads.

Both turn some orientations and not others, Pillow takes any tag for what it usually is,
and neither inverts white-is-zero at 16 bits: so they see a file without such tags.
Source: TIFF 6.0; Adobe, DNG 1.7 (raw files, which are TIFF with a preview first).
"""

import dataclasses
import struct

from lowlight_jax.images.exif import NOT_EXIF, exif_of, orientation_of
from lowlight_jax.images.ifd import ORIENTATION, SHORT, Entry, TiffReader
from lowlight_jax.images.metadata import MAX_BYTES, TOO_LARGE, Metadata, dpi_of
from lowlight_jax.images.source import ImageSource

HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_SAMPLES, _X, _Y, _PLANES, _UNIT, _FORMAT = 277, 282, 283, 284, 296, 339
_EXTRA, _XMP, _ICC, _DNG = 338, 700, 34675, 50706
_RATIONAL = (5, 10)
_COLOURS = {0: "gray, white 0", 1: "gray", 2: "RGB", 3: "palette", 4: "mask"}
_COLOURS |= {5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}
_COLOURS |= {32803: "a camera's mosaic", 34892: "linear raw", 32845: "LogLuv"}
_FORMATS = {2: "signed integers", 3: "floating point"}


@dataclasses.dataclass
class Tiff:
    """A file's first picture.

    Attributes:
      content: the file as decoders may have it; None: as it is.
      turned: its orientation, 1 to 8, which `content` has not.
      invert: whether `content` says that 0 is black where it is white.
      kind: what its pixels are, in words.
      refused: what keeps them from being read, in words, or "".
      planes: whether its channels lie apart.
      meta: the rest.
    """

    content: bytes | None
    turned: int
    invert: bool
    kind: str
    refused: str
    planes: bool
    meta: Metadata


def split_tiff(source: ImageSource) -> Tiff:
    """What the directories say.

    Raises:
      ValueError: there is no TIFF header.
    """
    meta = Metadata()
    with source.open() as file:
        reader = TiffReader(file)
        directories = list(reader.chain())
        entries = directories[0] if directories else []
        first = {entry.tag: entry for entry in reversed(entries)}

        def numbers(tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
            values = reader.integers(first[tag]) if tag in first else ()
            return values or default

        rows = _harmless_rows(reader, entries, meta)
        turned, wrong = orientation_of(reader, entries)
        meta.notes += [wrong] * bool(wrong)
        bits, colour = numbers(_BITS, (1,)), numbers(_PHOTOMETRIC, (0,))[0]
        kind = _kind(bits, colour, numbers(_SAMPLES, (1,))[0], numbers(_FORMAT, (1,)))
        invert = colour == 0 and bits == (16,)
        if invert:
            rows[first[_PHOTOMETRIC]] = (_PHOTOMETRIC, 1)
        meta.pictures = sum(
            not _is_preview(reader, directory) for directory in directories
        )
        refused = ""
        if _DNG in first or colour in (32803, 34892):
            refused = "is a camera's raw file, which is not read; develop it to a TIFF"
        elif entries and _is_preview(reader, entries):
            refused = (
                "begins with a small preview of its picture; save it as plain TIFF"
            )
        elif max(bits) > 16:
            refused = (
                f"has {max(bits)} bits per channel ({kind}); expected 8 or 16, so "
                "convert it first"
            )
        elif set(numbers(_FORMAT, (1,))) & set(_FORMATS):
            refused = f"holds {kind}; expected unsigned integers, so convert it first"
        lost: list[str] = []
        meta.exif = exif_of(reader, entries, lost)
        for name in lost:
            meta.drop(f"tag {name}", "damaged or larger than 64 kB")
        meta.icc = _stored(reader, first.get(_ICC), "colour profile", meta)
        meta.xmp = _stored(reader, first.get(_XMP), "XMP", meta)
        meta.dpi = _dpi(reader, first, numbers(_UNIT, (2,))[0])
        planes = numbers(_PLANES, (1,))[0] == 2
        order, is_big = reader.order, reader.is_big
    content = None
    if rows:
        patched = bytearray(source.read())
        for entry, (tag, value) in rows.items():
            code = "HHQHHL" if is_big else "HHLHH"
            spare = (0, 0) if is_big else (0,)
            row = struct.pack(order + code, tag, SHORT, 1, value, *spare)
            patched[entry.place : entry.place + len(row)] = row
        content = bytes(patched)
    return Tiff(content, turned, invert, kind, refused, planes, meta)


def _harmless_rows(
    reader: TiffReader, entries: list[Entry], meta: Metadata
) -> dict[Entry, tuple[int, int]]:
    """Entries to be replaced by a number: metadata that decoders fail at or act on."""
    rows = {}
    for entry in entries:
        if entry.tag == ORIENTATION:
            if reader.integers(entry) != (1,) or entry.kind != SHORT:
                rows[entry] = (ORIENTATION, 1)
        elif entry.tag in (_X, _Y, _UNIT):
            usual = _RATIONAL if entry.tag != _UNIT else (SHORT,)
            if entry.kind not in usual or entry.count != 1 or entry.start is None:
                rows[entry] = (entry.tag, 1)
        elif entry.tag in (_ICC, _XMP) or entry.tag not in NOT_EXIF:
            if entry.start is None:
                rows[entry] = (entry.tag, 0)
    return rows


def _is_preview(reader: TiffReader, entries: list[Entry]) -> bool:
    for entry in entries:
        if entry.tag == _SUBFILE:
            return bool(reader.integers(entry)[:1] and reader.integers(entry)[0] & 1)
    return False


def _kind(
    bits: tuple[int, ...], colour: int, samples: int, formats: tuple[int, ...]
) -> str:
    colour = _COLOURS.get(colour, f"the unknown colours {colour}")
    special = _FORMATS.get(formats[0])
    return f"{colour}, {samples} x {max(bits)} bits" + (
        f", {special}" if special else ""
    )


def _stored(
    reader: TiffReader, entry: Entry | None, name: str, meta: Metadata
) -> bytes | None:
    if entry is None:
        return None
    raw = reader.raw(entry, MAX_BYTES)
    if raw is None:
        meta.drop(name, f"{TOO_LARGE} or damaged")
    return raw


def _dpi(
    reader: TiffReader, first: dict[int, Entry], unit: int
) -> tuple[float, float] | None:
    values = []
    for tag in (_X, _Y):
        raw = reader.raw(first[tag], 8) if tag in first else None
        if raw is None or first[tag].kind not in _RATIONAL:
            return None
        numerator, denominator = struct.unpack(reader.order + "LL", raw)
        values.append(numerator / denominator if denominator else 0.0)
    return dpi_of(*values, 2.54 if unit == 3 else 1) if unit in (2, 3) else None
