"""What a training reads, from its config: examples to crop from, pairs to score on."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
from ml_collections import ConfigDict

from lowlight_jax.data import photographs
from lowlight_jax.data.pairs import Pair, load_split
from lowlight_jax.data.pipeline import Views
from lowlight_jax.ops.damage import Damage
from lowlight_jax.ops.degrade import Exposure
from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.runtime import parallel


def load_data(
    config: ConfigDict, *, damaged: bool, with_thumbnails: bool
) -> tuple[Sequence[Views], Sequence[Pair]]:
    """Training examples (views by name) and the pairs held out of training.

    Args:
      config: see `lowlight_jax.config`.
      damaged: whether held-out photographs get holes; else they are darkened.
      with_thumbnails: whether their thumbnails are wanted too.
    Raises:
      PairsError: the folder is not what it should be; all problems are listed.
    """
    data = config.data
    views: Sequence[Views] = ()
    held_out: list[Pair] = []
    if data.root:
        training, apart = _load_pairs(data)
        views = _PairViews(training)
        held_out += apart
    if data.photographs or data.embedded or not data.root:
        training, apart = _load_photographs(data)
        of_photographs = _PhotographViews(training)
        if views:
            views = _PairsAndPhotographs(views, of_photographs, data.darken_pairs)
        else:
            views = of_photographs
        if damaged:
            apart = photographs.damaged_pairs(apart, Damage(**config.damage))
        else:
            exposure = Exposure(**config.synthetic)
            apart = photographs.darkened_pairs(apart, exposure)
        held_out += evenly_spaced(apart, data.validation_images)
    return (_WithThumbnails(views) if with_thumbnails else views), held_out


def evenly_spaced(items: Sequence, count: int) -> Sequence:
    """So many of the items, from the first to near the last; all of them for 0."""
    if not 0 < count < len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _load_pairs(data: ConfigDict) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Pairs to train on, and those held out."""
    load = partial(
        load_split,
        data.root,
        validation_every=data.validation_every,
        test_every=data.test_every,
        cache_dir=data.cache_dir,
        bad_pairs=data.bad_pairs,
        memory_gib=data.memory_gib,
    )
    training = load("train")
    apart = load("validation") if data.validation_every else ()
    apart = evenly_spaced(apart, data.validation_images)
    _report(f"{data.root}: {len(training)} pairs", len(apart))
    return training, apart


def _load_photographs(
    data: ConfigDict,
) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    """Photographs to train on, and those held out; without a folder the embedded."""
    training: Mapping[str, np.ndarray] = {}
    if data.embedded or not data.photographs:
        training = photographs.load_embedded(photographs.EMBEDDED_TRAINING)
        apart = photographs.load_embedded(photographs.EMBEDDED_EVALUATION)
    if data.photographs:
        parts = photographs.load_photographs(
            data.photographs,
            validation_every=data.validation_every,
            test_every=data.test_every,
            bad_files=data.bad_pairs,
            memory_gib=data.memory_gib,
        )
        apart = parts["validation"]
        training = ChainMap(parts["train"], training)
        _report(f"{data.photographs}: {len(training)} photographs", len(apart))
    return training, apart


def _report(found: str, held_out: int) -> None:
    if parallel.is_main_process():
        print(f"{found} to train on, {held_out} held out")


class _PairViews(Sequence[Views]):
    """Pairs as the pipeline wants them."""

    def __init__(self, pairs: Sequence[Pair]):
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Views:
        pair = self._pairs[index]
        return {"low": pair.low, "high": pair.high}


class _PhotographViews(Sequence[Views]):
    """Photographs as the pipeline wants them."""

    def __init__(self, photographs: Mapping[str, np.ndarray]):
        self._photographs = photographs
        self._names = list(photographs)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Views:
        return {"high": self._photographs[self._names[index]]}


class _PairsAndPhotographs(Sequence[Views]):
    """Both in one batch, with the same views: the dark side of photographs is bright.

    "is_pair" tells which of them is to be darkened. With `darken_pairs` the normal side
    of each pair is one more photograph.
    """

    def __init__(
        self, pairs: _PairViews, photographs: _PhotographViews, darken_pairs: bool
    ):
        self._pairs, self._photographs = pairs, photographs
        self._darkened = pairs if darken_pairs else ()

    def __len__(self) -> int:
        return len(self._pairs) + len(self._photographs) + len(self._darkened)

    def __getitem__(self, index: int) -> Views:
        if index < len(self._pairs):
            return self._pairs[index] | {"is_pair": np.True_}
        index -= len(self._pairs)
        if index < len(self._photographs):
            high = self._photographs[index]["high"]
        else:
            high = self._darkened[index - len(self._photographs)]["high"]
        return {"low": high, "high": high, "is_pair": np.False_}


class _WithThumbnails(Sequence[Views]):
    """Views and, beside each, its thumbnail, which is kept."""

    def __init__(self, examples: Sequence[Views]):
        self._examples = examples
        self._reduced = lru_cache(maxsize=2048)(self._reduce)  # 192 KiB each

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Views:
        return self._examples[index] | self._reduced(index)

    def _reduce(self, index: int) -> Views:
        views = self._examples[index].items()
        return {
            f"{name}_thumbnail": make_thumbnail(view)
            for name, view in views
            if view.ndim
        }
