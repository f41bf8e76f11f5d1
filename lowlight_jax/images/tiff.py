"""TIFF: what Pillow and OpenCV are given, metadata, and what neither of them reads.

Both turn some orientations and not others, Pillow takes any tag for what it usually is,
and neither inverts white-is-zero at 16 bits: so they see a file without such tags.
Source: TIFF 6.0; Adobe, DNG 1.7 (raw files, which are TIFF with a preview first).
"""

import dataclasses
import struct

import numpy as np

from lowlight_jax.images.exif import NOT_EXIF, exif_of, orientation_of
from lowlight_jax.images.ifd import LONG, ORIENTATION, SHORT, Entry, TiffReader
from lowlight_jax.images.metadata import MAX_BYTES, TOO_LARGE, Metadata, dpi_of
from lowlight_jax.images.source import ImageSource

HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_SAMPLES, _X, _Y, _PLANES, _UNIT, _FORMAT = 277, 282, 283, 284, 296, 339
_EXTRA, _XMP, _ICC, _DNG = 338, 700, 34675, 50706
_STRIPS, _PREDICTOR, _TILE = 273, 317, 322
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
      size: width and height as stored.
      folded: whether `content` has gray and alpha in turn, as one channel.
      undo: whether the differences between pixels are still to be summed up.
      alpha: what the last channel is: 2 alpha, 1 premultiplied, 0 nothing of use.
      meta: the rest.
    """

    content: bytes | None
    turned: int
    invert: bool
    kind: str
    refused: str
    size: tuple[int, int]
    folded: bool
    undo: bool
    alpha: int
    meta: Metadata

    def unfold(self, samples: np.ndarray) -> np.ndarray:
        """`[h, w, c]` of what the folded `content` gave."""
        w, h = self.size
        samples = samples.reshape(h, w, 2)
        if self.undo:
            samples = np.cumsum(samples, axis=1, dtype=np.uint16)
        return with_alpha(samples, self.alpha)


def with_alpha(samples: np.ndarray, meaning: int) -> np.ndarray:
    """`[h, w, c]` uint16, by what ExtraSamples (0 to 2) says of the last channel."""
    if meaning == 0:  # unspecified: not an alpha
        return samples[:, :, :-1]
    if meaning == 2:
        return samples
    alpha = samples[:, :, -1:].astype(np.float64)
    colour = np.rint(samples[:, :, :-1] * (65535 / np.maximum(alpha, 1)))
    colour = np.minimum(colour, 65535).astype(np.uint16)
    return np.concatenate([colour, samples[:, :, -1:]], axis=-1)


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
        samples = numbers(_SAMPLES, (1,))[0]
        kind = _kind(bits, colour, samples, numbers(_FORMAT, (1,)))
        w, h = numbers(_WIDTH, (0,))[0], numbers(_HEIGHT, (0,))[0]
        deep = set(bits) == {16}
        folded = undo = False
        if (
            deep
            and samples == 2
            and colour in (0, 1)
            and numbers(_PLANES, (1,))[0] == 1
        ):
            undo = numbers(_PREDICTOR, (1,))[0] == 2
            if _STRIPS in first or not undo:
                folded = True
                tile = 2 * numbers(_TILE, (8,))[0]
                changed = {_WIDTH: 2 * w, _PREDICTOR: 1, _TILE: tile}
        if folded:
            changed |= {_BITS: 16, _SAMPLES: 1, _FORMAT: 1, _PHOTOMETRIC: 1}
            for tag, value in changed.items():
                if tag in first:
                    rows[first[tag]] = (tag, value)
            if _EXTRA in first:  # to a tag that nobody needs
                rows[first[_EXTRA]] = (_EXTRA - 1, 0)
        invert = colour == 0 and (max(bits) > 8 or samples == 2)
        if invert and _PHOTOMETRIC in first:
            rows[first[_PHOTOMETRIC]] = (_PHOTOMETRIC, 1)
        if reader.is_big and reader.order == ">":
            kind += ", a big-endian BigTIFF"
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
        if numbers(_PLANES, (1,))[0] == 2 and deep and samples > 1 and not refused:
            refused = (
                "stores 16-bit colour in separate planes; expected interleaved "
                "channels, so save it as PNG or as an ordinary TIFF"
            )
        alpha = numbers(_EXTRA, (0,))[0]
        order, is_big = reader.order, reader.is_big
    content = None
    if rows:
        patched = bytearray(source.read())
        for entry, (tag, value) in rows.items():
            code = "HHQLL" if is_big else "HHLL"
            width = LONG
            if value < 2**16:
                width, code = SHORT, "HHQHHL" if is_big else "HHLHH"
            spare = (0,) * (len(code) - 4)
            row = struct.pack(order + code, tag, width, 1, value, *spare)
            patched[entry.place : entry.place + len(row)] = row
        content = bytes(patched)
    return Tiff(
        content, turned, invert, kind, refused, (w, h), folded, undo, alpha, meta
    )


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
