"""What a request asks for: a network, how far its controls are turned, a format."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lowlight_jax.inference.finish import MOST_SATURATION, MOST_UNSHARP
from lowlight_jax.serve.refusals import Refused

if TYPE_CHECKING:
    from lowlight_jax.inference.runner import Runner

FORMATS = ("original", "jpg", "png", "webp", "avif", "tif")
# Those of `enhance_photo` that every network has: lowest, highest, default.
_COMMON = {
    "strength": (0.0, 1.0, 1.0),
    "saturation": (0.0, MOST_SATURATION, 1.0),
    "unsharp": (0.0, MOST_UNSHARP, 0.0),
}
# XLA compiles a function for each set of controls that are not off. A preview has all
# of them on, so that no slider waits for a compilation; the eye cannot see this much.
_BARELY = 1e-6


@functools.cache
def load_network(name: str) -> "Runner":
    """A network that ships, loaded once."""
    from lowlight_jax.inference.methods import load_method

    return load_method(name)


@functools.cache
def describe_networks() -> list[dict[str, Any]]:
    """Every network that ships: its name, a line on it from its card, its controls."""
    from lowlight_jax.inference.runner import DEFAULT_MODEL
    from lowlight_jax.weights import SHIPPED, shipped_names

    described = []
    for name in shipped_names():
        card = (SHIPPED / f"{name}.md").read_text("utf-8")
        network = load_network(name)
        described.append(
            {
                "name": name,
                "about": " ".join(card.split("\n\n")[1].split()),
                "is_default": name == DEFAULT_MODEL,
                "needs_mask": network.needs_mask,
                "controls": {
                    name: {"lowest": low, "highest": high, "default": default}
                    for name, (low, high, default) in _ranges(network).items()
                },
            }
        )
    return sorted(described, key=lambda model: not model["is_default"])


def _ranges(network: "Runner") -> dict[str, tuple[float, float, float]]:
    own = {
        name: (control.lowest, control.highest, control.default)
        for name, control in network.controls.items()
    }
    return own | _COMMON


@dataclasses.dataclass(frozen=True)
class Options:
    """What is to be computed.

    Attributes:
      model: name of weights that ship.
      values: of `enhance_photo`'s options, those that were given.
      format: of the result, one of `FORMATS`.
    """

    model: str
    values: Mapping[str, float]
    format: str = "original"

    @property
    def leaves_alone(self) -> bool:
        """Whether a preview is to show the picture itself."""
        finished = {"saturation": 1.0, "unsharp": 0.0}
        is_finished = all(self.values.get(n, off) == off for n, off in finished.items())
        return is_finished and self.values.get("strength") == 0

    def all_on(self) -> dict[str, float]:
        """The values for a preview: no control is off; see `_BARELY`."""
        values = dict(self.values)
        for name, control in load_network(self.model).controls.items():
            if values.get(name, control.default) == control.off:
                inward = -1 if control.off == control.highest else 1
                values[name] = control.off + inward * _BARELY
        return values


def read_options(query: Mapping[str, str]) -> Options:
    """Of the parameters of a request.

    Raises:
      Refused: 422, an unknown parameter, network or format, or a value out of range.
    """
    from lowlight_jax.inference.runner import DEFAULT_MODEL
    from lowlight_jax.weights import shipped_names

    given = dict(query)
    model, file_format = given.pop("model", DEFAULT_MODEL), given.pop("format", "")
    _one_of("model", model, shipped_names())
    _one_of("format", file_format or "original", FORMATS)
    ranges = _ranges(load_network(model))
    values = {}
    for name, text in given.items():
        if name not in ranges:
            raise Refused(
                422,
                f"The network {model} has no parameter {shown(name)}; expected model, "
                f"format, {', '.join(ranges)}.",
            )
        lowest, highest, _ = ranges[name]
        values[name] = _number(name, text, lowest, highest)
    return Options(model, values, file_format or "original")


def _number(name: str, text: str, lowest: float, highest: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise Refused(
            422,
            f"The parameter {name} is {shown(text)}; expected a number from "
            f"{lowest:g} to {highest:g}.",
        )
    return value


def _one_of(name: str, value: str, expected: tuple[str, ...] | list[str]) -> None:
    if value not in expected:
        raise Refused(
            422,
            f"The {name} is {shown(value)}; expected one of {', '.join(expected)}.",
        )


def read_view(text: str) -> tuple[float, float, float, float]:
    """The part of a picture to be shown: top, left, bottom, right, from 0 to 1.

    Raises:
      Refused: 422, it is none.
    """
    try:
        top, left, bottom, right = map(float, text.split(","))
        if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise ValueError
    except ValueError:
        raise Refused(
            422,
            f"The view is {shown(text)}; expected top,left,bottom,right from 0 to 1.",
        ) from None
    return top, left, bottom, right


def shown(text: str) -> str:
    """What somebody sent, short and without control characters, for a sentence."""
    return repr(re.sub(r"[^ -~]", "?", text)[:40])


def clean_name(text: str) -> str:
    """The last part of a file's name as a client tells it, without its suffix.

    It is put into headers and zip files: no folders, control characters or dots first.
    """
    last = re.split(r"[/\\]", text)[-1]
    stem = last.rpartition(".")[0] or last
    stem = re.sub(r'[\x00-\x1f\x7f-\x9f\u202a-\u202e<>:"|?*]', "", stem)
    return stem.strip(". ")[:100] or "photo"
