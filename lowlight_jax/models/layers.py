"""The two convolutions all networks here are made of, with their borders pinned.

Contract: NHWC, square odd kernels, symmetric zero padding of `kernel_px // 2`. So a
stride-2 convolution of an even-sized image samples its pixels 0, 2, 4, ..., and the
transposed convolution is its exact adjoint, whose output is exactly twice as large.
(XLA's "SAME" pads such images at the end only, which shifts them by one pixel.)

A convolution is linear in the image and in the kernel, so three functions, each
other's adjoints, are also all that their gradients need:

    <conv2d(x, k), y> = <x, conv2d_transposed(y, k)> = <k, kernel_gradient(x, y)>

So gradients of any order are taken in reverse mode, `jax.jacrev(jax.grad(f))` for
second derivatives; in forward mode (`jax.jvp`, `jax.jacfwd`, `jax.hessian`) JAX raises
a `TypeError`. It allows a function one rule or the other: of a `custom_jvp` it would
derive the adjoints itself, and those of XLA's convolutions are the slow ones.

On CPU, layers of few channels and transposed ones have formulations of their own, equal
up to rounding and 2 to 5 times faster; other platforms get XLA's convolution.
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lowlight_jax.types import Images

Output = Float[Array, "b _ _ _"]  # of another size than the input
Kernel = Float[Array, "kernel_h kernel_w _ _"]
Residuals = tuple[Images, Kernel]
_FEW = 4  # channels that leave most of a SIMD register of a matrix product empty
_MANY = 32  # channels that fill the registers


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d(x: Images, kernel: Kernel, stride: int = 1) -> Output:
    """Convolution of `x` with `kernel` `[k, k, c_in, c_out]`, zero-padded by k // 2.

    Raises:
      TypeError: in forward-mode differentiation; use reverse mode.
    """
    return _conv2d(x, kernel, stride, few_inputs=_few_inputs)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d_transposed(x: Images, kernel: Kernel, stride: int = 2) -> Output:
    """Adjoint of `conv2d`: `[b, h, w, c_in]` to `[b, stride * h, stride * w, c_out]`.

    `kernel` is `[k, k, c_out, c_in]`: the kernel of the convolution whose adjoint this
    is.

    Raises:
      TypeError: in forward-mode differentiation; use reverse mode.
    """
    if stride == 1:
        return conv2d(x, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    general = partial(_dilated, stride=stride)
    if kernel.shape[0] != 3 or stride != 2:
        return general(x, kernel)
    c_out = kernel.shape[2]
    if c_out <= _FEW:
        doubled = _doubled_few_outputs
    else:
        doubled = _doubled if c_out >= _MANY else _doubled_by_row
    return lax.platform_dependent(x, kernel, cpu=doubled, default=general)


def kernel_gradient(x: Images, y: Output, kernel_px: int, stride: int = 1) -> Kernel:
    """Adjoint of `conv2d` in its kernel: `[k, k, c_in, c_out]`; `y` like its output."""
    c_in, c_out = x.shape[-1], y.shape[-1]
    if kernel_px == stride == 1:
        return jnp.einsum("bhwi,bhwo->io", x, y)[None, None]
    kernel = jnp.zeros((kernel_px, kernel_px, c_in, c_out), x.dtype)
    padding = ((kernel_px // 2,) * 2,) * 2
    _, pullback = jax.vjp(lambda k: _convolve(x, k, (stride, stride), padding), kernel)
    return pullback(y)[0]


def _conv2d_forward(x: Images, kernel: Kernel, stride: int) -> tuple[Output, Residuals]:
    # The gradient reads the result again, and XLA would repeat `_few_inputs` for it.
    few_inputs = partial(_side_by_side, count=4)
    return _conv2d(x, kernel, stride, few_inputs=few_inputs), (x, kernel)


def _conv2d_backward(
    stride: int, residuals: Residuals, y: Output
) -> tuple[Images, Kernel]:
    x, kernel = residuals
    _, h, w, _ = x.shape
    x_cotangent = conv2d_transposed(y, kernel, stride)[:, :h, :w]
    return x_cotangent, kernel_gradient(x, y, kernel.shape[0], stride)


def _transposed_forward(
    x: Images, kernel: Kernel, stride: int
) -> tuple[Output, Residuals]:
    return conv2d_transposed(x, kernel, stride), (x, kernel)


def _transposed_backward(
    stride: int, residuals: Residuals, y: Output
) -> tuple[Images, Kernel]:
    x, kernel = residuals
    return conv2d(y, kernel, stride), kernel_gradient(y, x, kernel.shape[0], stride)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)
conv2d_transposed.defvjp(_transposed_forward, _transposed_backward)


def _conv2d(
    x: Images,
    kernel: Kernel,
    stride: int,
    *,
    few_inputs: Callable[[Images, Kernel], Output],
) -> Output:
    k, _, c_in, c_out = kernel.shape
    general = partial(_convolve, strides=(stride, stride), padding=((k // 2,) * 2,) * 2)
    fewest = min(c_in, c_out)
    count = 4 if fewest <= _FEW else 2
    if k == 1 or stride > 1 or fewest >= _MANY or x.shape[2] % count:
        return general(x, kernel)
    narrow = few_inputs if c_in <= _FEW else partial(_side_by_side, count=count)
    return lax.platform_dependent(x, kernel, cpu=narrow, default=general)


def _convolve(
    x: Images,
    kernel: Kernel,
    strides: tuple[int, int],
    padding: Sequence[tuple[int, int]],
) -> Output:
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _few_inputs(x: Images, kernel: Kernel) -> Output:
    """`conv2d` as a sum over taps and input channels, which XLA fuses into one loop.

    3 to 16 channels at 400x600: 4 ms with bias and ReLU in the loop, instead of 10.
    """
    k, _, c_in, _ = kernel.shape
    _, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return sum(
        x[:, i : i + h, j : j + w, c : c + 1] * kernel[None, None, None, i, j, c]
        for i in range(k)
        for j in range(k)
        for c in range(c_in)
    )


def _side_by_side(x: Images, kernel: Kernel, count: int) -> Output:
    """`conv2d` with `count` neighbouring output pixels computed as the channels of one.

    More products, but with more channels, and patches, which XLA lays out for the whole
    image, for fewer pixels. With 4, 16 to 3 channels at 400x600 take 7 ms instead of
    18, 3 to 16 channels 5 instead of 10; with 2, 24 to 24 at 548x968 take 23 ms instead
    of 26 and two thirds of the memory.
    """
    b, h, w, _ = x.shape
    k, _, c_in, c_out = kernel.shape
    shifted = [
        jnp.pad(kernel, ((0, 0), (i, count - 1 - i), (0, 0), (0, 0)))
        for i in range(count)
    ]
    kernel = jnp.stack(shifted, axis=3).reshape(k, k + count - 1, c_in, count * c_out)
    y = _convolve(x, kernel, (1, count), ((k // 2,) * 2,) * 2)
    return y.reshape(b, h, w, c_out)


def _dilated(x: Images, kernel: Kernel, stride: int) -> Output:
    """`conv2d_transposed` as one convolution, with zeros between the pixels of x."""
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        jnp.flip(kernel, (0, 1)).swapaxes(2, 3),
        window_strides=(1, 1),
        padding=((pad, pad + stride - 1), (pad, pad + stride - 1)),
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


# Along either axis of a 3x3 transposed convolution of stride 2, output 2i is tap 1 of
# input i, and output 2i + 1 is tap 2 of input i plus tap 0 of input i + 1.
_EVEN, _ODD = slice(1, 2), slice(None, None, -2)


def _doubled(x: Images, kernel: Kernel) -> Output:
    """`conv2d_transposed`, 3x3, stride 2: a convolution for each parity of row, column.

    64 to 32 channels at 100x150: 5.1 ms instead of 8.8.
    """
    b, h, w, _ = x.shape
    kernel = kernel.swapaxes(2, 3)

    def parity(i: int, rows: slice, j: int, columns: slice) -> Output:
        return _convolve(x, kernel[rows, columns], (1, 1), ((0, i), (0, j)))

    even, odd = (
        jnp.stack([parity(i, rows, 0, _EVEN), parity(i, rows, 1, _ODD)], axis=3)
        for i, rows in enumerate((_EVEN, _ODD))
    )
    return jnp.stack([even, odd], axis=2).reshape(b, 2 * h, 2 * w, -1)


def _doubled_by_row(x: Images, kernel: Kernel) -> Output:
    """`conv2d_transposed`, 3x3, stride 2: one convolution each for even and odd rows.

    Even and odd columns are channels of both: a third more products than `_doubled`,
    but faster below 32 channels. 32 to 16 at 200x300: 7.3 ms; `_doubled` 8.4, dilated
    20 to 40.
    """
    b, h, w, _ = x.shape
    before, at, after = jnp.unstack(kernel.swapaxes(2, 3), axis=1)
    here = jnp.concatenate([at, after], axis=-1)
    right = jnp.concatenate([jnp.zeros_like(at), before], axis=-1)
    columns = jnp.stack([here, right], axis=1)  # [3, 2, c_in, 2 * c_out]
    even = _convolve(x, columns[_EVEN], (1, 1), ((0, 0), (0, 1)))
    odd = _convolve(x, columns[_ODD], (1, 1), ((0, 1), (0, 1)))
    return jnp.stack([even, odd], axis=2).reshape(b, 2 * h, 2 * w, -1)


def _doubled_few_outputs(x: Images, kernel: Kernel) -> Output:
    """`conv2d_transposed`, 3x3, stride 2: all 9 taps at every pixel, then their sums.

    32 to 3 channels at 200x300: 1.2 ms instead of 3.1.
    """
    b, h, w, c_in = x.shape
    c_out = kernel.shape[2]
    every_tap = kernel.reshape(1, 1, 9 * c_out, c_in).swapaxes(2, 3)
    taps = _convolve(x, every_tap, (1, 1), ((0, 0), (0, 0)))
    taps = taps.reshape(b, h, w, 3, 3, c_out)

    def parities(
        axis: int, zero: jax.Array, one: jax.Array, two: jax.Array
    ) -> jax.Array:
        next_one = [(0, 0, 0)] * zero.ndim
        next_one[axis] = (-1, 1, 0)  # drops the first, appends a 0
        zero = lax.pad(zero, jnp.zeros((), zero.dtype), next_one)
        return jnp.stack([one, two + zero], axis + 1)

    rows = parities(1, *jnp.unstack(taps, axis=3))  # [b, h, 2, w, 3, c_out]
    return parities(3, *jnp.unstack(rows, axis=4)).reshape(b, 2 * h, 2 * w, c_out)


class Conv(nn.Module):
    """`conv2d` with a bias, He-normal weights (a ReLU follows every hidden layer)."""

    features: int
    kernel_px: int = 3
    stride: int = 1
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Images) -> Output:
        shape = (self.kernel_px, self.kernel_px, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return conv2d(x, kernel, self.stride) + bias[None, None, None]


class ConvTransposed(nn.Module):
    """`conv2d_transposed` with a bias; `stride` times larger in h and w."""

    features: int
    kernel_px: int = 3
    stride: int = 2
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Images) -> Output:
        shape = (self.kernel_px, self.kernel_px, self.features, x.shape[-1])
        # Only 1 / stride**2 of the kernel's taps meet a sample of x at each output.
        he_normal = nn.initializers.variance_scaling(
            2.0 * self.stride**2, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2
        )
        kernel_init = self.kernel_init or he_normal
        kernel = self.param("kernel", kernel_init, shape, jnp.float32)
        zeros = nn.initializers.zeros
        bias = self.param("bias", zeros, (self.features,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return conv2d_transposed(x, kernel, self.stride) + bias[None, None, None]


def receptive_radius(layers: Sequence[tuple[int, int, bool]]) -> int:
    """How far, in input pixels, one output pixel sees to each side.

    Args:
      layers: `(kernel_px, stride, is_transposed)` from input to output.
    """
    reach, spacing = 0, 1
    for kernel_px, stride, is_transposed in layers:
        if is_transposed:
            # Output pixel 2i reads sample i; 2i + 1 reads samples i and i + 1: the
            # farthest sample lies kernel_px // 2 output pixels away.
            spacing //= stride
        reach += spacing * (kernel_px // 2)
        if not is_transposed:
            spacing *= stride
    return reach
