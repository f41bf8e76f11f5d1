"""The weights `dual_global_photo`: for everyday photographs, not only LOL's.

    python -m lowlight_jax.main --config=configs/dual_global_photo.py \\
        --config.data.root=PAIRS --config.data.photographs=PHOTOS \\
        --config.data.brackets=BRACKETS

The losses of configs/dual_global.py, and its PAIRS. BRACKETS is a folder with a
subfolder of exposures for each scene: their fusions show shadows as open as people like
them. PHOTOS is a folder of normal photographs. These, the normal sides of the pairs,
brighter frames of the brackets, and the photographs that come with scikit-image are
under-exposed by 0 to 5 stops in uneven, mixed light, with noise and JPEG. Some crops
stay as they are, so that the network learns to leave a normal exposure alone. The
weights that ship saw BSDS500's training part and photographs of GCompris
(`docs/gcompris_photographs.py`), and brackets that were simulated of these and of HDR
panoramas: `docs/simulated_brackets.py` makes BRACKETS and PHOTOS. Denoising goes on
from that of the weights `dual_global`. Dark sides of PAIRS and BRACKETS are saved as
JPEG, as most photographs are: the grain and the blotches of colour that JPEG makes of
darkness are noise to be learnt.

On a GPU or a TPU core, in addition:

    --config.data.crop_px=384 --config.data.batch_size=32 --config.data.threads=8
    --config.phases.joint.steps=60000 --config.evaluate_every_steps=2000
"""

import dataclasses

from lowlight_jax.config import dual_global_config, model_config
from lowlight_jax.data.photographs import EVERYDAY


def get_config():
    c = dual_global_config()
    c.model = model_config("dual_grid")
    c.phases.scene.steps = 6000
    c.phases.scene.learning_rate = 3e-3
    c.phases.enhance.steps = 0
    c.phases.joint.steps = 8000
    c.phases.joint.learning_rate = 2e-3
    c.kept_parts = ("enhancement/coarse",)  # crops show less of a scene than thumbnails
    c.initial_weights = "dual_global"  # which took 12,000 steps
    c.initial_parts = ("denoising",)
    c.data.source = "pairs*6+brackets+photographs*2+embedded"
    c.augment.geometry.quarter_turns = False  # the sky is above
    c.augment.dark_jpeg.fraction = 0.7
    c.augment.dark_jpeg.least_quality = 70.0
    c.data.darken_pairs = True
    c.synthetic.update(dataclasses.asdict(EVERYDAY))
    c.synthetic.field_part = 0.3  # a crop of 128 px of a photograph of 400
    c.identity_fraction = 0.2
    c.evaluate_every_steps = 6000
    return c
