"""Point operations and histograms: every pixel by its own value, but for CLAHE's tiles.

Contract: `lowlight_jax.baselines.method`.
"""

from typing import Annotated, Literal

import cv2
import numpy as np

from lowlight_jax.baselines.method import Range, method

Level = Annotated[int, Range(0, 255)]
Percent = Annotated[float, Range(0, 100)]


@method
def negative(image: np.ndarray) -> np.ndarray:
    """255 - image, every channel.

    Args:
      image: uint8 `[h, w, c]`.
    Source: Salman, Kalakech 2024, eq. 1.
    """
    return 255 - image


@method
def contrast_stretching(
    image: np.ndarray, *, low_percent: Percent = 1.0, high_percent: Percent = 99.0
) -> np.ndarray:
    """Two percentiles become black and white, straight in between.

    One curve for all channels, so that no colour cast comes. An image without contrast
    between the two stays as it is.

    Args:
      image: uint8 `[h, w, c]`.
      low_percent: of all samples that become black.
      high_percent: of all samples, above which they become white.
    Source: Salman, Kalakech 2024, eq. 2; percentiles instead of minimum and maximum.
    """
    if low_percent >= high_percent:
        raise ValueError(
            f"low_percent is {low_percent:g} and high_percent {high_percent:g}; "
            "expected low_percent to be smaller"
        )
    low, high = np.percentile(image, (low_percent, high_percent))
    if high <= low:
        return image.copy()
    table = np.clip((np.arange(256) - low) / (high - low), 0, 1)
    return np.rint(255 * table).astype(np.uint8)[image]


@method
def intensity_slicing(
    image: np.ndarray,
    *,
    low: Level = 100,
    high: Level = 200,
    others: Literal["keep", "black"] = "keep",
) -> np.ndarray:
    """Pixels whose luma lies between two levels become white.

    Args:
      image: uint8 `[h, w, c]`.
      low: the first level; the luma (Rec. 601) decides for all channels of a pixel.
      high: the last level.
      others: what becomes of all other pixels.
    Source: Gonzalez, Woods, Digital Image Processing, 3.2 (intensity-level slicing).
    """
    if low > high:
        raise ValueError(f"low is {low} and high {high}; expected low not above high")
    inside = cv2.inRange(luma(image), low, high)[..., None]
    return inside | image if others == "keep" else np.repeat(inside, image.shape[2], 2)


@method
def bit_plane(
    image: np.ndarray, *, plane: Annotated[int, Range(0, 7)] = 7
) -> np.ndarray:
    """One bit of every sample: white where it is set, black elsewhere.

    Args:
      image: uint8 `[h, w, c]`; each channel has its planes.
      plane: 0, the least significant, to 7; the sum of 2**plane over the white ones of
        all planes is the image.
    Source: Gonzalez, Woods, Digital Image Processing, 3.2 (bit-plane slicing).
    """
    return (image >> np.uint8(plane) & np.uint8(1)) * np.uint8(255)


@method
def gamma(
    image: np.ndarray, *, exponent: Annotated[float, Range(0.01, 100)] = 0.4
) -> np.ndarray:
    """(image / 255) ** exponent, every channel.

    Args:
      image: uint8 `[h, w, c]`.
      exponent: below 1 brightens, above 1 darkens.
    Source: Gonzalez, Woods, Digital Image Processing, 3.2 (power law).
    """
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[image]


@method
def histogram_equalisation(image: np.ndarray) -> np.ndarray:
    """Spreads the value of HSV, or the gray, so that all levels are equally full.

    The channels of a pixel are multiplied by one factor, so hue and saturation stay.

    Args:
      image: uint8 `[h, w, c]`.
    Source: Gonzalez, Woods, Digital Image Processing, 3.3, in OpenCV's implementation.
    """
    value = image.max(2)
    gain = cv2.equalizeHist(value) / np.maximum(value, 1).astype(np.float32)
    return np.rint(image * gain[..., None]).astype(np.uint8)


@method
def clahe(
    image: np.ndarray,
    *,
    clip_limit: Annotated[float, Range(0, 1000)] = 40.0,
    tiles: Annotated[int, Range(1, 64)] = 8,
) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of Lab's lightness, or of gray.

    Args:
      image: uint8 `[h, w, c]`.
      clip_limit: OpenCV's; 40 is its default, 0 is no limit.
      tiles: on each side.
    Source: Zuiderveld 1994, in OpenCV's implementation.
    """
    equaliser = cv2.createCLAHE(clip_limit, (tiles, tiles))
    if image.shape[2] == 1:
        return equaliser.apply(np.ascontiguousarray(image[..., 0]))[..., None]
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = equaliser.apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


@method
def gray_world(image: np.ndarray) -> np.ndarray:
    """Scales the channels to one mean, theirs; a gray image stays as it is.

    What a channel would exceed is clipped, and a black channel stays black.

    Args:
      image: uint8 `[h, w, c]`.
    Source: Buchsbaum 1980, doi:10.1016/0016-0032(80)90058-7.
    """
    means = image.mean((0, 1))
    gains = means.mean() / np.maximum(means, 1 / 255)
    tables = np.rint(np.clip(np.arange(256)[:, None] * gains, 0, 255)).astype(np.uint8)
    return np.stack([tables[image[..., i], i] for i in range(image.shape[2])], 2)


def luma(image: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of uint8 `[h, w, c]`, rounded, uint8 `[h, w]`."""
    return (
        image[..., 0]
        if image.shape[2] == 1
        else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    )
