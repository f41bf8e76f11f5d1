"""Inpainting: holes given by a mask are filled; all other pixels stay.

A batch holds uint8 crops, "high", and "mask", 255 in the holes that were drawn with
them. Source: paper B, task 3.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from lowlight_jax.data.pairs import Pair
from lowlight_jax.losses.repair import repair_loss
from lowlight_jax.losses.weighting import Terms
from lowlight_jax.ops.damage import find_holes
from lowlight_jax.tasks.task import (
    Network,
    PairMethod,
    Settings,
    Task,
    unit,
)
from lowlight_jax.types import Batch, Images, Mask, Params, Scalar


def repair_objective(
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    model: Network,
    settings: Settings,
) -> tuple[Scalar, Terms]:
    """A network that gets an image and its holes."""
    del key  # the holes are drawn with the crops
    high, holes = unit(batch["high"]), unit(batch["mask"])
    pred = model.apply({"params": params}, high * (1.0 - holes), holes).pred
    return repair_loss(pred, high, holes, settings.repair)


def predict(
    network: Network,
    params: Params,
    image: Images,
    controls: Mapping[str, jax.Array],
    *,
    mask: Mask,
) -> Images:
    """The image with its holes filled."""
    del controls
    return network.apply({"params": params}, image, mask).pred


def _make_pairs(
    photographs: Mapping[str, np.ndarray], settings: Settings
) -> Sequence[Pair]:
    from lowlight_jax.data.photographs import damaged_pairs

    return damaged_pairs(photographs, settings.damage)


def _baselines() -> dict[str, PairMethod]:
    from lowlight_jax.baselines import inpainting

    def filled_by(method: inpainting.Method) -> PairMethod:
        return lambda pair: method(pair.low, pair.mask)

    methods = {name: filled_by(f) for name, f in inpainting.METHODS.items()}
    return {"input": lambda pair: pair.low, **methods}


INPAINTING = Task(
    name="inpainting",
    objectives={"repair": repair_objective},
    losses={"repair": ("repair",)},
    predict=predict,
    make_pairs=_make_pairs,
    baselines=_baselines,
    metrics=("psnr_holes", "psnr_rgb", "ssim_rgb", "ciede2000"),
    trains_on=("photographs",),
    find_mask=find_holes,
    # Multiples of the stride; BSDS's 321x481, either way up, fits one.
    window_shapes=(
        (128, 128),
        (256, 256),
        (352, 512),
        (512, 352),
        (640, 640),
        (1024, 1024),
    ),
)
