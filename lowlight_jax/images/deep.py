"""16 bits per channel in colour or with alpha, which Pillow cuts down to 8.

PNG and TIFF, read through OpenCV and written here, with colour profile and EXIF. Arrays
are `[h, w, c]`, c = 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA).
"""

import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from lowlight_jax.images.exif import EXIF_HEADER, tiff_tags
from lowlight_jax.images.source import ImageSource

_BAND_ROWS = 256  # rows compressed at a time


def is_deep_colour(source: ImageSource, image: Image.Image) -> bool:
    """Whether Pillow would lose half the bits of this file."""
    if image.mode not in ("RGB", "RGBA", "RGBa", "RGBX"):
        return False
    if image.format == "PNG":
        return _png_header(source)[0] == 16
    return image.format == "TIFF" and image.tag_v2[258][0] == 16  # BitsPerSample


def _png_header(source: ImageSource) -> tuple[int, int]:
    """Bit depth and colour type, at their fixed place in every PNG."""
    with source.open() as file:
        depth, colour_type = file.read(26)[24:26]
    return depth, colour_type


def read_deep_colour(source: ImageSource, image: Image.Image) -> np.ndarray:
    """`[h, w, 2, 3 or 4]` uint16. TIFF comes upright, as Pillow's TIFF does too.

    Raises:
      OSError: the file is damaged.
    """
    import cv2  # heavy, and only for this

    try:
        encoded = np.frombuffer(source.read(), np.uint8)
        bgra = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise OSError("the 16-bit pixels cannot be decoded") from error
    if bgra is None or bgra.dtype != np.uint16 or bgra.ndim != 3:
        raise OSError("the 16-bit pixels cannot be decoded")
    if image.format == "PNG" and _png_header(source)[1] == 4:  # grayscale with alpha
        return bgra[:, :, [0, 3]]
    rgba = bgra[:, :, [2, 1, 0, 3][: bgra.shape[2]]]
    if image.format == "TIFF" and rgba.shape[2] == 4:
        meaning = image.tag_v2.get(338, (0,))[0]  # ExtraSamples
        if meaning == 0:  # unspecified: not an alpha
            return rgba[:, :, :3]
        if meaning == 1:
            return _unpremultiply(rgba)
    return rgba


def _unpremultiply(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[:, :, 3:].astype(np.float64)
    colour = np.rint(rgba[:, :, :3] * (65535 / np.maximum(alpha, 1)))
    return np.dstack([np.minimum(colour, 65535).astype(np.uint16), rgba[:, :, 3]])


def write_deep_png(
    file: BinaryIO, samples: np.ndarray, icc: bytes | None, exif: bytes | None
) -> None:
    """16 bits per channel, which Pillow writes for grayscale only."""
    h, w, c = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[c]
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">LLBBBBB", w, h, 16, colour_type, 0, 0, 0)
    _write_chunk(file, b"IHDR", header)
    if icc:
        _write_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    if exif:
        _write_chunk(file, b"eXIf", exif.removeprefix(EXIF_HEADER))
    compressor = zlib.compressobj()
    for top in range(0, h, _BAND_ROWS):
        band = samples[top : top + _BAND_ROWS].astype(">u2")
        octets = band.reshape(len(band), -1).view(np.uint8)
        filtered = np.empty((len(band), 1 + octets.shape[1]), np.uint8)
        filtered[:, 0] = 1  # filter "Sub": each byte minus that of the pixel before
        filtered[:, 1:] = octets
        filtered[:, 1 + 2 * c :] -= octets[:, : -2 * c]
        _write_chunk(file, b"IDAT", compressor.compress(filtered.tobytes()))
    _write_chunk(file, b"IDAT", compressor.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    file.write(struct.pack(">L", len(content)) + kind)
    file.write(content)
    file.write(struct.pack(">L", checksum))


def write_tiff(
    file: BinaryIO, samples: np.ndarray, icc: bytes | None, exif: bytes | None
) -> None:
    """Deflate with horizontal prediction; uint8 or uint16."""
    h, w, c = samples.shape
    strips = []
    for top in range(0, h, _BAND_ROWS):
        band = samples[top : top + _BAND_ROWS].astype(samples.dtype.newbyteorder("<"))
        band[:, 1:] -= samples[top : top + _BAND_ROWS, :-1]
        strips.append(zlib.compress(band.tobytes()))
    directory = ImageFileDirectory_v2(prefix=b"II")
    if exif:
        for tag, value in tiff_tags(exif).items():
            directory[tag] = value
    if icc:
        directory[34675] = icc
    directory[256], directory[257] = w, h
    directory[258] = (8 * samples.dtype.itemsize,) * c
    directory[259] = 8  # Compression: Deflate
    directory[262] = 2 if c >= 3 else 1  # PhotometricInterpretation: RGB, gray
    directory[277] = c
    directory[278] = _BAND_ROWS
    directory[279] = tuple(len(strip) for strip in strips)
    starts = np.cumsum([0, *directory[279][:-1]])
    directory[273] = tuple(starts.tolist())  # made absolute by `save`
    directory[317] = 2  # Predictor: horizontal differences
    if c in (2, 4):
        directory[338] = 2  # ExtraSamples: alpha, not premultiplied
    directory.save(file)
    for strip in strips:
        file.write(strip)
