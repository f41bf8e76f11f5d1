"""The optimizer of a phase: schedule, clipping and RMSProp, from plain arguments."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
import optax
import optax.contrib

from lowlight_jax.config import OPTIMIZERS, SCHEDULES


def make_schedule(
    name: str,
    *,
    peak: float,
    steps: int,
    warmup_steps: int,
    final_fraction: float,
    step_at: Sequence[float] = (),
    step_factor: float = 0.5,
) -> optax.Schedule:
    """Learning rate by step of the phase.

    Args:
      name: "constant", "cosine" (down to `final_fraction * peak` at `steps`), "step" or
        "plateau": constant here, lowered by `make_optimizer`.
      peak: the rate after the warm-up.
      steps: length of the phase.
      warmup_steps: linear from 0; 0 switches it off.
      final_fraction: of `peak`, where the cosine ends.
      step_at: fractions of `steps` at which "step" multiplies the rate.
      step_factor: by which it does.
    """
    if name in ("constant", "plateau"):
        schedule = optax.constant_schedule(peak)
    elif name == "cosine":
        decay_steps = max(1, steps - warmup_steps)
        schedule = optax.cosine_decay_schedule(peak, decay_steps, alpha=final_fraction)
    elif name == "step":
        at = {round(where * steps) - warmup_steps: step_factor for where in step_at}
        schedule = optax.piecewise_constant_schedule(peak, at)
    else:
        raise ValueError(f"optimizer.schedule is one of {SCHEDULES}, not {name!r}")
    if warmup_steps:
        warmup = optax.linear_schedule(0.0, peak, warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [warmup_steps])
    return schedule


@dataclasses.dataclass(frozen=True)
class Plateau:
    """When the training loss counts as no longer falling, and what follows.

    Attributes:
      steps: the mean loss of so many is compared with the best one before.
      patience: so many means in a row without improvement.
      factor: by which the learning rate is then multiplied.
    """

    steps: int
    patience: int
    factor: float


def make_optimizer(
    schedule: optax.Schedule,
    *,
    name: str = "rmsprop",
    decay: float = 0.9,
    clip_norm: float = 0.0,
    skip_nonfinite: int = 0,
    plateau: Plateau | None = None,
) -> optax.GradientTransformation:
    """RMSProp (paper A, 2.3.1), Adam (paper B), or SGD to compare back ends with.

    Args:
      schedule: learning rate by step.
      name: "rmsprop", "adam" or "sgd".
      decay: of RMSProp's mean square.
      clip_norm: largest global norm of a gradient; 0 switches clipping off.
      skip_nonfinite: so many steps in a row may have a gradient that is not finite, and
        are left out.
      plateau: lowers the rate where the loss no longer falls.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer.name is one of {OPTIMIZERS}, not {name!r}")
    if name == "rmsprop":
        tx = optax.rmsprop(schedule, decay=decay)
    else:
        tx = optax.adam(schedule) if name == "adam" else optax.sgd(schedule)
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    tx = optax.chain(clip, tx)
    if plateau:
        lower = optax.contrib.reduce_on_plateau(
            factor=plateau.factor,
            patience=plateau.patience,
            accumulation_size=plateau.steps,
        )
        tx = optax.chain(tx, lower)
    return optax.apply_if_finite(tx, skip_nonfinite) if skip_nonfinite else tx


def at_schedule_step(
    opt_state: optax.OptState, step: jax.Array | np.ndarray | np.int32
) -> optax.OptState:
    """The state whose next learning rate is that of a step of the schedule.

    Nothing else that counts steps, like Adam's correction of its means, is changed.
    """
    name = optax.ScaleByScheduleState.__name__
    return optax.tree.set(
        opt_state, lambda path, _: path[-1].tuple_name == name, count=step
    )
