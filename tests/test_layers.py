"""The convolutions against their definition: one XLA convolution, and its adjoint.

Whatever formulation a shape gets, it must equal these up to rounding.
"""

import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lowlight_jax.models import layers
from lowlight_jax.models.layers import (
    Conv,
    ConvTransposed,
    conv2d,
    conv2d_transposed,
    kernel_gradient,
    receptive_radius,
)

# (kernel_px, stride, c_in, c_out, h, w): every layer of the dual network, then widths
# that are no multiple of 4, odd sizes, one row, and kernels that no network here has.
DUAL_LAYERS = [
    (3, 1, 3, 16, 8, 12),
    (3, 1, 16, 3, 8, 12),
    (3, 2, 16, 32, 8, 12),
    (3, 2, 32, 64, 4, 6),
    (3, 2, 6, 32, 8, 12),
    (3, 2, 3, 32, 8, 12),
    (1, 1, 32, 32, 8, 12),
]
OTHERS = [
    (3, 1, 3, 16, 7, 10),
    (3, 1, 16, 3, 5, 9),
    (3, 2, 16, 32, 9, 11),
    (3, 2, 4, 5, 1, 4),
    (5, 1, 3, 8, 9, 8),
    (5, 2, 6, 8, 8, 8),
    (3, 3, 6, 8, 9, 9),
    (1, 2, 3, 4, 8, 8),
]
SHAPES = pytest.mark.parametrize("shape", DUAL_LAYERS + OTHERS, ids=str)
WHOLE_STRIDES = pytest.mark.parametrize(
    "shape",
    [s for s in DUAL_LAYERS + OTHERS if not (s[4] % s[1] or s[5] % s[1])],
    ids=str,
)


def _reference(x, kernel, stride):
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


def _reference_transposed(y, kernel, stride):
    b, h, w, _ = y.shape
    x = jnp.zeros((b, h * stride, w * stride, kernel.shape[2]))
    return jax.vjp(lambda x: _reference(x, kernel, stride), x)[1](y)[0]


def _arrays(shape):
    """Image, kernel, and a cotangent of their convolution."""
    k, stride, c_in, c_out, h, w = shape
    rng = np.random.default_rng(0)
    sizes = (
        (2, h, w, c_in),
        (k, k, c_in, c_out),
        (2, -(-h // stride), -(-w // stride), c_out),
    )
    return [jnp.asarray(rng.uniform(-1, 1, size), jnp.float32) for size in sizes]


def _assert_close(got, expected):
    # Sums of some hundred terms of size 1: rounding reaches 1e-5, a wrong tap 0.1.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5),
        got,
        expected,
    )


def _with_gradients(function):
    """Value and both gradients, compiled together."""

    def run(x, kernel, y):
        value, pullback = jax.vjp(function, x, kernel)
        return value, *pullback(y)

    return jax.jit(run)


@SHAPES
def test_conv2d_and_gradients_equal_one_xla_convolution(shape):
    x, kernel, y = _arrays(shape)
    stride = shape[1]
    expected = _with_gradients(lambda x, k: _reference(x, k, stride))(x, kernel, y)
    got = _with_gradients(lambda x, k: conv2d(x, k, stride))(x, kernel, y)
    _assert_close(got, expected)
    # Where no gradient is asked for, the formulation may be another.
    _assert_close(jax.jit(lambda: conv2d(x, kernel, stride))(), expected[0])


@WHOLE_STRIDES
def test_transposed_and_gradients_equal_xlas_adjoint(shape):
    x, kernel, y = _arrays(shape)
    stride = shape[1]
    expected = _with_gradients(lambda y, k: _reference_transposed(y, k, stride))
    got = _with_gradients(lambda y, k: conv2d_transposed(y, k, stride))
    _assert_close(got(y, kernel, x), expected(y, kernel, x))


@pytest.mark.parametrize(
    "layer, reference",
    [(conv2d, _reference), (conv2d_transposed, _reference_transposed)],
)
def test_second_derivatives_are_taken_in_reverse_mode(layer, reference):
    """A Hessian times a vector, of a loss that is not quadratic in the kernel."""
    x, kernel, _ = _arrays((3, 2, 3, 3, 4, 4))

    def product(function):
        def loss(kernel):
            return jnp.mean(jnp.sin(function(x, kernel, 2)))

        return jax.grad(lambda k: jnp.vdot(jax.grad(loss)(k), kernel))(kernel)

    _assert_close(product(layer), product(reference))
    with pytest.raises(TypeError, match="forward-mode .* custom_vjp"):
        jax.jvp(lambda k: layer(x, k, 2), (kernel,), (kernel,))


@WHOLE_STRIDES
def test_the_three_are_adjoints_of_each_other(shape):
    x, kernel, y = _arrays(shape)
    k, stride = shape[:2]

    @jax.jit
    def inner_products():
        pairs = [
            (conv2d(x, kernel, stride), y),
            (x, conv2d_transposed(y, kernel, stride)),
            (kernel, kernel_gradient(x, y, k, stride)),
        ]
        return jnp.stack([jnp.vdot(a, b, precision="highest") for a, b in pairs])

    first, *others = np.asarray(inner_products())
    assert others == pytest.approx([first] * 2, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("c_out", [3, 8])
def test_transposed_places_each_tap_where_it_belongs(c_out):
    """One bright pixel spreads the kernel around (2i, 2j), cut off at the borders."""
    kernel = jnp.arange(9 * c_out, dtype=jnp.float32).reshape(3, 3, c_out, 1)
    for i, j in ((0, 0), (1, 1), (2, 2)):
        x = jnp.zeros((1, 3, 3, 1)).at[0, i, j, 0].set(1.0)
        expected = np.zeros((8, 8, c_out), np.float32)  # a margin of one pixel
        expected[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] = kernel[..., 0]
        got = conv2d_transposed(x, kernel, 2)[0]
        np.testing.assert_array_equal(got, expected[1:-1, 1:-1])


@pytest.mark.parametrize("c_in, c_out", [(3, 8), (8, 3), (8, 8)])
def test_borders_are_padded_with_zeros(c_in, c_out):
    """With a kernel of ones each pixel counts the taps that lie inside the image."""
    x, kernel = jnp.ones((1, 4, 8, c_in)), jnp.ones((3, 3, c_in, c_out))
    rows, columns = np.full(4, 3), np.full(8, 3)
    rows[[0, -1]] = columns[[0, -1]] = 2
    counts = c_in * np.outer(rows, columns).astype(np.float32)
    got = conv2d(x, kernel)[0]
    np.testing.assert_array_equal(got, np.repeat(counts[..., None], c_out, -1))


@pytest.mark.parametrize(
    "special",
    [
        "_few_inputs",
        "_side_by_side",
        "_doubled",
        "_doubled_by_row",
        "_doubled_few_outputs",
    ],
)
def test_the_dual_network_uses_every_formulation_on_cpu(special, monkeypatch):
    """So that none of the equalities above compares XLA's convolution with itself."""
    calls = []
    original = getattr(layers, special)
    monkeypatch.setattr(
        layers, special, lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    for k, stride, c_in, c_out, h, w in DUAL_LAYERS:
        image, kernel = jnp.zeros((1, h, w, c_in)), jnp.zeros((k, k, c_in, c_out))
        y = jax.eval_shape(partial(conv2d, stride=stride), image, kernel)
        jax.eval_shape(partial(conv2d_transposed, stride=stride), y, kernel)
    assert calls


@pytest.mark.parametrize("shape", DUAL_LAYERS[:3], ids=str)
def test_under_vmap_and_jit(shape):
    x, kernel, y = _arrays(shape)
    stride = shape[1]

    gradients = _with_gradients(lambda x, k: conv2d(x, k, stride))
    each = [gradients(x[i : i + 1], kernel, y[i : i + 1]) for i in range(2)]
    mapped = jax.jit(jax.vmap(gradients, (0, None, 0)))(x[:, None], kernel, y[:, None])
    _assert_close(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))


def _small_network():
    class Network(layers.nn.Module):
        @layers.nn.compact
        def __call__(self, x):
            x = layers.nn.relu(Conv(8)(x))
            x = layers.nn.relu(Conv(8, stride=2)(x))
            x = layers.nn.relu(Conv(8, kernel_px=1)(x))
            x = layers.nn.relu(ConvTransposed(8)(x))
            x = ConvTransposed(3, stride=1)(x)
            return ConvTransposed(3)(x)

    return Network()


def test_export_round_trip():
    """Also for platforms that are not here; what comes back runs like the function."""
    network = _small_network()
    x = jax.random.uniform(jax.random.key(0), (1, 8, 12, 3))
    params = jax.jit(network.init)(jax.random.key(1), x)

    @jax.jit
    @jax.value_and_grad
    def value_and_gradient(params):
        return jnp.mean(network.apply(params, x) ** 2)

    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(value_and_gradient, platforms=platforms)(params)
    if importlib.util.find_spec("flatbuffers"):  # which only writing to a file needs
        exported = jax.export.deserialize(exported.serialize())
    _assert_close(exported.call(params), value_and_gradient(params))


def test_parameters_keep_names_shapes_and_dtype():
    network = _small_network()
    x = jnp.zeros((1, 8, 8, 3))
    params = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    assert {n: p.shape for n, p in params["Conv_0"].items()} == {
        "kernel": (3, 3, 3, 8),
        "bias": (8,),
    }
    assert {n: p.shape for n, p in params["ConvTransposed_2"].items()} == {
        "kernel": (3, 3, 3, 3),
        "bias": (3,),
    }
    for module in (Conv(4, dtype=jnp.bfloat16), ConvTransposed(4, dtype=jnp.bfloat16)):
        out, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
        assert out.dtype == jnp.bfloat16
        assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}


@pytest.mark.parametrize(
    "stack",
    [
        [(3, 1, False)],
        [(3, 2, False), (3, 2, True)],
        [(3, 1, False), (3, 2, False), (3, 2, False), (3, 2, True), (3, 2, True)],
        [(3, 1, False), (3, 2, False), (1, 1, False), (3, 2, True), (3, 1, True)],
    ],
)
def test_reach_is_how_far_the_gradient_goes(stack):
    def run(x):
        for kernel_px, stride, is_transposed in stack:
            kernel = jnp.ones((kernel_px, kernel_px, 1, 1))
            x = (conv2d_transposed if is_transposed else conv2d)(x, kernel, stride)
        return x

    @jax.jit
    def gradient(x, i):
        return jax.grad(lambda x: run(x)[0, i, i, 0])(x)

    farthest = 0
    for i in range(20, 24):  # every phase of two strides
        seen = np.asarray(gradient(jnp.zeros((1, 48, 48, 1)), i))
        rows = np.flatnonzero(seen.any((0, 2, 3)))
        farthest = max(farthest, i - rows[0], rows[-1] - i)
    assert farthest == receptive_radius(stack)
