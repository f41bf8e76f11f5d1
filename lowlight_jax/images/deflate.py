"""Deflate, as PNG and TIFF hold a picture: fast by default, or small.

Nearly all that can be won on a photograph lies in the filter before and the Huffman
code behind. The search for matches takes zlib most of its time and finds next to none
in a photograph's noise; so by default runs of one byte are all that is looked for,
unless a sample shows that more is to be found: in text, patterns, drawings, or 16 bits
that were 8 once.
Not here: filters and files (`png_writer`, `deep`).
"""

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

RAW, ZLIB = -15, 15  # the stream without and with zlib's header and checksum

# zlib's level and strategy, the fastest first. Z_FILTERED does without short matches.
_FAST = ((1, zlib.Z_RLE), (4, zlib.Z_DEFAULT_STRATEGY))
_SMALL = ((1, zlib.Z_RLE), (9, zlib.Z_FILTERED), (9, zlib.Z_DEFAULT_STRATEGY))
_PIECES = 4  # of a band, that are the sample
_FAST_PIECE_BYTES, _SMALL_PIECE_BYTES = 2**13, 2**16
_WORTH_IT = 0.95  # of the size: what a slow way must reach before it is taken
_MOST_MEMORY = 9  # zlib's: the longest blocks of one Huffman code
_MAX_THREADS = 8  # each holds a band, so that memory is bounded

Item, Result = TypeVar("Item"), TypeVar("Result")


def deflate_best(
    variants: Sequence[np.ndarray],
    *,
    compress: bool,
    stream: int = ZLIB,
    end: int = zlib.Z_FINISH,
) -> tuple[int, bytes]:
    """Whichever of some variants of a band becomes shortest, judged by a sample.

    Args:
      variants: uint8, any shape, contiguous, as many bytes each; the first is taken
        unless another one is worth its time.
      compress: time does not count.
      stream: `RAW` or `ZLIB`.
      end: zlib.Z_FINISH, or zlib.Z_SYNC_FLUSH where another stream follows.
    Returns:
      The variant's index, and it deflated.
    """
    ways = _SMALL if compress else _FAST
    piece_bytes = _SMALL_PIECE_BYTES if compress else _FAST_PIECE_BYTES
    sizes = {}
    for index, variant in enumerate(variants):
        sample = _sample(variant, piece_bytes)
        for way in ways:
            sizes[index, way] = len(_deflate(sample, *way, ZLIB, zlib.Z_FINISH))
    fastest = 0, ways[0]
    best = min(sizes, key=sizes.__getitem__)
    if not compress and sizes[best] > _WORTH_IT * sizes[fastest]:
        best = fastest
    index, way = best
    return index, _deflate(variants[index], *way, stream, end)


def _sample(band: np.ndarray, piece_bytes: int) -> np.ndarray:
    """The begin of each of some equal parts; all, if there is no more."""
    parts = np.array_split(band.reshape(-1), _PIECES)
    return np.concatenate([part[:piece_bytes] for part in parts])


def _deflate(
    data: np.ndarray, level: int, strategy: int, stream: int, end: int
) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, stream, _MOST_MEMORY, strategy)
    return deflate.compress(data) + deflate.flush(end)


def on_all_cores(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Like `map`, in threads; few results at a time wait for the one who takes them."""
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(threads, "deflate") as pool:
        for item in items:
            if len(pending) > threads:
                yield pending.popleft().result()
            pending.append(pool.submit(function, item))
        while pending:
            yield pending.popleft().result()
