"""Methods on pairs: what `--model` names, and the baselines of its task beside it."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.progress import track

from lowlight_jax.data.pairs import Pair
from lowlight_jax.evaluation import scoring
from lowlight_jax.evaluation.scoring import Item, Scores
from lowlight_jax.inference.methods import ClassicalMethod
from lowlight_jax.inference.runner import Runner
from lowlight_jax.runtime.errors import of_item
from lowlight_jax.tasks.task import PairMethod

Method = Runner | ClassicalMethod


def steps_of(method: Method) -> dict[str, PairMethod]:
    """A method on pairs and, before it, its enhancement module alone, if it has one."""
    whole = lambda pair: method(pair.low, pair.mask)  # noqa: E731
    if "denoise" not in method.controls:
        return {method.name: whole}
    return {
        "enhancement only": lambda pair: method(pair.low, denoise=0),
        "enhancement + denoising": whole,
    }


def all_methods(method: Method, baselines: str = "all") -> dict[str, PairMethod]:
    """All that is compared: baselines of its task, the method, the truth.

    Args:
      method: of `load_method`, or a `Runner`.
      baselines: see `Task.choose_baselines`; "none": not even the truth.
    """
    if baselines == "none":
        return steps_of(method)
    chosen = method.task.choose_baselines(baselines)
    return {**chosen, **steps_of(method), "truth": truth}


def score_methods(
    methods: Mapping[str, PairMethod],
    pairs: Sequence[Pair],
    *,
    metrics: Sequence[str],
    quiet: bool = False,
    skip_failing: bool = False,
) -> dict[str, Scores]:
    """Scores of every method on every pair.

    Args:
      methods: by name; each returns uint8 `[h, w, 3]`.
      pairs: what they are tried on.
      metrics: see `scoring.score_items`.
      quiet: without progress bar.
      skip_failing: a pair that a method fails on has no row, and is named in its notes;
        else the error is raised.
    """

    def items(method: PairMethod, title: str, failed: list[str]) -> Iterator[Item]:
        numbers = range(len(pairs))
        for number in track(numbers, title, transient=True, disable=quiet):
            try:
                pair = pairs[number]
                pred = method(pair)
            except Exception as error:
                if not skip_failing:
                    raise
                failed.append(of_item(error, f"{title}, pair {number}"))
                continue
            yield Item(pair.name, pred, pair.high, pair.low, pair.mask)

    scores = {}
    for name, method in methods.items():
        failed: list[str] = []
        scores[name] = scoring.score_items(items(method, name, failed), metrics)
        scores[name].notes += failed
    return scores


def truth(pair: Pair) -> np.ndarray:
    """The target itself, a method like the others: what can be reached."""
    return pair.high
