"""The two convolutions all networks here are made of, with their borders pinned.

Contract: NHWC, square odd kernels, symmetric zero padding of `kernel_px // 2`. So a
stride-2 convolution of an even-sized image samples its pixels 0, 2, 4, ..., and the
transposed convolution is its exact adjoint, whose output is exactly twice as large.
(XLA's "SAME" pads such images at the end only, which shifts them by one pixel.)
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from lowlight_jax.types import Images

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv2d(x: Images, kernel: jax.Array, stride: int = 1) -> Images:
    """Convolution of `x` with `kernel` `[k, k, c_in, c_out]`, zero-padded by k // 2."""
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=_DIMENSIONS,
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d_transposed(x: Images, kernel: jax.Array, stride: int = 2) -> Images:
    """Adjoint of `conv2d`: `[b, h, w, c_in]` to `[b, stride * h, stride * w, c_out]`.

    `kernel` is `[k, k, c_out, c_in]`: the kernel of the convolution whose adjoint this
    is. The gradient is written out because XLA's own weight gradient of a dilated
    convolution is an order of magnitude slower on CPU than the weight gradient of the
    plain convolution with input and cotangent exchanged, which is the same number.
    """
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        jnp.flip(kernel, (0, 1)).swapaxes(2, 3),
        window_strides=(1, 1),
        padding=((pad, pad + stride - 1), (pad, pad + stride - 1)),
        lhs_dilation=(stride, stride),
        dimension_numbers=_DIMENSIONS,
    )


def _transposed_forward(x, kernel, stride):
    return conv2d_transposed(x, kernel, stride), (x, kernel)


def _transposed_backward(stride, residuals, cotangent):
    x, kernel = residuals
    # <conv2d_transposed(x, k), ct> = <x, conv2d(ct, k)>: linear in x and in k.
    x_cotangent, pullback = jax.vjp(
        lambda kernel: conv2d(cotangent, kernel, stride), kernel
    )
    return x_cotangent, *pullback(x)


conv2d_transposed.defvjp(_transposed_forward, _transposed_backward)


class Conv(nn.Module):
    """`conv2d` with a bias, He-normal weights (a ReLU follows every hidden layer)."""

    features: int
    kernel_px: int = 3
    stride: int = 1
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Images) -> Images:
        shape = (self.kernel_px, self.kernel_px, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", self.bias_init, (self.features,))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return conv2d(x, kernel, self.stride) + bias


class ConvTransposed(nn.Module):
    """`conv2d_transposed` with a bias; `stride` times larger in h and w."""

    features: int
    kernel_px: int = 3
    stride: int = 2
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Images) -> Images:
        shape = (self.kernel_px, self.kernel_px, self.features, x.shape[-1])
        # Only 1 / stride**2 of the kernel's taps meet a sample of x at each output.
        he_normal = nn.initializers.variance_scaling(
            2.0 * self.stride**2, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2
        )
        kernel = self.param("kernel", self.kernel_init or he_normal, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return conv2d_transposed(x, kernel, self.stride) + bias


def output_pixel_reach(layers: Sequence[tuple[int, int, bool]]) -> int:
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
