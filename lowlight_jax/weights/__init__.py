"""Trained weights as safetensors files: the ones that ship, and those of a workdir.

A file carries the parameters under their Flax paths ("enhancement/coarse/...") and, in
its header, the model's name and fields, so that it says itself what network it is for.
No pickle is ever loaded. JAX is imported by what needs it: a back end that does without
asks for names only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlight_jax.runtime.whole_file import write_whole
from lowlight_jax.weights import hub

if TYPE_CHECKING:
    from lowlight_jax.tasks.task import Network

SHIPPED = Path(__file__).parent
WORKDIR_FILE = "weights.safetensors"  # what training leaves in its workdir


class WeightsError(ValueError):
    """There are no such weights, or they do not fit; one plain sentence."""


def shipped_names() -> list[str]:
    """Names that `load_shipped` knows."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def save_weights(
    path: str | Path, params: Any, *, model: Mapping[str, Any], about: Mapping[str, str]
) -> None:
    """Writes a file under a temporary name, then renames it.

    Args:
      path: of the file.
      params: nested dict of float32 arrays.
      model: `name` and fields of the network, as for `make_model`.
      about: anything to be said of the weights, e.g. steps and commit.
    """
    import flax.traverse_util
    import safetensors.numpy

    flat = flax.traverse_util.flatten_dict(params, sep="/")
    tensors = {name: np.asarray(value, np.float32) for name, value in flat.items()}
    header = {"model": json.dumps(dict(model)), **about}
    # Not save_file, which lets nobody but the owner read the file.
    write_whole(Path(path), safetensors.numpy.save(tensors, header))


def read_header(path: str | Path) -> dict[str, str]:
    """What `save_weights` was told of the weights: `about`, and the model as JSON."""
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


def load_weights(path: str | Path) -> "tuple[Network, Any]":
    """The network of a file and its parameters.

    Raises:
      WeightsError: not a file of ours, or parameters missing, left over or of another
        shape than the network's.
    """
    network, flat = _read(path)
    _check_shapes(path, network, flat)
    return network, _nested(flat)


def _read(path: str | Path) -> "tuple[Network, dict[str, np.ndarray]]":
    import safetensors

    from lowlight_jax.models import make_model

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()}
        fields = json.loads(header["model"])
        network = make_model(**fields)
    except Exception as e:  # a header can hold anything
        raise WeightsError(
            f"{path} is not a weights file of lowlight_jax ({e}); expected one written "
            "by training or by save_weights"
        ) from e
    return network, flat


def _nested(flat: Mapping[str, np.ndarray]) -> Any:
    """On the device, all at once: 8 ms, one by one 360."""
    import flax.traverse_util
    import jax

    return flax.traverse_util.unflatten_dict(jax.device_put(dict(flat)), sep="/")


def _check_shapes(
    path: str | Path, network: "Network", flat: Mapping[str, np.ndarray]
) -> None:
    import flax.traverse_util
    import jax

    from lowlight_jax.models import example_inputs

    expected = jax.eval_shape(network.init, jax.random.key(0), *example_inputs(network))
    expected = flax.traverse_util.flatten_dict(expected["params"], sep="/")
    shapes = {name: leaf.shape for name, leaf in expected.items()}
    found = {name: array.shape for name, array in flat.items()}
    wrong = {n for n in shapes.keys() | found.keys() if shapes.get(n) != found.get(n)}
    if wrong:
        name = min(wrong)
        raise WeightsError(
            f"{path} does not fit its network: {len(wrong)} parameter(s) differ, e.g. "
            f"{name}: found {found.get(name)}, expected {shapes.get(name)}"
        )


def load_shipped(name: str) -> "tuple[Network, Any]":
    """Weights that come with the package.

    Raises:
      WeightsError: there are none of this name.
    """
    if name not in shipped_names():
        raise WeightsError(
            f"no weights named {name!r} ship with lowlight_jax; expected one of "
            f"{', '.join(shipped_names()) or '(none)'}"
        )
    network, flat = _read(SHIPPED / f"{name}.safetensors")
    return network, _nested(flat)  # the tests check that they fit: 0.7 s


def load_checkpoint(workdir: str | Path) -> "tuple[Network, Any]":
    """Weights of a training's workdir, or of a `.safetensors` file itself.

    Raises:
      WeightsError: there are none.
    """
    return load_weights(_checkpoint_file(Path(workdir)))


def load_any(name: str | Path) -> "tuple[Network, Any]":
    """The network and the parameters of the file that `find_weights` finds.

    Raises:
      WeightsError, HubError, ImportError: there are none, or none of ours.
    """
    if str(name) in shipped_names():
        return load_shipped(str(name))
    return load_weights(find_weights(name))


def find_weights(name: str | Path) -> Path:
    """The file of what `--model` names, unless that is a classical method.

    Args:
      name: of weights that ship, "hf:OWNER/NAME@REVISION", a workdir, a folder of
        `save_pretrained`, or a `.safetensors` file.
    Raises:
      WeightsError: there are none.
      HubError, ImportError: see `hub.fetch`.
    """
    if str(name) in shipped_names():
        return SHIPPED / f"{name}.safetensors"
    if hub.is_address(name):
        return hub.fetch(str(name))
    if not Path(name).exists():
        raise WeightsError(
            f"there are no weights {str(name)!r}; expected one of "
            f"{', '.join(shipped_names())}, a workdir, a .safetensors file or "
            "hf:OWNER/NAME@REVISION"
        )
    return _checkpoint_file(Path(name))


def _checkpoint_file(path: Path) -> Path:
    if hub.is_ours(path / hub.CONFIG):
        return hub.check_folder(path)
    file = path / WORKDIR_FILE if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(
            f"{path} holds no {WORKDIR_FILE}; expected the workdir of a training "
            "that has saved at least once, or a .safetensors file"
        )
    return file
