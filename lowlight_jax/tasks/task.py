"""What a task is, and what every network declares.

Training, evaluation and inference ask a network for its task and never which network
it is: a new task is one file with a `Task` and a network that names it, and one line in
`lowlight_jax.models.MODELS`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike

from lowlight_jax.data.pairs import Pair
from lowlight_jax.losses.dual import DenoisingWeights, EnhancementWeights
from lowlight_jax.losses.repair import RepairWeights
from lowlight_jax.losses.supervised import SupervisedWeights
from lowlight_jax.ops.damage import Damage
from lowlight_jax.ops.degrade import ColourVariation, Compression, Exposure
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX
from lowlight_jax.tasks.control import Control
from lowlight_jax.types import WHOLE, Batch, Images, Objective, Params

PairMethod = Callable[[Pair], np.ndarray]  # the result for a pair's dark side


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that objectives and synthetic pairs can be told; each takes what it needs.

    Attributes:
      enhancement, denoising, supervised, repair: weights of the losses.
      exposure: of the synthetic dark side, where there is no real one.
      damage: the holes of inpainting.
      colour: how the colours of both sides of a pair are varied.
      dark_stops: the values of a real dark side are doubled or halved up to so many
        times.
      dark_jpeg: which real dark sides are saved as JPEG.
      identity_fraction: of the images whose dark side is replaced by the normal one, so
        that a picture that is bright already is left as it is; chosen.
      enhanced_fraction: phase "denoise": of the images whose noisy side is the
        enhancement module's own output; the others get synthetic noise.
      kept_parts: modules, by path, whose parameters phase "joint" does not change.
      max_noise_u8: standard deviation of that synthetic noise, at most.
    """

    enhancement: EnhancementWeights = EnhancementWeights()
    denoising: DenoisingWeights = DenoisingWeights()
    supervised: SupervisedWeights = SupervisedWeights()
    repair: RepairWeights = RepairWeights()
    exposure: Exposure = Exposure()
    damage: Damage = Damage()
    colour: ColourVariation = ColourVariation()
    dark_stops: float = 0.0
    dark_jpeg: Compression = Compression()
    identity_fraction: float = 0.0
    enhanced_fraction: float = 0.5
    kept_parts: tuple[str, ...] = ()
    max_noise_u8: float = 40.0


@dataclasses.dataclass(frozen=True)
class Task:
    """What a network is for: how it is trained, run, compared and judged.

    Attributes:
      name: of the task, in messages: "these weights are for ...".
      objectives: what each phase of training minimises, in the order of the phases:
        `(params, batch, key, *, model, settings) -> (loss, terms)`.
      losses: sections of `config.loss` that each of the objectives uses.
      predict: one pure call on images, `(network, params, image, controls, **context)
        -> image`, `[b, h, w, 3]` in [0, 1], not clipped. `controls` holds those of
        `Network.controls` that are not off. The context is what the task and the
        network declare that they use, and nothing else: `mask`, `[b, h, w, 1]`, 1 where
        the image is to be replaced, for a task with `find_mask`; `thumbnail`,
        `[b, 128, 128, 3]`, and `place`, `[b, 4]`, for a network that sees them.
      make_pairs: `(photographs by name, settings) -> pairs`, the same at each call.
      baselines: `() -> methods by name` that cost nothing and do the same work.
      metrics: that results are compared by; `best_metric`, one of them, chooses among
        checkpoints.
      trains_on: the kinds of examples, "pairs" or "photographs".
      find_mask: `(uint8 [h, w, c], is_lossy) -> [h, w, 1]` for an image that comes
        without mask; None where the task needs none.
      window_shapes: heights and widths, in pixels, of the windows that large images are
        cut into; `inference.tiles.TILE_SHAPES` where there are none.
    """

    name: str
    objectives: Mapping[str, Callable]
    predict: Callable[..., Images]
    make_pairs: Callable[[Mapping[str, np.ndarray], Settings], Sequence[Pair]]
    baselines: Callable[[], Mapping[str, PairMethod]]
    metrics: tuple[str, ...]
    losses: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    best_metric: str = "psnr_rgb"
    trains_on: tuple[str, ...] = ("pairs", "photographs")
    find_mask: Callable[..., np.ndarray] | None = None
    window_shapes: tuple[tuple[int, int], ...] = ()

    def choose_baselines(self, text: str) -> dict[str, PairMethod]:
        """Some of the baselines: "all", "none", or names joined by commas.

        The first word of a name will do, in small letters or large: "gamma".

        Raises:
          ValueError: there is none of that name.
        """
        if text == "none":
            return {}
        baselines = dict(self.baselines())
        if text == "all":
            return baselines
        by_word = {name.split()[0].lower(): name for name in baselines}
        words = [word.strip().lower() for word in text.split(",")]
        if unknown := [word for word in words if word not in by_word]:
            raise ValueError(
                f"no baseline {unknown[0]!r} for {self.name}; expected all, none, or "
                f"some of {','.join(by_word)}"
            )
        return {
            name: baselines[name] for word, name in by_word.items() if word in words
        }

    @property
    def needs_mask(self) -> bool:
        """Whether a network of this task is told which pixels to replace."""
        return self.find_mask is not None


class Network(nn.Module):
    """What every network declares; `__call__` returns a struct with `pred`.

    Attributes:
      task: what it is for.
      phases: what it can be trained by, some of `task.objectives`.
      stride: height and width of its input are multiples of it, in pixels.
      receptive_radius_px: (receptive field - 1) / 2, how many pixels to each side an
        output pixel depends on; None: on the whole image.
      sees_thumbnail: whether it is also given a thumbnail of the whole picture,
        `ops.thumbnail`.
      sees_place: whether it is told too where in the picture its input lies,
        `types.Places`.
      only_for_dark: it was trained on dark pictures alone, and takes every shadow for
        one; its effect is faded out on bright ones.
      controls: what a user can turn, by name.
      dtype: of the convolutions; parameters are float32.
    """

    dtype: DTypeLike = jnp.float32

    task: ClassVar[Task]
    phases: ClassVar[tuple[str, ...]]
    stride: ClassVar[int]
    receptive_radius_px: ClassVar[int | None]
    sees_thumbnail: ClassVar[bool] = False
    sees_place: ClassVar[bool] = False
    only_for_dark: ClassVar[bool] = False
    controls: ClassVar[Mapping[str, Control]] = MappingProxyType({})

    @property
    def needs_mask(self) -> bool:
        """See `Task`."""
        return self.task.needs_mask

    @property
    def window_shapes(self) -> tuple[tuple[int, int], ...]:
        """See `Task`."""
        return self.task.window_shapes


def keeping_parts(params: Params, parts: Sequence[str]) -> Params:
    """The same parameters, without a gradient in modules, by path.

    Raises:
      ValueError: there is no such module.
    """
    flat = flatten_dict(params, sep="/")
    for part in parts:
        kept = [name for name in flat if name.startswith(f"{part}/")]
        if not kept:
            raise ValueError(
                f"kept_parts: the model has no module {part!r}; expected paths like "
                f"{min(flat).rpartition('/')[0]!r}"
            )
        flat |= {name: jax.lax.stop_gradient(flat[name]) for name in kept}
    return unflatten_dict(flat, sep="/")


def example_inputs(
    network: Network, height: int = 0, width: int = 0
) -> tuple[jax.Array, ...]:
    """What `network` is called with: black, small where no size is given."""
    side = -(-32 // network.stride) * network.stride
    image = jnp.zeros((1, height or side, width or side, 3), jnp.float32)
    inputs = [image]
    if network.task.needs_mask:
        inputs.append(image[..., :1])
    if network.sees_thumbnail:
        inputs.append(jnp.zeros((1, THUMBNAIL_PX, THUMBNAIL_PX, 3), jnp.float32))
    if network.sees_place:
        inputs.append(jnp.float32([WHOLE]))
    return tuple(inputs)


def make_objective(phase: str, *, model: Network, settings: Settings) -> Objective:
    """The objective of a phase, with the network and its settings bound."""
    return partial(model.task.objectives[phase], model=model, settings=settings)


def image_keys(key: jax.Array, batch: Batch) -> jax.Array:
    """A key for each image, by its number in the batch of all devices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["number"])


def unit(images: jax.Array | np.ndarray) -> Images:
    """Float32 in [0, 1] of uint8; what is float already stays."""
    return images if images.dtype == jnp.float32 else images.astype(jnp.float32) / 255.0
