"""PNG chunks: what Pillow is given, and the metadata that it would fail at.

Pillow refuses a file for a text above its limit, a damaged chunk that nobody needs, or
a large colour profile; so it sees only what tells the pixels.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from lowlight_jax.images.exif import as_block
from lowlight_jax.images.metadata import MAX_BYTES, TOO_LARGE, Metadata, dpi_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp"
_KEPT = {b"iCCP": "colour profile", b"eXIf": "EXIF", b"pHYs": "resolution"}
_KEPT |= dict.fromkeys((b"tEXt", b"zTXt", b"iTXt"), "text")
_EMPTY_IDAT = bytes(4) + b"IDAT" + struct.pack(">L", zlib.crc32(b"IDAT"))
_SHRINKS = 1032  # deflate packs no more bytes into one
_INCH_M = 0.0254


def _chunks(file: BinaryIO, pixels: bool) -> Iterator[tuple[bytes, bytes, bytes]]:
    """`(kind, chunk, content)` up to the end, without IDAT unless `pixels`.

    The content of a chunk that is damaged and of no use for the pixels is "".
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">L4s", head)
        if kind == b"IDAT" and not pixels:
            file.seek(length + 4, os.SEEK_CUR)
            yield kind, _EMPTY_IDAT, b""
            continue
        behind = file.read(min(length + 4, end - file.tell()))
        content, checksum = behind[:length], behind[length:]
        if is_critical(kind):  # Pillow checks the sum; OpenCV would take the memory
            if len(behind) < length + 4:
                raise OSError("it ends within a chunk")
        elif checksum != struct.pack(">L", zlib.crc32(content, zlib.crc32(kind))):
            content = b""
        yield kind, head + behind, content
        if kind == b"IEND":
            return


def is_critical(kind: bytes) -> bool:
    """Whether a chunk tells the pixels: upper case does, and of the others tRNS."""
    return not kind[0] & 32 or kind == b"tRNS"


def split_png(file: BinaryIO, pixels: bool = True) -> tuple[bytes, Metadata]:
    """The file with nothing but its pixels, or its header alone, and the rest.

    Raises:
      OSError: it is cut short, or its pixels cannot be in so few bytes.
    """
    meta = Metadata()
    kept = [SIGNATURE]
    text, text_bytes, packed = [], 0, 0
    has_profile = has_xmp = False  # one of each; others are passed over or texts
    pictures, begun, default_is_first = 0, False, False
    for kind, chunk, content in _chunks(file, pixels):
        if is_critical(kind):
            if pixels or kind != b"IDAT" or not begun:
                kept.append(chunk)
            begun |= kind == b"IDAT"
            packed += (kind == b"IDAT") * len(content)
        elif kind == b"acTL" and len(content) == 8:
            (pictures,) = struct.unpack_from(">L", content)
        elif kind == b"fcTL" and not begun:
            default_is_first = True
        elif kind in _KEPT and not content:
            meta.drop(_KEPT[kind])
        elif kind == b"iCCP" and not has_profile:
            has_profile = True
            meta.icc = _unpacked(content, meta)
        elif kind == b"eXIf":
            meta.exif = as_block(content)
        elif kind == b"pHYs":
            if len(content) == 9 and content[8] == 1:
                x, y = struct.unpack_from(">LL", content)
                meta.dpi = dpi_of(x, y, _INCH_M)
        elif kind == b"iTXt" and content.startswith(_XMP + b"\0") and not has_xmp:
            has_xmp = True
            meta.xmp = _xmp(content, meta)
        elif kind in _KEPT and kind != b"iCCP":
            size = _text_bytes(kind, content, max(MAX_BYTES - text_bytes, 0))
            if size is None:
                meta.drop("text", f"{TOO_LARGE} or damaged")
                size = len(content) * _SHRINKS  # so that a few bombs end it
            else:
                text.append((kind, content))
            text_bytes += size
    meta.text = tuple(text)
    meta.pictures = max(pictures + (not default_is_first), 1) if pictures else 1
    plain = b"".join(kept)
    if pixels:
        _check_size(plain, packed)
    return plain, meta


def _check_size(data: bytes, packed: int) -> None:
    """Before memory is taken for pixels that cannot be there."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        return
    w, h, depth, colour = struct.unpack_from(">LLBB", data, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0)
    if h * (w * bits // 8) > _SHRINKS * (packed + 64):
        raise OSError(f"{packed} bytes cannot hold {w}x{h} px")


def _inflate(packed: bytes, limit: int = MAX_BYTES) -> bytes | None:
    """None if it is damaged or above a number of bytes."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(packed, limit + 1)
    except zlib.error:
        return None
    return plain if stream.eof and len(plain) <= limit else None


def _unpacked(content: bytes, meta: Metadata) -> bytes | None:
    _, _, packed = content.partition(b"\0")
    plain = _inflate(packed[1:]) if packed[:1] == b"\0" else None
    if plain is None:
        meta.drop("colour profile", f"{TOO_LARGE} or damaged")
    return plain


def _xmp(content: bytes, meta: Metadata) -> bytes | None:
    """Behind keyword, flag, method, language and translated keyword."""
    flags, rest = content[len(_XMP) + 1 :][:2], content[len(_XMP) + 3 :]
    fields = rest.split(b"\0", 2)
    packet = fields[2] if len(fields) == 3 and len(flags) == 2 else None
    if packet is not None and flags[0] == 1:
        packet = _inflate(packet)
    if packet is None or len(packet) > MAX_BYTES:
        meta.drop("XMP", f"{TOO_LARGE} or damaged")
        return None
    return packet


def _text_bytes(kind: bytes, content: bytes, limit: int) -> int | None:
    """How long a text is, unpacked; None above a limit: no bomb is passed on."""
    _, _, rest = content.partition(b"\0")
    if len(content) > limit:
        return None
    if kind == b"zTXt":
        rest = _inflate(rest[1:], limit)
    elif kind == b"iTXt" and rest[:1] == b"\1":
        rest = _inflate(rest[2:].split(b"\0", 2)[-1], limit)
    size = None if rest is None else len(content) + len(rest)
    return size if size is not None and size <= limit else None


def metadata_chunks(
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
    text: tuple[tuple[bytes, bytes], ...],
) -> list[tuple[bytes, bytes]]:
    """`(kind, content)` of chunks that go before the pixels."""
    chunks = []
    if dpi:
        x, y = (round(value / _INCH_M) for value in dpi)
        chunks.append((b"pHYs", struct.pack(">LLB", x, y, 1)))
    if xmp:
        chunks.append((b"iTXt", _XMP + bytes(5) + xmp))
    return [*chunks, *text]
