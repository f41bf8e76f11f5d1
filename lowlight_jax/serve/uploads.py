"""The body of a request, written to disk as it comes, and what it is found to be."""

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

from lowlight_jax.images.files import (
    IMAGE_SUFFIXES,
    ImageFileError,
    check_fits_format,
    read_header,
)
from lowlight_jax.images.kinds import (
    HEAD_BYTES,
    RAW_SUFFIXES,
    missing_extra,
    suffix_of,
)
from lowlight_jax.serve.refusals import Refused

# How formats begin; what is read but not listed is saved as PNG.
_SIGNATURES = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
}
_READ = (*IMAGE_SUFFIXES, *RAW_SUFFIXES, ".gif")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a client may send.

    Attributes:
      max_bytes: of a body.
      max_pixels: of a picture.
      patience_s: how long a body may be silent, and its first bytes may take.
      least_bytes_s: how fast it must come on average, after that.
    """

    max_bytes: int
    max_pixels: int
    patience_s: float = 20.0
    least_bytes_s: float = 20_000.0


async def receive_body(
    chunks: AsyncIterator[bytes], declared: str | None, path: Path, limits: Limits
) -> None:
    """Writes a body to a new file; what comes above the limit is not read.

    Args:
      chunks: of the body.
      declared: the Content-Length, if there is one.
      path: of the file, which the caller removes.
      limits: see `Limits`.
    Raises:
      Refused: 413 too large, 408 too slow, 422 empty.
    """
    if declared is not None and int(declared) > limits.max_bytes:
        raise _too_large(limits)
    started, size = time.monotonic(), 0
    with path.open("xb") as file:
        while True:
            spent = time.monotonic() - started
            allowed = limits.patience_s + size / limits.least_bytes_s - spent
            try:
                chunk = await asyncio.wait_for(
                    anext(chunks, None), max(0.0, min(allowed, limits.patience_s))
                )
            except TimeoutError:
                raise Refused(
                    408,
                    "The upload is too slow and was given up; try again on a better "
                    "connection.",
                    {"Connection": "close"},
                ) from None
            if chunk is None:
                break
            size += len(chunk)
            if size > limits.max_bytes:
                raise _too_large(limits)
            await asyncio.to_thread(file.write, chunk)
    if not size:
        raise Refused(422, "The body is empty; expected the bytes of an image file.")


def _too_large(limits: Limits) -> Refused:
    return Refused(
        413,
        f"The file is larger than {limits.max_bytes / 1e6:g} MB; save it smaller or "
        "start the server with a higher --max-mb.",
        {"Connection": "close"},
    )


def inspect(path: Path, limits: Limits) -> tuple[tuple[int, int], str]:
    """`(h, w)` of an uploaded picture by its header, and the suffix of its format.

    Raises:
      Refused: 415 no image or of a kind that is not read, 422 damaged, 413 too large.
    """
    content = path.read_bytes()
    suffix = _suffix(content)
    try:
        (h, w), _ = read_header(content)  # bytes: a message names no path
    except ImageFileError as error:
        is_read = suffix in _READ and not missing_extra(suffix)
        status = 422 if is_read else 415
        status = 413 if "more pixels than" in str(error) else status
        raise Refused(status, as_sentence(error)) from error
    if h * w > limits.max_pixels:
        raise Refused(
            413,
            f"The picture has {h * w / 1e6:.0f} megapixels; expected "
            f"{limits.max_pixels / 1e6:g} at most, so make it smaller or start the "
            "server with a higher --max-megapixels.",
        )
    return (h, w), suffix if suffix in IMAGE_SUFFIXES else ".png"


def check_format(suffix: str, size: tuple[int, int]) -> None:
    """Whether the result fits its format.

    Raises:
      Refused: 422, a side is too long.
    """
    try:
        check_fits_format(f"the result{suffix}", *size)
    except ImageFileError as error:
        raise Refused(422, as_sentence(error)) from error


def as_sentence(message: object) -> str:
    """An error or a note with a capital and a full stop.

    What was given as bytes is "the image" to `images`, even where it is none.
    """
    text = re.sub("^the image is not an image", "the file is no image", str(message))
    return text[:1].upper() + text[1:] + "." * (not text.endswith("."))


def _suffix(content: bytes) -> str | None:
    for signature, suffix in _SIGNATURES.items():
        if content.startswith(signature):
            return suffix
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    return ".webp" if is_webp else suffix_of(content[:HEAD_BYTES])
