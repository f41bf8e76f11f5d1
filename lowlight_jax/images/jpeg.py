"""JPEG segments: metadata by the standards, and whether a picture is all there.

libjpeg fills what is missing with gray and says nothing that Pillow passes on.
Source: ITU-T T.81 (JPEG), annex B; Exif 2.32; XMP part 3; CIPA DC-007 (MPF).
"""

import dataclasses
import io
import re
import struct
from typing import BinaryIO

import numpy as np

from lowlight_jax.images.exif import EXIF_HEADER
from lowlight_jax.images.ifd import TiffReader
from lowlight_jax.images.metadata import Metadata, dpi_of

_MOST_MARKERS = 50_000  # a picture has some dozens
START, END = b"\xff\xd8", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOS, _APP0, _APP1, _APP2, _APP13, _APP14, _COM = (
    0xDA,
    0xE0,
    0xE1,
    0xE2,
    0xED,
    0xEE,
    0xFE,
)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
# In the files of Ultra HDR, ISO 21496-1 and Apple, with which a picture becomes HDR.
_GAIN_MAPS = (
    b"http://ns.adobe.com/hdr-gain-map/1.0/",
    b"urn:iso:std:iso:ts:21496:-1",
    b"http://ns.apple.com/HDRGainMap/1.0/",
)
# Entropy-coded data that is none of the picture's: no byte of it is a marker.
_NOISE = np.random.default_rng(0).integers(0, 255, 4096).astype(np.uint8).tobytes()


@dataclasses.dataclass
class Jpeg:
    """The parts of the first picture of a file.

    Attributes:
      header: what decodes it, from its start to its first scan.
      scans: from there on, without the end marker.
      has_end: whether there is one.
      incomplete: what its headers say is missing; "" if nothing.
      always_probe: whether pixels do not tell that the end is missing.
      meta: the rest.
    """

    header: bytes
    scans: bytes
    has_end: bool
    incomplete: str
    always_probe: bool
    meta: Metadata

    @property
    def plain(self) -> bytes:
        """A whole file without metadata."""
        return self.header + self.scans + END

    @property
    def probe(self) -> bytes:
        """`plain` with noise before its end marker.

        That changes the pixels only of a picture that ends early: else the decoder has
        stopped before.
        """
        return self.header + self.scans + _NOISE + END

    def may_lack_pixels(self, last_row: np.ndarray) -> bool:
        """Whether only `probe` tells that the data for all pixels was there.

        Args:
          last_row: `[1, w]` or `[1, w, c]`, of the picture.
        """
        # What is missing is one gray; few pictures end in a row of one colour.
        is_flat = (last_row[-1, -4:] == last_row[-1, -1]).all()
        return bool(not self.has_end or self.always_probe or is_flat)


def read_header(file: BinaryIO) -> bytes:
    """The file up to its first scan and a bit more; large previews come before it."""
    data = file.read(2**16)
    while not split_jpeg(data).scans and (more := file.read(max(len(data), 2**16))):
        data += more
    return data


def split_jpeg(data: bytes) -> Jpeg:
    """Takes a file apart, or its beginning, as far as it goes."""
    meta = Metadata()
    kept, profile, lost = [START], {}, set()
    frame, components, marker = 0, b"", 0
    seen: dict[int, np.ndarray] = {}
    place, scans_at, has_end, markers = 2, None, False, 0
    while (found := _MARKER.search(data, place)) and markers < _MOST_MARKERS:
        markers += 1
        marker, place = data[found.end() - 1], found.end()
        if marker == END[1]:
            has_end = True
            place = found.start()
            break
        if marker in (START[1], 0x01):
            continue
        if place + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, place)
        content = data[place + 2 : place + length]
        segment = data[place - 2 : place + length]
        start, place = place - 2, place + max(length, 2)
        if marker == _SOS:
            scans_at = start if scans_at is None else scans_at
            _note_scan(content, seen)
            continue
        if marker in _FRAMES and len(content) >= 6:
            frame, components = marker, content[6::3][: content[5]]
        if scans_at is None:
            if _tells_pixels(marker, content):
                kept.append(segment)
            _read_metadata(marker, content, meta, profile, lost)
    if lost:
        meta.notes.append(f"not kept of the JPEG: {', '.join(sorted(lost))}")
    if profile:
        meta.icc = b"".join(part for _, part in sorted(profile.items()))
    end = place if has_end else len(data)
    if not data[end + 2 :].lstrip(b"\0"):
        meta.pictures = 1
    elif meta.pictures > 1 and any(sign in data for sign in _GAIN_MAPS):
        meta.gain_map = True
        meta.pictures -= 1
    return Jpeg(
        header=b"".join(kept),
        scans=b"" if scans_at is None else data[scans_at:end],
        has_end=has_end,
        incomplete=_missing(frame, components, seen),
        always_probe=frame in _PROGRESSIVE,
        meta=meta,
    )


def _note_scan(content: bytes, seen: dict[int, np.ndarray]) -> None:
    """Down to which bit each coefficient is known: 0 is all, 99 nothing."""
    if not content or len(content) < 4 + 2 * content[0]:
        return
    first, last, bits = content[1 + 2 * content[0] :][:3]
    for component in content[1 : 1 + 2 * content[0] : 2]:
        known = seen.setdefault(component, np.full(64, 99))
        known[first : last + 1] = bits & 15


def _missing(frame: int, components: bytes, seen: dict[int, np.ndarray]) -> str:
    if any(component not in seen for component in components):
        return "it ends before all of its colour channels"
    if frame in _PROGRESSIVE and any((known > 0).any() for known in seen.values()):
        return "it ends before the last of its scans"
    return ""


def _tells_pixels(marker: int, content: bytes) -> bool:
    if marker == _APP0:
        return content.startswith(b"JFIF\0") and len(content) >= 14
    if marker == _APP14:
        return content.startswith(b"Adobe") and len(content) >= 12
    return not (0xE0 <= marker <= 0xEF or marker == _COM)


def _read_metadata(
    marker: int,
    content: bytes,
    meta: Metadata,
    profile: dict[int, bytes],
    lost: set[str],
) -> None:
    if marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 12:
        unit, x, y = struct.unpack_from(">BHH", content, 7)
        if unit in (1, 2):
            meta.dpi = dpi_of(x, y, 2.54 if unit == 2 else 1)
    elif marker == _APP1 and content.startswith(EXIF_HEADER):
        # A block above 64 kB goes on in the next segment.
        more = content.removeprefix(EXIF_HEADER)
        meta.exif = content if meta.exif is None else meta.exif + more
    elif marker == _APP1 and content.startswith(_XMP):
        meta.xmp = content.removeprefix(_XMP)
    elif marker == _APP1 and content.startswith(_MORE_XMP):
        lost.add("extended XMP")
    elif marker == _APP2 and content.startswith(_ICC) and len(content) > 14:
        profile[content[12]] = content[14:]
    elif marker == _APP2 and content.startswith(b"MPF\0"):
        meta.pictures = _count_pictures(content)
    elif marker == _APP13:
        lost.add("IPTC")
    elif marker == _COM:
        lost.add("comment")


def _count_pictures(content: bytes) -> int:
    try:
        reader = TiffReader(io.BytesIO(content), 4)
    except ValueError:
        return 1
    entries, _ = reader.directory(reader.first)
    counts = [reader.integers(e) for e in entries if e.tag == 0xB001]
    return max(counts[0][0], 1) if counts and counts[0] else 1
