"""Writes a network as one file that runs without this package.

python -m lowlight_jax.export --model dual_global --format onnx --output dual.onnx
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlight_jax.runtime.command import NOTHING_WRITTEN, add_debug_flag, run_command
from lowlight_jax.runtime.devices import check_devices
from lowlight_jax.runtime.outputs import check_file, user_path
from lowlight_jax.runtime.whole_file import write_whole

if TYPE_CHECKING:
    from lowlight_jax.tasks.task import Network

PROG = "python -m lowlight_jax.export"
PLATFORMS = ("cpu", "cuda", "tpu")
MOST_DIFFERENCE = 1e-5  # of samples in [0, 1]
_SIZE = 45, 70  # height and width of the picture that results are compared on

_EPILOG = """\
examples:
  %(prog)s --model dual_global_photo --format onnx --output photo.onnx
  %(prog)s --checkpoint WORKDIR --format stablehlo --output mine.stablehlo

Either file takes pictures of any size, uint8 [height, width, 3], and gives the same.
How to run it from Python, C++ and JavaScript: docs/export.md.
"""


class ExportError(ValueError):
    """The network cannot be exported, or what was exported is wrong."""


def to_onnx(network: "Network", params: Any, about: Mapping[str, str]) -> bytes:
    """An ONNX model of whole pictures, compared with JAX before it is given out.

    Args:
      network, params: of `weights.load_any`.
      about: texts that the file says of itself, by name.
    Raises:
      ImportError: onnx or onnxruntime is not installed.
      ValueError: there is no graph for this network.
      ExportError: results differ from JAX by more than 1e-5.
    """
    import jax
    import onnxruntime

    from lowlight_jax.inference.picture import picture_function
    from lowlight_jax.onnx_graphs.models import picture_model

    floats = picture_model(network, params, about, dtype=np.float32)
    session = onnxruntime.InferenceSession(
        floats.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    in_jax = jax.jit(picture_function(network, params, np.float32))

    def run(images: Sequence[np.ndarray], turned: Mapping[str, np.ndarray]):
        names = ("image", "mask")[: len(images)]
        feed = dict(zip(names, images, strict=True)) | dict(turned)
        return session.run(None, feed)[0]

    _compare(network, in_jax, run)
    return picture_model(network, params, about).SerializeToString()


def to_stablehlo(network: "Network", params: Any) -> bytes:
    """What `jax.export.deserialize` reads: StableHLO for CPU, GPU and TPU.

    Args:
      network, params: of `weights.load_any`.
    Raises:
      ExportError: results differ from those of the function that was exported.
    """
    import jax
    from jax import export

    from lowlight_jax.inference.picture import picture_function

    height, width = export.symbolic_shape("height, width")
    shapes = [(height, width, 3), (height, width)][: 1 + network.needs_mask]
    number = jax.ShapeDtypeStruct((), np.float32)

    def exported(dtype: Any) -> export.Exported:
        function = jax.jit(picture_function(network, params, dtype))
        images = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
        controls = dict.fromkeys(network.controls, number)
        return export.export(function, platforms=PLATFORMS)(*images, number, **controls)

    def run(images: Sequence[np.ndarray], turned: Mapping[str, np.ndarray]):
        return _call(read.call, images, turned)

    read = export.deserialize(exported(np.float32).serialize())
    _compare(network, jax.jit(picture_function(network, params, np.float32)), run)
    return bytes(exported(np.uint8).serialize())


def _call(function: Callable, images: Sequence, turned: Mapping) -> np.ndarray:
    strength, controls = turned["strength"], dict(turned)
    del controls["strength"]
    return np.asarray(function(*images, strength, **controls))


def _compare(network: "Network", in_jax: Callable, run: Callable) -> None:
    for images, turned in _examples(network):
        found, expected = run(images, turned), _call(in_jax, images, turned)
        worst = float(np.abs(found - expected).max())
        if not worst <= MOST_DIFFERENCE:
            raise ExportError(
                f"what was exported differs from JAX by {worst:.1e} at "
                f"{' x '.join(map(str, images[0].shape[:2]))} pixels; expected at most "
                f"{MOST_DIFFERENCE:.0e}, so nothing was written: please report this"
            )


def _examples(network: "Network") -> Iterator[tuple[list, dict]]:
    """A dark picture, with all controls at their defaults and turned."""
    random = np.random.default_rng(0)
    images = [(0.6 * random.random((*_SIZE, 3)) ** 3).astype(np.float32)]
    if network.needs_mask:
        images.append((random.random(_SIZE) < 0.1).astype(np.float32))
    for turn in (0.0, 0.6):
        turned = {"strength": 1.0 - turn / 2}
        for name, control in network.controls.items():
            way = control.lowest - control.default
            turned[name] = control.default + turn * way
        yield images, {name: np.array(v, np.float32) for name, v in turned.items()}


def about_weights(source: str | Path) -> dict[str, str]:
    """What a file says of the weights in it: their name, licence, and their header.

    Args:
      source: see `weights.find_weights`.
    """
    from lowlight_jax import weights

    about, path = {"model": str(source)}, weights.find_weights(source)
    if str(source) in weights.shipped_names():
        card = path.with_suffix(".md").read_text("utf-8")
        licence = re.search(r"\*\*Licence\*\*: (.*?)(?=\n- |\n\n|\Z)", card, re.DOTALL)
        about["licence"] = " ".join(licence[1].split())
    elif not weights.hub.is_address(source):
        about["model"] = Path(source).resolve().name
    return about | weights.read_header(path) | {"model": about["model"]}


def parse_args(
    argv: Sequence[str] | None = None, prog: str = PROG
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write a network as one ONNX or StableHLO file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument(
        "--model",
        metavar="NAME",
        help="a network that ships, the workdir of a training, a .safetensors file, or "
        "hf:OWNER/NAME@REVISION of the Hugging Face hub",
    )
    model.add_argument(
        "--checkpoint",
        dest="model",
        metavar="WORKDIR",
        help="the same as --model WORKDIR",
    )
    parser.add_argument("--format", choices=("onnx", "stablehlo"), required=True)
    parser.add_argument("--output", type=user_path, required=True, metavar="FILE")
    add_debug_flag(parser)
    return parser.parse_args(argv)


def run(argv: Sequence[str] | None, prog: str) -> int:
    """Does what was asked and returns the exit code."""
    args = parse_args(argv, prog)
    check_file(args.output, "--output", (f".{args.format}",))
    check_devices()
    from lowlight_jax import weights

    network, params = weights.load_any(args.model)
    if args.format == "onnx":
        try:
            content = to_onnx(network, params, about_weights(args.model))
        except ImportError as error:
            raise ExportError(
                f"{error.name} is not installed; expected what "
                "`pip install 'lowlight_jax[onnx]'` installs"
            ) from error
    else:
        content = to_stablehlo(network, params)
    write_whole(args.output, content)
    print(f"{args.model} saved to {args.output}: {len(content) / 1e3:.0f} kB")
    return 0


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    return run_command(lambda: run(argv, prog), interrupted=NOTHING_WRITTEN)


if __name__ == "__main__":
    sys.exit(main())
