"""Raw files of cameras, developed to sRGB by LibRaw (rawpy, the extra `[raw]`).

16 bits, the camera's white balance, upright, as bright as it was exposed: how bright a
photograph should be is what this package is for.
Not here: the EXIF of raw files that are TIFF (`tiff`).
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lowlight_jax.images.jpeg import split_jpeg
from lowlight_jax.images.source import ImageSource

if TYPE_CHECKING:
    import rawpy

_SRGB_GAMMA = (2.4, 12.92)  # exponent, and slope near black
_TURNS = (5, 6)  # a quarter, in dcraw's way to count


def open_raw(
    source: ImageSource, stack: ExitStack, half_size: bool
) -> (
    tuple[tuple[int, int], Callable[[], np.ndarray], Callable[[], bytes | None]] | None
):
    """Width and height, what decodes to `[h, w, c]` uint16, and to its preview's EXIF.

    None if it is no raw file, or of a camera that LibRaw does not know.

    Args:
      source: the file.
      stack: what closes it.
      half_size: a pixel of each 2x2 of the sensor, without interpolation: faster.
    Raises:
      OSError: it is damaged.
    """
    import rawpy  # an extra, and only for this

    try:
        raw = stack.enter_context(rawpy.imread(stack.enter_context(source.open())))
    except rawpy.LibRawFileUnsupportedError:
        return None
    except rawpy.LibRawError as error:
        raise OSError(_words(error)) from error
    size = raw.sizes.width, raw.sizes.height
    if raw.sizes.flip in _TURNS:
        size = size[::-1]

    def decode() -> np.ndarray:
        try:
            return raw.postprocess(
                use_camera_wb=True,
                no_auto_bright=True,
                adjust_maximum_thr=0.0,  # or the brightest pixel would become white
                output_bps=16,
                gamma=_SRGB_GAMMA,
                half_size=half_size,
            )
        except rawpy.LibRawError as error:
            raise OSError(_words(error)) from error

    return size, decode, partial(_preview_exif, raw)


def _words(error: Exception) -> str:
    return error.args[0].decode() if error.args else type(error).__name__


def _preview_exif(raw: "rawpy.RawPy") -> bytes | None:
    import rawpy

    try:
        preview = raw.extract_thumb()
    except rawpy.LibRawError:  # there is none, or of an unknown kind
        return None
    if preview.format != rawpy.ThumbFormat.JPEG:
        return None
    return split_jpeg(preview.data).meta.exif
