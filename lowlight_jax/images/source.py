"""Where a photograph comes from: a file, or its bytes, which a server has in memory."""

import dataclasses
import io
from pathlib import Path
from typing import BinaryIO


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """An encoded image that can be read several times.

    Attributes:
      content: a path, or the bytes of a whole file.
      name: what it is called in messages.
    """

    content: Path | bytes
    name: str

    @classmethod
    def of(cls, given: "str | Path | bytes | BinaryIO") -> "ImageSource":
        """Of a path, of bytes, or of what is left in an open file."""
        if isinstance(given, str | Path):
            return cls(Path(given), str(given))
        if isinstance(given, bytes | bytearray | memoryview):
            return cls(bytes(given), "the image")
        return cls(given.read(), str(getattr(given, "name", "the image")))

    def __str__(self) -> str:
        return self.name

    def open(self) -> BinaryIO:
        """At its beginning."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        return self.content.open("rb")

    def read(self) -> bytes:
        """All of it."""
        with self.open() as file:
            return file.read()

    @property
    def is_folder(self) -> bool:
        return isinstance(self.content, Path) and self.content.is_dir()

    @property
    def is_special(self) -> bool:
        """A pipe or device, which may never end."""
        path = self.content
        return isinstance(path, Path) and path.exists() and not path.is_file()

    @property
    def suffix(self) -> str:
        """In lower case; "" of bytes."""
        return self.content.suffix.lower() if isinstance(self.content, Path) else ""
