"""A whole training in a minute or two, most of it compilation, to see that all runs.

    python -m lowlight_jax.main --config=configs/smoke.py

Hardware: 2 CPU cores. The result is not worth looking at.
"""

from lowlight_jax.config import apply_variant, base_config


def get_config(arg: str = ""):
    c = apply_variant(base_config(), arg)
    c.data.crop_px = 48
    c.data.batch_size = 4
    for name in ("enhance", "denoise", "joint"):
        c.phases[name].steps = 20
    c.log_every_steps = 5
    c.checkpoint_every_steps = 15
    c.optimizer.warmup_steps = 5
    c.grid_images = 1
    return c
