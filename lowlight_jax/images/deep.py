"""16 bits per channel in colour or with alpha, which Pillow cuts down to 8.

PNG and TIFF, read through OpenCV; TIFF is written here, with colour profile and EXIF,
PNG in `png_writer`. Arrays are `[h, w, c]`, c = 1 (gray), 2 (gray, alpha), 3 (RGB) or 4
(RGBA).
"""

import struct
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from lowlight_jax.images.deflate import deflate_best, on_all_cores
from lowlight_jax.images.exif import tiff_entries
from lowlight_jax.images.ifd import (
    BYTE,
    LONG,
    RATIONAL,
    UNDEFINED,
    Value,
    encode_directory,
    integers_value,
)
from lowlight_jax.images.tiff import with_alpha

if TYPE_CHECKING:
    from lowlight_jax.images.files import Photo

_BAND_ROWS = 256  # rows compressed at a time


def is_deep_colour(content: bytes, image: Image.Image) -> bool:
    """Whether Pillow would lose half the bits of a file that begins so."""
    if image.mode not in ("RGB", "RGBA", "RGBa", "RGBX"):
        return False
    if image.format == "PNG":
        return content[24] == 16  # bit depth, at a fixed place
    return image.format == "TIFF" and image.tag_v2[258][0] == 16  # BitsPerSample


def read_deep_colour(content: bytes, image: Image.Image) -> np.ndarray:
    """`[h, w, 2, 3 or 4]` uint16, of a whole file without orientation.

    Raises:
      OSError: the file is damaged.
    """
    import cv2  # heavy, and only for this

    try:
        encoded = np.frombuffer(content, np.uint8)
        bgra = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise OSError("the 16-bit pixels cannot be decoded") from error
    if bgra is None or bgra.dtype != np.uint16 or bgra.ndim != 3:
        raise OSError("the 16-bit pixels cannot be decoded")
    if image.format == "PNG" and content[25] == 4:  # grayscale with alpha
        return bgra[:, :, [0, 3]]
    rgba = bgra[:, :, [2, 1, 0, 3][: bgra.shape[2]]]
    if image.format == "TIFF" and rgba.shape[2] == 4:
        return with_alpha(rgba, image.tag_v2.get(338, (0,))[0])  # ExtraSamples
    return rgba


def write_tiff(
    file: BinaryIO,
    samples: np.ndarray,
    icc: bytes | None,
    photo: "Photo",
    *,
    compress: bool = False,
) -> list[str]:
    """Deflate with horizontal prediction, in the byte order of the photo's EXIF.

    Args:
      file: to be written.
      samples: `[h, w, c]` uint8 or uint16.
      icc: of these.
      photo: whose other metadata is written.
      compress: see `deflate`.
    Returns:
      The names of EXIF tags that are damaged, and so not kept.
    """
    h, w, c = samples.shape
    order, described, lost = tiff_entries(photo.exif)

    def pack(top: int) -> bytes:
        band = samples[top : top + _BAND_ROWS].astype(samples.dtype.newbyteorder(order))
        band[:, 1:] -= samples[top : top + _BAND_ROWS, :-1]
        return deflate_best([band.reshape(-1).view(np.uint8)], compress=compress)[1]

    strips = list(on_all_cores(pack, range(0, h, _BAND_ROWS)))
    sizes = [len(strip) for strip in strips]

    def short(*values: int) -> Value:
        return integers_value(order, *values)

    def long(*values: int) -> Value:
        return integers_value(order, *values, kind=LONG)

    entries: dict = {}
    if photo.dpi:
        for tag, value in zip((282, 283), photo.dpi, strict=True):
            ratio = struct.pack(order + "LL", round(value * 1000), 1000)
            entries[tag] = RATIONAL, 1, ratio
        entries[296] = short(2)  # ResolutionUnit: inch
    entries |= described
    entries |= {
        256: long(w),
        257: long(h),
        258: short(*(8 * samples.dtype.itemsize,) * c),
        259: short(8),  # Compression: Deflate
        262: short(2 if c >= 3 else 1),  # PhotometricInterpretation: RGB, gray
        277: short(c),
        278: long(_BAND_ROWS),
        279: long(*sizes),
        317: short(2),  # Predictor: horizontal differences
    }
    if icc:
        entries[34675] = UNDEFINED, len(icc), icc
    if photo.xmp:
        entries[700] = BYTE, len(photo.xmp), photo.xmp
    if c in (2, 4):
        entries[338] = short(2)  # ExtraSamples: alpha, not premultiplied
    starts = np.cumsum([0, *sizes[:-1]])
    entries[273] = long(*starts.tolist())
    start = 8 + len(encode_directory(order, entries, 8))
    entries[273] = long(*(start + starts).tolist())
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    file.write(magic + struct.pack(order + "L", 8))
    file.write(encode_directory(order, entries, 8))
    for strip in strips:
        file.write(strip)
    return lost
