"""The optimizer of a phase: schedule, clipping and RMSProp, from plain arguments."""

import optax


def make_schedule(
    name: str, *, peak: float, steps: int, warmup_steps: int, final_fraction: float
) -> optax.Schedule:
    """Learning rate by step of the phase.

    Args:
      name: "constant" or "cosine" (down to `final_fraction * peak` at `steps`).
      peak: the rate after the warm-up.
      steps: length of the phase.
      warmup_steps: linear from 0; 0 switches it off.
      final_fraction: of `peak`, where the cosine ends.
    """
    if name == "constant":
        schedule = optax.constant_schedule(peak)
    elif name == "cosine":
        decay_steps = max(1, steps - warmup_steps)
        schedule = optax.cosine_decay_schedule(peak, decay_steps, alpha=final_fraction)
    else:
        raise ValueError(f"optimizer.schedule is 'constant' or 'cosine', not {name!r}")
    if warmup_steps:
        warmup = optax.linear_schedule(0.0, peak, warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [warmup_steps])
    return schedule


def make_optimizer(
    schedule: optax.Schedule,
    *,
    name: str = "rmsprop",
    decay: float = 0.9,
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """RMSProp (paper A, 2.3.1), or plain SGD to compare back ends with.

    Args:
      schedule: learning rate by step.
      name: "rmsprop", "adam" or "sgd".
      decay: of RMSProp's mean square.
      clip_norm: largest global norm of a gradient; 0 switches clipping off.
    """
    optimizers = {
        "rmsprop": lambda: optax.rmsprop(schedule, decay=decay),
        "adam": lambda: optax.adam(schedule),
        "sgd": lambda: optax.sgd(schedule),
    }
    if name not in optimizers:
        raise ValueError(f"optimizer.name is one of {list(optimizers)}, not {name!r}")
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    return optax.chain(clip, optimizers[name]())
