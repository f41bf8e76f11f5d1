"""TIFF directories, in files and in EXIF blocks: read as far as they go, and written.

Any legal type, either byte order, BigTIFF; what lies beyond the end is left out, and a
directory that leads back to itself is read once. Source: TIFF 6.0; Exif 2.32, 4.6.2.
"""

import dataclasses
import os
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

ORIENTATION = 274
BYTE, SHORT, LONG, RATIONAL, UNDEFINED = 1, 3, 4, 5, 7
# Bytes of one value, by type; 13 is a pointer, 16 to 18 are BigTIFF's.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L"}
_INTEGERS |= {16: "Q", 17: "q", 18: "Q"}
_MOST_ENTRIES = 500_000  # of all pages; directories may lie over each other

# Type, count, and the values as stored; or a directory of its own.
Value = tuple[int, int, bytes]
Entries = Mapping[int, "Value | Entries"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tag of a directory.

    Attributes:
      tag, kind, count: as stored; `kind` is the type.
      place: of the entry, counted from the start of the file.
      start: of its values; None if these are not all there, or the type is none.
      size: of its values in bytes.
    """

    tag: int
    kind: int
    count: int
    place: int
    start: int | None
    size: int


class TiffReader:
    """The directories of a TIFF stream of `size` bytes.

    Args:
      file: can seek.
      base: where its header is; offsets count from there.
    Raises:
      ValueError: there is no TIFF header.
    """

    def __init__(self, file: BinaryIO, base: int = 0):
        self._file, self._base = file, base
        self.size = file.seek(0, os.SEEK_END) - base
        head = self._read(0, 16)
        if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise ValueError("no TIFF header")
        self.order = "<" if head[:2] == b"II" else ">"
        self.is_big = b"+" in head[2:4]
        self._offset = "Q" if self.is_big else "L"
        start = self._unpack(self._offset, head[8:16] if self.is_big else head[4:8])
        self.first = start or 0

    def _unpack(self, code: str, raw: bytes) -> int | None:
        """None if `raw` is too short."""
        whole = len(raw) >= struct.calcsize(self.order + code)
        return struct.unpack_from(self.order + code, raw)[0] if whole else None

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(self._base + start)
        return self._file.read(size)

    def directory(self, start: int) -> tuple[list[Entry], int]:
        """The entries at an offset, as far as they are there, and the next offset.

        The next offset is 0 if there is none.
        """
        count_size = 8 if self.is_big else 2
        if not 0 < start < self.size:
            return [], 0
        count = self._unpack("Q" if self.is_big else "H", self._read(start, count_size))
        length = 20 if self.is_big else 12
        there = max(self.size - start - count_size, 0)
        count = min(count or 0, there // length, 0xFFFF)
        table = self._read(start + count_size, count * length)
        entries = [
            self._entry(table[i : i + length], start + count_size + i)
            for i in range(0, len(table), length)
        ]
        link = self.link_place(start, count)
        size = struct.calcsize(self.order + self._offset)
        return entries, self._unpack(self._offset, self._read(link, size)) or 0

    def link_place(self, start: int, count: int) -> int:
        """Where a directory of so many entries links the next one."""
        return start + (8 + 20 * count if self.is_big else 2 + 12 * count)

    def _entry(self, row: bytes, place: int) -> Entry:
        tag, kind = struct.unpack_from(self.order + "HH", row)
        count = self._unpack(self._offset, row[4:])
        inline = len(row) // 2 - 2  # 4 or 8 bytes, behind the count
        size = _SIZES.get(kind, 0) * count
        if size <= inline:
            start = place + len(row) - inline
        else:
            start = self._unpack(self._offset, row[-inline:])
        is_there = size and start + size <= self.size
        return Entry(tag, kind, count, place, start if is_there else None, size)

    def raw(self, entry: Entry, limit: int) -> bytes | None:
        """The values as stored; None if they are missing or above `limit` bytes."""
        if entry.start is None or entry.size > limit:
            return None
        return self._read(entry.start, entry.size)

    def integers(self, entry: Entry, most: int = 64) -> tuple[int, ...]:
        """Its values, the first `most`; empty if they are no integers."""
        if entry.start is None or entry.kind not in _INTEGERS:
            return ()
        code = _INTEGERS[entry.kind]
        count = min(entry.count, most)
        raw = self._read(entry.start, count * _SIZES[entry.kind])
        return struct.unpack(f"{self.order}{count}{code}", raw)

    def chain(self) -> Iterator[list[Entry]]:
        """The directories one after the other, each once."""
        seen, start, left = set(), self.first, _MOST_ENTRIES
        while start and start not in seen and left > 0:
            seen.add(start)
            entries, start = self.directory(start)
            left -= len(entries) + 1
            if entries:
                yield entries


def encode_directory(order: str, entries: Entries, start: int) -> bytes:
    """A directory, its long values and what it links, for an even offset `start`."""
    size = 2 + 12 * len(entries) + 4
    rows, behind = [], bytearray()
    for tag, value in sorted(entries.items()):
        place = start + size + len(behind)
        if isinstance(value, Mapping):
            rows.append(struct.pack(order + "HHLL", tag, 4, 1, place))
            behind += encode_directory(order, value, place)
            continue
        kind, count, raw = value
        rows.append(struct.pack(order + "HHL", tag, kind, count))
        if len(raw) <= 4:
            rows.append(raw.ljust(4, b"\0"))
        else:
            rows.append(struct.pack(order + "L", place))
            behind += raw + b"\0" * (len(raw) % 2)
    return struct.pack(order + "H", len(entries)) + b"".join(rows) + bytes(4) + behind


def integers_value(order: str, *values: int, kind: int = SHORT) -> Value:
    """What an entry of SHORT (3) or LONG (4) holds."""
    code = _INTEGERS[kind]
    return kind, len(values), struct.pack(f"{order}{len(values)}{code}", *values)
