"""Where images come from: the sources that `config.data.source` names.

Each source is a function here and a line in `SOURCES`; what is joined by "+" is used
together. A source holds either pairs, or normal photographs that the task makes pairs
of; its parts "train", "validation" and "test" share no group.
"""

import dataclasses
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, partial
from typing import Literal

import numpy as np

from lowlight_jax.data import photographs
from lowlight_jax.data.memory import Memory
from lowlight_jax.data.pairs import Pair, PairsError, report_problems
from lowlight_jax.runtime.outputs import user_path


@dataclasses.dataclass(frozen=True)
class Options:
    """Which sources, and how they are read; 0 or "" means "off" or "automatic".

    Attributes:
      source: names of `SOURCES` joined by "+", "NAME*3" for three times as often; "":
        `root`, `brackets` and `photographs`, whichever are given, else the embedded
        photographs.
      root: folder of pairs; LOL as it is distributed, or low/ and high/.
      brackets: folder with a subfolder of exposures for each scene.
      photographs: folder of normal photographs.
      tfds_dir: where prepared TensorFlow Datasets lie; "": ~/tensorflow_datasets.
      cache_dir: of decoded pairs and fused brackets; "": ~/.cache/lowlight_jax.
      bad_pairs: "error" or "skip": what to do with unusable files.
      validation_every: each n-th group is for validation; 0: none.
      validation_by: "scene" or "image", see `pairs.split_labels`.
      test_every: each n-th group left is for testing, and not used; 0: none.
      memory_gib: of decoded images, all sources and parts together; what finds no room
        in it is decoded at each use.
      memory: the same, as what is left of it.
    """

    source: str = ""
    root: str = ""
    brackets: str = ""
    photographs: str = ""
    tfds_dir: str = ""
    cache_dir: str = ""
    bad_pairs: str = "error"
    validation_every: int = 8
    validation_by: str = "scene"
    test_every: int = 0
    memory_gib: float = 4.0

    @cached_property
    def memory(self) -> Memory:
        return Memory(self.memory_gib)


@dataclasses.dataclass(frozen=True)
class Source:
    """Images of one kind.

    Attributes:
      kind: what `load` returns: a sequence of pairs, or photographs by name.
      about: what it is, in messages.
      load: of "train", "validation", "test" or "all".
      times: how often each of its images is trained on while others are once.
    """

    kind: Literal["pairs", "photographs"]
    about: str
    load: Callable[[str], Sequence[Pair] | Mapping[str, np.ndarray]]
    times: int = 1


def find_sources(options: Options) -> list[Source]:
    """The sources that the options name.

    Raises:
      PairsError: there is no such source, or what it needs is not given.
    """
    folders = ("root", "brackets", "photographs")
    given = [name for name in folders if getattr(options, name)]
    automatic = "+".join(given).replace("root", "pairs") or "embedded"
    sources = []
    for text in (options.source or automatic).split("+"):
        text, _, times = text.partition("*")
        name, _, argument = text.partition(":")
        if name not in SOURCES:
            raise PairsError(
                f"data.source: no source {name!r}; expected one of "
                f"{', '.join(SOURCES)}, or several joined by +"
            )
        if times and not (times.isdecimal() and int(times)):
            raise PairsError(
                f"data.source: found {text}*{times}; expected a whole number after *"
            )
        source = SOURCES[name](options, argument)
        sources.append(dataclasses.replace(source, times=int(times or 1)))
    return sources


def _pairs(options: Options, argument: str) -> Source:
    """A folder of pairs."""
    from lowlight_jax.data.cached_pairs import load_split  # imports tensorflow-datasets

    folder = _given(options, "root", argument)
    load = partial(
        load_split,
        folder,
        validation_every=options.validation_every,
        test_every=options.test_every,
        validation_by=options.validation_by,
        cache_dir=options.cache_dir,
        bad_pairs=options.bad_pairs,
        memory=options.memory,
    )
    return Source("pairs", folder, load)


def _brackets(options: Options, argument: str) -> Source:
    """A folder of exposure brackets, fused."""
    from lowlight_jax.data.brackets import load_brackets  # imports tensorflow-datasets
    from lowlight_jax.data.cached_pairs import part_of

    folder = _given(options, "brackets", argument)

    # What was left out is said once, not for each part.
    read = cache(partial(load_brackets, folder))

    def load(split: str) -> Sequence[Pair]:
        return part_of(
            read(cache_dir=options.cache_dir, bad_pairs=options.bad_pairs),
            split,
            folder,
            validation_every=options.validation_every,
            test_every=options.test_every,
            validation_by=options.validation_by,
            memory=options.memory,
        )

    return Source("pairs", folder, load)


def _photographs(options: Options, argument: str) -> Source:
    """A folder of normal photographs."""
    folder = _given(options, "photographs", argument)

    # What cannot be read is said once, not for each part.
    read = cache(partial(photographs.load_photographs, folder))

    def load(split: str) -> Mapping[str, np.ndarray]:
        splits = read(
            validation_every=options.validation_every,
            test_every=options.test_every,
            bad_files=options.bad_pairs,
            memory=options.memory,
        )
        parts = [splits[split]] if split != "all" else [*reversed(splits.values())]
        problems = [problem for part in parts for problem in part.decode()]
        report_problems(folder, problems, options.bad_pairs, "photographs")
        return ChainMap(*parts)

    return Source("photographs", folder, load)


def _embedded(options: Options, argument: str) -> Source:
    """The photographs that come with scikit-image, split once and for all."""
    del options, argument

    def load(split: str) -> Mapping[str, np.ndarray]:
        known = photographs.EMBEDDED
        return photographs.load_embedded(
            sum(known.values(), ()) if split == "all" else known[split]
        )

    return Source("photographs", "the embedded photographs", load)


def _tfds(options: Options, argument: str) -> Source:
    """A data set that TensorFlow Datasets has prepared: "tfds:NAME"."""
    from lowlight_jax.data.prepared import load_prepared, prepared_kind  # imports tfds

    if not argument:
        raise PairsError("data.source: expected tfds:NAME, like tfds:div2k")
    load = partial(
        load_prepared,
        argument,
        folder=options.tfds_dir,
        validation_every=options.validation_every,
        test_every=options.test_every,
        validation_by=options.validation_by,
        memory=options.memory,
    )
    kind = prepared_kind(argument, options.tfds_dir)
    return Source(kind, f"tfds:{argument}", load)


def _given(options: Options, key: str, argument: str) -> str:
    folder = argument or getattr(options, key)
    if not folder:
        raise PairsError(
            f"data.source names a source that needs a folder; pass data.{key}"
        )
    return str(user_path(folder))


SOURCES: dict[str, Callable[[Options, str], Source]] = {
    "pairs": _pairs,
    "brackets": _brackets,
    "photographs": _photographs,
    "embedded": _embedded,
    "tfds": _tfds,
}
