"""MIRNet: features at three scales, exchanged and fused by attention, with skips.

Source: Zamir et al., "Learning Enriched Features for Real Image Restoration and
Enhancement", ECCV 2020, arXiv:2003.06792. Two networks of this name are here:

  - the paper's, as in the authors' code (github.com/swz30/MIRNet): the softmax of a
    fusion runs over the three scales, and a block uses several of its parts twice;
    PReLU, blurred downsampling, bilinear and transposed upsampling;
  - with `keras_graph=True` that of the Keras example "Low-light image enhancement using
    MIRNet", for weights trained with it: the softmax runs over the channels, and the
    last fusion of a block takes scale 3 twice and scale 2 never, so that the layers
    which only lead there do not exist; nothing is used twice; ReLU, max pooling,
    repeated pixels, and a convolution more in every group.

Contract: NHWC, sRGB in [0, 1], h and w multiples of `STRIDE`. The attention pools over
the whole image, so tiles do not give what the whole image gives.
In the Keras graph, convolutions are called in the order in which the example creates
them; `mirnet_import` relies on it. Not here: the loss (the authors' is Charbonnier's).
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lowlight_jax.models.layers import Conv, ConvTransposed, Output
from lowlight_jax.tasks.brightening import BRIGHTENING, LIGHT
from lowlight_jax.tasks.task import Network
from lowlight_jax.types import Images, Prediction

STRIDE = 4  # two downsamplings
_REDUCTION = 8  # channels per channel of a squeezed descriptor

# PyTorch's default, as in the authors' code. With He-normal weights the features of an
# untrained network grow a thousandfold in every group.
_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_Conv = partial(Conv, kernel_init=_INIT)
_ConvTransposed = partial(ConvTransposed, kernel_init=_INIT)


class Fusion(nn.Module):
    """Selective kernel feature fusion: a weighted sum, weights per image and channel.

    The squeezed descriptor has at least 4 channels in the authors' code.

    Attributes:
      keras_graph: the softmax runs over the channels of each branch, which then sum to
        1, and not over the branches at each channel.
    """

    keras_graph: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, branches: Sequence[Images]) -> Images:
        c = branches[0].shape[-1]
        squeezed = c // _REDUCTION if self.keras_graph else max(c // _REDUCTION, 4)
        x = _Conv(squeezed, 1, name="squeeze", dtype=self.dtype)(_pooled(sum(branches)))
        x = _activation(self.keras_graph, "activation")(x)
        logits = [
            _Conv(c, 1, name=f"select_{i}", dtype=self.dtype)(x)
            for i in range(1, len(branches) + 1)
        ]
        weights = nn.softmax(jnp.stack(logits), axis=-1 if self.keras_graph else 0)
        return sum(map(jnp.multiply, branches, weights))


class DualAttention(nn.Module):
    """Dual attention unit: two convolutions, attention to channels and to places.

    Attributes:
      keras_graph: that kernel has 1x1 pixels instead of 5x5; ReLU instead of PReLU.
    """

    keras_graph: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Images:
        c = x.shape[-1]
        conv = partial(_Conv, dtype=self.dtype)
        y = conv(c, name="conv_1")(x)
        y = _activation(self.keras_graph, "activation")(y)
        y = conv(c, name="conv_2")(y)
        channel = nn.relu(conv(c // _REDUCTION, 1, name="squeeze")(_pooled(y)))
        channel = nn.sigmoid(conv(c, 1, name="expand")(channel))
        place = jnp.concatenate(
            [y.max(axis=-1, keepdims=True), y.mean(axis=-1, keepdims=True)], axis=-1
        )
        kernel_px = 1 if self.keras_graph else 5
        place = nn.sigmoid(conv(1, kernel_px, name="place")(place))
        both = jnp.concatenate([y * channel, y * place], axis=-1)
        return x + conv(c, 1, name="merge")(both)


class Down(nn.Module):
    """Residual downsampling: `[b, h, w, c]` to `[b, h / 2, w / 2, 2 * c]`.

    Attributes:
      keras_graph: max pooling instead of a blur that prevents aliasing.
    """

    keras_graph: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Output:
        c = x.shape[-1]
        conv = partial(_Conv, dtype=self.dtype)
        halve = _halved_by_maximum if self.keras_graph else _halved_by_blur
        y = conv(c, 1, name="conv_1")(x)
        y = _activation(self.keras_graph, "activation_1")(y)
        y = conv(c, name="conv_2")(y)
        y = _activation(self.keras_graph, "activation_2")(y)
        y = conv(2 * c, 1, name="widen")(halve(y))
        return y + conv(2 * c, 1, name="skip")(halve(x))


class Up(nn.Module):
    """Residual upsampling: `[b, h, w, c]` to `[b, 2 * h, 2 * w, c / 2]`.

    Upsampling commutes with a 1x1 convolution; done last, both cost a quarter.

    Attributes:
      keras_graph: a convolution and repeated pixels, instead of a transposed
        convolution and, for the skip, bilinear interpolation.
    """

    keras_graph: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Output:
        b, h, w, c = x.shape
        conv = partial(_Conv, dtype=self.dtype)
        y = conv(c, 1, name="conv_1")(x)
        y = _activation(self.keras_graph, "activation_1")(y)
        if self.keras_graph:
            y = nn.relu(conv(c, name="conv_2")(y))
            y = conv(c // 2, 1, name="narrow")(y) + conv(c // 2, 1, name="skip")(x)
            return y.repeat(2, axis=1).repeat(2, axis=2)
        y = _ConvTransposed(c, name="conv_2", dtype=self.dtype)(y)
        y = _activation(self.keras_graph, "activation_2")(y)
        skip = conv(c // 2, 1, name="skip")(x)
        skip = jax.image.resize(skip, (b, 2 * h, 2 * w, c // 2), "bilinear")
        return conv(c // 2, 1, name="narrow")(y) + skip


class MultiScaleBlock(nn.Module):
    """Multi-scale residual block, wired as in the authors' code.

    The second scale starts from the first one's attended features, the third from the
    second's. A scale has one attention unit, before and after the exchange; the step
    from a scale to the next below is one module; the last fusion is that of scale 1.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Images:
        attend, fuse = (
            [kind(dtype=self.dtype, name=f"{name}_{scale}") for scale in (1, 2, 3)]
            for kind, name in ((DualAttention, "attention"), (Fusion, "fusion"))
        )
        down = partial(Down, dtype=self.dtype)
        up = partial(Up, dtype=self.dtype)
        down_1to2, down_2to3 = down(name="down_1to2"), down(name="down_2to3")
        a1 = attend[0](x)
        a2 = attend[1](down_1to2(a1))
        a3 = attend[2](down_2to3(a2))
        a1to3 = down(name="down_1to3_b")(down(name="down_1to3_a")(a1))
        a3to1 = up(name="up_3to1_b")(up(name="up_3to1_a")(a3))
        f1 = fuse[0]([a1, up(name="up_2to1")(a2), a3to1])
        f2 = fuse[1]([down_1to2(a1), a2, up(name="up_3to2")(a3)])
        f3 = fuse[2]([a1to3, down_2to3(a2), a3])
        b1, b2, b3 = attend[0](f1), attend[1](f2), attend[2](f3)
        b2 = up(name="last_up_2")(b2)
        b3 = up(name="last_up_3_b")(up(name="last_up_3_a")(b3))
        fused = fuse[0]([b1, b2, b3])
        return x + _Conv(x.shape[-1], name="conv", dtype=self.dtype)(fused)


class KerasMultiScaleBlock(nn.Module):
    """Multi-scale residual block as the Keras example has it; see the module.

    Every scale starts from features that have not been attended to.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Images:
        attend, fuse, down, up = (
            partial(kind, keras_graph=True, dtype=self.dtype)
            for kind in (DualAttention, Fusion, Down, Up)
        )
        x2 = down(name="down_1to2")(x)
        x3 = down(name="down_2to3")(x2)
        a1 = attend(name="attention_1")(x)
        a2 = attend(name="attention_2")(x2)
        a3 = attend(name="attention_3")(x3)
        a2to1 = up(name="up_2to1")(a2)
        a3to1 = up(name="up_3to1_b")(up(name="up_3to1_a")(a3))
        f1 = fuse(name="fusion_1")([a1, a2to1, a3to1])
        a1to3 = down(name="down_1to3_b")(down(name="down_1to3_a")(a1))
        a2to3 = down(name="down_2to3_again")(a2)
        f3 = fuse(name="fusion_3")([a1to3, a2to3, a3])
        b1 = attend(name="attention_1_again")(f1)
        b3 = attend(name="attention_3_again")(f3)
        b3 = up(name="last_up_3_b")(up(name="last_up_3_a")(b3))
        fused = fuse(name="last_fusion")([b1, b3, b3])
        return x + _Conv(x.shape[-1], name="conv", dtype=self.dtype)(fused)


class Group(nn.Module):
    """Recursive residual group: blocks in line and a convolution, around them a skip.

    In the Keras graph, a convolution comes before the blocks, too.
    """

    blocks: int = 2
    keras_graph: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Images:
        conv = partial(_Conv, x.shape[-1], dtype=self.dtype)
        block = KerasMultiScaleBlock if self.keras_graph else MultiScaleBlock
        y = conv(name="conv_in")(x) if self.keras_graph else x
        for i in range(1, self.blocks + 1):
            y = block(self.dtype, name=f"block_{i}")(y)
        return x + conv(name="conv_out")(y)


class MIRNet(Network):
    """The whole network: image in, the same image with a learnt residual out.

    chosen: biases everywhere, which the paper does not mention and the authors' code
    does without; with zeros there it is theirs.

    Attributes:
      groups: recursive residual groups; 3 in the paper.
      blocks: multi-scale blocks in each; 2 in the paper.
      channels: at full resolution, a multiple of 8; 64 in the paper. Twice and four
        times as many at the lower resolutions.
      keras_graph: the Keras example's network instead of the paper's.
      dtype: of the convolutions and the features between them; parameters and the
        result are float32.
    """

    groups: int = 3
    blocks: int = 2
    channels: int = 64
    keras_graph: bool = False
    dtype: DTypeLike = jnp.float32

    task = BRIGHTENING
    phases = ("supervised",)
    stride = STRIDE
    receptive_radius_px = None  # an output pixel sees the whole image
    only_for_dark = True
    controls = LIGHT

    def __post_init__(self):
        if self.channels % _REDUCTION or self.channels < _REDUCTION:
            raise ValueError(
                f"model.channels is {self.channels}; expected a multiple of "
                f"{_REDUCTION}"
            )
        if self.groups < 1 or self.blocks < 1:
            raise ValueError(
                f"model.groups is {self.groups}, model.blocks {self.blocks}; expected "
                "1 or more each"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, low: Images) -> Prediction:
        """`[b, h, w, 3]` in [0, 1], h and w multiples of 4, to its `pred`."""
        _check_size(low)
        x = _Conv(self.channels, name="conv_in", dtype=self.dtype)(low)
        for i in range(1, self.groups + 1):
            x = Group(self.blocks, self.keras_graph, self.dtype, name=f"group_{i}")(x)
        residual = _Conv(3, name="conv_out", dtype=self.dtype)(x)
        return Prediction(low + residual.astype(jnp.float32))


def _pooled(x: Images) -> Output:
    return x.mean(axis=(1, 2), keepdims=True)


def _activation(keras_graph: bool, name: str) -> Callable[[Images], Images]:
    return nn.relu if keras_graph else nn.PReLU(negative_slope_init=0.25, name=name)


def _halved_by_maximum(x: Images) -> Output:
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def _halved_by_blur(x: Images) -> Output:
    """Every second pixel of `x` blurred by [1, 2, 1] / 4 in both directions.

    Source: Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019; the
    image is continued by reflection.
    """
    x = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)), mode="reflect")
    x = (x[:, :-1:2] + 2 * x[:, 1::2] + x[:, 2::2]) / 4
    return (x[:, :, :-1:2] + 2 * x[:, :, 1::2] + x[:, :, 2::2]) / 4


def _check_size(image: Images) -> None:
    _, h, w, c = image.shape
    if c != 3 or h % STRIDE or w % STRIDE:
        raise ValueError(
            f"MIRNet takes [b, h, w, 3] with h and w multiples of {STRIDE}, not "
            f"{image.shape}; lowlight_jax.ops.padding pads and crops"
        )
