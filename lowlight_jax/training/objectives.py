"""What each training phase minimises: `(params, batch, key) -> (loss, terms)`.

A batch holds uint8 crops: "low" and "high", or "high" alone, whose dark side is then
synthesised here, on the device; "is_pair" where only some of "low" are dark and the
others are to be synthesised; "mask" where holes are to be repaired; "low_thumbnail" and
"high_thumbnail", the whole pictures reduced, where the network is to see them; and
"number", the place of each crop in the batch of all devices: what is random about a
crop depends on the step and on that alone. Losses are means over the batch. So neither
depends on how the batch is split over devices.
Source: paper A, algorithm 1; paper B; SYSTEM sections 5 and 8.
"""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from lowlight_jax.losses.dual import (
    DenoisingWeights,
    EnhancementWeights,
    denoising_loss,
    enhancement_loss,
    joint_loss,
)
from lowlight_jax.losses.repair import RepairWeights, repair_loss
from lowlight_jax.losses.supervised import SupervisedWeights, supervised_loss
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.ops.degrade import (
    ColourVariation,
    Exposure,
    add_noise,
    underexpose,
    vary_colour,
    vary_light,
)
from lowlight_jax.training.step import Batch, Metrics, Objective, Params
from lowlight_jax.types import Images, Scalar


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that the phases can be told.

    Attributes:
      enhancement, denoising, supervised, repair: weights of the losses.
      exposure: of the synthetic dark side, where there is no real one.
      colour: how the colours of both sides of a pair are varied.
      dark_stops: the values of a real dark side are doubled or halved up to so many
        times.
      identity_fraction: of the images whose dark side is replaced by the normal one, so
        that a picture that is bright already is left as it is; chosen.
      enhanced_fraction: phase "denoise": of the images whose noisy side is the
        enhancement module's own output; the others get synthetic noise.
      max_noise_u8: standard deviation of that synthetic noise, at most.
    """

    enhancement: EnhancementWeights = EnhancementWeights()
    denoising: DenoisingWeights = DenoisingWeights()
    supervised: SupervisedWeights = SupervisedWeights()
    repair: RepairWeights = RepairWeights()
    exposure: Exposure = Exposure()
    colour: ColourVariation = ColourVariation()
    dark_stops: float = 0.0
    identity_fraction: float = 0.0
    enhanced_fraction: float = 0.5
    max_noise_u8: float = 40.0


def _image_keys(key: jax.Array, batch: Batch) -> jax.Array:
    """A key for each image."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["number"])


def _pick(keys: jax.Array, fraction: float, a: Images, b: Images) -> Images:
    """Each image from `a` with probability `fraction`, else from `b`."""
    chosen = jax.vmap(lambda key: jax.random.bernoulli(key, fraction))(keys)
    return jnp.where(chosen[:, None, None, None], a, b)


def _unit(images: jax.Array) -> Images:
    """Float32 in [0, 1] of uint8; what is float already stays."""
    return images if images.dtype == jnp.float32 else images.astype(jnp.float32) / 255.0


def _pairs(batch: Batch, key: jax.Array, settings: Settings):
    """`(low, high)`, float32 in [0, 1]."""
    key_light, key_dark, key_colour, key_identity = jax.random.split(key, 4)
    high = _unit(batch["high"])
    if "low" in batch:
        low = _unit(batch["low"])
        if settings.dark_stops:
            keys = _image_keys(key_light, batch)
            low = vary_light(keys, low, settings.dark_stops)
    if "low" not in batch or "is_pair" in batch:
        dark = underexpose(_image_keys(key_dark, batch), high, settings.exposure)
        if "is_pair" in batch:
            dark = jnp.where(batch["is_pair"][:, None, None, None], low, dark)
        low = dark
    if settings.colour != ColourVariation():
        keys = _image_keys(key_colour, batch)
        low, high = (vary_colour(keys, side, settings.colour) for side in (low, high))
    if settings.identity_fraction:
        keys = _image_keys(key_identity, batch)
        low = _pick(keys, settings.identity_fraction, high, low)
    return low, high


def _thumbnails(batch: Batch, key: jax.Array, settings: Settings) -> tuple[Images, ...]:
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
    params: Params, batch: Batch, key: jax.Array, *, model: DualNetwork, settings
) -> tuple[Scalar, Metrics]:
    """Phase 1: the enhancement module on low/normal pairs, formula 5."""
    low, high = _pairs(batch, key, settings)
    thumbnails = _thumbnails(batch, key, settings)
    enhanced = model.apply({"params": params}, low, *thumbnails, method="enhance")
    return enhancement_loss(enhanced, low, high, settings.enhancement)


def denoise_objective(
    params: Params, batch: Batch, key: jax.Array, *, model: DualNetwork, settings
) -> tuple[Scalar, Metrics]:
    """Phase 2: the denoising module on noisy/clean images, formula 6."""
    key_pairs, key_noise, key_pick = jax.random.split(key, 3)
    low, high = _pairs(batch, key_pairs, settings)
    thumbnails = _thumbnails(batch, key_pairs, settings)
    enhanced = model.apply({"params": params}, low, *thumbnails, method="enhance")
    noisy = add_noise(_image_keys(key_noise, batch), high, settings.max_noise_u8)
    keys = _image_keys(key_pick, batch)
    noisy = _pick(keys, settings.enhanced_fraction, enhanced.pred, noisy)
    # The enhancement module stays as it is.
    given = jax.lax.stop_gradient((noisy, enhanced.illumination))
    denoised = model.apply({"params": params}, *given, method="denoise")
    return denoising_loss(denoised, given[0], high, settings.denoising)


def joint_objective(
    params: Params, batch: Batch, key: jax.Array, *, model: DualNetwork, settings
) -> tuple[Scalar, Metrics]:
    """Phase 3, chosen: both modules together; 0 steps where the paper is followed."""
    low, high = _pairs(batch, key, settings)
    output = model.apply({"params": params}, low, *_thumbnails(batch, key, settings))
    return joint_loss(output, low, high, settings.enhancement, settings.denoising)


def supervised_objective(
    params: Params, batch: Batch, key: jax.Array, *, model: nn.Module, settings
) -> tuple[Scalar, Metrics]:
    """Any network that brightens, on low/normal pairs; paper B, tasks 1 and 2."""
    low, high = _pairs(batch, key, settings)
    pred = model.apply({"params": params}, low, *_thumbnails(batch, key, settings)).pred
    return supervised_loss(pred, high, settings.supervised)


def repair_objective(
    params: Params, batch: Batch, key: jax.Array, *, model: nn.Module, settings
) -> tuple[Scalar, Metrics]:
    """A network that gets an image and its holes; paper B, task 3."""
    del key  # the holes are drawn with the crops
    high, holes = _unit(batch["high"]), _unit(batch["mask"])
    pred = model.apply({"params": params}, high * (1.0 - holes), holes).pred
    return repair_loss(pred, high, holes, settings.repair)


OBJECTIVES = {
    "enhance": enhance_objective,
    "denoise": denoise_objective,
    "joint": joint_objective,
    "supervised": supervised_objective,
    "repair": repair_objective,
}


def make_objective(phase: str, *, model: nn.Module, settings) -> Objective:
    """The objective of a phase, with the model and its settings bound."""
    return partial(OBJECTIVES[phase], model=model, settings=settings)
