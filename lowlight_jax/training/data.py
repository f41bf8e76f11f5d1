"""What a training reads: examples to crop from, and the pairs that it is scored on."""

from collections.abc import Mapping, Sequence

import numpy as np

from lowlight_jax.data.memory import Kept, Mapped, Memory
from lowlight_jax.data.pairs import Pair, PairsError
from lowlight_jax.data.pipeline import Views
from lowlight_jax.data.sources import Options, find_sources
from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.runtime import parallel
from lowlight_jax.tasks.task import Settings, Task

_SHOWS_ENOUGH_U8 = 40  # mean; a frame of a bracket, not a dark side of LOL's


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
      darken_pairs: beside photographs, pairs are darkened too: their normal side, or
        the other one where it is no darker than a frame of a bracket.
      with_thumbnails: whether thumbnails are wanted beside the images.
    Raises:
      PairsError: a source is not what it should be, or of a kind that the task is not
        trained on.
    """
    pairs: list[tuple[Sequence[Pair], int]] = []
    photographs: list[tuple[Mapping[str, np.ndarray], int]] = []
    held_out: list[Sequence[Pair]] = []
    by_image = ""
    if options.validation_by == "image":
        by_image = " by image, of scenes that may be trained on"
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
            pairs.append((training, source.times))
        else:
            photographs.append((training, source.times))
        count = len(apart)
        if source.kind == "photographs":
            apart = Kept(task.make_pairs(apart or {}, settings), options.memory)
        held_out.append(evenly_spaced(apart, held_out_images))
        if parallel.is_main_process():
            print(
                f"{source.about}: {len(training)} {source.kind} to train on, "
                f"{count} held out{by_image}"
            )
    parts = _examples(pairs, photographs, darken_pairs)
    if with_thumbnails:
        parts = [(_WithThumbnails(p, options.memory), times) for p, times in parts]
    examples = _Chained([part for part, times in parts for _ in range(times)])
    return examples, _Chained(held_out)


def evenly_spaced(items: Sequence, count: int) -> Sequence:
    """So many of the items, from the first to near the last; all of them for 0."""
    if not 0 < count < len(items):
        return items
    chosen = [i * len(items) // count for i in range(count)]
    return Mapped(chosen, items.__getitem__)


def _examples(
    pairs: Sequence[tuple[Sequence[Pair], int]],
    photographs: Sequence[tuple[Mapping[str, np.ndarray], int]],
    darken_pairs: bool,
) -> list[tuple[Sequence[Views], int]]:
    """All of them as the pipeline wants them, with the same views, and how often each.

    Where pairs and photographs are mixed, "is_pair" tells them apart: of a photograph
    the dark side is as bright as the other, until it is darkened on the device.
    """
    images = [
        (Mapped(list(by_name), by_name.__getitem__), times)
        for by_name, times in photographs
    ]
    if not pairs:
        return [(Mapped(of, _one_side), times) for of, times in images]
    if not images:
        return [(Mapped(of, _both_sides), times) for of, times in pairs]
    parts = [(Mapped(of, _dark_pair), times) for of, times in pairs]
    parts += [(Mapped(of, _to_darken), times) for of, times in images]
    if darken_pairs:
        parts += [(Mapped(of, _pair_to_darken), 1) for of, _ in pairs]
    return parts


def _both_sides(pair: Pair) -> Views:
    return {"low": pair.low, "high": pair.high}


def _dark_pair(pair: Pair) -> Views:
    return _both_sides(pair) | {"is_pair": np.True_}


def _one_side(image: np.ndarray) -> Views:
    return {"high": image}


def _to_darken(image: np.ndarray) -> Views:
    return {"low": image, "high": image, "is_pair": np.False_}


def _pair_to_darken(pair: Pair) -> Views:
    """The dark side darker still, where it shows enough of the scene for that."""
    side = pair.low if pair.low.mean() >= _SHOWS_ENOUGH_U8 else pair.high
    return {"low": side, "high": pair.high, "is_pair": np.False_}


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
    """Views and, beside each, its thumbnail, which is kept while there is room."""

    def __init__(self, examples: Sequence[Views], memory: Memory):
        self._examples, self._memory = examples, memory
        self._reduced: dict[int, Views] = {}  # 96 KiB for each view

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Views:
        views = self._examples[index]
        thumbnails = self._memory.kept(self._reduced, index, lambda: _reduced(views))
        return views | {name: np.float32(t) for name, t in thumbnails.items()}


def _reduced(views: Views) -> Views:
    """In half precision, which is finer than 8 bits at any brightness."""
    return {
        f"{name}_thumbnail": np.float16(make_thumbnail(view))
        for name, view in views.items()
        if view.ndim
    }
