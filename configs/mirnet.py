"""MIRNet, paper B, task 2, trained on LOL.

    python -m lowlight_jax.main --config=configs/mirnet.py --config.data.root=DIR

As in the Keras example that the paper took its weights from: Charbonnier loss, Adam at
1e-4, halved on a plateau, 128 px crops in batches of 4, 50 epochs of LOL. Hardware: a
GPU or TPU. On 2 CPU cores a smaller network shows that it learns:

    --config.model.groups=1 --config.model.blocks=1 --config.model.channels=16
"""

from lowlight_jax.config import base_config, model_config, only_phase


def get_config():
    c = base_config()
    c.model = model_config("mirnet")
    only_phase(c, "supervised", steps=3200, learning_rate=1e-4)
    c.data.batch_size = 4
    c.loss.supervised.squared = 0.0
    c.loss.supervised.charbonnier = 1.0
    c.optimizer.name = "adam"
    c.optimizer.clip_norm = 0.0
    c.optimizer.warmup_steps = 0
    c.optimizer.schedule = "plateau"
    c.optimizer.plateau_steps = 64  # an epoch
    c.optimizer.plateau_patience = 5
    c.evaluate_every_steps = 320
    return c
