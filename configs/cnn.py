"""The plain CNN of paper B, task 1.

    python -m lowlight_jax.main --config=configs/cnn.py --config.data.root=DIR
    python -m lowlight_jax.main --config=configs/cnn.py:variant=shipped \\
        --config.data.root=DIR

DIR is LOL as it is distributed, or a folder with low/, high/ and pairs.csv. Mean
squared error, Adam at 1e-3, 100 epochs of LOL's 255 training pairs: section 4.4 of the
paper, which says no more than that.

`shipped` is the recipe of the weights `cnn`. It adds to the paper a warm-up and a
cosine schedule, flips and quarter turns, averaged parameters, and early stopping on
validation PSNR.
"""

from lowlight_jax.config import apply_variant, base_config, model_config, only_phase

VARIANTS = {
    "paper": {},
    "shipped": {
        "augment.geometry.flips": True,
        "augment.geometry.quarter_turns": True,
        "optimizer.schedule": "cosine",
        "optimizer.warmup_steps": 50,
        "optimizer.ema_decay": 0.99,
        "early_stopping_patience": 6,
    },
}


def get_config(arg: str = ""):
    c = base_config()
    c.model = model_config("cnn")  # Our choice (not in the paper): its layers
    c.data.crop_px = 128  # Our choice (not in the paper)
    c.data.batch_size = 8  # Our choice (not in the paper)
    c.augment.geometry.flips = False
    c.augment.geometry.quarter_turns = False
    only_phase(c, "supervised", steps=3200, learning_rate=1e-3)  # 100 epochs of LOL
    c.optimizer.name = "adam"
    c.optimizer.schedule = "constant"
    c.optimizer.warmup_steps = 0
    c.optimizer.clip_norm = 0.0
    c.optimizer.ema_decay = 0.0
    c.evaluate_every_steps = 160
    return apply_variant(c, arg, VARIANTS)
