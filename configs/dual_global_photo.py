"""The weights `dual_global_photo`: for anybody's photographs, not for LOL's alone.

    python -m lowlight_jax.main --config=configs/dual_global_photo.py \\
        --config.data.root=PAIRS --config.data.photographs=PHOTOS

The network and losses of configs/dual_global.py. PAIRS: as there. PHOTOS: a folder of
normal photographs; they, and those that come with scikit-image, are under-exposed by 0
to 5 stops in uneven, mixed light, with noise and JPEG. Some of the crops stay as they
are, so that a normal exposure is left alone. On a GPU or a TPU core, in addition:

    --config.data.crop_px=384 --config.data.batch_size=32 --config.data.threads=8
    --config.phases.joint.steps=60000 --config.evaluate_every_steps=2000
"""

import dataclasses

from lowlight_jax.config import base_config, model_config, only_phase
from lowlight_jax.data.photographs import EVERYDAY


def get_config():
    c = base_config()
    c.model = model_config("dual_global")
    c.model.sees_top = True
    only_phase(c, "joint", steps=3000, learning_rate=4e-3)
    c.phases.enhance.steps = 6000
    c.phases.enhance.learning_rate = 5e-3
    c.data.batch_size = 4
    c.data.embedded = True
    c.synthetic.update(dataclasses.asdict(EVERYDAY))
    c.synthetic.field_part = 0.3  # a crop of 128 px of a photograph of 400
    c.identity_fraction = 0.2
    c.optimizer.name = "adam"
    c.optimizer.warmup_steps = 200
    c.optimizer.ema_decay = 0.998
    c.loss.enhancement.structural = 0.0
    c.loss.enhancement.colour = 1.0
    c.loss.denoising.reverse = 0.0
    c.loss.denoising.detail = 1.0
    c.loss.denoising.pixel = 2.0
    c.loss.denoising.colour = 1.0
    c.loss.denoising.coarse = 0.0
    c.augment.colour.gain = 0.05
    c.augment.dark_stops = 0.7
    c.augment.geometry.least_framing = 0.5
    c.log_every_steps = 100
    c.evaluate_every_steps = 3000
    c.checkpoint_every_steps = 500
    return c
