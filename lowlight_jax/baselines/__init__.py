"""Classical methods to compare with: uint8 `[h, w, c]` in, the same out.

`METHODS` has all of them by the name that the commands take; `method.py` says what they
keep to. Importing this imports OpenCV and SciPy, so commands do it when they need it.
"""

from lowlight_jax.baselines import (
    dwt_svd,
    filters,
    ghp,
    lime,
    lssc,
    retinex,
    svd,
    tone,
)
from lowlight_jax.baselines.method import Method

METHODS: dict[str, Method] = {
    "negative": tone.negative,
    "contrast-stretching": tone.contrast_stretching,
    "intensity-slicing": tone.intensity_slicing,
    "bit-plane": tone.bit_plane,
    "gamma": tone.gamma,
    "histogram-equalisation": tone.histogram_equalisation,
    "clahe": tone.clahe,
    "gray-world": tone.gray_world,
    "gaussian": filters.gaussian,
    "median": filters.median,
    "unsharp-mask": filters.unsharp_mask,
    "edges": filters.edges,
    "ssr": retinex.ssr,
    "msr": retinex.msr,
    "msrcr": retinex.msrcr,
    "lime": lime.lime,
    "dwt-svd": dwt_svd.dwt_svd,
    "ghp": ghp.ghp,
    "lssc": lssc.lssc,
    "svd": svd.svd,
}
