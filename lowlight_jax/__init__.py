"""Low-light image enhancement in JAX.

import lowlight_jax
bright = lowlight_jax.enhance(dark)   # uint8 or float, [h, w, 3]
whole = lowlight_jax.repair(damaged)  # the same, with black holes
steady = lowlight_jax.enhance_frames(frames, fps=25)  # of a video, one by one
"""

# The command of this name first: it would otherwise take the function's place as soon
# as anything imported it.
import lowlight_jax.enhance  # noqa: F401, I001
from lowlight_jax.inference.runner import Enhancer, Repairer, enhance, repair
from lowlight_jax.video.steady import enhance_frames

__version__ = "0.1.0"

__all__ = [
    "Enhancer",
    "Repairer",
    "__version__",
    "enhance",
    "enhance_frames",
    "repair",
]
