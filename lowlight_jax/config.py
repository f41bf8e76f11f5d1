"""The whole configuration: every key, its type, unit and range.

Experiments in `configs/` override keys of `base_config()`, they never add one. Only
this file, `main` and `train` see the config; everything below takes plain arguments.
0 or "" means "off" or "automatic", as each comment says.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from lowlight_jax.data.pipeline import Geometry
from lowlight_jax.losses.dual import DenoisingWeights, EnhancementWeights
from lowlight_jax.losses.repair import RepairWeights
from lowlight_jax.losses.supervised import SupervisedWeights
from lowlight_jax.models import all_phases, make_model, model_fields
from lowlight_jax.ops.damage import Damage
from lowlight_jax.ops.degrade import ColourVariation, Exposure

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
    c.initial_weights = ""  # shipped name, workdir or file to start from; "": random
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
    c.data.validation_images = 0  # of those, evenly spaced, that are scored; 0: all
    c.data.test_every = 0  # each n-th group left is for testing, and not used; 0: none
    c.data.crop_px = 128  # multiple of the network's stride, at least 24
    c.data.batch_size = 8  # over all devices
    c.data.threads = 1  # that cut crops ahead of the step
    # Of decoded images on each host, all sources together; others: at each use.
    c.data.memory_gib = 4.0

    c.augment = ConfigDict()  # the same for both sides of a pair
    c.augment.geometry = _defaults(Geometry)  # data/pipeline.py
    c.augment.colour = _defaults(ColourVariation)  # ops/degrade.py
    c.augment.dark_stops = 0.0  # >= 0, light of the dark side alone, either way

    c.synthetic = _defaults(Exposure)  # ops/degrade.py; of photographs
    c.damage = _defaults(Damage)  # ops/damage.py; of photographs, phase "repair"
    c.identity_fraction = 0.0  # [0, 1], of crops that are not dark at all
    c.enhanced_fraction = 0.5  # [0, 1], phase "denoise": noise from phase 1's output
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

    # "jit" (one device), "pmap" (all local devices), "mesh" (of all processes), "auto"
    c.parallel = "auto"
    c.log_every_steps = 50
    c.evaluate_every_steps = 0  # validation scores; 0: at the very end only
    # Evaluations without a higher PSNR that end a phase, which then goes back to its
    # best; 0: off. It needs evaluate_every_steps.
    c.early_stopping_patience = 0
    c.checkpoint_every_steps = 500
    c.grid_images = 3  # pairs shown in the picture grid
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


def validate(config: ConfigDict) -> None:
    """Checks what types cannot, all at once.

    Raises:
      ConfigError: with one line for each failure.
    """
    from lowlight_jax.runtime.parallel import BACKENDS

    c = config
    choices = [
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
    phases = {name: phase.steps for name, phase in c.phases.items()}
    rules = [
        (
            set(phases) == set(all_phases()),
            f"phases are {list(phases)}; expected {all_phases()}",
        ),
        (
            sum(phases.values()) > 0 and min(phases.values()) >= 0,
            f"phases have {phases} steps; expected at least one step in all",
        ),
        (
            0 <= c.seed < 2**32,
            f"seed is {c.seed}; expected a whole number from 0 to 2**32 - 1",
        ),
        (
            c.augment.dark_stops >= 0 and 0 < c.augment.geometry.least_framing <= 1,
            f"augment.dark_stops is {c.augment.dark_stops}, geometry.least_framing "
            f"{c.augment.geometry.least_framing}; expected 0 or more, and 0 to 1",
        ),
        (
            not c.early_stopping_patience or c.evaluate_every_steps,
            "early_stopping_patience is set; expected evaluate_every_steps too",
        ),
    ]
    rules += _network_rules(c)
    for key in ("root", "brackets", "photographs"):
        folder = c.data[key]
        rules.append(
            (
                not folder or Path(folder).is_dir(),
                f"data.{key} is {folder!r}; expected a folder that exists",
            )
        )
    for key in ("batch_size", "threads", "memory_gib"):
        rules.append((c.data[key] > 0, f"data.{key} is {c.data[key]}; expected > 0"))
    for key in ("validation_every", "validation_images", "test_every"):
        rules.append((c.data[key] >= 0, f"data.{key} is {c.data[key]}; expected >= 0"))
    for key in ("accumulate", "plateau_steps", "plateau_patience"):
        value = c.optimizer[key]
        rules.append((value >= 1, f"optimizer.{key} is {value}; expected 1 or more"))
    for key in ("log_every_steps", "checkpoint_every_steps"):
        rules.append((c[key] > 0, f"{key} is {c[key]}; expected > 0"))
    for key in (
        "evaluate_every_steps",
        "early_stopping_patience",
        "max_noise_u8",
        "grid_images",
    ):
        rules.append((c[key] >= 0, f"{key} is {c[key]}; expected 0 or more"))
    for key in ("identity_fraction", "enhanced_fraction"):
        rules.append((0 <= c[key] <= 1, f"{key} is {c[key]}; expected 0 to 1"))
    rules += _damage_rules(c.damage)
    failures += [message for holds, message in rules if not holds]
    if failures:
        raise ConfigError("the configuration cannot work:\n  " + "\n  ".join(failures))


Rules = list[tuple[bool, str]]  # what must hold, and what to say where it does not


def _network_rules(c: ConfigDict) -> Rules:
    """That the network can be made, and fits the phases and the crops."""
    try:
        network = make_model(**c.model)
    except ValueError as error:
        return [(False, str(error))]
    side, stride = c.data.crop_px, network.stride
    unfit = [n for n, p in c.phases.items() if p.steps and n not in network.phases]
    return [
        (
            side >= 24 and side % stride == 0,
            f"data.crop_px is {side}; expected a multiple of {stride} from 24 up",
        ),
        (
            not unfit,
            f"phases {', '.join(unfit)} have steps, which model {c.model.name!r} "
            f"cannot be trained by; expected {' or '.join(network.phases)}",
        ),
    ]


def _damage_rules(damage: ConfigDict) -> Rules:
    """That every range of `ops.damage.Damage` is one, and holes can be drawn."""
    d = damage
    often = [d.discs, d.rectangles, d.scratches, d.strokes]
    return [
        (
            0 < d.min_coverage <= d.max_coverage < 1,
            f"damage.min_coverage and max_coverage are {d.min_coverage} and "
            f"{d.max_coverage}; expected 0 < min <= max < 1",
        ),
        (
            1 <= d.min_size_px <= d.max_size_px
            and 1 <= d.min_stroke_px <= d.max_stroke_px
            and d.max_scratch_px >= 1,
            "damage: sizes in pixels; expected 1 <= min <= max",
        ),
        (
            min(often) >= 0 and sum(often) > 0,
            f"damage: discs, rectangles, scratches and strokes are {often}; expected "
            "0 or more each, and more in all",
        ),
    ]
