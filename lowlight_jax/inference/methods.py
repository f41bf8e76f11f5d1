"""What `--model` can be, in every command: networks and classical methods, by name.

`load_method` returns either with the interface of `runner.Runner`: `task`, `needs_mask`
and `controls` say what it can do. Descriptions come from the weights' cards and from
the methods' signatures and docstrings.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowlight_jax.checks import as_image, as_mask, number
from lowlight_jax.images.alpha import hidden_part, nearest_visible
from lowlight_jax.images.files import Photo, Source, read_photo
from lowlight_jax.images.profiles import ColourSpace, colour_space
from lowlight_jax.inference.finish import blend, converted, finish
from lowlight_jax.inference.onnx_runtime import load_onnx, takes_onnx
from lowlight_jax.runtime.devices import check_devices
from lowlight_jax.runtime.outputs import user_path
from lowlight_jax.runtime.progress import Listener, listening
from lowlight_jax.weights import SHIPPED, shipped_names

if TYPE_CHECKING:
    from lowlight_jax.inference.runner import Runner
    from lowlight_jax.tasks.task import Task


class NoHolesError(ValueError):
    """There is nothing to repair: neither a mask nor regions of pure black."""


@dataclasses.dataclass(frozen=True)
class ClassicalMethod:
    """A method of `baselines`, called as a `Runner` is.

    Attributes:
      name: in tables and messages.
      function: uint8 `[h, w, c]` in, the same out; with `needs_mask`, image and mask
        `[h, w, 1]` in.
      needs_mask: whether it replaces what a mask tells and leaves the rest as it is.
      controls: none.
    """

    name: str
    function: Callable[..., np.ndarray]
    needs_mask: bool = False
    controls: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @property
    def task(self) -> "Task":
        """What it is for."""
        from lowlight_jax.tasks import brightening, inpainting  # jax: only if asked

        return inpainting.INPAINTING if self.needs_mask else brightening.BRIGHTENING

    def __call__(
        self,
        image: np.ndarray,
        mask: np.ndarray | None = None,
        *,
        strength: float = 1.0,
        progress: Listener | None = None,
    ) -> np.ndarray:
        """The result; see `Runner.__call__`. Batches are for networks alone.

        Of a uint16 or floating point image the method gets 8 bits, and its result is
        brought back to the range of the image.
        """
        image = as_image(image, batches=False)
        strength = number("strength", strength, 0, 1)
        if mask is not None and not self.needs_mask:
            raise ValueError(f"a mask was given, but {self.name} takes none")
        if not image.size:
            return image.copy()
        inputs = [converted(image, np.uint8)]
        if self.needs_mask:
            from lowlight_jax.ops.damage import find_holes

            mask = find_holes(image) if mask is None else mask
            inputs.append(as_mask(mask, image))
        with listening(progress):
            result = self.function(*inputs)
        return blend(image, converted(result, image.dtype), strength)


def load_method(
    model: str | Path, params: Sequence[str] = (), backend: str = "jax"
) -> "Runner | ClassicalMethod":
    """What `--model` names, ready for images.

    Args:
      model: the name of weights that ship or of a classical method, the workdir of a
        training, a `.safetensors` file, a folder of `save_pretrained`, or
        "hf:OWNER/NAME@REVISION" on the Hugging Face hub.
      params: of a classical method, texts like "exponent=0.5".
      backend: of a network, see `onnx_runtime.takes_onnx`.
    Raises:
      ValueError: there is nothing of this name, or it cannot have these parameters.
      ImportError: the method, the back end or the hub needs an extra that is not
        installed.
    """
    if (method := _load_classical(str(model), params)) is not None:
        return method
    if params:
        raise ValueError(
            f"{model} is a network, and only classical methods have parameters; leave "
            "--param out"
        )
    from lowlight_jax import weights
    from lowlight_jax.inference.runner import Runner
    from lowlight_jax.weights import hub

    on_onnx = takes_onnx(backend, model)
    if not on_onnx:
        check_devices()
    if str(model) not in shipped_names() and not hub.is_address(model):
        model = user_path(model)
        if not model.exists():
            raise ValueError(
                f"{model}: there is no such network, classical method, workdir or "
                "file; `python -m lowlight_jax.enhance --list` shows all"
            )
    return Runner(load_onnx(model)) if on_onnx else Runner(*weights.load_any(model))


def is_classical(name: str) -> bool:
    """Whether a name is that of a classical method; all others are networks."""
    if name in shipped_names():  # classical methods import much: half a second
        return False
    from lowlight_jax.baselines import METHODS, inpainting

    return name in METHODS or name in map(str.lower, inpainting.METHODS)


def _load_classical(name: str, params: Sequence[str]) -> ClassicalMethod | None:
    """None for other names."""
    if not is_classical(name):
        return None
    from lowlight_jax.baselines import METHODS, inpainting
    from lowlight_jax.baselines.method import parse_params

    filling = {title.lower(): f for title, f in inpainting.METHODS.items()}
    function = filling.get(name) or METHODS[name]
    try:
        function = functools.partial(function, **parse_params(function, params))
        if name in METHODS:  # values that exclude each other
            function(np.zeros((1, 1, 3), np.uint8))
    except ValueError as error:
        raise ValueError(f"--param: {name}: {error}") from error
    return ClassicalMethod(name, function, needs_mask=name in filling)


def read_mask(source: Source) -> np.ndarray:
    """An inpainting mask `[h, w]`, True where a channel is above half of white.

    Of a mask that is transparent somewhere, what can be seen counts: the mask is what
    is opaque, if all of that has one colour or is white.

    Raises:
      ImageFileError: it cannot be read.
      ValueError: what can be seen has several colours, so that both could be meant.
    """
    photo = read_photo(source)
    half = np.iinfo(photo.pixels.dtype).max // 2
    white = photo.pixels.max(axis=-1) > half
    if photo.alpha is None or (photo.alpha > half).all():
        return white
    opaque = photo.alpha > half
    seen = photo.pixels[opaque]
    if not white[opaque].all() and (seen != seen[0]).any():
        raise ValueError(
            f"{source} is partly transparent, and what can be seen of it has several "
            "colours, so that either could mean the holes; expected white holes "
            "without transparency, or one colour on a transparent ground"
        )
    return opaque


def enhance_photo(
    method: "Runner | ClassicalMethod",
    photo: Photo,
    mask: np.ndarray | None = None,
    *,
    strength: float = 1.0,
    unsharp: float = 0.0,
    saturation: float = 1.0,
    progress: Listener | None = None,
    **controls: float,
) -> Photo:
    """A photograph as a method makes it, finished; all but its pixels is kept.

    What is transparent is neither judged nor changed. A photograph with a wide gamut is
    shown to the method as sRGB, and the result brought back; see `images.profiles`.

    Args:
      method: see `load_method`.
      photo: to be brightened or repaired.
      mask: `[h, w]`, not 0 in holes, for a method that needs one; None: regions of pure
        black. Of a lossy file, what lies beside a hole is replaced too.
      strength, controls: see `Runner.__call__`.
      unsharp, saturation: see `finish`.
      progress: told the finished fraction, 0 to 1.
    Raises:
      ValueError: there are no holes, the mask is of another size, or a value is none of
        these.
    """
    image, hidden, nearest = photo.pixels, hidden_part(photo.alpha), ...
    if hidden is not None and not hidden.all():
        nearest = nearest_visible(hidden)
    image = image[nearest]
    space, notes = _colour_space(photo)
    shown = image if space is None else space.to_srgb(image)
    options = dict(strength=strength, progress=progress, **controls)
    if method.needs_mask:
        from lowlight_jax.ops.damage import find_holes, grow

        if mask is None:
            seen = image
            if hidden is not None:  # a hole must be seen
                white = np.iinfo(image.dtype).max
                seen = np.where(hidden[..., None], white, image).astype(image.dtype)
            mask = find_holes(seen, is_lossy=photo.is_lossy)[..., 0][nearest]
            if not mask.any():
                raise NoHolesError(
                    "found no holes, which are regions of pure black; nothing to "
                    "repair: pass --mask"
                )
        elif mask.shape[:2] == image.shape[:2]:
            mask = np.asarray(mask).reshape(image.shape[:2])[nearest]
            if not mask.any():
                raise NoHolesError(
                    "the mask tells no holes that can be seen; nothing to repair: make "
                    "it white there"
                )
        pixels = method(shown, grow(mask) if photo.is_lossy else mask, **options)
    elif mask is not None:
        raise ValueError("only methods that repair holes take a mask; leave it out")
    else:
        pixels = method(shown, **options)
    if space is not None:
        is_brighter = not method.needs_mask
        pixels = space.from_srgb(pixels, shown, image, is_brighter=is_brighter)
    pixels = finish(pixels, unsharp=unsharp, saturation=saturation)
    if hidden is not None:
        pixels = np.where(hidden[..., None], photo.pixels, pixels)
    return dataclasses.replace(photo, pixels=pixels, notes=photo.notes + notes)


def _colour_space(photo: Photo) -> tuple[ColourSpace | None, tuple[str, ...]]:
    """What the pixels are converted from, and a sentence if they cannot be."""
    try:
        return colour_space(photo.icc), ()
    except ValueError as error:
        return None, (
            f"its colour profile is {error} and not converted: it is kept, and the "
            "pixels are taken for sRGB",
        )


def print_list() -> None:
    """A table of everything that `--model` can be."""
    table = Table(caption="Parameters are set by --param name=value.", show_lines=True)
    for heading in ("--model", "what it does", "parameters", "source"):
        table.add_column(heading, no_wrap=heading == "--model", overflow="fold")
    for row in [*_network_rows(), *_classical_rows()]:
        table.add_row(*map(Text, row))
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)


def _network_rows() -> list[tuple[str, ...]]:
    rows = []
    for name in shipped_names():
        card = (SHIPPED / f"{name}.md").read_text("utf-8")
        about = card.split("\n\n")[1]
        trained_on = re.search(r"\*\*Data\*\*: (.*?)(?=\n- |\n\n|\Z)", card, re.DOTALL)
        rows.append((name, _line(about), "", "trained on " + _line(trained_on[1])))
    return rows


def _classical_rows() -> list[tuple[str, ...]]:
    from lowlight_jax.baselines import METHODS, inpainting
    from lowlight_jax.baselines.method import allowed, defaults, spell

    rows = []
    for name, function in (METHODS | inpainting.METHODS).items():
        doc = inspect.getdoc(function)
        source = re.search(r"^Source: (.*?)(?=^\S+:|\Z)", doc, re.DOTALL | re.MULTILINE)
        params = [
            f"{param}={spell(value)} ({allowed(function, param)})"
            for param, value in defaults(function).items()
        ]
        about = doc.split("\n")[0]
        rows.append((name.lower(), about, "\n".join(params), _line(source[1])))
    return rows


def _line(text: str) -> str:
    return " ".join(text.split())
