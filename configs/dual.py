"""The dual network of paper A, by a recipe of ours, in five minutes of a CPU.

    python -m lowlight_jax.main --config=configs/dual.py
    python -m lowlight_jax.main --config=configs/dual.py:variant=no_two_way

Hardware: 2 CPU cores, about 5 minutes, on the photographs that come with scikit-image.
`--config.data.root=DIR` trains on real pairs instead. configs/dual_lol.py is the recipe
of the weights that ship; configs/dual_paper.py is the paper's own. To that this adds
warm-up, a falling learning rate, gradient clipping, averaged parameters, augmentation,
losses on the coarse results too, the enhancement module's own output as noisy images,
and two loss terms without which the denoising module shows little after so short a
training: `--config.loss.denoising.detail=0 --config.loss.denoising.pixel=0` drops them.
"""

from lowlight_jax.config import apply_variant, base_config


def get_config(arg: str = ""):
    c = apply_variant(base_config(), arg)
    c.loss.denoising.detail = 1.0
    c.loss.denoising.pixel = 1.0
    return c
