"""`dual_global`, the dual network with a thumbnail of the whole image, on LOL-v1.

    python -m lowlight_jax.main --config=configs/dual_global.py --config.data.root=DIR

DIR is LOL as it is distributed, or a folder with low/, high/ and pairs.csv. For the
first minutes the enhancement module learns the exposure alone; then both modules are
trained together. These settings were chosen on the validation split. The weights that
ship come from `:variant=shipped` (12,000 steps, with augmentation and the reverse
term), trained on all pairs (`--config.data.validation_every=0`).

The other variants are for the ablation in docs/results.md. Some leave an idea out:
no_global (no thumbnail), no_own_output (the denoising module is trained on synthetic
noise, not on the enhancement module's output), no_colour, no_ema. Others add one that
did not help: reverse (the enhancement's reverse term), augmentation (of exposure,
colour and framing).

As it stands it is for a CPU. On a GPU or a TPU core, with nothing else changed:

    --config.data.crop_px=384 --config.data.batch_size=32 --config.data.threads=8
    --config.phases.joint.steps=60000 --config.evaluate_every_steps=2000
"""

from lowlight_jax.config import apply_variant, dual_global_config

AUGMENTATION = {
    "augment.colour.gain": 0.1,
    "augment.dark_stops": 0.7,
    "augment.geometry.least_framing": 0.5,
}
REVERSE = {"loss.enhancement.reverse": 1.0}

VARIANTS = {
    "full": {},
    "shipped": {**AUGMENTATION, **REVERSE, "phases.joint.steps": 12000},
    "no_global": {"model.uses_thumbnail": False},
    "no_own_output": {
        "phases.enhance.steps": 6500,  # as many for each module as in the others
        "phases.joint.steps": 0,
        "phases.denoise.steps": 6000,
        "phases.denoise.learning_rate": 4e-3,
        "enhanced_fraction": 0.0,
    },
    "no_colour": {"loss.enhancement.colour": 0.0, "loss.denoising.colour": 0.0},
    "no_ema": {"optimizer.ema_decay": 0.0},
    "reverse": REVERSE,
    "augmentation": AUGMENTATION,
}


def get_config(arg: str = ""):
    c = dual_global_config()
    c.evaluate_every_steps = 1000
    return apply_variant(c, arg, VARIANTS)
