"""All networks by name; a new one is a file here and a line below."""

import flax.linen as nn

from lowlight_jax.models.dual import DualNetwork

MODELS: dict[str, type[nn.Module]] = {"dual": DualNetwork}


def make_model(name: str, **fields) -> nn.Module:
    """The network of this name.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; expected one of {', '.join(MODELS)}")
    return MODELS[name](**fields)
