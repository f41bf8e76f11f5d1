"""The trainings of both papers' experiments, as configs.

They are shorter than those of the weights that ship (`configs/`), since paper A's
figure 6 alone takes four variants with several seeds each, by two recipes. What ships
can be given to the command instead of training it. The values of `configs/`, which an
installed package does not have, are repeated here; a test compares them.
"""

from ml_collections import ConfigDict

from lowlight_jax.config import (
    VARIANTS,
    ConfigError,
    apply_variant,
    base_config,
    model_config,
    only_phase,
)

# What paper A's claims are judged with, and how the report calls it.
DUAL_RECIPES = {"paper": "the paper's recipe", "baseline": "today's recipe"}


def command_config() -> ConfigDict:
    """What `--config.KEY=` of the command can set, of full and of quick runs alike.

    `data` is as for training, and both folders may be given: `root` for networks that
    brighten, `photographs` for the one that repairs.
    """
    c = ConfigDict()
    c.data = base_config().data
    c.seeds = (0, 1, 2)  # of the trainings
    c.steps = 1.0  # > 0, times the steps of every training
    c.images = 0  # held-out images shown and scored, evenly spaced; 0: all of them
    c.side_px = 0  # their middle is cut to at most this on each side; 0: whole images
    return c.lock()


def check(c: ConfigDict) -> None:
    """Raises a ConfigError for values of the command that cannot work."""
    seeds = c.seeds
    rules = [
        (
            seeds
            and len(set(seeds)) == len(seeds)
            and all(isinstance(seed, int) and seed >= 0 for seed in seeds),
            f"seeds are {seeds}; expected different whole numbers from 0 up",
        ),
        (c.steps > 0, f"steps is {c.steps}; expected > 0"),
        (c.images >= 0, f"images is {c.images}; expected 0 or more"),
        (
            c.side_px == 0 or c.side_px >= 24,
            f"side_px is {c.side_px}; expected 0 or 24+",
        ),
    ]
    failures = [message for holds, message in rules if not holds]
    if failures:
        raise ConfigError("the command cannot work:\n  " + "\n  ".join(failures))


def make_quick(c: ConfigDict) -> None:
    """Everything in minutes, to see that it runs; what the user has set stays."""
    defaults = command_config()
    quick = {
        "data.crop_px": 64,
        "data.batch_size": 4,
        "steps": 0.05,
        "images": 2,
        "side_px": 240,
    }
    for key, value in quick.items():
        *section, name = key.split(".")
        here, there = (c.data, defaults.data) if section else (c, defaults)
        if here[name] == there[name]:
            here[name] = value


def trainings(paper: str, command: ConfigDict) -> dict[str, ConfigDict]:
    """The config of each training by name, without a seed.

    Args:
      paper: "dual": the variants of figure 6 by each recipe of `DUAL_RECIPES`, like
        "paper-full"; "cnn": the networks of its three tasks.
      command: see `command_config`.
    """
    if paper == "dual":
        configs = {
            f"{recipe}-{variant}": apply_variant(make(), f"variant={variant}")
            for recipe, make in _DUAL.items()
            for variant in VARIANTS
        }
    else:
        configs = {"cnn": _cnn(), "mirnet": _mirnet(), "inpaint": _inpaint()}
    return {name: _fitted(config, command) for name, config in configs.items()}


def _dual_paper() -> ConfigDict:
    """As configs/dual_paper.py, which says what is the paper's."""
    c = base_config()
    c.data.crop_px, c.data.batch_size = 384, 4
    c.augment.geometry.flips = c.augment.geometry.quarter_turns = False
    c.loss.enhancement.coarse = c.loss.denoising.coarse = 0.0
    c.enhanced_fraction = 0.0
    c.phases.enhance.steps, c.phases.denoise.steps = 1200, 800
    _plain_optimizer(c)
    c.evaluate_every_steps = 400
    return c


def _dual_baseline() -> ConfigDict:
    """As configs/dual_lol.py, the recipe of the weights that ship, but shorter and
    without the phase that trains both modules together."""
    c = base_config()
    c.phases.enhance.steps, c.phases.denoise.steps = 1200, 800
    c.optimizer.warmup_steps = 100
    c.optimizer.ema_decay = 0.995
    c.loss.denoising.detail = 1.0
    c.loss.denoising.pixel = 2.0
    c.loss.denoising.colour = 1.0
    c.loss.denoising.coarse = 0.0
    c.enhanced_fraction = 0.7
    c.evaluate_every_steps = 400
    return c


_DUAL = {"paper": _dual_paper, "baseline": _dual_baseline}


def _cnn() -> ConfigDict:
    """As configs/cnn.py."""
    c = _adam("cnn", "supervised", steps=3200, learning_rate=1e-3)
    c.augment.geometry.flips = c.augment.geometry.quarter_turns = False
    _plain_optimizer(c)
    c.evaluate_every_steps = 640
    return c


def _plain_optimizer(c: ConfigDict) -> None:
    """One rate from start to end, and the parameters as they are."""
    c.optimizer.schedule = "constant"
    c.optimizer.warmup_steps = 0
    c.optimizer.clip_norm = c.optimizer.ema_decay = 0.0


def _mirnet() -> ConfigDict:
    """MIRNet's shape and loss, narrow and shallow enough for a CPU.

    Chosen, like all of it: the schedule and the averaging are `base_config`'s.
    """
    c = _adam("mirnet", "supervised", steps=800, learning_rate=1e-3)
    c.data.crop_px, c.data.batch_size = 64, 4
    c.model.groups, c.model.blocks, c.model.channels = 1, 1, 16
    c.loss.supervised.squared, c.loss.supervised.charbonnier = 0.0, 1.0
    c.evaluate_every_steps = 200
    return c


def _inpaint() -> ConfigDict:
    """As configs/inpaint.py."""
    c = _adam("inpaint", "repair", steps=9000, learning_rate=1e-3)
    c.data.crop_px, c.data.batch_size = 96, 16
    c.loss.repair.squared = 4.0
    c.optimizer.warmup_steps = 200
    c.optimizer.ema_decay = 0.999
    c.evaluate_every_steps = 3000
    return c


def _adam(model: str, phase: str, *, steps: int, learning_rate: float) -> ConfigDict:
    c = base_config()
    c.model = model_config(model)
    only_phase(c, phase, steps=steps, learning_rate=learning_rate)
    c.optimizer.name = "adam"
    return c


def _fitted(config: ConfigDict, command: ConfigDict) -> ConfigDict:
    """With the command's data and share of the steps.

    A recipe's own crops and batch stay, unless the command has others than by default.
    """
    defaults = command_config().data
    for key, value in command.data.items():
        if key not in ("crop_px", "batch_size") or value != defaults[key]:
            config.data[key] = value
    config.data.validation_images = command.images
    if config.phases.repair.steps:
        config.data.root = ""
        config.data.validation_every = 5  # as of the weights `inpaint` that ship
    elif config.data.root:
        config.data.photographs = ""
    factor = command.steps
    for phase in config.phases.values():
        if phase.steps:
            phase.steps = max(1, round(phase.steps * factor))
    config.optimizer.warmup_steps = round(config.optimizer.warmup_steps * factor)
    every = max(1, round(config.evaluate_every_steps * factor))
    config.evaluate_every_steps = config.checkpoint_every_steps = every
    return config.lock()
