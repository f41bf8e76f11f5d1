"""The weights `dual` that ship: paper A's network on LOL-v1's training pairs.

    python -m lowlight_jax.main --config=configs/dual_lol.py --config.data.root=DIR

DIR is LOL as it is distributed, or a folder with low/, high/ and pairs.csv. Three
things are not in the paper, and are here because they score better on the validation
split: a third phase that trains both modules together, pixel and colour terms, and the
averaging of parameters.
"""

from lowlight_jax.config import apply_variant, base_config


def get_config(arg: str = ""):
    c = apply_variant(base_config(), arg)
    c.phases.enhance.steps = 1500
    c.phases.denoise.steps = 1000
    c.phases.joint.steps = 6500
    c.phases.joint.learning_rate = 1e-3
    c.optimizer.warmup_steps = 200
    c.optimizer.ema_decay = 0.999
    c.loss.denoising.detail = 1.0
    c.loss.denoising.pixel = 2.0
    c.loss.denoising.colour = 1.0
    c.loss.denoising.coarse = 0.0
    c.enhanced_fraction = 0.7
    c.identity_fraction = 0.05
    c.log_every_steps = 100
    c.evaluate_every_steps = 1500
    c.checkpoint_every_steps = 500
    return c
