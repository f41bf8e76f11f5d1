"""Folders of pairs, decoded once: the parts that training and evaluation read.

A folder goes through a tensorflow-datasets builder once (array_record files in the
cache, no TensorFlow), so that every later run, on every host, reads the same records.
Everything wrong with the folder is reported together, before that.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.progress import track

from lowlight_jax.data import records
from lowlight_jax.data.memory import Kept, Mapped, Memory
from lowlight_jax.data.pairs import (
    LOL_PARTS,
    Pair,
    PairFile,
    PairsError,
    find_pairs,
    is_lol_layout,
    report_problems,
    split_by_group,
    split_labels,
)
from lowlight_jax.data.records import Records
from lowlight_jax.images.files import read_visible_rgb8
from lowlight_jax.runtime.cache import default_cache_dir, kept_in, writable_cache
from lowlight_jax.runtime.errors import of_item
from lowlight_jax.runtime.outputs import user_path
from lowlight_jax.runtime.whole_file import write_whole


def fingerprint(files: Iterable[tuple[Path, str]]) -> str:
    """Changes with any of the files, and with what is known of each besides."""
    digest = hashlib.sha256()
    for path, label in files:
        stat = path.stat()
        line = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{label}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def load_pairs(
    folder: str | Path, *, cache_dir: str | Path = "", bad_pairs: str = "error"
) -> Records:
    """All pairs of a folder with `low/` and `high/`, as `data.records.Records`.

    The first call decodes every file and writes the records; later calls read them.

    Args:
      folder: see `find_pairs`.
      cache_dir: where the records live; "" is `default_cache_dir()`.
      bad_pairs: "error" or "skip".
    Raises:
      PairsError: anything is wrong and `bad_pairs` is "error", or nothing is left.
    """
    files, problems = find_pairs(folder)
    sides = [(path, pair.group) for pair in files for path in (pair.low, pair.high)]
    prepared = (
        user_path(cache_dir or default_cache_dir()) / "pairs3" / fingerprint(sides)
    )
    if not records.exist(prepared):
        prepared = writable_cache(prepared)
    if not records.exist(prepared):

        def prepare(folder: Path) -> None:
            pairs = _decoded(files, folder.with_suffix(".json"))
            if first := next(pairs, None):  # no records can be written of nothing
                records.write(folder, itertools.chain([first], pairs))

        prepared = kept_in(prepared, prepare)
    # What was left out, for later calls too.
    unreadable = json.loads(prepared.with_suffix(".json").read_text())
    report_problems(folder, problems + unreadable, bad_pairs)
    if not records.exist(prepared):
        raise PairsError(f"{folder} holds no usable pair")
    return records.read(prepared)


def _decoded(files: Sequence[PairFile], left_out: Path) -> Iterator[Pair]:
    """The pairs of all files, one by one; problems go to the file `left_out`."""
    problems = []
    for file in track(files, "Decoding pairs", transient=True):
        try:
            low, high = read_visible_rgb8(file.low), read_visible_rgb8(file.high)
        except Exception as error:
            problems.append(of_item(error, file.name))
        else:
            yield Pair(file.name, file.group, low, high)
    write_whole(left_out, json.dumps(problems).encode())


def load_split(
    root: str | Path,
    split: str,
    *,
    validation_every: int,
    test_every: int = 0,
    validation_by: str = "scene",
    cache_dir: str | Path = "",
    bad_pairs: str = "error",
    memory: Memory | None = None,
) -> Sequence[Pair]:
    """Pairs of a folder: "train", "validation", "test" or "all".

    Args:
      root: LOL as it is distributed, or a folder with `low/` and `high/`.
      split: which part; of LOL as it is distributed, "test" is its own.
      validation_every, test_every: see `split_by_group`.
      validation_by: see `split_labels`.
      cache_dir, bad_pairs: see `load_pairs`.
      memory: where decoded pairs are kept while there is room.
    Raises:
      PairsError: the folder is not what it should be, or the split is empty.
    """
    folder = Path(root)
    is_lol_test = split == "test" and is_lol_layout(root)
    if is_lol_layout(root):
        folder = folder / LOL_PARTS["test" if is_lol_test else "train"]
    elif split == "test" and not test_every:
        raise PairsError(
            f"{root} has no our485/ and eval15/, so there is no test part but the one "
            "that test_every sets apart, which is 0"
        )
    records = load_pairs(folder, cache_dir=cache_dir, bad_pairs=bad_pairs)
    return part_of(
        records,
        "all" if is_lol_test else split,
        root,
        validation_every=validation_every,
        test_every=test_every,
        validation_by=validation_by,
        memory=memory,
    )


def part_of(
    records: Records,
    split: str,
    root: str | Path,
    *,
    validation_every: int,
    test_every: int,
    validation_by: str = "scene",
    memory: Memory | None = None,
) -> Sequence[Pair]:
    """The records of a part, as `load_split` returns them; `root` is for the message.

    Raises:
      PairsError: it is empty.
    """
    chosen = range(len(records))
    if split != "all":
        labels = split_labels(validation_by, records.groups, records.names)
        parts = split_by_group(labels, validation_every, test_every)
        chosen = parts[split]
    if not chosen:
        raise PairsError(f"the {split} part of {root} is empty")
    return Kept(Mapped(chosen, records.__getitem__), memory or Memory())
