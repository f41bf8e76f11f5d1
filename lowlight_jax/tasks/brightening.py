"""Brightening: dark images become normally exposed and clean.

A batch holds

    high            uint8 crops
    low             their dark side; without it, it is synthesised here, on the device
    is_pair         beside low: where false, low is bright and is darkened here, whether
                    it is high itself or a normal exposure of what high shows better
    low_thumbnail,
    high_thumbnail  where the network sees thumbnails
    place           beside thumbnails: where the crops lie in them
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
    Compression,
    add_noise,
    save_some,
    underexpose,
    vary_colour,
    vary_light,
)
from lowlight_jax.ops.light import change_exposure, open_shadows
from lowlight_jax.tasks.control import Control
from lowlight_jax.tasks.task import (
    Network,
    PairMethod,
    Settings,
    Task,
    image_keys,
    keeping_parts,
    unit,
)
from lowlight_jax.types import (
    WHOLE,
    Batch,
    Images,
    Params,
    Places,
    Scalar,
    Thumbnails,
)

# Of every network that brightens: stops around its estimate of the exposure, and how
# far the dark parts of the result are opened.
LIGHT = MappingProxyType(
    {
        "exposure": Control(default=0.0, lowest=-2.0, highest=2.0, off=0.0),
        "shadows": Control(default=0.5, lowest=0.0, highest=1.0, off=0.5),
    }
)
# How much of the learnt noise is subtracted, of networks with a denoising module.
LIGHT_AND_NOISE = MappingProxyType(
    {**LIGHT, "denoise": Control(default=1.0, lowest=0.0, highest=1.0, off=0.0)}
)


_DARK = 1 / 255  # the step of 8 bits, added before divisions


def _pick(keys: jax.Array, fraction: float, a: Images, b: Images) -> Images:
    """Each image from `a` with probability `fraction`, else from `b`."""
    chosen = jax.vmap(lambda key: jax.random.bernoulli(key, fraction))(keys)
    return jnp.where(chosen[:, None, None, None], a, b)


def _pairs(batch: Batch, key: jax.Array, settings: Settings) -> tuple[Images, Images]:
    """`(low, high)`, float32 in [0, 1]."""
    key_light, key_dark, key_colour, key_identity, key_jpeg = jax.random.split(key, 5)
    high = unit(batch["high"])
    if "low" in batch:
        low = unit(batch["low"])
        if settings.dark_stops:
            keys = image_keys(key_light, batch)
            low = vary_light(keys, low, settings.dark_stops)
        if settings.dark_jpeg.fraction:
            keys = image_keys(key_jpeg, batch)
            low = save_some(keys, low, settings.dark_jpeg)
    if "low" not in batch or "is_pair" in batch:
        light = low if "is_pair" in batch else high
        dark = underexpose(image_keys(key_dark, batch), light, settings.exposure)
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


def _scene(
    model: Network, batch: Batch, key: jax.Array, settings: Settings
) -> tuple[jax.Array, ...]:
    """What a network is told of the whole pictures: their dark thumbnails, its place.

    Thumbnails are varied or darkened as their crops are by the same key.
    """
    if not model.sees_thumbnail:
        return ()
    low, _ = _thumbnails(batch, key, settings)
    return (low, batch["place"]) if model.sees_place else (low,)


def _thumbnails(
    batch: Batch, key: jax.Array, settings: Settings
) -> tuple[Thumbnails, Thumbnails]:
    """Of both sides, `_pairs` of the thumbnails.

    They show the whole of an uneven light, and get no noise: means of boxes have
    little of it.
    """
    thumbnails = {
        name.removesuffix("_thumbnail"): thumbnail
        for name, thumbnail in batch.items()
        if name.endswith("_thumbnail")
    }
    whole = settings.exposure.replace(
        read_noise_u8=0.0, shot_noise_u8=0.0, least_jpeg_quality=0.0, field_part=1.0
    )
    settings = dataclasses.replace(settings, exposure=whole, dark_jpeg=Compression())
    return _pairs(batch | thumbnails, key, settings)


def scene_objective(
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    model: Network,
    settings: Settings,
) -> tuple[Scalar, Terms]:
    """Before phase 1, chosen: the enhancement module on thumbnails of low/normal pairs.

    Each shows a whole scene, so that exposure is learnt from far fewer pixels.
    """
    low, high = _thumbnails(batch, key, settings)
    whole = jnp.tile(jnp.float32([WHOLE]), (len(low), 1))
    enhanced = model.apply({"params": params}, low, low, whole, method="enhance")
    return enhancement_loss(enhanced, low, high, settings.enhancement)


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
    scene = _scene(model, batch, key, settings)
    enhanced = model.apply({"params": params}, low, *scene, method="enhance")
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
    scene = _scene(model, batch, key_pairs, settings)
    enhanced = model.apply({"params": params}, low, *scene, method="enhance")
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
    params = keeping_parts(params, settings.kept_parts)
    low, high = _pairs(batch, key, settings)
    output = model.apply({"params": params}, low, *_scene(model, batch, key, settings))
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
    pred = model.apply(
        {"params": params}, low, *_scene(model, batch, key, settings)
    ).pred
    return supervised_loss(pred, high, settings.supervised)


def predict(
    network: Network,
    params: Params,
    image: Images,
    controls: Mapping[str, jax.Array],
    *,
    thumbnail: Thumbnails | None = None,
    place: Places | None = None,
) -> Images:
    """The brightened image, as bright as the user likes; see `LIGHT_AND_NOISE`.

    Noise is taken away last, since more light makes more of it.
    """
    inputs = [given for given in (image, thumbnail, place) if given is not None]
    variables = {"params": params}
    if "denoise" not in network.controls:
        return _in_light(network.apply(variables, *inputs).pred, controls)
    enhanced = network.apply(variables, *inputs, method="enhance")
    pred = _in_light(enhanced.pred, controls)
    if "denoise" not in controls:
        return pred
    illumination = enhanced.illumination
    if turned := controls.keys() & LIGHT.keys():
        gain = (pred + _DARK) / (jnp.clip(enhanced.pred, 0.0, 1.0) + _DARK)
        is_on = sum(controls[name] != LIGHT[name].off for name in turned) > 0
        relit = jnp.clip(illumination / gain, 1e-3, 1.0)
        illumination = jnp.where(is_on, relit, illumination)
    denoised = network.apply(variables, pred, illumination, method="denoise")
    return pred - controls["denoise"] * denoised.noise


def _in_light(pred: Images, controls: Mapping[str, jax.Array]) -> Images:
    """A control that is off does nothing, not even clip, whether it is named or not."""
    if "shadows" in controls:
        shadows = controls["shadows"]
        opened = open_shadows(pred, 2.0 * shadows - 1.0)
        pred = jnp.where(shadows == LIGHT["shadows"].off, pred, opened)
    if "exposure" in controls:
        exposure = controls["exposure"]
        changed = change_exposure(pred, exposure)
        pred = jnp.where(exposure == LIGHT["exposure"].off, pred, changed)
    return pred


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
        "scene": scene_objective,
        "enhance": enhance_objective,
        "denoise": denoise_objective,
        "joint": joint_objective,
        "supervised": supervised_objective,
    },
    losses={
        "scene": ("enhancement",),
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
