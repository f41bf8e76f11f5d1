"""The whole configuration: every key, its type, unit and range.

Experiments in `configs/` override keys of `base_config()`, they never add one. Only
this file, `main` and `train` see the config; everything below takes plain arguments.
0 or "" means "off" or "automatic", as each comment says.
"""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from lowlight_jax.losses.dual import DenoisingWeights, EnhancementWeights
from lowlight_jax.ops.degrade import Exposure


class ConfigError(ValueError):
    """The configuration cannot work; the message lists every reason."""


def _phase(steps: int, learning_rate: float) -> ConfigDict:
    return ConfigDict({"steps": steps, "learning_rate": learning_rate})


def base_config() -> ConfigDict:
    """Paper A's training on the embedded photographs, a few minutes on 2 CPU cores."""
    c = ConfigDict()
    c.seed = 0  # of parameters, data order, augmentation and synthetic noise

    c.model = ConfigDict()
    c.model.name = "dual"  # one of lowlight_jax.models.MODELS
    c.model.fine_layers = 4  # 4 (paper), 5 or 0 (ablation)
    c.model.max_gain = 32.0  # > 1, the largest brightening
    c.model.share_stages = True  # one set of weights for both denoising passes
    c.model.dtype = "float32"  # or "bfloat16": of the convolutions; the rest is float32

    c.data = ConfigDict()
    c.data.root = ""  # folder of pairs; "": the embedded photographs
    c.data.cache_dir = ""  # of decoded pairs; "": ~/.cache/lowlight_jax
    c.data.bad_pairs = "error"  # or "skip": what to do with unusable pairs
    c.data.validation_every = 8  # each n-th scene is for validation; 0: none
    c.data.crop_px = 128  # multiple of 4, at least 24
    c.data.batch_size = 8  # over all devices
    c.data.threads = 1  # that cut crops ahead of the step
    c.data.memory_gib = 4.0  # sets up to this size are decoded once

    c.synthetic = ConfigDict(dataclasses.asdict(Exposure()))  # ops/degrade.py
    c.identity_fraction = 0.0  # [0, 1], of crops that are not dark at all
    c.enhanced_fraction = 0.5  # [0, 1], phase "denoise": noise from phase 1's output
    c.max_noise_u8 = 40.0  # >= 0, of the synthetic noise, 8-bit code units

    c.loss = ConfigDict()  # weights, >= 0; losses/dual.py
    c.loss.enhancement = ConfigDict(dataclasses.asdict(EnhancementWeights()))
    c.loss.denoising = ConfigDict(dataclasses.asdict(DenoisingWeights()))

    c.phases = ConfigDict()  # one after the other; 0 steps leave one out
    c.phases.enhance = _phase(steps=600, learning_rate=1e-3)
    c.phases.denoise = _phase(steps=300, learning_rate=1e-3)
    c.phases.joint = _phase(steps=0, learning_rate=5e-4)

    c.optimizer = ConfigDict()
    c.optimizer.name = "rmsprop"  # "rmsprop", "adam", "sgd"
    c.optimizer.decay = 0.9  # of RMSProp's mean square
    c.optimizer.schedule = "cosine"  # "cosine", "constant", "step"; in each phase anew
    c.optimizer.warmup_steps = 50
    c.optimizer.final_fraction = 0.01  # of the learning rate, end of the cosine
    c.optimizer.step_at = (0.5, 0.75)  # (0, 1), of a phase: where "step" steps
    c.optimizer.step_factor = 0.5  # of the learning rate, at each of them
    c.optimizer.clip_norm = 1.0  # largest gradient norm; 0: off
    c.optimizer.accumulate = 1  # parts of a batch, one after the other: less memory
    c.optimizer.skip_nonfinite = 0  # steps in a row that may be skipped; 0: an error
    c.optimizer.ema_decay = 0.99  # of the averaged parameters; 0: off

    # "jit" (one device), "pmap" (all local devices), "mesh" (of all processes), "auto"
    c.parallel = "auto"
    c.log_every_steps = 50
    c.evaluate_every_steps = 0  # 0: at the end of each phase only
    c.checkpoint_every_steps = 500
    c.grid_images = 3  # pairs shown in the picture grid
    return c.lock()


def _split(text: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in text.split(",") if part)


VARIANTS = {
    "paper": {},
    "no_reverse": {
        "loss.enhancement.reverse": 0.0,
        "loss.denoising.reverse": 0.0,
    },
    "fine5": {"model.fine_layers": 5},
    "coarse_only": {"model.fine_layers": 0},
}


def apply_variant(config: ConfigDict, arg: str) -> ConfigDict:
    """Applies `variant=NAME`, the text behind the colon of `--config=FILE:ARG`.

    The variants are those of paper A's ablation, figure 6.

    Raises:
      ConfigError: anything but `variant=` with one of VARIANTS.
    """
    options = _split(arg)
    variant = options.pop("variant", "paper")
    if options or variant not in VARIANTS:
        raise ConfigError(
            f"unknown config argument {arg!r}; expected variant= one of "
            f"{', '.join(VARIANTS)}"
        )
    config.update_from_flattened_dict(VARIANTS[variant])
    return config


def validate(config: ConfigDict) -> None:
    """Checks what types cannot, all at once.

    Raises:
      ConfigError: with one line for each failure.
    """
    from lowlight_jax.models import MODELS
    from lowlight_jax.objectives import OBJECTIVES
    from lowlight_jax.optimizer import OPTIMIZERS, SCHEDULES
    from lowlight_jax.parallel import BACKENDS

    c = config
    phases = {name: phase.steps for name, phase in c.phases.items()}
    choices = [
        ("model.name", c.model.name, tuple(MODELS)),
        ("model.fine_layers", c.model.fine_layers, (4, 5, 0)),
        ("data.bad_pairs", c.data.bad_pairs, ("error", "skip")),
        ("optimizer.name", c.optimizer.name, OPTIMIZERS),
        ("optimizer.schedule", c.optimizer.schedule, SCHEDULES),
        ("model.dtype", c.model.dtype, ("float32", "bfloat16")),
        ("parallel", c.parallel, ("auto", *BACKENDS)),
    ]
    failures = [
        f"{key} is {value!r}; expected one of {', '.join(map(repr, allowed))}"
        for key, value, allowed in choices
        if value not in allowed
    ]
    rules = [
        (c.model.max_gain > 1, f"model.max_gain is {c.model.max_gain}; expected > 1"),
        (
            c.data.crop_px >= 24 and c.data.crop_px % 4 == 0,
            f"data.crop_px is {c.data.crop_px}; expected a multiple of 4 from 24 up",
        ),
        (
            set(phases) == set(OBJECTIVES),
            f"phases are {list(phases)}; expected {list(OBJECTIVES)}",
        ),
        (
            sum(phases.values()) > 0 and min(phases.values()) >= 0,
            f"phases have {phases} steps; expected at least one step in all",
        ),
        (
            not c.data.root or Path(c.data.root).is_dir(),
            f"data.root is {c.data.root!r}; expected a folder that exists",
        ),
    ]
    for key in ("batch_size", "threads", "memory_gib"):
        rules.append((c.data[key] > 0, f"data.{key} is {c.data[key]}; expected > 0"))
    rules.append(
        (
            c.optimizer.accumulate >= 1,
            f"optimizer.accumulate is {c.optimizer.accumulate}; expected 1 or more",
        )
    )
    for key in ("log_every_steps", "checkpoint_every_steps"):
        rules.append((c[key] > 0, f"{key} is {c[key]}; expected > 0"))
    for key in ("evaluate_every_steps", "max_noise_u8", "grid_images"):
        rules.append((c[key] >= 0, f"{key} is {c[key]}; expected 0 or more"))
    for key in ("identity_fraction", "enhanced_fraction"):
        rules.append((0 <= c[key] <= 1, f"{key} is {c[key]}; expected 0 to 1"))
    failures += [message for holds, message in rules if not holds]
    if failures:
        raise ConfigError("the configuration cannot work:\n  " + "\n  ".join(failures))
