"""One pure training step, the same for every model, phase and parallel back end.

No I/O and no config here: `objective` defines what is trained, and only the parameters
that it uses get a gradient.
"""

import jax
import jax.numpy as jnp
import optax

from lowlight_jax.types import Batch, Metrics, Objective, Params, TrainState


def init_train_state(
    key: jax.Array, params: Params, tx: optax.GradientTransformation
) -> TrainState:
    """State before step 0."""
    ema_params = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.int32(0), params, ema_params, tx.init(params), key)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    objective: Objective,
    tx: optax.GradientTransformation,
    ema_decay: float = 0.0,
    accumulate: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """One update.

    Args:
      state: of any step.
      batch: arrays with the batch as first dimension (this device's part of it).
      objective: `(params, batch, key) -> (loss, {name: term})`, means over the batch.
      tx: the optimizer that made `state.opt_state`.
      ema_decay: of the moving average; 0 switches it off.
      accumulate: the batch is taken in this many parts, one after the other, and their
        gradients averaged: the same step in less memory.
      axis_name: of the device axis to average over, None on one device.
    Returns:
      The next state, and `loss`, `grad_norm` and the objective's terms; where the
      optimizer skips steps that are not finite, `skipped` and `skipped_in_a_row` too.
    """
    key = jax.random.fold_in(state.key, state.step)
    grads, metrics = _gradients(objective, state.params, batch, key, accumulate)
    if axis_name is not None:
        grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
    metrics["grad_norm"] = optax.tree.norm(grads)
    tx = optax.with_extra_args_support(tx)  # only some want the loss
    updates, opt_state = tx.update(
        grads, state.opt_state, state.params, value=metrics["loss"]
    )
    params = optax.apply_updates(state.params, updates)
    metrics |= _skipped(opt_state)
    ema_params = optax.incremental_update(params, state.ema_params, 1.0 - ema_decay)
    next_state = TrainState(state.step + 1, params, ema_params, opt_state, state.key)
    return next_state, metrics


def _gradients(
    objective: Objective, params: Params, batch: Batch, key: jax.Array, parts: int
) -> tuple[Params, Metrics]:
    """Mean gradients and metrics over the batch, taken in `parts`."""

    def of_part(part: Batch) -> tuple[Params, Metrics]:
        value_and_grad = jax.value_and_grad(objective, has_aux=True)
        (loss, terms), grads = value_and_grad(params, part, key)
        return grads, {"loss": loss, **terms}

    if parts == 1:
        return of_part(batch)
    batch = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), batch)
    first = jax.tree.map(lambda a: a[0], batch)
    zeros = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(of_part, first)
    )

    def add(
        total: tuple[Params, Metrics], part: Batch
    ) -> tuple[tuple[Params, Metrics], None]:
        return jax.tree.map(jnp.add, total, of_part(part)), None

    total, _ = jax.lax.scan(add, zeros, batch)
    return jax.tree.map(lambda a: a / parts, total)


def _skipped(opt_state: optax.OptState) -> Metrics:
    """Counts of `optax.apply_if_finite` in this phase, where it is in use."""
    total = optax.tree.get(opt_state, "total_notfinite")
    if total is None:
        return {}
    in_a_row = optax.tree.get(opt_state, "notfinite_count")
    return {"skipped": total, "skipped_in_a_row": in_a_row}
