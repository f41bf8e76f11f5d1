"""What an image file holds besides its pixels, whatever its format."""

import dataclasses
import re

MAX_BYTES = 16 * 2**20  # of one kind of metadata; what is larger is not kept


@dataclasses.dataclass
class Metadata:
    """Metadata as stored.

    Attributes:
      exif: "Exif\\0\\0" and a TIFF header.
      icc, xmp: profile and packet.
      dpi: horizontal and vertical.
      text: PNG's text chunks, `(kind, content)`.
      pictures: how many the file holds.
      gain_map: whether one of them, or what XMP tells of it, makes HDR of the first.
      notes: a sentence for each thing that was left out.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[bytes, bytes], ...] = ()
    pictures: int = 1
    gain_map: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)

    def drop(self, what: str, why: str = "damaged") -> None:
        """Notes that something is not kept."""
        note = f"its {what} is {why} and is not kept"
        if note not in self.notes:
            self.notes.append(note)


TOO_LARGE = f"larger than {MAX_BYTES // 2**20} MiB"


def dpi_of(x: float, y: float, per_inch: float = 1.0) -> tuple[float, float] | None:
    """A resolution in dots per inch; None where it says nothing usable."""
    dpi = float(x) * per_inch, float(y) * per_inch
    return dpi if all(0.01 <= value <= 1e6 for value in dpi) else None


_UPRIGHT = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]")
# Adobe's and Ultra HDR's; and the list of what follows a JPEG, as Google's phones have
# it. What is long is none of them, and would take a regular expression long.
_GAIN_MAP = re.compile(
    rb"\shdrgm:\w+\s*=\s*(?:\"[^\"]*\"|'[^']*')"
    rb"|<hdrgm:(\w+)[^<>]*(?:/>|>.{0,2000}?</hdrgm:\1\s*>)",
    re.DOTALL,
)
_FOLLOWING = re.compile(rb"<(\w*Container:Directory)\b.{0,9000}?</\1\s*>", re.DOTALL)
_LONGEST_WITH_GAIN_MAP = 2**16  # bytes; a JPEG's fits in there


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """The packet for pixels that were turned upright."""
    return None if xmp is None else _UPRIGHT.sub(rb"\g<1>1", xmp)


def drop_gain_map(meta: Metadata) -> None:
    """Leaves out what XMP tells of a gain map, with a note on all gain maps."""
    if meta.xmp and b"hdrgm:" in meta.xmp:
        meta.gain_map = True
        if len(meta.xmp) > _LONGEST_WITH_GAIN_MAP:
            meta.xmp = None
            meta.drop("XMP", "too long for one with a gain map")
        else:
            meta.xmp = _FOLLOWING.sub(b"", _GAIN_MAP.sub(b"", meta.xmp))
    if meta.gain_map:
        meta.drop("gain map", "for HDR")
