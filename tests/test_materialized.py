"""What XLA is to compute once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlight_jax.ops.materialized import materialized

on_cpu = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="of XLA on CPU alone"
)


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (5, 7)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_is_the_identity(shape, dtype):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
    y, pullback = jax.vjp(materialized, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(pullback(x)[0], x)


def clipped_sum(x):
    return sum(jnp.maximum(0.0, x - i) for i in range(4))


def readers(x):
    """Two that XLA does not fuse with each other."""
    return x.reshape(8, 8, 8, 8).swapaxes(1, 2), jnp.concatenate([x, x])


def maxima(function):
    lowered = jax.jit(function).lower(jnp.ones((64, 64)))
    return lowered.compile().as_text().count("maximum(")


@on_cpu
def test_is_computed_once():
    """Without it XLA repeats the sum in both of its readers."""
    assert maxima(lambda x: readers(materialized(clipped_sum(x)))) == 4
    assert maxima(lambda x: readers(clipped_sum(x))) > 4


@on_cpu
def test_its_cotangent_is_computed_once():
    def cotangents(keep):
        def pulled_back(y):
            _, pullback = jax.vjp(keep, jnp.zeros((64, 64)))
            return readers(*pullback(clipped_sum(y)))

        return maxima(pulled_back)

    assert cotangents(materialized) == 4
    assert cotangents(lambda x: x) > 4
