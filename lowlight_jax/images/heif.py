"""Pixels of HEIC and of deep AVIF, which Pillow does not read, and HEIC written.

Through pillow-heif (the extra `[heif]`) and OpenCV, at the file's own depth, brought to
the full range of 8 or 16 bits. Arrays are `[h, w]` or `[h, w, c]`, c = 3 (RGB) or 4
(RGBA); HEIC comes upright, AVIF as it is stored.
Not here: metadata (`isobmff`); AVIF of 8 bits, and written (`files`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from lowlight_jax.images.metadata import upright_xmp

if TYPE_CHECKING:
    from lowlight_jax.images.files import Photo

_WRITTEN_BITS = 10  # of deep pixels; few programs read 12


def open_heic(content: bytes) -> tuple[tuple[int, int], int, Callable[[], np.ndarray]]:
    """Width and height, how many pictures there are, and what decodes the first one."""
    import pillow_heif  # an extra, and only for this

    pictures = pillow_heif.open_heif(
        content, convert_hdr_to_8bit=False, hdr_to_16bit=False
    )
    image = pictures[pictures.primary_index]

    def decode() -> np.ndarray:
        samples = np.array(image)  # a copy: of old versions, memory goes with `image`
        if not samples.size:
            raise OSError("it has no pixels")
        if samples.ndim == 3 and samples.shape[2] == 1:
            samples = samples[:, :, 0]
        if samples.dtype == np.uint8:
            return samples
        return _full_range(samples, image.info["bit_depth"])

    return image.size, len(pictures), decode


def read_deep_avif(content: bytes, bits: int) -> np.ndarray | None:
    """uint16, of 10 or 12 bits; None if OpenCV was built without AVIF.

    Raises:
      OSError: the file is damaged.
    """
    import cv2  # heavy, and only for this

    if not cv2.haveImageWriter("x.avif"):
        return None
    try:
        bgra = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise OSError(f"the {bits}-bit pixels cannot be decoded") from error
    if bgra is None or bgra.dtype != np.uint16:
        raise OSError(f"the {bits}-bit pixels cannot be decoded")
    order = [2, 1, 0, 3][: bgra.shape[2]] if bgra.ndim == 3 else ...
    return _full_range(bgra[..., order] if bgra.ndim == 3 else bgra, bits)


def _full_range(samples: np.ndarray, bits: int) -> np.ndarray:
    full = 2**bits - 1
    scaled = (np.minimum(samples, full) * 65535.0 + full // 2) // full
    return scaled.astype(np.uint16)


def write_heic(
    file: BinaryIO, samples: np.ndarray, photo: "Photo", quality: int
) -> None:
    """HEVC of 8 bits, or of 10 for uint16.

    Args:
      file: to be written.
      samples: `[h, w, c]` uint8 or uint16, c = 1, 3 or 4.
      photo: whose profile, EXIF and XMP are written.
      quality: 1 to 100.
    """
    import pillow_heif  # an extra, and only for this

    h, w, c = samples.shape
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[c]
    if samples.dtype == np.uint16:
        full = 2**_WRITTEN_BITS - 1
        samples = ((samples * float(full) + 32767) // 65535).astype("<u2")
        mode += f";{_WRITTEN_BITS}"
    image = pillow_heif.from_bytes(mode, (w, h), samples.tobytes())
    xmp = upright_xmp(photo.xmp)  # or pillow-heif would turn the picture
    metadata = {"icc_profile": photo.icc, "exif": photo.exif, "xmp": xmp}
    held = {name: value for name, value in metadata.items() if value}
    image.save(file, quality=quality, **held)
