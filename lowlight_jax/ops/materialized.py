"""What XLA is to compute once, although much reads it."""

import jax
import jax.numpy as jnp
from jax import lax

_SIDE = 16  # of the identity: channels that fill the registers


@jax.custom_vjp
def materialized(x: jax.Array) -> jax.Array:
    """`x`, which XLA's CPU back end then computes once, not for each of its uses.

    It fuses sums and selections into all that reads them, however often that repeats
    them, and an optimization barrier is gone before it does. A matrix product it never
    fuses; that by the identity takes 1.1 ms for 512x512x3. So too for the cotangent,
    which a network's layers and the points of a curve each read: gradients of
    `dual_global` take 61 instead of 94 ms. Values must be finite: an infinite one makes
    its neighbours NaN.
    """
    if x.size % _SIDE:
        return x
    return lax.platform_dependent(x, cpu=_times_identity, default=lambda x: x)


def _times_identity(x: jax.Array) -> jax.Array:
    identity = jnp.eye(_SIDE, dtype=x.dtype)
    return jnp.matmul(
        x.reshape(-1, _SIDE), identity, precision=lax.Precision.HIGHEST
    ).reshape(x.shape)


materialized.defvjp(lambda x: (materialized(x), None), lambda _, y: (materialized(y),))
