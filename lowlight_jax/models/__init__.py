"""All networks by name; a new one is a file here and a line below.

What a network declares, its task above all, is in `lowlight_jax.tasks.task.Network`.
"""

import dataclasses

import jax

from lowlight_jax.models.cnn import CNN
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.models.dual_global import DualGlobalNetwork
from lowlight_jax.models.dual_grid import DualGridNetwork
from lowlight_jax.models.dual_scene import DualSceneNetwork
from lowlight_jax.models.inpaint import InpaintNetwork
from lowlight_jax.models.mirnet import MIRNet
from lowlight_jax.tasks.task import Network, example_inputs
from lowlight_jax.types import Params

MODELS: dict[str, type[Network]] = {
    "dual": DualNetwork,
    "dual_global": DualGlobalNetwork,
    "dual_grid": DualGridNetwork,
    "dual_scene": DualSceneNetwork,
    "cnn": CNN,
    "mirnet": MIRNet,
    "inpaint": InpaintNetwork,
}


def all_phases() -> list[str]:
    """Names of the phases of all tasks, each task's in the order of training."""
    tasks = {network.task.name: network.task for network in MODELS.values()}
    return [phase for task in tasks.values() for phase in task.objectives]


def make_model(name: str, **fields) -> Network:
    """The network of this name.

    Raises:
      ValueError: the name or a field is unknown, or a field's value cannot work.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; expected one of {', '.join(MODELS)}")
    unknown = fields.keys() - model_fields(name).keys()
    if unknown:
        raise ValueError(
            f"model {name!r} has no field {', '.join(sorted(unknown))}; expected "
            f"some of {', '.join(list(model_fields(name))[1:])}"
        )
    return MODELS[name](**fields)


def model_fields(name: str) -> dict[str, str | int | float | bool]:
    """`name` and the fields of its network with their defaults, dtypes by name."""
    own = [f for f in dataclasses.fields(MODELS[name]) if f.name not in _FLAX_FIELDS]
    fields = {field.name: field.default for field in own}
    return {"name": name} | fields | {"dtype": fields["dtype"].__name__}


_FLAX_FIELDS = ("parent", "name")


def init_params(network: Network, key: jax.Array) -> Params:
    """Random parameters, float32, nested dict by Flax paths."""
    return jax.jit(network.init)(key, *example_inputs(network))["params"]


def name_of(network: Network) -> str:
    """The name of a network in MODELS; of its class, where it is not among them."""
    names = [name for name, kind in MODELS.items() if kind is type(network)]
    return names[0] if names else type(network).__name__
