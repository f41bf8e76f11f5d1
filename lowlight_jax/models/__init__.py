"""All networks by name; a new one is a file here and a line below.

A network is a Flax module whose `__call__` returns a struct with `pred`, and which says

    phases     what it can be trained by, of `training.objectives.OBJECTIVES`
    stride     height and width of its input are multiples of it
    reach_px   how far an output pixel sees; None: it sees the whole image
    sees_thumbnail whether it is also given the whole picture, reduced: `ops.thumbnail`
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlight_jax.models.cnn import CNN
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.models.dual_global import DualGlobalNetwork
from lowlight_jax.models.inpaint import InpaintNetwork
from lowlight_jax.models.mirnet import MIRNet
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX

MODELS: dict[str, type[nn.Module]] = {
    "dual": DualNetwork,
    "dual_global": DualGlobalNetwork,
    "cnn": CNN,
    "mirnet": MIRNet,
    "inpaint": InpaintNetwork,
}


def make_model(name: str, **fields) -> nn.Module:
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


def example_inputs(
    network: nn.Module, height: int = 0, width: int = 0
) -> tuple[jax.Array, ...]:
    """What the network is called with: black, small where no size is given."""
    side = -(-32 // network.stride) * network.stride
    image = jnp.zeros((1, height or side, width or side, 3))
    if network.sees_thumbnail:
        return image, jnp.zeros((1, THUMBNAIL_PX, THUMBNAIL_PX, 3))
    return (image, image[..., :1]) if "repair" in network.phases else (image,)


def init_params(network: nn.Module, key: jax.Array):
    """Random parameters, float32, nested dict by Flax paths."""
    return jax.jit(network.init)(key, *example_inputs(network))["params"]


def name_of(network: nn.Module) -> str:
    """The name of a network in MODELS; of its class, where it is not among them."""
    names = [name for name, kind in MODELS.items() if kind is type(network)]
    return names[0] if names else type(network).__name__
