"""Exports: the same results, made once, mended when damaged, never in the way."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlight_jax.runtime.exports import keep_exports

ARGUMENTS = ({"scale": np.float32(3.0)}, np.arange(4.0, dtype=np.float32), None)


def make_function(traced=lambda: None):
    """As of a new process: JAX has not traced it yet."""

    @jax.jit
    def function(params, x, mask):
        traced()
        return params["scale"] * x if mask is None else jnp.where(mask, x, 0.0)

    return function


def test_the_second_run_traces_nothing(tmp_path):
    times = []
    for _ in range(2):
        function = make_function(lambda: times.append(1))
        result = keep_exports(function, "f", tmp_path)(*ARGUMENTS)
        np.testing.assert_array_equal(result, [0, 3, 6, 9])
        assert len(times) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_another_signature_or_name_is_another_entry(tmp_path):
    function = make_function()
    kept = keep_exports(function, "f", tmp_path)
    params, x, _ = ARGUMENTS
    kept(*ARGUMENTS)
    np.testing.assert_array_equal(kept(params, x, x > 1), [0, 0, 2, 3])
    np.testing.assert_array_equal(kept(params, x[:2], None), [0, 3])
    keep_exports(function, "g", tmp_path)(*ARGUMENTS)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", [b"", b"no export", None])
def test_a_damaged_entry_is_made_anew(tmp_path, damage):
    function = make_function()
    keep_exports(function, "f", tmp_path)(*ARGUMENTS)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-9] + bytes(9) if damage is None else damage)
    result = keep_exports(function, "f", tmp_path)(*ARGUMENTS)
    np.testing.assert_array_equal(result, [0, 3, 6, 9])
    assert entry.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path):
    folder = tmp_path / "file" / "exported"
    folder.parent.write_text("in the way")
    result = keep_exports(make_function(), "f", folder)(*ARGUMENTS)
    np.testing.assert_array_equal(result, [0, 3, 6, 9])
    assert os.listdir(tmp_path) == ["file"]
