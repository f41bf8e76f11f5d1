"""Methods on pairs: a network, its modules, and the classical methods beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import numpy as np
from rich.progress import track

from lowlight_jax.baselines import inpainting, lime, retinex, tone
from lowlight_jax.data.pairs import Pair
from lowlight_jax.evaluation import scoring
from lowlight_jax.evaluation.scoring import Item, Scores
from lowlight_jax.inference.enhancer import Enhancer
from lowlight_jax.inference.repairer import Repairer
from lowlight_jax.models import name_of

Method = Callable[[Pair], np.ndarray]  # the result for a pair's dark or damaged side

COMPARED = ("psnr_rgb", "ssim_rgb", "ciede2000", "saturation_ratio", "noise_level")
COMPARED_REPAIRS = ("psnr_holes", "psnr_rgb", "ssim_rgb", "ciede2000")


def compared_measures(network: nn.Module) -> tuple[str, ...]:
    """What results of a network are compared by."""
    return COMPARED_REPAIRS if "repair" in network.phases else COMPARED


def network_methods(network: nn.Module, params: Any) -> dict[str, Method]:
    """The network and, before it, its enhancement module alone, where it has one."""
    if "repair" in network.phases:
        repairer = Repairer.from_params(network, params)
        return {name_of(network): lambda pair: repairer(pair.low, pair.mask)}
    enhancer = Enhancer.from_params(network, params)
    whole = lambda pair: enhancer(pair.low)  # noqa: E731
    if not enhancer.can_denoise:
        return {name_of(network): whole}
    return {
        "enhancement only": lambda pair: enhancer(pair.low, denoise=0),
        "enhancement + denoising": whole,
    }


def classical_methods(network: nn.Module) -> dict[str, Method]:
    """What costs nothing and does the work of a network."""
    methods = {"input": lambda pair: pair.low}
    if "repair" in network.phases:
        for name, method in inpainting.METHODS.items():
            methods[name] = partial(_repair_classically, method)
        return methods
    return methods | {
        "gamma 0.4": lambda pair: tone.gamma(pair.low),
        "CLAHE": lambda pair: tone.clahe(pair.low),
        "MSRCR": lambda pair: retinex.msrcr(pair.low),
        "LIME": lambda pair: lime.lime(pair.low),
    }


def _repair_classically(method: Callable, pair: Pair) -> np.ndarray:
    return method(pair.low, pair.mask)


def score_methods(
    methods: Mapping[str, Method],
    pairs: Sequence[Pair],
    *,
    measures: Sequence[str] = COMPARED,
    quiet: bool = False,
) -> dict[str, Scores]:
    """Scores of every method on every pair.

    Args:
      methods: by name; each returns uint8 `[h, w, 3]`.
      pairs: what they are tried on.
      measures: see `scoring.score_items`.
      quiet: without progress bar.
    """

    def items(method: Method, title: str) -> Iterator[Item]:
        for pair in track(pairs, title, transient=True, disable=quiet):
            yield Item(pair.name, method(pair), pair.high, pair.low, pair.mask)

    return {
        name: scoring.score_items(items(method, name), measures)
        for name, method in methods.items()
    }


def truth(pair: Pair) -> np.ndarray:
    """The target itself, a method like the others: what can be reached."""
    return pair.high
