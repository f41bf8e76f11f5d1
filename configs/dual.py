"""The dual network of paper A on the photographs that come with scikit-image.

    python -m lowlight_jax.main --config=configs/dual.py
    python -m lowlight_jax.main --config=configs/dual.py:variant=no_reverse

Hardware: 2 CPU cores, about 5 minutes. `--config.data.root=DIR` trains on real pairs
instead; configs/dual_lol.py is the recipe of the weights that ship.
"""

from lowlight_jax.config import apply_variant, base_config


def get_config(arg: str = ""):
    return apply_variant(base_config(), arg)
