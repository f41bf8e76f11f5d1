"""The whole configuration: every key, its type, unit and range.

Experiments in `configs/` override keys of `base_config()`, they never add one. Only
this file, `main` and `train` see the config; everything below takes plain arguments.
0 or "" means "off" or "automatic", as each comment says.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from lowlight_jax.data.pairs import SPLITS_BY
from lowlight_jax.data.pipeline import Geometry
from lowlight_jax.losses.dual import DenoisingWeights, EnhancementWeights
from lowlight_jax.losses.repair import RepairWeights
from lowlight_jax.losses.supervised import SupervisedWeights
from lowlight_jax.models import all_phases, make_model, model_fields
from lowlight_jax.ops.damage import Damage
from lowlight_jax.ops.degrade import ColourVariation, Compression, Exposure

OPTIMIZERS = ("rmsprop", "adam", "sgd")
SCHEDULES = ("cosine", "constant", "step", "plateau")


class ConfigError(ValueError):
    """The configuration cannot work; the message lists every reason."""


def _phase(steps: int, learning_rate: float) -> ConfigDict:
    return ConfigDict({"steps": steps, "learning_rate": learning_rate})


def _defaults(settings: type) -> ConfigDict:
    """The fields of a dataclass of settings, which documents them."""
    return ConfigDict(dataclasses.asdict(settings()))


def model_config(name: str) -> ConfigDict:
    """`name` and the fields of a network with their defaults; see its class."""
    return ConfigDict(model_fields(name))


def base_config() -> ConfigDict:
    """Defaults: the dual network on the embedded photographs, minutes on 2 CPU cores.

    Paper A to the letter is configs/dual_paper.py.
    """
    c = ConfigDict()
    c.seed = 0  # [0, 2**32), of parameters, data order, augmentation and noise

    c.model = model_config("dual")  # name and fields of one of models.MODELS
    # Shipped name, workdir, file or hf:OWNER/NAME@REVISION to start from; "": random.
    c.initial_weights = ""
    # Modules that another network has too, by path, like ("denoising",); (): all.
    c.initial_parts = ()

    c.data = ConfigDict()
    # "pairs", "brackets", "photographs", "embedded", "tfds:NAME", joined by "+"; "": by
    # the folders that are given, else "embedded". data/sources.py
    c.data.source = ""
    c.data.root = ""  # folder of pairs
    c.data.brackets = ""  # folder with a subfolder of exposures for each scene
    c.data.photographs = ""  # folder of normal photographs
    c.data.tfds_dir = ""  # prepared TensorFlow Datasets; "": ~/tensorflow_datasets
    c.data.darken_pairs = False  # beside photographs: pairs' normal sides are such too
    c.data.cache_dir = ""  # of decoded pairs, fused brackets; "": ~/.cache/lowlight_jax
    c.data.bad_pairs = "error"  # or "skip": what to do with unusable files
    c.data.validation_every = 8  # each n-th group is for validation; 0: none
    # "scene": all of a group are held out or none; "image": each by itself, like LOL's
    # official test part, whose scenes training sees too.
    c.data.validation_by = "scene"
    c.data.validation_images = 0  # of those, evenly spaced, that are scored; 0: all
    c.data.test_every = 0  # each n-th group left is for testing, and not used; 0: none
    c.data.crop_px = 128  # multiple of the network's stride, at least 24
    c.data.batch_size = 8  # over all devices
    c.data.threads = 1  # that cut crops ahead of the step
    # The images stay on the one device, and crops are cut there; all of one size.
    c.data.on_device = False
    # Of decoded images on each host, all sources together; others: at each use.
    c.data.memory_gib = 4.0

    c.augment = ConfigDict()  # the same for both sides of a pair
    c.augment.geometry = _defaults(Geometry)  # data/pipeline.py
    c.augment.colour = _defaults(ColourVariation)  # ops/degrade.py
    c.augment.dark_stops = 0.0  # >= 0, light of the dark side alone, either way
    c.augment.dark_jpeg = _defaults(Compression)  # ops/degrade.py; of dark sides alone

    c.synthetic = _defaults(Exposure)  # ops/degrade.py; of photographs
    c.damage = _defaults(Damage)  # ops/damage.py; of photographs, phase "repair"
    c.identity_fraction = 0.0  # [0, 1], of crops that are not dark at all
    c.enhanced_fraction = 0.5  # [0, 1], phase "denoise": noise from phase 1's output
    # Modules, by path like ("enhancement/coarse",), that phase "joint" does not change.
    c.kept_parts = ()
    c.max_noise_u8 = 40.0  # >= 0, of the synthetic noise, 8-bit code units

    c.loss = ConfigDict()  # weights, >= 0; losses/
    c.loss.enhancement = _defaults(EnhancementWeights)
    c.loss.denoising = _defaults(DenoisingWeights)
    c.loss.supervised = _defaults(SupervisedWeights)
    c.loss.repair = _defaults(RepairWeights)

    # One after the other, those that the network can go through; 0 steps leave one out.
    c.phases = ConfigDict({name: _phase(0, 1e-3) for name in all_phases()})
    c.phases.enhance = _phase(steps=600, learning_rate=1e-3)
    c.phases.denoise = _phase(steps=300, learning_rate=1e-3)
    c.phases.joint = _phase(steps=0, learning_rate=5e-4)

    c.optimizer = ConfigDict()
    c.optimizer.name = "rmsprop"  # "rmsprop", "adam", "sgd"
    c.optimizer.decay = 0.9  # of RMSProp's mean square
    # "cosine", "constant", "step", "plateau"; in each phase anew
    c.optimizer.schedule = "cosine"
    c.optimizer.warmup_steps = 50
    c.optimizer.final_fraction = 0.01  # of the learning rate, end of the cosine
    c.optimizer.step_at = (0.5, 0.75)  # (0, 1), of a phase: where "step" steps
    c.optimizer.step_factor = 0.5  # of the rate, at each of them or at a plateau
    c.optimizer.plateau_steps = 500  # whose mean loss is compared with the best before
    c.optimizer.plateau_patience = 5  # such means without improvement: a plateau
    c.optimizer.clip_norm = 1.0  # largest gradient norm; 0: off
    c.optimizer.accumulate = 1  # parts of a batch, one after the other: less memory
    c.optimizer.skip_nonfinite = 0  # steps in a row that may be skipped; 0: an error
    c.optimizer.ema_decay = 0.99  # of the averaged parameters; 0: off

    # Of the whole run, which then ends by the clock, however many steps that are; 0: by
    # its steps. docs/training.md
    c.max_minutes = 0.0
    # "jit" (one device), "pmap" (all local devices), "mesh" (of all processes), "auto"
    c.parallel = "auto"
    c.log_every_steps = 50
    c.evaluate_every_steps = 0  # validation scores; 0: at the very end only
    # Evaluations without a higher PSNR that end a phase, which then goes back to its
    # best; 0: off. It needs evaluate_every_steps.
    c.early_stopping_patience = 0
    c.checkpoint_every_steps = 500
    # Beside the network in the final scores: "all", "none", or names joined by commas;
    # "": all, with max_minutes none.
    c.baselines = ""
    c.grid_images = 3  # pairs shown in the picture grid
    c.tensorboard = False  # event files in WORKDIR/tensorboard; the extra [tensorboard]
    return c.lock()


def only_phase(c: ConfigDict, name: str, *, steps: int, learning_rate: float) -> None:
    """Leaves every phase out but this one."""
    for phase in c.phases.values():
        phase.steps = 0
    c.phases[name].steps = steps
    c.phases[name].learning_rate = learning_rate


def dual_global_config() -> ConfigDict:
    """What the trainings of the network `dual_global` have in common; chosen.

    The enhancement module learns the exposure alone, then both are trained together.
    """
    c = base_config()
    c.model = model_config("dual_global")
    only_phase(c, "joint", steps=6000, learning_rate=4e-3)
    c.phases.enhance.steps = 500
    c.phases.enhance.learning_rate = 5e-3
    c.data.batch_size = 4
    c.optimizer.name = "adam"
    c.optimizer.warmup_steps = 200
    c.optimizer.ema_decay = 0.998
    # Each MS-SSIM costs as much as the network: that of the last result alone is kept.
    c.loss.enhancement.structural = 0.0
    c.loss.enhancement.reverse = 0.0  # docs/results.md: no better with it
    c.loss.enhancement.colour = 1.0
    c.loss.denoising.reverse = 0.0
    c.loss.denoising.detail = 1.0
    c.loss.denoising.pixel = 2.0
    c.loss.denoising.colour = 1.0
    c.loss.denoising.coarse = 0.0
    c.log_every_steps = 100
    c.checkpoint_every_steps = 500
    return c


def _split(text: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in text.split(",") if part)


# Paper A's ablation, figure 6; each with any recipe for the network `dual`.
VARIANTS = {
    "full": {},  # purple line
    # Green: no two-way constraint, formula 11. Of the denoising loss, which is nothing
    # but forward and reverse, the forward term (13) stays: our choice.
    "no_two_way": {
        "loss.enhancement.forward": 0.0,
        "loss.enhancement.reverse": 0.0,
        "loss.denoising.reverse": 0.0,
    },
    "fine5": {"model.fine_layers": 5},  # red
    # Blue: the first part of the enhancement module alone, nothing behind it.
    "coarse_only": {
        "model.fine_layers": 0,
        "model.denoises": False,
        "phases.denoise.steps": 0,
        "phases.joint.steps": 0,
    },
}


def apply_variant(
    config: ConfigDict, arg: str, variants: Mapping[str, Mapping] = VARIANTS
) -> ConfigDict:
    """Applies `variant=NAME`, the text behind the colon of `--config=FILE:ARG`.

    Args:
      config: what is changed.
      arg: the text; empty: the first variant.
      variants: values by key, of each; by default those of paper A's ablation,
        figure 6.
    Raises:
      ConfigError: anything but `variant=` with one of `variants`.
    """
    options = _split(arg)
    variant = options.pop("variant", next(iter(variants)))
    if options or variant not in variants:
        raise ConfigError(
            f"unknown config argument {arg!r}; expected variant= one of "
            f"{', '.join(variants)}"
        )
    config.update_from_flattened_dict(variants[variant])
    return config


# What each number may be: the first pattern that its key fits, * for any letters.
_RANGES = {
    "seed": "[0, 4294967295]",
    "data.crop_px": "[24, inf)",
    "data.memory_gib": "(0, inf)",
    "data.validation_*": "[0, inf)",
    "data.test_every": "[0, inf)",
    "data.*": "[1, inf)",
    "augment.geometry.rotate_degrees": "[0, 180]",
    "augment.geometry.least_framing": "(0, 1]",
    "augment.colour.*": "[0, 1]",
    "augment.dark_jpeg.fraction": "[0, 1]",
    "augment.dark_jpeg.least_quality": "[1, 100]",
    "synthetic.white_balance": "[0, 1)",
    "synthetic.mixed_light": "[0, 1)",
    "synthetic.least_jpeg_quality": "[0, 100]",
    "synthetic.field_part": "(0, 1]",
    "damage.*_coverage": "(0, 1)",
    "damage.*_px": "[1, inf)",
    "phases.*.learning_rate": "(0, inf)",
    "optimizer.*decay": "[0, 1)",
    "optimizer.final_fraction": "[0, 1]",
    "optimizer.step_at": "(0, 1)",
    "optimizer.step_factor": "(0, 1]",
    "optimizer.accumulate": "[1, inf)",
    "optimizer.plateau_*": "[1, inf)",
    "identity_fraction": "[0, 1]",
    "enhanced_fraction": "[0, 1]",
    "log_every_steps": "[1, inf)",
    "checkpoint_every_steps": "[1, inf)",
    "*": "[0, inf)",
}


def validate(config: ConfigDict) -> None:
    """Checks what types cannot, all at once.

    Raises:
      ConfigError: with one line for each failure.
    """
    rules = list(_key_rules(config))
    if not all(holds for holds, _ in rules):
        raise ConfigError(_listing(rules))
    rules += [*_choice_rules(config), *_number_rules(config), *_phase_rules(config)]
    rules += [*_network_rules(config), *_data_rules(config), *_damage_rules(config)]
    if not all(holds for holds, _ in rules):
        raise ConfigError(_listing(rules))


Rule = tuple[bool, str]  # what must hold, and what to say where it does not


def _listing(rules: Sequence[Rule]) -> str:
    failures = [message for holds, message in rules if not holds]
    return "\n  ".join(["the configuration cannot work:", *failures])


def _key_rules(c: ConfigDict) -> Iterator[Rule]:
    """That its keys are those of `base_config`, and their values of the same kind."""
    known, given = flat(base_config()), flat(c)
    if c.get("model"):  # its network knows its fields
        known, given = (
            {k: v for k, v in of.items() if not k.startswith("model.")}
            for of in (known, given)
        )
    missing = sorted(known.keys() - given.keys())
    yield not missing, f"{', '.join(missing)} missing; expected all of base_config()"
    for key in sorted(given.keys() - known.keys()):
        yield False, f"{key} is no key of base_config(); leave it out"
    for key in sorted(given.keys() & known.keys()):
        before, now = (_kinds(values[key]) for values in (known, given))
        now -= {"int"} if "float" in before else set()
        yield (
            now <= before or not known[key],
            f"{key} is {given[key]!r}; expected {' or '.join(sorted(before))}",
        )


def _kinds(value: object) -> set[str]:
    """Types of a value, or of what a tuple holds."""
    values = value if isinstance(value, tuple) else (value,)
    return {type(one).__name__ for one in values}


def _choice_rules(c: ConfigDict) -> Iterator[Rule]:
    """That every name is one of those that there are."""
    from lowlight_jax.runtime.parallel import BACKENDS

    choices = [
        ("data.bad_pairs", c.data.bad_pairs, ("error", "skip")),
        ("data.validation_by", c.data.validation_by, SPLITS_BY),
        ("optimizer.name", c.optimizer.name, OPTIMIZERS),
        ("optimizer.schedule", c.optimizer.schedule, SCHEDULES),
        ("model.dtype", c.model.dtype, ("float32", "bfloat16")),
        ("parallel", c.parallel, ("auto", *BACKENDS)),
    ]
    for key, value, allowed in choices:
        yield (
            value in allowed,
            f"{key} is {value!r}; expected one of {', '.join(map(repr, allowed))}",
        )


def _number_rules(c: ConfigDict) -> Iterator[Rule]:
    """That every number lies in its range, and no least one above its greatest."""
    numbers = {key: value for key, value in flat(c).items() if _is_numeric(value)}
    for key, value in numbers.items():
        if key.startswith("model."):  # the network knows
            continue
        interval = next(of for name, of in _RANGES.items() if fnmatchcase(key, name))
        yield (
            all(_lies_in(interval, number) for number in np.ravel(value)),
            f"{key} is {value}; expected {_in_words(interval)}",
        )
        greatest = key.replace(".min_", ".max_")
        yield (
            not value > numbers[greatest],
            f"{key} is {value}, {greatest} {numbers[greatest]}; expected min <= max",
        )


def _is_numeric(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_numeric, value)) and bool(value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lies_in(interval: str, value: float) -> bool:
    """Whether "[low, high)" or the like holds the value; never NaN or infinity."""
    low, high = map(float, interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below


def _in_words(interval: str) -> str:
    low, high = interval[1:-1].split(", ")
    if high == "inf":
        return "a finite number " + (
            f"from {low} up" if interval[0] == "[" else f"above {low}"
        )
    ends = f"{low} to {high}"
    left_out = [low] * (interval[0] == "(") + [high] * (interval[-1] == ")")
    return f"{ends}, without {' and '.join(left_out)}" if left_out else ends


def _phase_rules(c: ConfigDict) -> Iterator[Rule]:
    """That something is trained, and ended or started as the config says."""
    phases = {name: phase.steps for name, phase in c.phases.items()}
    yield (
        set(phases) == set(all_phases()),
        f"phases are {list(phases)}; expected {all_phases()}",
    )
    yield (
        any(steps > 0 for steps in phases.values()),
        f"phases have {phases} steps; expected at least one step in all",
    )
    yield (
        not c.early_stopping_patience or c.evaluate_every_steps,
        "early_stopping_patience is set; expected evaluate_every_steps too",
    )
    yield (
        not c.initial_parts or c.initial_weights,
        "initial_parts is set; expected initial_weights too, to take them from",
    )


def _network_rules(c: ConfigDict) -> Iterator[Rule]:
    """That the network can be made, and fits the phases, the losses and the crops."""
    try:
        network = make_model(**c.model)
    except ValueError as error:
        yield False, str(error)
        return
    used = [name for name, phase in c.phases.items() if phase.steps > 0]
    yield (
        not (c.data.on_device and network.needs_mask),
        f"data.on_device is set, but model {c.model.name!r} needs holes, drawn "
        "on the host; leave it out",
    )
    unfit = [name for name in used if name not in network.phases]
    yield (
        c.data.crop_px % network.stride == 0,
        f"data.crop_px is {c.data.crop_px}; expected a multiple of {network.stride} "
        "from 24 up",
    )
    yield (
        not unfit,
        f"phases {', '.join(unfit)} have steps, which model {c.model.name!r} cannot be "
        f"trained by; expected {' or '.join(network.phases)}",
    )
    try:
        network.task.choose_baselines(c.baselines or "none")
    except ValueError as error:
        yield False, f"baselines: {error}"
    for name in used:
        sections = network.task.losses.get(name, ())
        yield (
            not sections or any(any(c.loss[s].values()) for s in sections),
            f"phase {name} has steps, but all weights of loss."
            f"{' and loss.'.join(sections)} are 0; expected one above 0",
        )


def _data_rules(c: ConfigDict) -> Iterator[Rule]:
    for key in ("root", "brackets", "photographs"):
        folder = c.data[key]
        yield (
            not folder or Path(folder).is_dir(),
            f"data.{key} is {folder!r}; expected a folder that exists",
        )


def _damage_rules(c: ConfigDict) -> Iterator[Rule]:
    often = [c.damage[k] for k in ("discs", "rectangles", "scratches", "strokes")]
    yield (
        any(often),
        f"damage: discs, rectangles, scratches and strokes are {often}; expected more "
        "than 0 in all",
    )


def flat(config: ConfigDict) -> dict[str, Any]:
    """Every value by its key, like "data.batch_size"."""
    return flatten_dict(config.to_dict(), sep=".")
