"""Normal photographs without a partner, and the pairs that are made of them.

Their other side is synthetic: darkened (`ops.degrade`) or damaged (`ops.damage`). A set
that is always there comes with scikit-image; some of it is kept apart for evaluation,
so that even the smallest run scores on pictures it never saw.
"""

import dataclasses
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from lowlight_jax.data.pairs import (
    Pair,
    PairsError,
    natural_order,
    size_noting,
    split_by_group,
)
from lowlight_jax.images.files import read_rgb8, read_visible_rgb8, search_images
from lowlight_jax.images.search import name_of, say_left_out
from lowlight_jax.ops.damage import Damage, punch_holes, random_holes
from lowlight_jax.ops.degrade import Exposure, underexpose
from lowlight_jax.runtime import omissions
from lowlight_jax.runtime.errors import of_item

EMBEDDED = {
    "train": ("astronaut.png", "chelsea.png", "motorcycle_left.png", "ihc.png"),
    "validation": ("coffee.png", "rocket.jpg"),
    "test": (),
}
# What befalls anybody's photographs; chosen.
EVERYDAY = Exposure(
    min_stops=0.0,
    max_stops=5.0,
    unevenness_stops=0.3,
    white_balance=0.1,
    noise_halvings=3.0,
    mixed_light=0.15,
    tone_contrast=0.8,
    highlight_stops=1.0,
    least_jpeg_quality=70.0,
)


def load_embedded(names: Iterable[str]) -> dict[str, np.ndarray]:
    """uint8 `[h, w, 3]` by name; licences in scikit-image's data folder."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return {name: read_rgb8(folder / name) for name in names}


class Photographs(Mapping[str, np.ndarray]):
    """uint8 `[h, w, 3]` by name; decoded once, or at each access where they are many.

    Args:
      files: by name.
      decoded: those of them that are decoded already.
    """

    def __init__(self, files: Mapping[str, Path], decoded: Mapping[str, np.ndarray]):
        self._files = dict(files)
        self._decoded = {name: decoded[name] for name in files if name in decoded}

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._decoded:
            return self._decoded[name]
        return read_visible_rgb8(self._files[name])

    def __iter__(self):
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def load_photographs(
    folder: str | Path,
    *,
    validation_every: int,
    test_every: int = 0,
    bad_files: str = "error",
    memory_gib: float = 4.0,
) -> dict[str, Photographs]:
    """The "train", "validation" and "test" part of a folder and its subfolders.

    Args:
      folder: what lies in it.
      validation_every, test_every: see `split_by_group`; each photograph is a group.
      bad_files: "error" or "skip".
      memory_gib: a folder up to this size is decoded once.
    Raises:
      PairsError: nothing is there, or files cannot be read; all are listed.
    """
    folder = Path(folder)
    files, decoded, problems, notes = {}, {}, [], {}
    left = memory_gib * 2**30
    found, left_out = search_images(folder)
    for file in found:
        name = name_of(file, folder)
        name = name + file.suffix if name in files else name
        try:
            h, w = size_noting(file, notes)
            left -= 3 * h * w
            if left >= 0:
                decoded[name] = read_visible_rgb8(file)
        except Exception as error:
            problems.append(of_item(error, file))
        else:
            files[name] = file
    say_left_out(folder, left_out, notes)
    if left < 0:
        decoded = {}
    if problems:
        listing = "".join(f"\n  {problem}" for problem in problems)
        listing = f"{folder}: {len(problems)} photograph(s) cannot be read:{listing}\n"
        if bad_files == "error":
            raise PairsError(
                f"{listing}Mend these files, or pass --config.data.bad_pairs=skip"
            )
        omissions.report(f"{listing}Skipped, as asked.")
    names = sorted(files, key=natural_order)
    # The word keeps names that are numbers from being taken for numbers of groups.
    groups = [f"photograph {name}" for name in names]
    parts = {
        part: Photographs({names[i]: files[names[i]] for i in chosen}, decoded)
        for part, chosen in split_by_group(groups, validation_every, test_every).items()
    }
    if not parts["train"]:
        raise PairsError(f"{folder} holds no photographs to train on")
    return parts


def darkened_pairs(
    photographs: Mapping[str, np.ndarray],
    exposure: Exposure,
    stops: Sequence[float] = (2.0, 3.0),
) -> list[Pair]:
    """Each photograph under-exposed by each of the stops, otherwise as `exposure`.

    By 0 stops it is the photograph itself. All else depends on its name alone.
    """
    darken = jax.jit(underexpose)
    pairs = []
    for name, high in photographs.items():
        key = jax.random.key(zlib.crc32(name.encode()))[None]
        for under in stops:
            low = high
            if under:
                fixed = dataclasses.replace(exposure, min_stops=under, max_stops=under)
                low = darken(key, np.float32(high)[None] / 255, fixed)
                low = np.uint8(np.rint(np.asarray(low[0]) * 255))
            pairs.append(Pair(f"{name} {under:g} stops under", name, low, high))
    return pairs


def damaged_pairs(
    photographs: Mapping[str, np.ndarray], damage: Damage
) -> Sequence[Pair]:
    """Each photograph with random holes, which depend on its name alone."""
    pairs = []
    for name, high in photographs.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        mask = random_holes(rng, *high.shape[:2], damage)
        pairs.append(Pair(name, name, punch_holes(high, mask), high, mask))
    return pairs
