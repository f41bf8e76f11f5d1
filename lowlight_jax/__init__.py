"""Low-light image enhancement in JAX.

import lowlight_jax
bright = lowlight_jax.enhance(dark)   # uint8 or float, [h, w, 3]
whole = lowlight_jax.repair(damaged)  # the same, with black holes
"""

# Imported here, not on demand: the package `enhance` would otherwise hide the function
# of that name as soon as anything imported it. It imports nothing heavy.
from lowlight_jax.enhance import Enhancer, enhance
from lowlight_jax.enhance.repair import Repairer, repair

__all__ = ["Enhancer", "Repairer", "enhance", "repair"]
