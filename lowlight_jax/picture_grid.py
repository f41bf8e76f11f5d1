"""A grid of pictures with captions, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lowlight_jax.image_files import Photo, write_photo


def save_picture_grid(
    path: Path, rows: Sequence[Mapping[str, np.ndarray]], *, width_px: int = 300
) -> None:
    """One row per scene, one column per caption.

    Args:
      path: of the PNG.
      rows: uint8 `[h, w, 3]` by caption; all rows have the same captions.
      width_px: of a picture in the grid; its proportions are kept.
    """
    gap_px, caption_px = 6, 22
    font = ImageFont.load_default(size=14)
    captions = list(rows[0])
    strips = []
    for row in rows:
        h, w = row[captions[0]].shape[:2]
        size = (width_px, max(1, round(width_px * h / w)))
        strips.append(
            [
                Image.fromarray(row[caption]).resize(size, Image.Resampling.LANCZOS)
                for caption in captions
            ]
        )
    heights = [strip[0].height + gap_px for strip in strips]
    canvas = Image.new(
        "RGB",
        ((width_px + gap_px) * len(captions) + gap_px, sum(heights) + caption_px),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    for column, caption in enumerate(captions):
        left = gap_px + column * (width_px + gap_px)
        draw.text((left, 3), caption, fill="black", font=font)
        for row_index, strip in enumerate(strips):
            canvas.paste(strip[column], (left, caption_px + sum(heights[:row_index])))
    write_photo(path, Photo(np.asarray(canvas)))
