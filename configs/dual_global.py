"""`dual_global`, the dual network with a thumbnail of the whole image, on LOL-v1.

    python -m lowlight_jax.main --config=configs/dual_global.py --config.data.root=DIR

DIR is LOL as it is distributed, or a folder with low/, high/ and pairs.csv. For the
first minutes the enhancement module learns the exposure of whole scenes alone, from
thumbnails. Then both modules are trained together, but for the coarse illumination: on
crops, over and over, it would learn the training's scenes by heart, and tell less of
others. The weights that ship are trained on all pairs (`--config.data.validation_every=0`). LOL's official protocol holds out
images whose scenes are trained on; `--config.data.validation_by=image` does too. Crops
are not mirrored or turned: the network knows scenes again by where things are.

The variants are for the ablation in docs/results.md. Some leave an idea out: no_global
(no thumbnail), no_own_output (the denoising module is trained on synthetic noise, not
on the enhancement module's output), no_colour, no_ema. Others add one that did not
help: reverse (the enhancement's reverse term), augmentation (of colour and framing).

As it stands it is for a CPU. On a GPU or a TPU core, with nothing else changed:

    --config.data.crop_px=384 --config.data.batch_size=32 --config.data.threads=8
    --config.phases.joint.steps=60000 --config.evaluate_every_steps=2000
"""

from lowlight_jax.config import apply_variant, dual_global_config

VARIANTS = {
    "full": {},
    "no_global": {"model.uses_thumbnail": False},
    "no_own_output": {
        "phases.joint.steps": 0,
        "phases.denoise.steps": 5600,
        "phases.denoise.learning_rate": 4e-3,
        "enhanced_fraction": 0.0,
    },
    "no_colour": {"loss.enhancement.colour": 0.0, "loss.denoising.colour": 0.0},
    "no_ema": {"optimizer.ema_decay": 0.0},
    "reverse": {"loss.enhancement.reverse": 1.0},
    "augmentation": {
        "augment.colour.gain": 0.1,
        "augment.geometry.least_framing": 0.5,
    },
}


def get_config(arg: str = ""):
    c = dual_global_config()
    c.phases.scene.steps = 2400
    c.phases.scene.learning_rate = 2e-3
    c.kept_parts = ("enhancement/coarse",)
    c.phases.enhance.steps = 0
    c.phases.joint.steps = 5600
    c.phases.joint.learning_rate = 3e-3
    c.augment.dark_stops = 0.7
    c.augment.geometry.flips = False
    c.augment.geometry.quarter_turns = False
    c.loss.enhancement.forward = 0.5
    c.loss.enhancement.square = 1.0
    c.loss.denoising.pixel = 1.0
    c.loss.denoising.square = 1.0
    c.evaluate_every_steps = 2400
    return apply_variant(c, arg, VARIANTS)
