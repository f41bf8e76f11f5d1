"""What library calls ask of images and numbers, checked where they come in.

Shapes and types are always looked at, values only where they are known: what is traced
(`jit`, `grad`, `vmap`) has none yet, and nothing is added to its code. So the checks
belong at the border of the library, on what the host gives, and not further down.
"""

import math
from typing import Any

import numpy as np

# How far floating point samples may lie outside [0, 1], as resampling and rounding
# leave them: half a step of 8 bits. They are clipped; what lies farther out means
# something else.
TOLERANCE = 0.5 / 255
_UNIT = "sRGB in [0, 1]"


def in_range(
    name: str, array: Any, lowest: float, highest: float, *, expected: str
) -> tuple[float, float] | None:
    """The least and the greatest value of floating point samples, which are checked.

    Args:
      name: of the array, for the message.
      array: of numpy or JAX.
      lowest, highest: what they may be.
      expected: what belongs there, for the message.
    Returns:
      None for other types than floating point, and where values are not known.
    Raises:
      ValueError: NaN, infinities, or values out of the range.
    """
    if not _is_known(array):
        return None
    array = np.asarray(array)  # XLA on CPU leaves NaN out of minima and maxima
    low, high = float(array.min()), float(array.max())
    if math.isnan(low):
        raise ValueError(f"{name} holds NaN; expected {expected}: replace these values")
    if math.isinf(low) or math.isinf(high):
        raise ValueError(
            f"{name} holds infinities; expected {expected}: replace these values"
        )
    if low < lowest or high > highest:
        remedy = (
            "divide by the code of white (255 of 8 bits)" if high > 2 else "clip it"
        )
        raise ValueError(
            f"{name} holds values from {low:g} to {high:g}; expected {expected}: "
            f"{remedy} first"
        )
    return low, high


def _is_known(array: Any) -> bool:
    dtype = getattr(array, "dtype", None)
    # numpy does not know bfloat16 as floating point.
    if dtype is None or not (dtype.kind == "f" or dtype.name == "bfloat16"):
        return False
    if not array.size:
        return False
    if isinstance(array, (np.ndarray, np.generic)):
        return True
    import jax  # heavy; arrays of numpy do without

    return not isinstance(array, jax.core.Tracer)


def unit_range(name: str, array: Any) -> Any:
    """An array in [0, 1]: clipped where it is outside by no more than `TOLERANCE`.

    Args:
      name: of the array, for the message.
      array: of numpy or JAX; of other types than floating point it is returned as it
        is, and where its values are not known.
    Raises:
      ValueError: NaN, infinities, or values farther outside.
    """
    found = in_range(name, array, -TOLERANCE, 1 + TOLERANCE, expected=_UNIT)
    return array.clip(0, 1) if found and (found[0] < 0 or found[1] > 1) else array


def as_image(image: Any, *, batches: bool = True) -> np.ndarray:
    """An image as every method takes it: `[h, w, c]`, c = 3 (RGB) or 1 (gray).

    Args:
      image: uint8, uint16 (full range), or floating point in [0, 1].
      batches: `[b, h, w, c]` is allowed too.
    Raises:
      ValueError: it is none of these.
    """
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise ValueError(
            f"image has dtype {image.dtype}; expected uint8, uint16 or floating point: "
            "convert 8-bit codes by image.astype(np.uint8)"
        )
    if image.ndim not in ((3, 4) if batches else (3,)) or image.shape[-1] not in (1, 3):
        wanted = "[h, w, c]" + " or [b, h, w, c]" * batches
        raise ValueError(
            f"image has shape {image.shape}; expected {wanted} with c = 3 or 1"
            f"{_layout_remedy(image.shape)}"
        )
    return unit_range("image", image)


def _layout_remedy(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return ": add an axis to a gray image, image[..., None]"
    if len(shape) in (3, 4) and shape[-3] in (1, 3):
        return ": channels come first here, np.moveaxis(image, -3, -1) puts them last"
    if len(shape) in (3, 4) and shape[-1] in (2, 4):
        return ": leave alpha out, image[..., :-1]"
    return ""


def as_mask(mask: Any, image: np.ndarray) -> np.ndarray:
    """uint8 `[h, w, 1]`, 1 where the mask is not 0.

    Args:
      mask: `[h, w]` or `[h, w, 1]`, of the image's height and width; any numbers.
      image: `[h, w, c]`.
    Raises:
      ValueError: another shape, NaN, or no numbers.
    """
    mask, size = np.asarray(mask), image.shape[:2]
    if mask.dtype.kind not in "buif":
        raise ValueError(f"mask has dtype {mask.dtype}; expected bool or numbers")
    if mask.shape not in (size, (*size, 1)):
        turned = mask.shape[:2] == size[::-1] and mask.ndim == 2
        raise ValueError(
            f"mask has shape {mask.shape}; expected that of the image, {size}"
            + (": it lies on its side, mask.T" if turned else "")
        )
    if mask.dtype.kind == "f" and np.isnan(mask).any():
        raise ValueError("mask holds NaN; expected 0, and another number in holes")
    return np.uint8(mask != 0).reshape(*size, 1)


def number(name: str, value: Any, lowest: float, highest: float) -> float:
    """A setting as a Python float, whatever kind of single number it came as.

    Raises:
      ValueError: no number, NaN, or out of the range.
    """
    found = math.nan
    if np.ndim(value) == 0 and not isinstance(value, (str, bytes, complex)):
        try:
            found = float(value)
        except (TypeError, ValueError):
            pass
    if not lowest <= found <= highest:
        shown = repr(value) if isinstance(value, (str, bytes)) else value
        raise ValueError(f"{name} is {shown}; expected {lowest:g} to {highest:g}")
    return found


def same_shape(name: str, first: Any, second: Any) -> None:
    """Raises a ValueError where two images differ in shape: nothing is broadcast."""
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"{name} needs two images of one shape, found {np.shape(first)} and "
            f"{np.shape(second)}: crop or resize one of them first"
        )
