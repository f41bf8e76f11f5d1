"""The weights `dual` that ship, trained further on your own pairs.

    python -m lowlight_jax.main --config=configs/finetune.py --config.data.root=DIR

DIR holds low/ and high/ with images of the same names. It takes minutes on 2 CPU cores,
ends when PSNR on the validation split of your own pairs no longer rises, and keeps the
best.
`--config.initial_weights=WORKDIR` starts from a training of your own instead.
"""

from lowlight_jax.config import base_config, only_phase


def get_config():
    c = base_config()
    c.initial_weights = "dual"
    only_phase(c, "joint", steps=2000, learning_rate=2e-4)
    c.optimizer.warmup_steps = 100
    c.loss.denoising.detail = 1.0
    c.loss.denoising.pixel = 2.0
    c.loss.denoising.colour = 1.0
    c.loss.denoising.coarse = 0.0
    c.identity_fraction = 0.05
    c.evaluate_every_steps = 100
    c.early_stopping_patience = 5
    return c
