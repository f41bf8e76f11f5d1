"""Brightening: dark images become normally exposed and clean.

A batch holds

    high            uint8 crops
    low             their dark side; without it, it is synthesised here, on the device
    is_pair         beside low: where false, low is bright and is darkened here
    low_thumbnail,
    high_thumbnail  where the network sees thumbnails
    number          the place of each crop in the batch of all devices

Randomness depends only on the step and the number, and losses are means over the batch,
so it does not matter how the batch is split over devices.
Source: paper A, algorithm 1; paper B.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from lowlight_jax.data.pairs import Pair
from lowlight_jax.losses.dual import denoising_loss, enhancement_loss, joint_loss
from lowlight_jax.losses.supervised import supervised_loss
from lowlight_jax.losses.weighting import Terms
from lowlight_jax.ops.degrade import (
    ColourVariation,
    add_noise,
    underexpose,
    vary_colour,
    vary_light,
)
from lowlight_jax.tasks.task import (
    Network,
    PairMethod,
    Settings,
    Task,
    image_keys,
    unit,
)
from lowlight_jax.types import Batch, Images, Params, Scalar, Thumbnails

# How much of the learnt noise is subtracted, of networks with a denoising module.
DENOISE = MappingProxyType({"denoise": 1.0})


def _pick(keys: jax.Array, fraction: float, a: Images, b: Images) -> Images:
    """Each image from `a` with probability `fraction`, else from `b`."""
    chosen = jax.vmap(lambda key: jax.random.bernoulli(key, fraction))(keys)
    return jnp.where(chosen[:, None, None, None], a, b)


def _pairs(batch: Batch, key: jax.Array, settings: Settings) -> tuple[Images, Images]:
    """`(low, high)`, float32 in [0, 1]."""
    key_light, key_dark, key_colour, key_identity = jax.random.split(key, 4)
    high = unit(batch["high"])
    if "low" in batch:
        low = unit(batch["low"])
        if settings.dark_stops:
            keys = image_keys(key_light, batch)
            low = vary_light(keys, low, settings.dark_stops)
    if "low" not in batch or "is_pair" in batch:
        dark = underexpose(image_keys(key_dark, batch), high, settings.exposure)
        if "is_pair" in batch:
            dark = jnp.where(batch["is_pair"][:, None, None, None], low, dark)
        low = dark
    if settings.colour != ColourVariation():
        keys = image_keys(key_colour, batch)
        low, high = (vary_colour(keys, side, settings.colour) for side in (low, high))
    if settings.identity_fraction:
        keys = image_keys(key_identity, batch)
        low = _pick(keys, settings.identity_fraction, high, low)
    return low, high


def _thumbnails(
    batch: Batch, key: jax.Array, settings: Settings
) -> tuple[Thumbnails, ...]:
    """The thumbnails of the dark sides, in the batch of a network that sees them.

    They are varied or darkened as their crops are by the same key; but they show the
    whole of an uneven light, and get no noise: means of boxes have little of it.
    """
    if "high_thumbnail" not in batch:
        return ()
    thumbnails = {
        name.removesuffix("_thumbnail"): thumbnail
        for name, thumbnail in batch.items()
        if name.endswith("_thumbnail")
    }
    whole = settings.exposure.replace(
        read_noise_u8=0.0, shot_noise_u8=0.0, least_jpeg_quality=0.0, field_part=1.0
    )
    settings = dataclasses.replace(settings, exposure=whole)
    low, _ = _pairs(batch | thumbnails, key, settings)
    return (low,)


def enhance_objective(
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    model: Network,
    settings: Settings,
) -> tuple[Scalar, Terms]:
    """Phase 1: the enhancement module on low/normal pairs, formula 5."""
    low, high = _pairs(batch, key, settings)
    thumbnails = _thumbnails(batch, key, settings)
    enhanced = model.apply({"params": params}, low, *thumbnails, method="enhance")
    return enhancement_loss(enhanced, low, high, settings.enhancement)


def denoise_objective(
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    model: Network,
    settings: Settings,
) -> tuple[Scalar, Terms]:
    """Phase 2: the denoising module on noisy/clean images, formula 6."""
    key_pairs, key_noise, key_pick = jax.random.split(key, 3)
    low, high = _pairs(batch, key_pairs, settings)
    thumbnails = _thumbnails(batch, key_pairs, settings)
    enhanced = model.apply({"params": params}, low, *thumbnails, method="enhance")
    noisy = add_noise(image_keys(key_noise, batch), high, settings.max_noise_u8)
    keys = image_keys(key_pick, batch)
    noisy = _pick(keys, settings.enhanced_fraction, enhanced.pred, noisy)
    # The enhancement module stays as it is.
    given = jax.lax.stop_gradient((noisy, enhanced.illumination))
    denoised = model.apply({"params": params}, *given, method="denoise")
    return denoising_loss(denoised, given[0], high, settings.denoising)


def joint_objective(
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    model: Network,
    settings: Settings,
) -> tuple[Scalar, Terms]:
    """Phase 3, chosen: both modules together; 0 steps where the paper is followed."""
    low, high = _pairs(batch, key, settings)
    output = model.apply({"params": params}, low, *_thumbnails(batch, key, settings))
    return joint_loss(output, low, high, settings.enhancement, settings.denoising)


def supervised_objective(
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    model: Network,
    settings: Settings,
) -> tuple[Scalar, Terms]:
    """Any network that brightens, on low/normal pairs; paper B, tasks 1 and 2."""
    low, high = _pairs(batch, key, settings)
    pred = model.apply({"params": params}, low, *_thumbnails(batch, key, settings)).pred
    return supervised_loss(pred, high, settings.supervised)


def predict(
    network: Network,
    params: Params,
    image: Images,
    controls: Mapping[str, jax.Array],
    *,
    mask: None = None,
    thumbnail: Thumbnails | None = None,
) -> Images:
    """The brightened image; `denoise`, where a network has it, mixes the noise back."""
    del mask
    inputs = (image, thumbnail) if network.sees_thumbnail else (image,)
    variables = {"params": params}
    if "denoise" not in network.controls:
        return network.apply(variables, *inputs).pred
    enhanced = network.apply(variables, *inputs, method="enhance")
    if "denoise" not in controls:
        return enhanced.pred
    denoised = network.apply(
        variables, enhanced.pred, enhanced.illumination, method="denoise"
    )
    return enhanced.pred - controls["denoise"] * denoised.noise


def _make_pairs(
    photographs: Mapping[str, np.ndarray], settings: Settings
) -> Sequence[Pair]:
    from lowlight_jax.data.photographs import darkened_pairs

    return darkened_pairs(photographs, settings.exposure)


def _baselines() -> dict[str, PairMethod]:
    from lowlight_jax.baselines import lime, retinex, tone

    return {
        "input": lambda pair: pair.low,
        "gamma 0.4": lambda pair: tone.gamma(pair.low),
        "CLAHE": lambda pair: tone.clahe(pair.low),
        "MSRCR": lambda pair: retinex.msrcr(pair.low),
        "LIME": lambda pair: lime.lime(pair.low),
    }


BRIGHTENING = Task(
    name="brightening",
    objectives={
        "enhance": enhance_objective,
        "denoise": denoise_objective,
        "joint": joint_objective,
        "supervised": supervised_objective,
    },
    losses={
        "enhance": ("enhancement",),
        "denoise": ("denoising",),
        "joint": ("enhancement", "denoising"),
        "supervised": ("supervised",),
    },
    predict=predict,
    make_pairs=_make_pairs,
    baselines=_baselines,
    metrics=("psnr_rgb", "ssim_rgb", "ciede2000", "saturation_ratio", "noise_level"),
)
