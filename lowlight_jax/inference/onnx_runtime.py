"""The back end ONNX Runtime: networks on windows, without JAX.

An `OnnxNetwork` is read from a model of `onnx_graphs.models.window_model` and declares
what `Runner` asks a network for. The networks that ship have theirs beside the weights.
"""

import dataclasses
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlight_jax.onnx_graphs import DECLARED
from lowlight_jax.tasks.control import Control
from lowlight_jax.weights import SHIPPED

if TYPE_CHECKING:
    from lowlight_jax.tasks.task import Task

BACKENDS = ("auto", "jax", "onnxruntime")
_ACCELERATORS = ("jax_plugins", "libtpu")  # what the extras "cuda" and "tpu" install


def takes_onnx(backend: str, model: str | Path) -> bool:
    """Whether a network runs on ONNX Runtime; neither it nor JAX is imported.

    By "auto" where it is installed, the weights ship with a graph, and JAX has nothing
    but the CPU.

    Args:
      backend: one of `BACKENDS`.
      model: as for `methods.load_method`.
    Raises:
      ValueError: there is no such back end.
      ImportError: it is asked for, and not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(
            f"backend is {backend!r}; expected one of {', '.join(BACKENDS)}"
        )
    is_installed = importlib.util.find_spec("onnxruntime") is not None
    if backend == "onnxruntime" and not is_installed:
        raise ImportError(
            "the back end onnxruntime is not installed; expected what "
            "`pip install 'lowlight_jax[onnx]'` installs"
        )
    if backend != "auto":
        return backend == "onnxruntime"
    on_cpu = os.environ.get("JAX_PLATFORMS", "cpu") == "cpu" and not any(
        importlib.util.find_spec(name) for name in _ACCELERATORS
    )
    return is_installed and on_cpu and _shipped(model).is_file()


def load_onnx(model: str | Path) -> "OnnxNetwork":
    """The network of weights that ship, of a workdir or of a `.safetensors` file.

    Of the latter two the graph is built here, which takes JAX and the package onnx.

    Raises:
      WeightsError: there are no such weights.
      ValueError: there is no graph for their network.
    """
    path = _shipped(model)
    if path.is_file():
        return OnnxNetwork.load(path.read_bytes())
    from lowlight_jax import weights
    from lowlight_jax.onnx_graphs.models import window_model

    return OnnxNetwork.load(window_model(*weights.load_any(model)).SerializeToString())


def _shipped(model: str | Path) -> Path:
    """Where the graph of weights that ship lies; of other weights no file."""
    name = Path(model)
    return SHIPPED / f"{name}.onnx" if name.name == str(model) else SHIPPED


@dataclasses.dataclass(frozen=True)
class OnnxNetwork:
    """A network as `Runner` needs it; attributes as in `tasks.task.Network`.

    Attributes:
      session: of ONNX Runtime.
      task_name: of `task`.
    """

    session: Any
    name: str
    task_name: str
    needs_mask: bool
    window_shapes: tuple[tuple[int, int], ...]
    stride: int
    receptive_radius_px: int | None
    sees_thumbnail: bool
    sees_place: bool
    only_for_dark: bool
    controls: Mapping[str, Control]

    @property
    def task(self) -> "Task":
        """What it is for."""
        from lowlight_jax.models import MODELS  # JAX: for whoever asks for more

        return MODELS[self.name].task

    def run(
        self,
        window: np.ndarray,
        mask: np.ndarray | None,
        thumbnail: np.ndarray | None,
        place: np.ndarray | None,
        strength: float,
        active: Mapping[str, float],
    ) -> np.ndarray:
        """As `runner._compiled`, of the same shape and dtype as the window."""
        integer = np.issubdtype(window.dtype, np.integer)
        full = np.iinfo(window.dtype).max if integer else 1
        given = window * np.float32(1 / full)
        image = np.broadcast_to(given, (*given.shape[:2], 3))
        controls = {name: control.off for name, control in self.controls.items()}
        feed = {"strength": strength, **controls, **active, "image": image}
        if self.needs_mask:
            feed["mask"] = mask
        if self.sees_thumbnail:
            feed["thumbnail"] = thumbnail[0]
        if self.sees_place:
            feed["place"] = place[0]
        feed = {
            name: np.require(value, np.float32, "C") for name, value in feed.items()
        }
        (result,) = self.session.run(None, feed)
        if window.shape[-1] == 1:
            result = result.mean(-1, keepdims=True)
        if integer:
            result = np.rint(result * full)
        return result.astype(window.dtype)

    @classmethod
    def load(cls, model: bytes) -> "OnnxNetwork":
        """From a file's content."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Left to itself it binds threads to cores, and complains where it may not.
        options.intra_op_num_threads = _cores()
        session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        declared = json.loads(session.get_modelmeta().custom_metadata_map[DECLARED])
        controls = {
            name: Control(**control) for name, control in declared["controls"].items()
        }
        return cls(session, **{**declared, "controls": controls})


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
