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
# Where the pixels are and how long they are: of strips, of tiles.
_PIECES = ((_STRIPS, 279), (324, 325))
_SUBPAGES = 330
_MOST_PIECES = 2**16
_COMPRESSION = 259
# What each compression can make of a byte: none, LZW, JPEG, Deflate, PackBits.
_BYTES_PER_BYTE = {1: 1, 5: 3000, 7: 3 * 512, 8: 1032, 32946: 1032, 32773: 64}
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
      is_raw: whether it is a camera's raw file.
      maybe_raw: whether it may be one, since it begins with a preview.
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
    is_raw: bool
    maybe_raw: bool
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
      OSError: its pixels cannot be in so few bytes.
    """
    meta = Metadata()
    with source.open() as file:
        reader = TiffReader(file)
        directories = list(reader.chain())
        page = _Page(reader, directories[0] if directories else [])
        page.check_size()
        meta.pictures = len([d for d in directories if not _Page(reader, d).is_preview])
        turned, wrong = orientation_of(reader, page.entries)
        meta.notes += [wrong] * bool(wrong)
        _read_metadata(page, meta)
        rows = page.harmless_rows()
        folded, undo = page.is_folded()
        changed = page.folded_rows() if folded else {}
        # Neither Pillow nor OpenCV inverts more than 8 bits, or gray with alpha.
        invert = page.colour == 0 and (page.bits > 8 or page.samples == 2)
        if invert:
            changed[_PHOTOMETRIC] = 1
        for tag, value in changed.items():
            if tag in page.first:
                rows[page.first[tag]] = (tag, value)
        if folded and _EXTRA in page.first:  # to a tag that nobody needs
            rows[page.first[_EXTRA]] = (_EXTRA - 1, 0)
    content = _patched(source, reader, rows) if rows else None
    return Tiff(
        content,
        turned,
        invert,
        page.kind,
        page.refused(),
        page.is_raw,
        page.is_preview,
        (page.w, page.h),
        folded,
        undo,
        page.extra,
        meta,
    )


def dng_ends_early(source: ImageSource) -> bool:
    """Whether pixels of any page of a DNG are missing.

    False of other raw files, whose makers count in ways of their own.
    """
    with source.open() as file:
        reader = TiffReader(file)
        pages = [_Page(reader, directory) for directory in reader.chain()]
        if not any(_DNG in page.first for page in pages):
            return False
        for page in pages[:]:
            below = page.numbers(_SUBPAGES)
            pages += [_Page(reader, reader.directory(start)[0]) for start in below]
        return any(page.end > reader.size for page in pages)


class _Page:
    """A directory's tags on pixels, with TIFF's defaults."""

    def __init__(self, reader: TiffReader, entries: list[Entry]):
        self.reader, self.entries = reader, entries
        self.first = {entry.tag: entry for entry in reversed(entries)}
        self.w, self.h = self.number(_WIDTH, 0), self.number(_HEIGHT, 0)
        self.bits = max(self.numbers(_BITS) or (1,))
        self.samples = self.number(_SAMPLES, 1)
        self.colour = self.number(_PHOTOMETRIC, 0)
        self.formats = self.numbers(_FORMAT) or (1,)
        self.is_planar = self.number(_PLANES, 1) == 2
        self.extra = self.number(_EXTRA, 0)
        self.is_preview = bool(self.number(_SUBFILE, 0) & 1)

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The first 64 values; empty if they are missing or no integers."""
        return self.reader.integers(self.first[tag]) if tag in self.first else ()

    def number(self, tag: int, default: int) -> int:
        return (self.numbers(tag) or (default,))[0]

    @property
    def kind(self) -> str:
        colour = _COLOURS.get(self.colour, f"the unknown colours {self.colour}")
        words = [colour, f"{self.samples} x {self.bits} bits"]
        words += [_FORMATS[f] for f in self.formats[:1] if f in _FORMATS]
        if self.reader.is_big and self.reader.order == ">":
            words.append("a big-endian BigTIFF")
        return ", ".join(words)

    @property
    def is_raw(self) -> bool:
        return _DNG in self.first or self.colour in (32803, 34892)

    def refused(self) -> str:
        if self.is_raw:
            return "is a camera's raw file of an unknown kind; develop it to a TIFF"
        if self.is_preview:
            return "begins with a small preview of its picture; save it as plain TIFF"
        if self.bits > 16:
            return (
                f"has {self.bits} bits per channel ({self.kind}); expected 8 or 16, so "
                "convert it first"
            )
        if set(self.formats) & set(_FORMATS):
            return f"holds {self.kind}; expected unsigned integers, so convert it first"
        if self.is_planar and self.bits == 16 and self.samples > 1:
            return (
                "stores 16-bit colour in separate planes; expected interleaved "
                "channels, so save it as PNG or as an ordinary TIFF"
            )
        return ""

    def check_size(self) -> None:
        packing = _BYTES_PER_BYTE.get(self.number(_COMPRESSION, 1))
        nbytes = self.w * self.h * self.samples * self.bits // 8
        if self.colour == 6:  # YCbCr, whose colours may be stored for 4x4 px
            nbytes //= 3
        if packing and nbytes > packing * (self.reader.size + 64):
            raise OSError(f"{self.reader.size} bytes cannot hold {self.w}x{self.h} px")

    @property
    def end(self) -> int:
        """Behind its last pixels."""
        ends = [0]
        for places, sizes in _PIECES:
            if places in self.first and sizes in self.first:
                starts, lengths = (
                    self.reader.integers(self.first[tag], _MOST_PIECES)
                    for tag in (places, sizes)
                )
                ends += map(sum, zip(starts, lengths, strict=False))
        return max(ends)

    def is_folded(self) -> tuple[bool, bool]:
        """Whether it is gray with alpha that only `Tiff.unfold` reads, and `undo`."""
        undo = self.number(_PREDICTOR, 1) == 2
        is_deep_gray = self.bits == 16 and self.samples == 2 and self.colour in (0, 1)
        fits = not self.is_planar and (_STRIPS in self.first or not undo)
        return is_deep_gray and fits, undo

    def folded_rows(self) -> dict[int, int]:
        """Tags of the same samples as one channel of twice the width."""
        tile = 2 * self.number(_TILE, 8)
        rows = {_WIDTH: 2 * self.w, _TILE: tile, _PREDICTOR: 1, _PHOTOMETRIC: 1}
        return rows | {_BITS: 16, _SAMPLES: 1, _FORMAT: 1}

    def harmless_rows(self) -> dict[Entry, tuple[int, int]]:
        """By what tag and number to replace metadata that decoders fail at."""
        rows = {}
        for entry in self.entries:
            if entry.tag == ORIENTATION:
                if self.reader.integers(entry) != (1,) or entry.kind != SHORT:
                    rows[entry] = (ORIENTATION, 1)
            elif entry.tag in (_X, _Y, _UNIT):
                usual = (SHORT,) if entry.tag == _UNIT else _RATIONAL
                if entry.kind not in usual or entry.count != 1 or entry.start is None:
                    rows[entry] = (entry.tag, 1)
            elif entry.tag == _XMP:  # Pillow turns the picture as this says
                rows[entry] = (_XMP + 1, 0)
            elif entry.tag == _ICC or entry.tag not in NOT_EXIF:
                if entry.start is None:
                    rows[entry] = (entry.tag, 0)
        return rows


def _patched(
    source: ImageSource, reader: TiffReader, rows: dict[Entry, tuple[int, int]]
) -> bytes:
    patched = bytearray(source.read())
    for entry, (tag, value) in rows.items():
        kind, code = LONG, "HHQLL" if reader.is_big else "HHLL"
        if value < 2**16:
            kind, code = SHORT, "HHQHHL" if reader.is_big else "HHLHH"
        spare = (0,) * (len(code) - 4)
        row = struct.pack(reader.order + code, tag, kind, 1, value, *spare)
        patched[entry.place : entry.place + len(row)] = row
    return bytes(patched)


def _read_metadata(page: _Page, meta: Metadata) -> None:
    lost: list[str] = []
    meta.exif = exif_of(page.reader, page.entries, lost)
    for name in lost:
        meta.drop(f"tag {name}", "damaged or larger than 64 kB")
    meta.icc = _stored(page, _ICC, "colour profile", meta)
    meta.xmp = _stored(page, _XMP, "XMP", meta)
    meta.dpi = _dpi(page)


def _stored(page: _Page, tag: int, name: str, meta: Metadata) -> bytes | None:
    if tag not in page.first:
        return None
    raw = page.reader.raw(page.first[tag], MAX_BYTES)
    if raw is None:
        meta.drop(name, f"{TOO_LARGE} or damaged")
    return raw


def _dpi(page: _Page) -> tuple[float, float] | None:
    values = []
    for tag in (_X, _Y):
        raw = page.reader.raw(page.first[tag], 8) if tag in page.first else None
        if raw is None or page.first[tag].kind not in _RATIONAL:
            return None
        numerator, denominator = struct.unpack(page.reader.order + "LL", raw)
        values.append(numerator / denominator if denominator else 0.0)
    per_inch = {2: 1.0, 3: 2.54}.get(page.number(_UNIT, 2))  # inch, centimetre
    return dpi_of(*values, per_inch) if per_inch else None
