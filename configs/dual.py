"""The dual network of paper A on the photographs that come with scikit-image.

    python -m lowlight_jax.main --config=configs/dual.py
    python -m lowlight_jax.main --config=configs/dual.py:variant=no_reverse

Hardware: 2 CPU cores, about 5 minutes. `--config.data.root=DIR` trains on real pairs
instead; configs/dual_lol.py is the recipe of the weights that ship. Beyond the paper's
losses, the denoising module has two terms that it needs to show something in so short a
training: `--config.loss.denoising.detail=0 --config.loss.denoising.pixel=0` drops them.
"""

from lowlight_jax.config import apply_variant, base_config


def get_config(arg: str = ""):
    c = apply_variant(base_config(), arg)
    c.loss.denoising.detail = 1.0
    c.loss.denoising.pixel = 1.0
    return c
