"""Low-light image enhancement in JAX.

import lowlight_jax
bright = lowlight_jax.enhance(dark)   # uint8 or float, [h, w, 3]
"""

# Imported here, not on demand: the package `enhance` would otherwise hide the function
# of that name as soon as anything imported it. It imports nothing heavy.
from lowlight_jax.enhance import Enhancer, enhance

__all__ = ["Enhancer", "enhance"]
