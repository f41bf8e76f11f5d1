"""A grid of pictures with captions, and a part of each enlarged below it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lowlight_jax.images.files import Photo, write_photo

_GAP_PX, _CAPTION_PX = 6, 22
_FRAME = "#F0E442"  # yellow, seen on dark and on bright pictures


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def most_detailed(image: np.ndarray, *, fraction: float = 0.2) -> Window:
    """The window of most contrast; `fraction` of the height and width of the image.

    Args:
      image: uint8 `[h, w, 3]`.
      fraction: (0, 1].
    """
    h, w = image.shape[:2]
    height, width = max(1, round(h * fraction)), max(1, round(w * fraction))
    gray = image.mean(2)

    def windows(values: np.ndarray) -> np.ndarray:
        means = cv2.boxFilter(values, cv2.CV_64F, (width, height), anchor=(0, 0))
        return means[: h - height + 1, : w - width + 1]

    variance = windows(gray**2) - windows(gray) ** 2
    top, left = np.unravel_index(np.argmax(variance), variance.shape)
    return Window(int(top), int(left), height, width)


def draw_picture_grid(
    rows: Sequence[Mapping[str, np.ndarray]],
    *,
    width_px: int = 300,
    zooms: Sequence[Window] = (),
) -> np.ndarray:
    """One row per scene, one column per caption; uint8 `[h, w, 3]`.

    Args:
      rows: uint8 `[h, w, 3]` by caption; all rows have the same captions.
      width_px: of a picture in the grid; its proportions are kept.
      zooms: for each row the window that is framed and shown again, enlarged.
    """
    font = ImageFont.load_default(size=14)
    captions = list(rows[0])
    strips = []
    for i, row in enumerate(rows):
        window = zooms[i] if zooms else None
        strips.append([_cell(row[caption], window, width_px) for caption in captions])
    heights = [strip[0].height + _GAP_PX for strip in strips]
    canvas = Image.new(
        "RGB",
        ((width_px + _GAP_PX) * len(captions) + _GAP_PX, sum(heights) + _CAPTION_PX),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    for column, caption in enumerate(captions):
        left = _GAP_PX + column * (width_px + _GAP_PX)
        draw.text((left, 3), caption, fill="black", font=font)
        for i, strip in enumerate(strips):
            canvas.paste(strip[column], (left, _CAPTION_PX + sum(heights[:i])))
    return np.asarray(canvas)


def save_picture_grid(
    path: Path, rows: Sequence[Mapping[str, np.ndarray]], *, width_px: int = 300
) -> None:
    """`draw_picture_grid` as PNG."""
    write_photo(path, Photo(draw_picture_grid(rows, width_px=width_px)))


def _cell(image: np.ndarray, window: Window | None, width_px: int) -> Image.Image:
    """A picture `width_px` wide and, with a window, its enlargement below."""
    h, w = image.shape[:2]
    size = (width_px, max(1, round(width_px * h / w)))
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    if window is None:
        return picture
    x, y = (s / n for s, n in zip(size, (w, h), strict=True))
    left, top = window.left * x, window.top * y
    right, bottom = left + window.width * x, top + window.height * y
    ImageDraw.Draw(picture).rectangle((left, top, right, bottom), outline=_FRAME)
    part = Image.fromarray(image).crop(
        (
            window.left,
            window.top,
            window.left + window.width,
            window.top + window.height,
        )
    )
    part = part.resize(
        (width_px, max(1, round(width_px * window.height / window.width))),
        Image.Resampling.BICUBIC,
    )
    both = Image.new("RGB", (width_px, picture.height + 2 + part.height), "white")
    both.paste(picture, (0, 0))
    both.paste(part, (0, picture.height + 2))
    return both
