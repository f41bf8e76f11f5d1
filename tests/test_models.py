"""The networks: size, operations, reach, gradients, what their structs promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlight_jax.models import MODELS, example_inputs, make_model
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.models.layer_table import layer_rows

PARAMETERS = {
    "dual": 93_705,
    "dual_global": 99_073,
    "dual_grid": 123_799,
    "dual_scene": 99_930,
    "cnn": 48_003,
    "inpaint": 921_395,
    "mirnet": 31_844_449,
}


@pytest.fixture(scope="module")
def low():
    return jnp.asarray(np.random.default_rng(0).uniform(0, 0.2, (2, 32, 40, 3)), "f4")


@pytest.fixture(scope="module")
def params(low):
    """Random, and with a denoising module that does something."""
    params = DualNetwork().init(jax.random.key(0), low[:, :16, :16])["params"]
    noise = params["denoising"]["coarse"]["noise"]
    noise["kernel"] = jax.random.normal(jax.random.key(1), noise["kernel"].shape) * 0.1
    return params


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_every_model_has_its_count():
    assert PARAMETERS.keys() == MODELS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count(name):
    network = make_model(name)
    inputs = example_inputs(network)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    assert count(shapes["params"]) == PARAMETERS[name]


@pytest.mark.parametrize(
    "fields, parameters",
    [
        # + conv_full 3x3, 6 -> 16, and conv_half then has 16 inputs instead of 6
        ({"fine_layers": 5}, 93_705 + (9 * 6 * 16 + 16) + 9 * 10 * 32),
        ({"fine_layers": 0}, 42_915 + 11_203),
        ({"fine_layers": 0, "denoises": False}, 42_915),
        ({"share_stages": False}, 93_705 + 11_203),
    ],
)
def test_parameter_count_of_variants(fields, parameters):
    network = DualNetwork(**fields)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    assert count(shapes["params"]) == parameters


def test_operations_at_384_px():
    rows = layer_rows(DualNetwork(), 384, 384)
    assert sum(row.macs for row in rows) == 2_050_228_224
    assert sum(row.parameters for row in rows) == 93_705
    # Table 1 of the paper: output sizes of the coarse stage.
    assert [row.width for row in rows[:5]] == [384, 192, 96, 192, 384]


def test_unknown_model_is_named():
    with pytest.raises(ValueError, match="no model 'duel'; expected one of dual"):
        make_model("duel")


def test_image_model_holds(low, params):
    """Formulas 1, 2: low = enhanced * illumination; 2.1.2: noisy = clean + noise."""
    out = DualNetwork().apply({"params": params}, low)
    enhanced, denoised = out.enhanced, out.denoised
    np.testing.assert_allclose(enhanced.pred * enhanced.illumination, low, atol=1e-6)
    np.testing.assert_allclose(
        enhanced.coarse_pred * enhanced.coarse_illumination, low, atol=1e-6
    )
    np.testing.assert_allclose(denoised.pred + denoised.noise, enhanced.pred, atol=1e-6)
    np.testing.assert_array_equal(out.pred, denoised.pred)


@pytest.mark.parametrize("max_gain", [2.0, 32.0])
def test_gain_is_bounded(low, params, max_gain):
    extreme = jax.tree.map(lambda leaf: leaf * 100, params)
    network = DualNetwork(max_gain=max_gain)
    out = network.apply({"params": extreme}, low, method="enhance")
    for illumination in (out.illumination, out.coarse_illumination):
        assert illumination.min() >= 1 / max_gain - 1e-6
        assert illumination.max() <= 1
    assert np.isfinite(out.pred).all()


def test_second_denoising_pass_sees_the_first_result(low, params):
    network, variables = DualNetwork(), {"params": params}
    once = network.apply(variables, low, method="denoise")
    again = network.apply(variables, once.coarse_pred, method="denoise")
    np.testing.assert_allclose(once.pred, again.coarse_pred, atol=1e-6)


def test_modules_alone_are_the_modules_in_line(low, params):
    network, variables = DualNetwork(), {"params": params}
    enhanced = network.apply(variables, low, method="enhance")
    denoised = network.apply(variables, enhanced.pred, method="denoise")
    np.testing.assert_allclose(
        network.apply(variables, low).pred, denoised.pred, atol=1e-6
    )


@pytest.mark.parametrize("fields", [{}, {"fine_layers": 5}, {"share_stages": False}])
def test_every_parameter_gets_a_gradient(low, fields):
    network = DualNetwork(**fields)
    params = network.init(jax.random.key(2), low)["params"]
    grads = jax.grad(lambda p: jnp.mean(network.apply({"params": p}, low).pred ** 2))(
        params
    )
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


def test_without_denoising_the_enhanced_image_is_the_result(low):
    network = DualNetwork(fine_layers=0, denoises=False)
    variables = network.init(jax.random.key(2), low)
    output = network.apply(variables, low)
    np.testing.assert_array_equal(output.pred, output.enhanced.coarse_pred)
    assert not output.denoised.noise.any()
    assert network.receptive_radius_px < DualNetwork(fine_layers=0).receptive_radius_px


@pytest.mark.parametrize("fields", [{}, {"fine_layers": 5}, {"fine_layers": 0}])
def test_nothing_beyond_the_reach_is_seen(fields):
    network = DualNetwork(**fields)
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(1, 96, 96, 3)), "f4")
    variables = network.init(jax.random.key(3), image[:, :16, :16])
    noise = variables["params"]["denoising"]["coarse"]["noise"]
    noise["kernel"] = jax.random.normal(jax.random.key(1), noise["kernel"].shape) * 0.1

    def probe(image):  # a block of 4x4 pixels, in phase with the stride
        return network.apply(variables, image).pred[0, 48:52, 48:52].sum()

    seen = np.abs(jax.grad(probe)(image)[0]).sum(-1) > 0
    rows = np.flatnonzero(seen.any(1))
    reach = max(48 - rows.min(), rows.max() - 51)
    assert reach <= network.receptive_radius_px
    assert reach > network.receptive_radius_px - 6  # and the bound is not far off


def test_wrong_size_says_what_to_do(params):
    with pytest.raises(ValueError, match="multiples of 4.*not \\(1, 18, 16, 3\\)"):
        DualNetwork().apply({"params": params}, jnp.zeros((1, 18, 16, 3)))


def test_bfloat16_is_close(low, params):
    exact = DualNetwork().apply({"params": params}, low).pred
    rough = DualNetwork(dtype=jnp.bfloat16).apply({"params": params}, low).pred
    assert rough.dtype == jnp.float32
    error = np.abs(rough - exact)
    assert 0 < error.mean() < 0.02 * np.abs(exact).mean()
