"""What a training reads: examples to crop from, and the pairs that it is scored on."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lowlight_jax.data.pairs import Pair, PairsError
from lowlight_jax.data.pipeline import Views
from lowlight_jax.data.sources import Options, find_sources
from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.runtime import parallel
from lowlight_jax.tasks.task import Settings, Task


def load_data(
    options: Options,
    task: Task,
    settings: Settings,
    *,
    held_out_images: int = 0,
    darken_pairs: bool = False,
    with_thumbnails: bool = False,
) -> tuple[Sequence[Views], Sequence[Pair]]:
    """Training examples (views by name) and the pairs held out of training.

    Args:
      options: which sources, and how they are split.
      task: what is trained; it makes pairs of the photographs held out.
      settings: see `Task.make_pairs`.
      held_out_images: of the part held out of each source, evenly spaced; 0: all.
      darken_pairs: beside photographs, the normal sides of pairs are such too.
      with_thumbnails: whether thumbnails are wanted beside the images.
    Raises:
      PairsError: a source is not what it should be, or of a kind that the task is not
        trained on.
    """
    pairs: list[Sequence[Pair]] = []
    photographs: list[Mapping[str, np.ndarray]] = []
    held_out: list[Pair] = []
    for source in find_sources(options):
        if source.kind not in task.trains_on:
            raise PairsError(
                f"{source.about} holds {source.kind}, but networks for {task.name} are "
                f"trained on {' or '.join(task.trains_on)}; pass another data.source"
            )
        training, apart = source.load("train"), ()
        if options.validation_every:
            apart = source.load("validation")
        if source.kind == "pairs":
            pairs.append(training)
        else:
            photographs.append(training)
        count = len(apart)
        if source.kind == "photographs":
            apart = task.make_pairs(apart or {}, settings)
        held_out += evenly_spaced(apart, held_out_images)
        if parallel.is_main_process():
            print(
                f"{source.about}: {len(training)} {source.kind} to train on, "
                f"{count} held out"
            )
    examples = _examples(pairs, photographs, darken_pairs)
    return (_WithThumbnails(examples) if with_thumbnails else examples), held_out


def evenly_spaced(items: Sequence, count: int) -> Sequence:
    """So many of the items, from the first to near the last; all of them for 0."""
    if not 0 < count < len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _examples(
    pairs: Sequence[Sequence[Pair]],
    photographs: Sequence[Mapping[str, np.ndarray]],
    darken_pairs: bool,
) -> Sequence[Views]:
    """All of them as the pipeline wants them, with the same views.

    Where pairs and photographs are mixed, "is_pair" tells them apart: of a photograph
    the dark side is as bright as the other, until it is darkened on the device.
    """
    images = [_Mapped(list(by_name), by_name.__getitem__) for by_name in photographs]
    if not pairs:
        return _Chained([_Mapped(of_source, _one_side) for of_source in images])
    if not images:
        return _Chained([_Mapped(of_source, _both_sides) for of_source in pairs])
    parts = [
        *(_Mapped(of_source, _dark_pair) for of_source in pairs),
        *(_Mapped(of_source, _to_darken) for of_source in images),
    ]
    if darken_pairs:
        parts += [_Mapped(of, lambda pair: _to_darken(pair.high)) for of in pairs]
    return _Chained(parts)


def _both_sides(pair: Pair) -> Views:
    return {"low": pair.low, "high": pair.high}


def _dark_pair(pair: Pair) -> Views:
    return _both_sides(pair) | {"is_pair": np.True_}


def _one_side(image: np.ndarray) -> Views:
    return {"high": image}


def _to_darken(image: np.ndarray) -> Views:
    return {"low": image, "high": image, "is_pair": np.False_}


class _Mapped(Sequence):
    """A function of each item, at each access."""

    def __init__(self, items: Sequence, function: Callable[[Any], Any]):
        self._items, self._function = items, function

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int):
        return self._function(self._items[index])


class _Chained(Sequence):
    """Several sequences, one behind the other."""

    def __init__(self, parts: Sequence[Sequence]):
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, index: int):
        for part in self._parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


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
