"""Writes PNG of 8 and 16 bits: fast by default, or small.

The picture is cut into bands of rows that are filtered and deflated apart, on all
cores; joined, they are one zlib stream, as any reader expects it. Arrays are
`[h, w, c]`, c = 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA).
Not here: reading, and which metadata there is (`png`).
"""

import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from lowlight_jax.images.deflate import RAW, deflate_best, on_all_cores
from lowlight_jax.images.exif import EXIF_HEADER
from lowlight_jax.images.png import SIGNATURE, metadata_chunks

if TYPE_CHECKING:
    from lowlight_jax.images.files import Photo

_BAND_BYTES = 2**21  # filtered and deflated at a time
_CACHED_BYTES = 2**18  # filtered at a time, so that it stays in the cache
_ZLIB_HEADER = b"\x78\x01"  # window of 32 kB; which level it was matters to nobody
_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)  # filters
# Of each list, every row has the filter that leaves it the least entropy.
_FAST, _SMALL = ((_PAETH,), (_NONE,)), ((_SUB, _UP, _AVERAGE, _PAETH), (_NONE,))


def write_png(
    file: BinaryIO, samples: np.ndarray, photo: "Photo", *, compress: bool = False
) -> None:
    """Writes a whole file.

    Args:
      file: to be written.
      samples: `[h, w, c]` uint8 or uint16.
      photo: whose metadata is written.
      compress: see `deflate`.
    Raises:
      ValueError: there are no pixels.
    """
    h, w, c = samples.shape
    if not samples.size:
        raise ValueError(f"a PNG file holds at least one pixel, found {w}x{h} px")
    depth = 8 * samples.dtype.itemsize
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[c]
    file.write(SIGNATURE)
    header = struct.pack(">LLBBBBB", w, h, depth, colour_type, 0, 0, 0)
    _write_chunk(file, b"IHDR", header)
    if photo.icc:
        packed = zlib.compress(photo.icc)
        _write_chunk(file, b"iCCP", b"ICC profile\0\0" + packed)
    if photo.exif:
        _write_chunk(file, b"eXIf", photo.exif.removeprefix(EXIF_HEADER))
    for kind, content in metadata_chunks(photo.xmp, photo.dpi, photo.text):
        _write_chunk(file, kind, content)
    _write_pixels(file, samples, compress)
    _write_chunk(file, b"IEND", b"")


def _write_pixels(file: BinaryIO, samples: np.ndarray, compress: bool) -> None:
    h, band_rows = len(samples), max(_BAND_BYTES // samples[0].nbytes, 1)
    checksum, rows = 1, 0  # Adler-32 of nothing
    pack = partial(_pack, samples, band_rows, compress)
    for filtered, packed in on_all_cores(pack, range(0, h, band_rows)):
        checksum = zlib.adler32(filtered, checksum)
        rows += len(filtered)
        # Not in a chunk of its own, which Pillow would not look at.
        end = struct.pack(">L", checksum) if rows == h else b""
        _write_chunk(file, b"IDAT", packed + end)


def _pack(
    samples: np.ndarray, rows: int, compress: bool, top: int
) -> tuple[np.ndarray, bytes]:
    """A band's filtered rows, and its part of the stream."""
    bottom = top + rows
    padded, pixel_bytes = _padded(samples, top, bottom), samples[0, 0].nbytes
    choices = _SMALL if compress else _FAST
    variants = [_filtered(padded, pixel_bytes, filters) for filters in choices]
    end = zlib.Z_SYNC_FLUSH if bottom < len(samples) else zlib.Z_FINISH
    best, packed = deflate_best(variants, compress=compress, stream=RAW, end=end)
    return variants[best], packed if top else _ZLIB_HEADER + packed


def _padded(samples: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """`[1 + rows, pixel + row bytes]`: with the row above and a pixel to the left.

    Outside the picture these are 0, as the filters have it.
    """
    rows = samples[max(top - 1, 0) : bottom]
    rows = np.ascontiguousarray(rows, samples.dtype.newbyteorder(">"))
    octets = rows.reshape(len(rows), -1).view(np.uint8)
    above = 1 if top == 0 else 0
    return np.pad(octets, ((above, 0), (samples[0, 0].nbytes, 0)))


def _filtered(
    padded: np.ndarray, pixel_bytes: int, filters: tuple[int, ...]
) -> np.ndarray:
    """`[rows, 1 + row bytes]`: a filter's number and the differences, modulo 256."""
    h, w = padded.shape[0] - 1, padded.shape[1] - pixel_bytes
    filtered = np.empty((h, 1 + w), np.uint8)
    rows = max(_CACHED_BYTES // padded.shape[1], 1)
    for top in range(0, h, rows):
        part = padded[top : top + rows + 1]
        target = filtered[top : top + rows]
        differences = [_differences(part, pixel_bytes, kind) for kind in filters]
        best = np.zeros(len(target), int)
        if len(filters) > 1:
            best = np.argmin([[*map(_bits, of_all)] for of_all in differences], axis=0)
        for index, kind in enumerate(filters):
            target[best == index, 0] = kind
            target[best == index, 1:] = differences[index][best == index]
    return filtered


def _bits(values: np.ndarray) -> float:
    """What a perfect code of these bytes takes."""
    counts = np.bincount(values)
    counts = counts[counts > 0]
    return float(counts @ np.log2(len(values) / counts))


def _differences(padded: np.ndarray, pixel_bytes: int, kind: int) -> np.ndarray:
    """Of each byte and what a filter predicts for it. Source: as for `_paeth`."""
    here, left = padded[1:, pixel_bytes:], padded[1:, :-pixel_bytes]
    above, corner = padded[:-1, pixel_bytes:], padded[:-1, :-pixel_bytes]
    if kind == _NONE:
        return here
    if kind == _SUB:
        return here - left
    if kind == _UP:
        return here - above
    if kind == _AVERAGE:  # rounded down, within a byte
        return here - ((left & above) + ((left ^ above) >> 1))
    return here - _paeth(left, above, corner)


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Which of three neighbours is nearest to left + above - corner; uint8.

    Bytes suffice: |left + above - 2 corner| is the difference of the distances to left
    and above where the corner lies between them, and else their sum, which is nearest
    never. Source: PNG specification, 9.4 (W3C 2003).
    """
    low, high = np.minimum(left, above), np.maximum(left, above)
    to_left = _distance(above, corner)
    to_above = _distance(left, corner)
    to_corner = _distance(to_left, to_above)
    to_corner |= _mask((corner <= low) | (corner >= high))
    takes_left = _mask((to_left <= to_above) & (to_left <= to_corner))
    nearest = corner ^ ((corner ^ above) & _mask(to_above <= to_corner))
    return nearest ^ ((nearest ^ left) & takes_left)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(a, b) - np.minimum(a, b)


def _mask(condition: np.ndarray) -> np.ndarray:
    """255 where it holds: `np.where` is slower than the bits."""
    return -condition.view(np.uint8)


def _write_chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    file.write(struct.pack(">L", len(content)) + kind)
    file.write(content)
    file.write(struct.pack(">L", checksum))
