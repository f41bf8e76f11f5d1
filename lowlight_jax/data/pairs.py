"""Pairs of dark and normal photographs: found in folders, checked, split.

Not here: decoding them (`cached_pairs`), cropping and batching (`pipeline`), synthetic
pairs (`photographs`).
"""

import codecs
import csv
import dataclasses
import io
import unicodedata
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from lowlight_jax.images.files import read_header, search_images
from lowlight_jax.images.search import (
    LeftOut,
    list_names,
    name_of,
    say_left_out,
    say_once,
)
from lowlight_jax.runtime import omissions
from lowlight_jax.runtime.errors import of_item

SPLITS_BY = ("scene", "image")
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

    What else lies there, like a format that is not read, is told on stderr.

    Returns:
      The pairs in order of name, and one line per problem: unmatched or doubly matched
      names, unreadable headers, differing sizes, rows of `pairs.csv` of no use.
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
        files, left_out = search_images(folder / side)
        if not files:
            nothing = f"{folder / side} holds no images"
            raise PairsError("\n  ".join([nothing, *left_out.lines()]))
        say_left_out(folder / side, left_out)
        names = [name_of(file, folder / side) for file in files]
        for name, count in Counter(names).items():
            if count > 1:
                problems.append(f"{side}/{name}: {count} files of this name")
        sides[side] = dict(zip(names, files, strict=True))
    low, high = sides["low"], sides["high"]
    problems += [f"low/{name}: not in high/" for name in sorted(low.keys() - high)]
    problems += [f"high/{name}: not in low/" for name in sorted(high.keys() - low)]
    groups, wrong_rows = _read_groups(folder / "pairs.csv", low.keys() | high.keys())
    problems += wrong_rows
    pairs, notes = [], {}
    for name in sorted(low.keys() & high, key=natural_order):
        try:
            sizes = [size_noting(file, notes) for file in (low[name], high[name])]
        except Exception as error:
            problems.append(of_item(error, name))
            continue
        if sizes[0] != sizes[1]:
            (h, w), (h2, w2) = sizes
            problems.append(f"{name}: low is {w}x{h} px, high is {w2}x{h2} px")
            continue
        pairs.append(PairFile(name, groups.get(name, name), low[name], high[name]))
    say_left_out(folder, LeftOut(), notes)
    return pairs, problems


def natural_order(name: str) -> tuple:
    """Sort key that puts 2 before 10, and numbers before words."""
    return (not name.isdigit(), len(name) if name.isdigit() else 0, name)


def size_noting(file: Path, notes: dict[str, list[Path]]) -> tuple[int, int]:
    """`(h, w)` of an image; what reading it leaves out is added to `notes`."""
    size, found = read_header(file)
    for note in found:
        notes.setdefault(note, []).append(file)
    return size


def _read_groups(path: Path, known: Set[str]) -> tuple[dict[str, str], list[str]]:
    """The group of each name, and a line per problem.

    Args:
      path: a table in UTF-8 or, with its byte-order mark, UTF-16; it may be missing.
      known: names of images.
    """
    if not path.is_file():
        return {}, []
    rows = _rows(path)
    titles = [title.strip() for title in rows[0][1]] if rows else []
    column = "group" if "group" in titles else "scene"
    if not {"file", column} <= set(titles):
        raise PairsError(
            f"{path} has no columns 'file' and 'group'; found "
            f"{', '.join(map(repr, titles)) or 'nothing'}"
        )
    at_file, at_group = titles.index("file"), titles.index(column)
    groups: dict[str, str] = {}
    problems, unknown = [], []
    for line, row in rows[1:]:
        where = f"{path.name}, line {line}"
        while len(row) > len(titles) and not row[-1].strip():
            row.pop()  # commas of a spreadsheet
        if len(row) != len(titles):
            problems.append(
                f"{where}: {len(row)} values; expected {len(titles)}, like the titles"
            )
            continue
        file, group = row[at_file].strip(), row[at_group].strip()
        name = unicodedata.normalize("NFC", file.replace("\\", "/"))
        if name not in known:  # a name may have dots and no suffix
            name = str(Path(name).with_suffix("")) if Path(name).name else name
        if name not in known:
            unknown.append(file)
        elif not group:
            problems.append(f"{where}: no group")
        elif groups.setdefault(name, group) != group:
            problems.append(f"{where}: {name} is in group {groups[name]} already")
    if unknown:
        problems.append(
            f"{path.name}: {len(unknown)} names match no image: {list_names(unknown)}"
        )
    if alone := sorted(known - groups.keys(), key=natural_order):
        say_once(
            f"note: {path}: {len(alone)} images have no row, and are groups of their "
            f"own: {list_names(alone)}"
        )
    return groups, problems


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, with the number of their last line."""
    content = path.read_bytes()
    is_16_bit = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_16_bit else "utf-8-sig")
        table = csv.reader(io.StringIO(text, newline=""))
        return [(table.line_num, row) for row in table if "".join(row).strip()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise PairsError(
            f"{path} is no table in UTF-8 ({error}); save it as CSV in UTF-8"
        ) from error


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


def split_labels(by: str, groups: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """What `split_by_group` is to keep together.

    Args:
      by: "scene", so that no scene of a part is in another one; or "image", so that it
        may be, as in LOL's official split.
      groups, names: of the images.
    """
    return names if by == "image" else groups


def report_problems(
    folder: str | Path, problems: Sequence[str], bad_pairs: str, what: str = "pairs"
) -> None:
    """Lists the problems: in a `PairsError`, or printed where they may be skipped."""
    if not problems:
        return
    listing = "".join(f"\n  {problem}" for problem in problems)
    summary = f"{folder}: {len(problems)} problem(s) with the {what}:{listing}"
    if bad_pairs == "error":
        raise PairsError(
            f"{summary}\nMend these files, or pass --config.data.bad_pairs=skip"
        )
    omissions.report(f"{summary}\nSkipped, as asked.")
