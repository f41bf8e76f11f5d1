"""Whether what was begun in a workdir, a study or a report may go on as asked now."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from lowlight_jax.config import ConfigError
from lowlight_jax.data.pairs import Pair
from lowlight_jax.models import all_phases

# How a run is watched and on what it runs, which changes nothing of its result.
_FREE = (
    "baselines",
    "checkpoint_every_steps",
    "data.cache_dir",
    "data.memory_gib",
    "data.on_device",
    "data.threads",
    "evaluate_every_steps",
    "grid_images",
    "log_every_steps",
    "parallel",
    "tensorboard",
)

_LOOKED_AT = 8  # images that are trained on
_SHOWN = 30  # lines of an error


def describe(settings: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON keeps them, to be compared with later ones."""
    if isinstance(settings, ConfigDict):
        settings = settings.to_dict()
    return json.loads(json.dumps(settings))


def describe_data(examples: Sequence[Any], pairs: Sequence[Pair]) -> dict[str, Any]:
    """What tells other images in folders of the same name, without reading them all."""
    sizes = {pair.name: "x".join(map(str, pair.high.shape)) for pair in pairs}
    checksum = 0
    for i in range(0, len(examples), -(-len(examples) // _LOOKED_AT)):
        for view in examples[i].values():
            if view.dtype == np.uint8:
                checksum = zlib.crc32(np.ascontiguousarray(view), checksum)
    return {
        "images to train on": len(examples),
        "checksum of some of them": checksum,
        "held out": sizes,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """By key, what differs between two results of `describe`: "key: then, now"."""
    then, now = (flatten_dict(of, sep=".") for of in (before, now))
    return {
        key: f"{key}: {_shortened(then.get(key))} then, {_shortened(now.get(key))} now"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    }


def decisive(
    changed: Mapping[str, str], before: Mapping[str, Any], now: Mapping[str, Any]
) -> list[str]:
    """Those of the `differences` between configs that decide what a run comes to.

    The others are how it is watched, on what it runs, more steps at its end, and how
    much time it has if it goes by the clock.
    """
    then, now = (flatten_dict(of, sep=".") for of in (before, now))
    return [line for key, line in changed.items() if not _may_change(key, then, now)]


def check_same(where: Path, lines: Sequence[str], remedy: str) -> None:
    """Raises a ConfigError where there are lines of `differences`.

    Args:
      where: a workdir or the like, for the message.
      lines: what has changed.
      remedy: what to do, other than to go back to the settings before.
    """
    if lines:
        shown = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"]
        shown = lines if len(lines) <= _SHOWN else shown
        listing = "".join(f"\n  {line}" for line in shown)
        raise ConfigError(
            f"{where} was begun with other settings:{listing}\ngo back to those, or "
            f"{remedy}"
        )


def _shortened(value: object) -> str:
    text = "none" if value is None else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _may_change(key: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    section, _, name = key.partition(".")
    if key == "max_minutes":
        return bool(then.get(key) and now.get(key))
    if section != "phases":
        return key in _FREE
    phase, _, what = name.partition(".")
    if what == "learning_rate" and not then.get(f"phases.{phase}.steps"):
        return True  # there were no steps that it was used for
    order = all_phases()
    last = max(order.index(p) for p in order if then.get(f"phases.{p}.steps"))
    at_end = phase in order[last:]
    return what == "steps" and at_end and now.get(key, 0) > then.get(key, 0)
