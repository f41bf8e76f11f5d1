"""Writes PNG of 8 and 16 bits: fast by default, or small.

The picture is cut into bands of rows that are filtered and deflated apart, on several
cores; joined, they are one zlib stream, as any reader expects it. Arrays are
`[h, w, c]`, c = 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA).

Nearly all that can be won on a photograph lies in the filter and the Huffman code. The
search for matches takes zlib most of its time and finds next to none among the
differences of a photograph's noise, so runs of one byte are all that is looked for by
default, unless a sample of the band shows that it is worth more: in text, patterns,
drawings, and 16 bits that were 8 once.
Not here: reading, and which metadata there is (`png`).
"""

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from lowlight_jax.images.exif import EXIF_HEADER
from lowlight_jax.images.png import SIGNATURE, metadata_chunks

if TYPE_CHECKING:
    from lowlight_jax.images.files import Photo

_BAND_BYTES = 2**21  # filtered and deflated at a time
_CACHED_BYTES = 2**18  # filtered at a time, so that it stays in the cache
_MAX_THREADS = 8  # a band each, so that memory is bounded
_NO_FILTER, _PAETH = 0, 4
_ZLIB_HEADER = b"\x78\x01"  # window of 32 kB; which level it was matters to nobody
# Filter, level, strategy; the first is the fastest. Z_FILTERED has no short matches.
_FAST = (
    (_PAETH, 1, zlib.Z_RLE),
    (_PAETH, 4, zlib.Z_DEFAULT_STRATEGY),
    (_NO_FILTER, 4, zlib.Z_DEFAULT_STRATEGY),
)
_SMALL = (
    (_PAETH, 1, zlib.Z_RLE),
    (_PAETH, 9, zlib.Z_FILTERED),
    (_PAETH, 9, zlib.Z_DEFAULT_STRATEGY),
    (_NO_FILTER, 9, zlib.Z_DEFAULT_STRATEGY),
)
_PIECES = 4  # of a band, that show which way is best
_WORTH_IT = 0.95  # of the size: what a slow way must reach before it is taken


def write_png(
    file: BinaryIO, samples: np.ndarray, photo: "Photo", *, compress: bool = False
) -> None:
    """Writes a whole file.

    Args:
      file: to be written.
      samples: `[h, w, c]` uint8 or uint16.
      photo: whose metadata is written.
      compress: smaller, and many times slower.
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
    checksum, rows = 1, 0  # Adler-32 of nothing
    for filtered, packed in _packed_bands(samples, compress):
        checksum = zlib.adler32(filtered, checksum)
        rows += len(filtered)
        # Not in a chunk of its own, which Pillow would not look at.
        end = struct.pack(">L", checksum) if rows == len(samples) else b""
        _write_chunk(file, b"IDAT", packed + end)


def _packed_bands(
    samples: np.ndarray, compress: bool
) -> Iterator[tuple[np.ndarray, bytes]]:
    """Filtered rows and what becomes of them; no more at a time than there are threads.

    Joined, the second are a zlib stream without its checksum.
    """
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    band_rows = max(_BAND_BYTES // samples[0].nbytes, 1)
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(threads, "png") as pool:
        for top in range(0, len(samples), band_rows):
            if len(pending) > threads:
                yield pending.popleft().result()
            pending.append(pool.submit(_pack, samples, top, top + band_rows, compress))
        while pending:
            yield pending.popleft().result()


def _pack(
    samples: np.ndarray, top: int, bottom: int, compress: bool
) -> tuple[np.ndarray, bytes]:
    padded = _padded(samples, top, bottom)
    pixel_bytes = samples[0, 0].nbytes
    ways, piece_bytes = (_SMALL, 2**16) if compress else (_FAST, 2**13)
    filtered = {kind: _filtered(padded, pixel_bytes, kind) for kind, _, _ in ways}
    sizes = [
        len(_deflated(_sample(filtered[kind], piece_bytes), level, strategy))
        for kind, level, strategy in ways
    ]
    best = int(np.argmin(sizes))
    if not compress and sizes[best] > _WORTH_IT * sizes[0]:
        best = 0
    kind, level, strategy = ways[best]
    is_last = bottom >= len(samples)
    packed = _deflated(filtered[kind], level, strategy, is_last=is_last)
    return filtered[kind], packed if top else _ZLIB_HEADER + packed


def _padded(samples: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """`[1 + rows, pixel + row bytes]`: with the row above and a pixel to the left.

    Outside the picture these are 0, as the filters have it.
    """
    rows = samples[max(top - 1, 0) : bottom]
    rows = np.ascontiguousarray(rows, samples.dtype.newbyteorder(">"))
    octets = rows.reshape(len(rows), -1).view(np.uint8)
    above = 1 if top == 0 else 0
    return np.pad(octets, ((above, 0), (samples[0, 0].nbytes, 0)))


def _sample(filtered: np.ndarray, piece_bytes: int) -> np.ndarray:
    """The begin of each of some equal parts; all, if there is no more."""
    parts = np.array_split(filtered.reshape(-1), _PIECES)
    return np.concatenate([part[:piece_bytes] for part in parts])


def _deflated(
    filtered: np.ndarray, level: int, strategy: int, *, is_last: bool = False
) -> bytes:
    """A part of a raw stream, of whole bytes, that can be followed by another."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    end = zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH
    return deflate.compress(filtered) + deflate.flush(end)


def _filtered(padded: np.ndarray, pixel_bytes: int, kind: int) -> np.ndarray:
    """`[rows, 1 + row bytes]`: the filter's number and the differences, modulo 256."""
    h, w = padded.shape[0] - 1, padded.shape[1] - pixel_bytes
    filtered = np.empty((h, 1 + w), np.uint8)
    filtered[:, 0] = kind
    if kind == _NO_FILTER:
        filtered[:, 1:] = padded[1:, pixel_bytes:]
        return filtered
    rows = max(_CACHED_BYTES // padded.shape[1], 1)
    for top in range(0, h, rows):
        part = padded[top : top + rows + 1]
        np.subtract(
            part[1:, pixel_bytes:],
            _paeth(
                left=part[1:, :-pixel_bytes],
                above=part[:-1, pixel_bytes:],
                corner=part[:-1, :-pixel_bytes],
            ),
            out=filtered[top : top + rows, 1:],
        )
    return filtered


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
