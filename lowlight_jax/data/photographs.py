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

from lowlight_jax.data.memory import Mapped, Memory
from lowlight_jax.data.pairs import (
    Pair,
    PairsError,
    natural_order,
    report_problems,
    size_noting,
    split_by_group,
)
from lowlight_jax.images.files import read_rgb8, read_visible_rgb8, search_images
from lowlight_jax.images.search import name_of, say_left_out
from lowlight_jax.ops.damage import Damage, punch_holes, random_holes
from lowlight_jax.ops.degrade import Exposure, underexpose
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
      memory: where they are kept while there is room.
    """

    def __init__(self, files: Mapping[str, Path], memory: Memory):
        self._files, self._memory = dict(files), memory
        self._decoded: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        file = self._files[name]
        return self._memory.kept(self._decoded, name, lambda: read_visible_rgb8(file))

    def decode(self) -> list[str]:
        """Decodes those that there is room for.

        Returns:
          A sentence for each that cannot be read; it is left out from now on.
        """
        problems = []
        for name, file in list(self._files.items()):
            try:
                self[name]
            except Exception as error:
                problems.append(of_item(error, file))
                del self._files[name]
            else:
                if name not in self._decoded:
                    break
        return problems

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
    memory: Memory | None = None,
) -> dict[str, Photographs]:
    """The "train", "validation" and "test" part of a folder and its subfolders.

    Args:
      folder: what lies in it.
      validation_every, test_every: see `split_by_group`; each photograph is a group.
      bad_files: "error" or "skip".
      memory: see `Photographs`.
    Raises:
      PairsError: nothing is there, or files cannot be read; all are listed.
    """
    folder = Path(folder)
    files, problems, notes = {}, [], {}
    found, left_out = search_images(folder)
    for file in found:
        name = name_of(file, folder)
        try:
            size_noting(file, notes)
        except Exception as error:
            problems.append(of_item(error, file))
        else:
            files[name + file.suffix if name in files else name] = file
    say_left_out(folder, left_out, notes)
    report_problems(folder, problems, bad_files, "photographs")
    names = sorted(files, key=natural_order)
    # The word keeps names that are numbers from being taken for numbers of groups.
    groups = [f"photograph {name}" for name in names]
    memory = memory or Memory()
    parts = {
        part: Photographs({names[i]: files[names[i]] for i in chosen}, memory)
        for part, chosen in split_by_group(groups, validation_every, test_every).items()
    }
    if not parts["train"]:
        raise PairsError(f"{folder} holds no photographs to train on")
    return parts


def darkened_pairs(
    photographs: Mapping[str, np.ndarray],
    exposure: Exposure,
    stops: Sequence[float] = (2.0, 3.0),
) -> Sequence[Pair]:
    """Each photograph under-exposed by each of the stops, otherwise as `exposure`.

    By 0 stops it is the photograph itself. All else depends on its name alone. Pairs
    are made at each access: one is in memory at a time.
    """
    darken = jax.jit(underexpose)

    def pair(which: tuple[str, float]) -> Pair:
        name, under = which
        low = high = photographs[name]
        if under:
            key = jax.random.key(zlib.crc32(name.encode()))[None]
            fixed = dataclasses.replace(exposure, min_stops=under, max_stops=under)
            low = darken(key, np.float32(high)[None] / 255, fixed)
            low = np.uint8(np.rint(np.asarray(low[0]) * 255))
        return Pair(f"{name} {under:g} stops under", name, low, high)

    return Mapped([(name, under) for name in photographs for under in stops], pair)


def damaged_pairs(
    photographs: Mapping[str, np.ndarray], damage: Damage
) -> Sequence[Pair]:
    """Each photograph with random holes, which depend on its name alone.

    Pairs are made at each access: one is in memory at a time.
    """

    def pair(name: str) -> Pair:
        high = photographs[name]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        mask = random_holes(rng, *high.shape[:2], damage)
        return Pair(name, name, punch_holes(high, mask), high, mask)

    return Mapped(list(photographs), pair)
