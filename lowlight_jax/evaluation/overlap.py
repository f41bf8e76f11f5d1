"""Scenes that two folders share: there a score rewards recognising them.

Of LOL's 15 test pictures 14 show a scene of the training part; see docs/results.md.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lowlight_jax.images.files import ImageFileError, read_visible_rgb8, search_images
from lowlight_jax.images.search import say_left_out

TWINS = 0.95  # correlation from which two pictures count as of one scene
_SIDE_PX = 32


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The picture of another folder that is most like one.

    Attributes:
      name: of the picture.
      twin: of the one most like it.
      correlation: of their thumbnails, -1 to 1.
    """

    name: str
    twin: str
    correlation: float


def find_nearest(
    images: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]
) -> list[Nearest]:
    """For each image the most similar of the others, the most similar pair first.

    Thumbnails of 32x32 px, gray, are correlated, so brightness and contrast do not
    count; neither are pictures found that are shifted by much, turned or cropped.

    Args:
      images, others: by name, uint8 `[h, w, 3]`.
    """
    similar = _thumbnails(images) @ _thumbnails(others).T
    names, twins = list(images), list(others)
    found = [
        Nearest(name, twins[row.argmax()], float(row.max()))
        for name, row in zip(names, similar, strict=True)
    ]
    return sorted(found, key=lambda one: -one.correlation)


def _thumbnails(images: Mapping[str, np.ndarray]) -> np.ndarray:
    """`[n, 1024]`, each of mean 0 and length 1, or 0 where there is no contrast."""
    rows = []
    for image in images.values():
        small = cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
        row = small.mean(-1).ravel() - small.mean()
        rows.append(row / max(np.linalg.norm(row), 1e-6))
    return np.stack(rows)


def read_scenes(folder: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Small versions of a folder's images, and a sentence for what is left out.

    Args:
      folder: of images; of pairs, whose normal sides are taken.
    Raises:
      ValueError: it is no folder, or holds no images.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; expected one of images or pairs")
    if (folder / "high").is_dir():
        folder = folder / "high"
    files, left_out = search_images(folder)
    if not files:
        raise ValueError(f"{folder} holds no images")
    expected, losses = left_out.parted()
    say_left_out(folder, expected)
    scenes, problems = {}, [f"{folder}: {line}" for line in losses.lines()]
    for file in track(files, f"Reading {folder}", transient=True):
        try:
            image = read_visible_rgb8(file)
        except ImageFileError as error:
            problems.append(str(error))
        else:
            size = 4 * _SIDE_PX, 4 * _SIDE_PX
            scenes[str(file.relative_to(folder))] = cv2.resize(
                image, size, interpolation=cv2.INTER_AREA
            )
    return scenes, problems


def print_overlap(nearest: Sequence[Nearest]) -> None:
    """A row for each picture, and how many have a twin."""
    table = Table()
    for heading in ("picture", "most like it", "correlation"):
        table.add_column(heading)
    for one in nearest:
        table.add_row(one.name, one.twin, f"{one.correlation:.3f}")
    Console(width=100).print(table)
    twins = sum(one.correlation >= TWINS for one in nearest)
    print(
        f"{twins} of {len(nearest)} pictures seem to show a scene of the other folder "
        f"(correlation of {TWINS} or more; look at those just above it)"
    )
