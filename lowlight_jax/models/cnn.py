"""A plain convolutional network that maps a dark image to a bright one.

Source: paper B, "Image Enhancement using CNNs", task 1, which names the loss (MSE), the
optimizer (Adam) and 100 epochs, but no layers: depth and width are chosen.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from lowlight_jax.models.layers import Conv
from lowlight_jax.tasks.brightening import BRIGHTENING, LIGHT
from lowlight_jax.tasks.task import Network
from lowlight_jax.types import Images, Prediction


class CNN(Network):
    """3x3 convolutions at full resolution with ReLU between them, nothing else.

    Attributes:
      width: channels of the hidden layers.
      layers: convolutions in all, at least 2.
      dtype: of the convolutions; parameters are float32.
    """

    width: int = 32
    layers: int = 7
    dtype: DTypeLike = jnp.float32

    task = BRIGHTENING
    phases = ("supervised",)
    stride = 1
    only_for_dark = True
    controls = LIGHT

    def __post_init__(self):
        if self.width < 1 or self.layers < 2:
            raise ValueError(
                f"model.width is {self.width}, model.layers {self.layers}; expected at "
                "least 1 and 2"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, low: Images) -> Prediction:
        """`[b, h, w, 3]` in [0, 1], any h and w."""
        x = low
        for i in range(self.layers - 1):
            x = nn.relu(Conv(self.width, name=f"conv_{i}", dtype=self.dtype)(x))
        x = Conv(3, name="image", dtype=self.dtype)(x)
        return Prediction(x.astype(jnp.float32))

    @property
    def receptive_radius_px(self) -> int:
        """How far an output pixel sees."""
        return self.layers
