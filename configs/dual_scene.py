"""`dual_scene`, the dual network that knows scenes again, for LOL's official protocol.

    python -m lowlight_jax.main --config=configs/dual_scene.py --config.data.root=DIR

DIR is LOL as it is distributed, or a folder with low/, high/ and pairs.csv. For the
first minutes the enhancement module learns the exposure of whole scenes alone, from
thumbnails. Then both modules are trained together, but for the coarse illumination: on
crops, over and over, it would learn the training's scenes by heart, and tell less of
others. Crops are not mirrored or turned: the network knows scenes again by where
things are.

The weights that ship are trained on all pairs (`--config.data.validation_every=0`).
LOL's official protocol holds out images whose scenes are trained on; so does
`--config.data.validation_by=image`.

As it stands it is for a CPU. On a GPU or a TPU core, with nothing else changed:

    --config.data.crop_px=384 --config.data.batch_size=32 --config.data.threads=8
    --config.phases.joint.steps=60000 --config.evaluate_every_steps=2000
"""

from lowlight_jax.config import dual_global_config, model_config


def get_config():
    c = dual_global_config()
    c.model = model_config("dual_scene")
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
    return c
