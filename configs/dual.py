"""The dual network of paper A, on the photographs that come with scikit-image.

    python -m lowlight_jax.main --config=configs/dual.py
    python -m lowlight_jax.main --config=configs/dual.py:variant=no_two_way

Hardware: 2 CPU cores, about 5 minutes. `--config.data.root=DIR` trains on real pairs
instead; configs/dual_lol.py is the recipe of the weights that ship, and
configs/dual_paper.py is paper A to the letter. The denoising module has two terms that
are not in the paper, without which so short a training shows little:
`--config.loss.denoising.detail=0 --config.loss.denoising.pixel=0` drops them.
"""

from lowlight_jax.config import apply_variant, base_config


def get_config(arg: str = ""):
    c = apply_variant(base_config(), arg)
    c.loss.denoising.detail = 1.0
    c.loss.denoising.pixel = 1.0
    return c
