"""The plain CNN of paper B, task 1: the weights `cnn` that ship.

    python -m lowlight_jax.main --config=configs/cnn.py --config.data.root=DIR

DIR is LOL as it is distributed, or a folder with low/, high/ and pairs.csv. Mean
squared error, Adam at 1e-3, 100 epochs of LOL's 255 training pairs in batches of 8,
ended early where validation PSNR no longer rises.
"""

from lowlight_jax.config import base_config, model_config, only_phase


def get_config():
    c = base_config()
    c.model = model_config("cnn")
    only_phase(c, "supervised", steps=3200, learning_rate=1e-3)
    c.optimizer.name = "adam"
    c.optimizer.clip_norm = 0.0
    c.optimizer.ema_decay = 0.99
    c.evaluate_every_steps = 160
    c.early_stopping_patience = 6
    return c
