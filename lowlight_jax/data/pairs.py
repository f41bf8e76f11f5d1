"""Pairs of dark and normal photographs: found in folders, checked, split.

Not here: decoding them (`cached_pairs`), cropping and batching (`pipeline`), synthetic
pairs (`photographs`).
"""

import csv
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lowlight_jax.images.files import find_images, image_size
from lowlight_jax.runtime.errors import of_item

LOL_PARTS = {"train": "our485", "test": "eval15"}  # of Wei et al., BMVC 2018


class PairsError(ValueError):
    """The folder is not a set of pairs; the message lists every problem found."""


@dataclasses.dataclass(frozen=True)
class PairFile:
    """One pair on disk: its name (stem), group and the two files."""

    name: str
    group: str
    low: Path
    high: Path


@dataclasses.dataclass(frozen=True)
class Pair:
    """One decoded pair.

    Attributes:
      name, group: of the pair.
      low: what a method is given, uint8 `[h, w, 3]`.
      high: what it should make of it, the same size.
      mask: uint8 `[h, w, 1]`, 255 in the holes of `low`, where it has any.
    """

    name: str
    group: str
    low: np.ndarray
    high: np.ndarray
    mask: np.ndarray | None = None


def find_pairs(folder: str | Path) -> tuple[list[PairFile], list[str]]:
    """Matches `folder/low` with `folder/high` by file name without suffix.

    Pairs of one place or subject are a group. Groups come from `folder/pairs.csv`
    (columns file and group, or scene), where there is one; else every pair is a group
    of its own.

    Returns:
      The pairs in order of name, and one line per problem: unmatched or doubly matched
      names, unreadable headers, differing sizes.
    Raises:
      PairsError: `low` or `high` is missing or empty.
    """
    folder = Path(folder)
    sides = {}
    problems = []
    for side in ("low", "high"):
        if not (folder / side).is_dir():
            raise PairsError(
                f"{folder} has no folder '{side}'; expected low/ and high/ with images "
                "of the same names, or LOL's our485/ and eval15/ with these inside"
            )
        files = find_images(folder / side)
        if not files:
            raise PairsError(f"{folder / side} holds no images")
        names = [str(f.relative_to(folder / side).with_suffix("")) for f in files]
        for name, count in Counter(names).items():
            if count > 1:
                problems.append(f"{side}/{name}: {count} files of this name")
        sides[side] = dict(zip(names, files, strict=True))
    low, high = sides["low"], sides["high"]
    problems += [f"low/{name}: not in high/" for name in sorted(low.keys() - high)]
    problems += [f"high/{name}: not in low/" for name in sorted(high.keys() - low)]
    groups = _read_groups(folder / "pairs.csv")
    pairs = []
    for name in sorted(low.keys() & high, key=natural_order):
        try:
            sizes = image_size(low[name]), image_size(high[name])
        except Exception as error:
            problems.append(of_item(error, name))
            continue
        if sizes[0] != sizes[1]:
            (h, w), (h2, w2) = sizes
            problems.append(f"{name}: low is {w}x{h} px, high is {w2}x{h2} px")
            continue
        pairs.append(PairFile(name, groups.get(name, name), low[name], high[name]))
    return pairs, problems


def natural_order(name: str) -> tuple:
    """Sort key that puts 2 before 10, and numbers before words."""
    return (not name.isdigit(), len(name) if name.isdigit() else 0, name)


def _read_groups(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = rows[0].keys() if rows else ()
    column = "group" if "group" in columns else "scene"
    if not {"file", column} <= set(columns):
        raise PairsError(f"{path} has no columns 'file' and 'group'")
    return {str(Path(row["file"]).with_suffix("")): row[column] for row in rows}


def is_lol_layout(root: str | Path) -> bool:
    """Whether `root` holds `our485/` (and `eval15/`), as LOL is distributed."""
    return (Path(root) / LOL_PARTS["train"]).is_dir()


def split_by_group(
    groups: Sequence[str], validation_every: int, test_every: int = 0
) -> dict[str, list[int]]:
    """Indices of the "train", "validation" and "test" part; a group is in one only.

    Args:
      groups: of the pairs.
      validation_every: groups that are numbers go to validation where they are
        divisible by it; others by their order, each n-th one. 0: none.
      test_every: of the groups left, each n-th one is for testing. 0: none.
    """
    distinct = sorted(set(groups), key=natural_order)
    parts: dict[str, set[str]] = {"validation": set(), "test": set()}
    if validation_every and all(group.isdigit() for group in distinct):
        chosen = {group for group in distinct if int(group) % validation_every == 0}
        parts["validation"] = chosen
    elif validation_every:
        parts["validation"] = set(distinct[::validation_every])
    left = [group for group in distinct if group not in parts["validation"]]
    if test_every:
        parts["test"] = set(left[::test_every])
    parts["train"] = set(left) - parts["test"]
    return {
        part: [i for i, group in enumerate(groups) if group in chosen]
        for part, chosen in parts.items()
    }
