"""What `--model` can be: networks that ship, and the classical methods of `baselines`.

Everything said of them comes from where they are: the weights' cards, and the methods'
signatures and docstrings.
"""

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowlight_jax.inference.finish import blend

if TYPE_CHECKING:
    from lowlight_jax.images.files import Photo
    from lowlight_jax.inference.enhancer import Enhancer
    from lowlight_jax.inference.repairer import Repairer


def classical(name: str, params: Sequence[str]) -> Callable | None:
    """A classical method as `f(image, *, strength) -> image`, None for other names.

    Of a uint16 image it gets 8 bits, and its result is multiplied by 257.

    Args:
      name: of `METHODS`.
      params: texts like "exponent=0.5".
    Raises:
      ValueError: parameters that the method does not have, or values it cannot have.
    """
    from lowlight_jax.baselines import METHODS
    from lowlight_jax.baselines.method import parse_params

    if name not in METHODS:
        return None
    try:
        function = functools.partial(
            METHODS[name], **parse_params(METHODS[name], params)
        )
        function(np.zeros((1, 1, 3), np.uint8))  # values that exclude each other
    except ValueError as error:
        raise ValueError(f"--param: {name}: {error}") from error
    return functools.partial(_apply, function)


def _apply(function: Callable, image: np.ndarray, *, strength: float) -> np.ndarray:
    if image.dtype == np.uint8:
        return blend(image, function(image), strength)
    result = function(((image.astype(np.uint32) + 128) // 257).astype(np.uint8))
    return blend(image, result * np.uint16(257), strength)


def network(model: str, checkpoint: str | Path | None) -> "Enhancer | Repairer":
    """A network of the weights that ship, or of a training, ready for images.

    Raises:
      WeightsError: there are no such weights.
    """
    from lowlight_jax import weights
    from lowlight_jax.inference.enhancer import Enhancer
    from lowlight_jax.inference.repairer import Repairer

    if checkpoint is None:
        found, params = weights.load_shipped(model)
    else:
        found, params = weights.load_checkpoint(checkpoint)
    kind = Repairer if "repair" in found.phases else Enhancer
    return kind.from_params(found, params)


def repair(
    repairer: "Repairer", mask: np.ndarray | None, photo: "Photo", *, strength: float
) -> np.ndarray:
    """The pixels with their holes repaired, `mask` or else those that are found.

    Raises:
      ValueError: there are no holes, or the mask is of another size.
    """
    from lowlight_jax.ops.damage import find_holes, grow

    image = photo.pixels
    holes = mask
    if mask is None:
        holes = find_holes(image, is_lossy=photo.is_lossy)[..., 0]
    if not holes.any():
        raise ValueError(
            "found no holes, which are regions of pure black; nothing to repair: pass "
            "--mask"
        )
    if photo.is_lossy:
        holes = grow(holes)
    return blend(image, repairer(image, holes), strength)


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
    from lowlight_jax.weights import SHIPPED, shipped_names

    rows = []
    for name in shipped_names():
        card = (SHIPPED / f"{name}.md").read_text()
        about = card.split("\n\n")[1]
        trained_on = re.search(r"\*\*Data\*\*: (.*?)(?=\n- |\n\n|\Z)", card, re.DOTALL)
        rows.append((name, _line(about), "", "trained on " + _line(trained_on[1])))
    return rows


def _classical_rows() -> list[tuple[str, ...]]:
    from lowlight_jax.baselines import METHODS
    from lowlight_jax.baselines.method import allowed, defaults, spell

    rows = []
    for name, function in METHODS.items():
        doc = inspect.getdoc(function)
        source = re.search(r"^Source: (.*?)(?=^\S+:|\Z)", doc, re.DOTALL | re.MULTILINE)
        params = [
            f"{param}={spell(value)} ({allowed(function, param)})"
            for param, value in defaults(function).items()
        ]
        about = doc.split("\n")[0]
        rows.append((name, about, "\n".join(params), _line(source[1])))
    return rows


def _line(text: str) -> str:
    return " ".join(text.split())
