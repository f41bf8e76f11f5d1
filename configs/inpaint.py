"""Removal of damage, paper B, task 3: the weights `inpaint`.

    python -m lowlight_jax.main --config=configs/inpaint.py \\
        --config.data.photographs=DIR

DIR holds normal photographs, e.g. those of the Berkeley segmentation data set; holes
are drawn at random. Each fifth photograph is kept for validation.
"""

from lowlight_jax.config import base_config, model_config, only_phase


def get_config():
    c = base_config()
    c.model = model_config("inpaint")
    only_phase(c, "repair", steps=9000, learning_rate=1e-3)
    c.data.validation_every = 5
    c.data.crop_px = 96
    c.data.batch_size = 16
    c.loss.repair.squared = 4.0
    c.optimizer.name = "adam"
    c.optimizer.warmup_steps = 200
    c.optimizer.ema_decay = 0.999
    c.log_every_steps = 100
    c.evaluate_every_steps = 1500
    return c
