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
      notes: a sentence for each thing that was left out.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[bytes, bytes], ...] = ()
    pictures: int = 1
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


def upright_xmp(xmp: bytes | None, turned: int) -> bytes | None:
    """The packet for pixels that were turned upright, if they were."""
    if xmp is None or turned == 1:
        return xmp
    stored = rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]"
    return re.sub(stored, rb"\g<1>1", xmp)
