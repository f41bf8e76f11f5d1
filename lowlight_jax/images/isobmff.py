"""ISO base media files, the container of AVIF and HEIC: what its boxes tell.

Pillow rewrites EXIF, or fails at it; libheif makes black what a cut file lacks, and
tells of no depth that an AVIF has. So all but the pixels is read here.
Source: ISO/IEC 14496-12 (boxes), 23008-12 (items), 23000-22 (MIAF), 23091-2 (colours).
Not here: pixels (`heif`).
"""

import dataclasses
from collections.abc import Iterator

from lowlight_jax.images.exif import as_block
from lowlight_jax.images.metadata import MAX_BYTES, TOO_LARGE, Metadata, upright_xmp

_EXIF, _XMP = b"Exif", b"application/rdf+xml"
_GAIN_MAPS = (b"tmap", b":aux:hdrgainmap\0")  # of ISO 21496-1, and Apple's
# Of colour primaries and transfer characteristics: BT.709 and not told; not told, and
# those that are as good as sRGB's.
_SRGB_PRIMARIES, _SRGB_CURVES = {1, 2}, {1, 2, 6, 13}
_HDR_CURVES = {16: "PQ", 18: "HLG"}


@dataclasses.dataclass
class Container:
    """What a file holds besides its pixels.

    Attributes:
      plain: the file without EXIF.
      bits: per channel.
      meta: the rest.
    """

    plain: bytes
    bits: int
    meta: Metadata


def split_isobmff(data: bytes) -> Container:
    """Takes a file apart.

    Raises:
      OSError: it is damaged, or ends before what it tells of.
    """
    meta_box = None
    for kind, start, end in _boxes(data, 0, len(data), strict=False):
        if kind == b"meta" and meta_box is None:
            meta_box = start + 4, end
    if meta_box is None:
        raise OSError("it has no directory of its pictures")
    parts = {kind: (start, end) for kind, start, end in _boxes(data, *meta_box)}
    meta = Metadata()
    plain = bytearray(data)
    places = _places(data, parts)
    for item, (kind, content_type, place) in _items(data, parts).items():
        is_xmp = kind == b"mime" and content_type == _XMP
        if kind == _EXIF:
            plain[place : place + 4] = b"skip"
        if (kind != _EXIF or meta.exif) and (not is_xmp or meta.xmp):
            continue
        content = _content(data, places.get(item, []))
        if content is None:
            meta.drop("XMP" if is_xmp else "EXIF", f"{TOO_LARGE} or damaged")
        elif is_xmp:
            meta.xmp = upright_xmp(content)  # boxes turn it, and EXIF never does
        else:  # behind how far away its TIFF header is
            skipped = 4 + int.from_bytes(content[:4])
            meta.exif = as_block(content[skipped:] or content[4:])
    properties = _properties(data, parts)
    _read_colours(properties, meta)
    if any(sign in data[slice(*meta_box)] for sign in _GAIN_MAPS):
        meta.gain_map = True
    depths = next((p[5:] for kind, p in properties if kind == b"pixi"), b"\x08")
    return Container(bytes(plain), max(depths, default=8), meta)


def _read_colours(properties: list[tuple[bytes, bytes]], meta: Metadata) -> None:
    colours = [content for kind, content in properties if kind == b"colr"]
    for content in colours:
        if content[:4] in (b"prof", b"rICC"):
            if len(content) > MAX_BYTES:
                meta.drop("colour profile", TOO_LARGE)
            else:
                meta.icc = content[4:]
            return
    for content in colours:
        primaries, curve = (int.from_bytes(content[i : i + 2]) for i in (4, 6))
        if curve in _HDR_CURVES:
            meta.notes.append(
                f"it is HDR ({_HDR_CURVES[curve]}) and read as it is, which looks flat"
            )
        elif primaries not in _SRGB_PRIMARIES or curve not in _SRGB_CURVES:
            meta.notes.append(
                f"its colours (primaries {primaries}, curve {curve}) come without a "
                "profile, and are taken for sRGB"
            )


class _Fields:
    """Big-endian numbers, one after the other, that all must be there."""

    def __init__(self, data: bytes, start: int, end: int):
        self._data, self.place, self._end = data, start, min(end, len(data))

    def number(self, size: int) -> int:
        return int.from_bytes(self.raw(size))

    def raw(self, size: int) -> bytes:
        if self.place + size > self._end:
            raise OSError("it ends within a box")
        self.place += size
        return self._data[self.place - size : self.place]


def _boxes(
    data: bytes, start: int, end: int, *, strict: bool = True
) -> Iterator[tuple[bytes, int, int]]:
    """`(kind, start, end)` of the content of each box.

    Where the size of one is wrong, it is an OSError if `strict`, and else the last one:
    whether all pixels of a file are there, its directory tells.
    """
    while start + 8 <= end:
        fields = _Fields(data, start, end)
        size, kind = fields.number(4), fields.raw(4)
        if size == 1:
            size = fields.number(8)
        stop = start + size if size else end  # 0: to the end
        if stop > end or stop < fields.place:
            if strict:
                raise OSError("it ends within a box")
            return
        yield kind, fields.place, stop
        start = stop


def _part(data: bytes, parts: dict, kind: bytes) -> tuple[int, _Fields] | None:
    """The version of a box, and what is behind its flags."""
    if kind not in parts:
        return None
    fields = _Fields(data, *parts[kind])
    version = fields.number(1)
    fields.raw(3)
    return version, fields


def _items(data: bytes, parts: dict) -> dict[int, tuple[bytes, bytes, int]]:
    """Kind, type of content, and where the kind is written, by the item's number."""
    found = _part(data, parts, b"iinf")
    items = {}
    if found is None:
        return items
    version, fields = found
    fields.number(4 if version else 2)
    for kind, start, end in _boxes(data, fields.place, parts[b"iinf"][1]):
        entry = _Fields(data, start, end)
        version = entry.number(1)
        if kind != b"infe" or version < 2:
            continue
        entry.raw(3)
        item = entry.number(2 if version == 2 else 4)
        entry.raw(2)
        place = entry.place
        item_kind = entry.raw(4)
        names = data[entry.place : end].split(b"\0")
        items[item] = item_kind, names[1] if len(names) > 1 else b"", place
    return items


def _places(data: bytes, parts: dict) -> dict[int, list[tuple[int, int]]]:
    """Where the parts of each item begin and end.

    Raises:
      OSError: the file ends before one of them does.
    """
    found = _part(data, parts, b"iloc")
    places: dict[int, list[tuple[int, int]]] = {}
    if found is None:
        return places
    version, fields = found
    sizes = fields.number(2)
    offset_size, length_size = sizes >> 12, sizes >> 8 & 15
    base_size, index_size = sizes >> 4 & 15, sizes & 15 if version else 0
    for _ in range(fields.number(4 if version == 2 else 2)):
        item = fields.number(4 if version == 2 else 2)
        is_inside = version and fields.number(2) & 15 == 1  # of the box idat
        fields.raw(2)
        base, count = fields.number(base_size), fields.number(2)
        if not offset_size + length_size + index_size:
            count = min(count, 1)
        start, end = parts.get(b"idat", (0, 0)) if is_inside else (0, len(data))
        for _ in range(count):
            fields.raw(index_size)
            first = start + base + fields.number(offset_size)
            last = first + fields.number(length_size) if length_size else end
            if last > end:
                raise OSError("it ends before its last pixels")
            places.setdefault(item, []).append((first, last))
    return places


def _content(data: bytes, places: list[tuple[int, int]]) -> bytes | None:
    """None if it is missing or too large."""
    size = sum(last - first for first, last in places)
    if not 0 < size <= MAX_BYTES:
        return None
    return b"".join(data[first:last] for first, last in places)


def _properties(data: bytes, parts: dict) -> list[tuple[bytes, bytes]]:
    """`(kind, content)` of those that the first picture has."""
    primary, properties = _part(data, parts, b"pitm"), parts.get(b"iprp")
    if primary is None or properties is None:
        return []
    version, fields = primary
    wanted = fields.number(4 if version else 2)
    below = {kind: (start, end) for kind, start, end in _boxes(data, *properties)}
    known = [
        (kind, data[start:end])
        for kind, start, end in _boxes(data, *below.get(b"ipco", (0, 0)))
    ]
    if (links := _part(data, below, b"ipma")) is None:
        return []
    version, fields = links
    is_wide = data[fields.place - 1] & 1
    for _ in range(fields.number(4)):
        item = fields.number(4 if version else 2)
        numbers = [
            fields.number(2) & 0x7FFF if is_wide else fields.number(1) & 0x7F
            for _ in range(fields.number(1))
        ]
        if item == wanted:
            return [known[n - 1] for n in numbers if 0 < n <= len(known)]
    return []
