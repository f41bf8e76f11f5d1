"""What every classical method keeps to, and its parameters as text.

A method is `f(image, **params) -> image`: uint8 `[h, w, c]`, c = 3 (sRGB) or 1 (gray),
the same shape and dtype out, for any size from 1x1. Its parameters are keywords with
defaults; their annotations say what may be given:

    Annotated[float, Range(0, 10)]              a number, both ends included
    Annotated[tuple[float, ...], Range(0, 10)]  one or more
    Literal["sobel", "canny"]                   one of these words
"""

import dataclasses
import functools
import inspect
import math
import numbers
import typing
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

Method = Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Range:
    """Allowed numbers, both ends included; of integers only each `step`-th."""

    low: float
    high: float
    step: int = 1


def method(function: Method) -> Method:
    """Checks the image and the parameters at every call."""

    @functools.wraps(function)
    def checked(image: ArrayLike, **params) -> np.ndarray:
        image = check_codes(image)
        for name, value in params.items():
            _check(name, value, _annotation(function, name))
        return function(image, **params)

    return checked


def check_codes(image: ArrayLike) -> np.ndarray:
    """The image, or a ValueError where it is none that a method takes."""
    image = np.asarray(image)
    good_shape = image.ndim == 3 and image.shape[-1] in (1, 3) and image.size
    if image.dtype != np.uint8 or not good_shape:
        raise ValueError(
            f"image is {image.dtype} {list(image.shape)}; expected uint8 [h, w, c] "
            "with c = 3 or 1 and at least one pixel"
        )
    return image


def defaults(function: Method) -> dict[str, object]:
    """The parameters of a method by name."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def parse_params(function: Method, texts: Sequence[str]) -> dict[str, object]:
    """Values of texts like "exponent=0.5"; tuples are separated by commas.

    Raises:
      ValueError: not of this form, no such parameter, or a value it cannot have.
    """
    params = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise ValueError(f"{text!r} is no parameter; expected name=value")
        annotation = _annotation(function, name)
        params[name] = _parse(name, value, annotation)
        _check(name, params[name], annotation)
    return params


def spell(value: object) -> str:
    """A parameter's value as `parse_params` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(spell, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def allowed(function: Method, name: str) -> str:
    """What a parameter may be, in words."""
    return _expected(_annotation(function, name))


def _annotation(function: Method, name: str):
    known = defaults(function)
    if name not in known:
        raise ValueError(
            f"there is no parameter {name!r}; expected "
            f"{'one of ' + ', '.join(known) if known else 'none'}"
        )
    return inspect.signature(function).parameters[name].annotation


def _kind_and_range(annotation: object) -> tuple[type, Range, bool]:
    """float or int, its range, and whether it is a tuple of them."""
    kind, limits = typing.get_args(annotation)
    many = typing.get_origin(kind) is tuple
    return (typing.get_args(kind)[0] if many else kind), limits, many


def _expected(annotation: object) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(typing.get_args(annotation))
    kind, limits, many = _kind_and_range(annotation)
    if many:
        noun = "numbers"
    elif kind is float:
        noun = "a number"
    else:
        noun = "an odd integer" if limits.step == 2 else "an integer"
    return f"{noun} from {limits.low:g} to {limits.high:g}"


def _parse(name: str, text: str, annotation: object) -> object:
    if typing.get_origin(annotation) is typing.Literal:
        return text
    kind, _, many = _kind_and_range(annotation)
    try:
        return tuple(map(kind, text.split(","))) if many else kind(text)
    except ValueError:
        raise ValueError(
            f"{name} is {text!r}; expected {_expected(annotation)}"
        ) from None


def _check(name: str, value: object, annotation: object) -> None:
    if typing.get_origin(annotation) is typing.Literal:
        good = isinstance(value, str) and value in typing.get_args(annotation)
    else:
        kind, limits, many = _kind_and_range(annotation)
        given = value if many and isinstance(value, Sequence) else (value,)
        wanted = numbers.Real if kind is float else numbers.Integral
        good = bool(given) and all(
            isinstance(number, wanted)
            and math.isfinite(number)
            and limits.low <= number <= limits.high
            and (kind is float or (number - limits.low) % limits.step == 0)
            for number in given
        )
    if not good:
        raise ValueError(f"{name} is {spell(value)}; expected {_expected(annotation)}")
