"""What a user can turn; without JAX, for back ends that do without it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Control:
    """One knob of a network.

    Attributes:
      default: where it stands unless it is turned.
      lowest, highest: how far it turns.
      off: where it does nothing at all, and is not computed.
    """

    default: float
    lowest: float
    highest: float
    off: float
