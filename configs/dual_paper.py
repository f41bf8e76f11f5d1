"""Paper A to the letter: the dual network with its formulas 5 to 14 and nothing else.

    python -m lowlight_jax.main --config=configs/dual_paper.py --config.data.root=DIR
    python -m lowlight_jax.main --config=configs/dual_paper.py:variant=no_two_way

DIR is LOL as it is distributed, or a folder with low/, high/ and pairs.csv; without it
the photographs that come with scikit-image are under-exposed, the paper's "synthetic
database". Images smaller than the 384 px of its table 1 are reflected at their borders.
The variants are those of figure 6: no_two_way, fine5, coarse_only.

What the paper does not say is marked. It scores lower than today's recipes,
configs/dual.py and dual_lol.py: docs/results.md compares them.
"""

from lowlight_jax.config import apply_variant, base_config


def get_config(arg: str = ""):
    c = base_config()
    c.model.fine_layers = 4  # section 2.1.1, table 1
    # Our choice (not in the paper): shared by both passes, for its 14 layers in all.
    c.model.share_stages = True
    c.model.max_gain = 32.0  # Our choice (not in the paper): no division by 0
    c.data.crop_px = 384  # table 1
    c.data.batch_size = 4  # Our choice (not in the paper): "number of samples n"
    c.augment.geometry.flips = False  # the paper names no augmentation
    c.augment.geometry.quarter_turns = False

    # Formula 5: structural (7 to 9) + two-way constraint (11: 10 + 12). Our choice (not
    # in the paper): MS-SSIM's exponents are those of Wang et al. 2003, and formulas 10
    # and 12 are means over pixels; their sums would drown the structural loss.
    c.loss.enhancement.structural = 1.0
    c.loss.enhancement.forward = 1.0
    c.loss.enhancement.reverse = 1.0
    c.loss.enhancement.colour = 0.0
    c.loss.enhancement.coarse = 0.0
    # Formula 6: structural, forward (13) + reverse (14).
    c.loss.denoising.forward = 1.0
    c.loss.denoising.reverse = 1.0
    c.loss.denoising.detail = 0.0
    c.loss.denoising.pixel = 0.0
    c.loss.denoising.colour = 0.0
    c.loss.denoising.coarse = 0.0

    # Algorithm 1: one module after the other; the second on clean images with noise.
    c.enhanced_fraction = 0.0
    c.identity_fraction = 0.0
    # Our choice (not in the paper): how strong the noise is; so is `synthetic`, how
    # photographs without a dark partner are under-exposed.
    c.max_noise_u8 = 40.0
    # Our choice (not in the paper): "repetitions" of algorithm 1, and both rates.
    c.phases.enhance.steps = 1200
    c.phases.denoise.steps = 800
    c.phases.joint.steps = 0
    c.phases.enhance.learning_rate = 1e-3
    c.phases.denoise.learning_rate = 1e-3

    c.optimizer.name = "rmsprop"  # section 2.3.1
    c.optimizer.decay = 0.9  # Our choice (not in the paper)
    c.optimizer.schedule = "constant"
    c.optimizer.warmup_steps = 0
    c.optimizer.clip_norm = 0.0
    c.optimizer.ema_decay = 0.0
    c.early_stopping_patience = 0
    return apply_variant(c, arg)
