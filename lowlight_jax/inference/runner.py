"""A network on one image of any size: `enhance(image)`, `repair(image, mask)`.

`Runner` serves every task; what differs is in the network's `task`. Not here: how an
image is cut (`tiles`), files (`methods`, `batch`).
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from lowlight_jax.checks import as_image, as_mask, number
from lowlight_jax.inference.onnx_runtime import OnnxNetwork, load_onnx, takes_onnx
from lowlight_jax.inference.tiles import TILE_SHAPES, Tile, overlap_px, plan_tiles
from lowlight_jax.ops.darkness import darkness
from lowlight_jax.ops.letterbox import inside_bars
from lowlight_jax.ops.padding import reflected_window
from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.runtime.progress import Listener, listening, track

if TYPE_CHECKING:
    from lowlight_jax.tasks.task import Control, Network, Task
    from lowlight_jax.types import Params

DEFAULT_MODEL = "dual_global_photo"  # of weights that ship: for anybody's photographs
INPAINT_MODEL = "inpaint"
_WHOLE_OVERLAP_PX = 24  # of the tiles of networks that see the whole image


class Scene(NamedTuple):
    """The whole picture of which an image is a part, perhaps a smaller copy of it.

    Attributes:
      thumbnail: of the whole, as `make_thumbnail` gives it.
      place: top, left, bottom and right of the image in the whole, whose sides are 0
        and 1.
    """

    thumbnail: np.ndarray
    place: tuple[float, float, float, float]


class Runner:
    """A network ready for images: compiled once for each window shape and pixel type.

    The thumbnail, where the network sees one, is made once and shared by all windows.

    Attributes:
      network: with its `task` and `controls`.
      source: what its weights were named by, if it was made by their name.
    """

    source: str | Path | None = None

    def __init__(self, network: "Network | OnnxNetwork", params: Any = None):
        self.network = network
        sees_all = network.receptive_radius_px is None
        self._overlap = _WHOLE_OVERLAP_PX if sees_all else overlap_px(network)
        if isinstance(network, OnnxNetwork):
            self._run, self._queues = network.run, False
        else:
            import jax

            self._run = functools.partial(_compiled(network), params)
            self._queues = jax.default_backend() != "cpu"

    @classmethod
    def from_pretrained(
        cls, repo_or_dir: str | Path, revision: str | None = None
    ) -> Self:
        """Of a repository on the Hugging Face hub; `Enhancer` and `Repairer` have it.

        Args, Raises: see `weights.hub.find_pretrained`.
        """
        from lowlight_jax.weights import hub

        return cls(checkpoint=hub.find_pretrained(repo_or_dir, revision))

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Writes the weights as the hub wants them: see `weights.pretrained`."""
        from lowlight_jax.weights import pretrained

        pretrained.save_pretrained(self._source(), folder, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Commits them to the hub, and says where: see `weights.pretrained`."""
        from lowlight_jax.weights import pretrained

        return pretrained.push_to_hub(self._source(), repo_id, **options)

    def _source(self) -> str | Path:
        if self.source is None:
            raise ValueError(
                "this runner was made of parameters, not of a file; save them with "
                "weights.save_weights, and make an Enhancer or Repairer of the file"
            )
        return self.source

    @property
    def name(self) -> str:
        """The network's, in tables and messages."""
        if isinstance(self.network, OnnxNetwork):
            return self.network.name
        from lowlight_jax.models import name_of

        return name_of(self.network)

    @property
    def task(self) -> "Task":
        """What the network is for."""
        return self.network.task

    @property
    def needs_mask(self) -> bool:
        """Whether it replaces what a mask tells and leaves the rest as it is."""
        return self.network.needs_mask

    @property
    def controls(self) -> Mapping[str, "Control"]:
        """What can be turned, by name."""
        return self.network.controls

    def __call__(
        self,
        image: np.ndarray,
        mask: np.ndarray | None = None,
        *,
        strength: float = 1.0,
        progress: Listener | None = None,
        scene: Scene | None = None,
        **controls: float,
    ) -> np.ndarray:
        """The result, of the same shape and dtype as the image.

        Black bars at its borders are no part of the scene, and stay as they are; an
        image of which all channels are the same stays so.

        Args:
          image: `[h, w, c]` or `[b, h, w, c]`, c = 3 (RGB) or 1 (gray), sRGB: uint8,
            uint16 (full range), or floating point in [0, 1], clipped where it is
            outside by no more than `checks.TOLERANCE`.
          mask: `[h, w]` or `[h, w, 1]`, not 0 where the image is to be replaced; None:
            what `task.find_mask` finds. Only for a task with a mask.
          strength: 0 (the image itself) to 1 (the network's result); in between, the
            two are mixed. A bright image stays as it is: either the network was taught
            so, or this is multiplied by `darkness`.
          progress: told the finished fraction, 0 to 1, after each window.
          scene: what a single image is a part of; None: it is a whole picture. A part
            is not searched for black bars.
          **controls: of the network. `denoise`, 0 to 1, is how much of the learnt noise
            is subtracted; `exposure`, -2 to 2, stops around the network's estimate;
            `shadows`, 0 to 1, how far dark parts are opened, 0.5 by default.
        Raises:
          ValueError: the image, the mask or a value is none of these, or the network
            has no such control.
        """
        image = as_image(image)
        strength = number("strength", strength, 0, 1)
        active = self._active(controls)
        if image.ndim == 4:
            if self.needs_mask:
                raise ValueError(
                    f"image has shape {image.shape}; expected [h, w, c], one "
                    "image, since a mask is for one"
                )
            each = [self(one, strength=strength, **controls) for one in image]
            return np.stack(each) if each else image.copy()
        if mask is not None and not self.needs_mask:
            raise ValueError(
                f"a mask was given, but a network for {self.task.name} takes "
                "none; leave it out"
            )
        if not image.size:
            return image.copy()
        if self.needs_mask:
            mask = self.task.find_mask(image) if mask is None else mask
            mask = as_mask(mask, image)
            return self._run_windows(image, mask, strength, active, progress)
        inside = inside_bars(image) if scene is None else ...
        part = image[inside]
        if _is_gray(part):
            part = part[..., :1]
        result = self._run_windows(part, None, strength, active, progress, scene)
        if result.shape == image.shape:
            return result
        out = image.copy()
        out[inside] = result
        return out

    def _run_windows(
        self,
        image: np.ndarray,
        mask: np.ndarray | None,
        strength: float,
        active: Mapping[str, float],
        progress: Listener | None,
        scene: Scene | None = None,
    ) -> np.ndarray:
        if self.network.only_for_dark:
            strength *= darkness(image if scene is None else scene.thumbnail)
        if scene is None and self.network.sees_thumbnail:
            scene = Scene(make_thumbnail(image), (0.0, 0.0, 1.0, 1.0))
        tiles = self._plan(image, mask)
        with listening(progress):
            windows = (
                self._inputs(image, mask, tile, scene, strength, active)
                for tile in tiles
            )
            found = _overlapped(self._run, windows, queues=self._queues)
            results = ((tile, next(found)) for tile in track(tiles))
            if self.network.receptive_radius_px is None:
                return _blend(image, results, 2 * self._overlap)
            out = np.empty_like(image) if mask is None else image.copy()
            for tile, result in results:
                kept = np.asarray(result)[tile.inside]
                if mask is not None:
                    replaced = mask[tile.rows, tile.columns]
                    kept = np.where(replaced, kept, image[tile.rows, tile.columns])
                out[tile.rows, tile.columns] = kept
        return out

    def _active(self, controls: Mapping[str, float]) -> dict[str, float]:
        """The controls that are not off; an error for what cannot be."""
        given = {}
        for name, value in controls.items():
            control = self.controls.get(name)
            if control is None:
                raise ValueError(
                    f"{name} is {value}, but this network has no such control; "
                    f"expected {' or '.join(self.controls) or 'none'}"
                )
            given[name] = number(name, value, control.lowest, control.highest)
        chosen = {
            name: given.get(name, control.default)
            for name, control in self.controls.items()
        }
        return {
            name: value
            for name, value in chosen.items()
            if value != self.controls[name].off
        }

    def _plan(self, image: np.ndarray, mask: np.ndarray | None) -> list[Tile]:
        h, w = image.shape[:2]
        overlap, stride = self._overlap, self.network.stride
        shapes = self.network.window_shapes or TILE_SHAPES
        if mask is None:
            return list(plan_tiles(h, w, overlap, stride, shapes))
        # What is replaced is seen whole where it fits one window.
        whole = [shape for shape in shapes if h <= shape[0] and w <= shape[1]]
        tiles = plan_tiles(h, w, overlap, stride, whole or shapes, margin=0)
        return [tile for tile in tiles if mask[tile.rows, tile.columns].any()]

    def _inputs(
        self,
        image: np.ndarray,
        mask: np.ndarray | None,
        tile: Tile,
        scene: Scene | None,
        strength: float,
        active: Mapping[str, float],
    ) -> tuple[Any, ...]:
        """Of `_run`, for one window."""
        window = reflected_window(image, *tile[:4])
        if mask is not None:
            mask = reflected_window(mask, *tile[:4])
        thumbnail = scene.thumbnail[None] if self.network.sees_thumbnail else None
        place = None
        if self.network.sees_place:
            (h, w), (top, left, bottom, right) = image.shape[:2], scene.place
            ends = (tile.top, tile.left, tile.top + tile.height, tile.left + tile.width)
            sides = np.float64([bottom - top, right - left] * 2)
            place = np.float64([top, left] * 2) + sides * ends / [h, w, h, w]
            place = place.astype(np.float32)[None]
        return window, mask, thumbnail, place, strength, active


class Enhancer(Runner):
    """Brightens: `Enhancer()(image, strength=..., denoise=...)`; see `Runner`.

    Args:
      model: name of weights that ship with the package, or "hf:OWNER/NAME@REVISION".
      checkpoint: instead, the workdir of a training, a folder of `save_pretrained` or
        a `.safetensors` file.
      backend: "jax"; "onnxruntime", which starts sooner, compiles nothing and on two
        cores is an eighth slower; or "auto", see `onnx_runtime.takes_onnx`.
    Raises:
      WeightsError: there are no such weights, or they are for another task.
      ValueError, ImportError: there is no such back end, or it is not installed.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        checkpoint: str | Path | None = None,
        *,
        backend: str = "jax",
    ):
        super().__init__(*_load("brightening", model, checkpoint, backend))
        self.source = model if checkpoint is None else Path(checkpoint).absolute()


class Repairer(Runner):
    """Fills holes: `Repairer()(image, mask)`; see `Runner`.

    Args, Raises: as `Enhancer`.
    """

    def __init__(
        self,
        model: str = INPAINT_MODEL,
        checkpoint: str | Path | None = None,
        *,
        backend: str = "jax",
    ):
        super().__init__(*_load("inpainting", model, checkpoint, backend))
        self.source = model if checkpoint is None else Path(checkpoint).absolute()


def _load(
    task: str, model: str, checkpoint: str | Path | None, backend: str
) -> tuple[Any, ...]:
    """What a `Runner` is made of."""
    from lowlight_jax import weights

    # A path that is no bare name: a workdir may be called like weights that ship.
    source = model if checkpoint is None else Path(checkpoint).absolute()
    if takes_onnx(backend, source):
        network = load_onnx(source)
        made_of, found = (network,), network.task_name
    else:
        load = weights.load_any if checkpoint is None else weights.load_checkpoint
        made_of = load(checkpoint or model)
        found = made_of[0].task.name
    if found != task:
        raise weights.WeightsError(
            f"the weights {checkpoint or model} are for {found}; expected weights for "
            f"{task}"
        )
    return made_of


def _is_gray(image: np.ndarray) -> bool:
    """Whether all channels of a colour image are the same."""
    red = image[..., :1]
    return bool((red[::16, ::16] == image[::16, ::16]).all() and (red == image).all())


def _overlapped(
    run: Callable[..., Any], windows: Iterable[tuple[Any, ...]], *, queues: bool
) -> Iterator[Any]:
    """Results in order; the next window is cut while one is computed.

    A device of its own `queues` it, so as not to wait for the transfer. On CPU that
    would only hold the buffers of two: a window is sent when the last one is done.
    """
    before: list[Any] = []
    for inputs in windows:
        if not queues:
            yield from map(np.asarray, before)  # waits
            before = []
        sent = [run(*inputs)]
        yield from before
        before = sent
    yield from before


def _blend(
    image: np.ndarray, results: Iterator[tuple[Tile, np.ndarray]], overlap: int
) -> np.ndarray:
    """Tiles faded into each other where they overlap by `overlap` pixels.

    A network that sees the whole image sees each tile as one, so that tiles differ.
    """
    h, w, c = image.shape
    total, weight = np.zeros((h, w, c), np.float32), np.zeros((h, w, 1), np.float32)
    for tile, result in results:
        fades = []
        for side in (tile.height, tile.width):
            nearest = np.minimum(np.arange(side), np.arange(side)[::-1]) + 1
            fades.append(np.minimum(nearest / (overlap + 1), 1).astype(np.float32))
        fade = fades[0][:, None, None] * fades[1][None, :, None]
        top, left = max(tile.top, 0), max(tile.left, 0)
        bottom, right = min(tile.top + tile.height, h), min(tile.left + tile.width, w)
        inside = (
            slice(top - tile.top, bottom - tile.top),
            slice(left - tile.left, right - tile.left),
        )
        total[top:bottom, left:right] += fade[inside] * np.asarray(result)[inside]
        weight[top:bottom, left:right] += fade[inside]
    total /= weight
    if np.issubdtype(image.dtype, np.integer):
        total = np.rint(total)
    return total.astype(image.dtype)


@functools.cache
def _compiled(network: "Network") -> Callable:
    """One jitted function for each network, shared by all its runners.

    Where compiled functions are kept on disk, lowered ones are too; not those of
    networks from elsewhere, whose source could change without a sign.
    """
    import jax
    import jax.numpy as jnp

    from lowlight_jax.runtime.cache import exports_folder
    from lowlight_jax.runtime.compiler import cpu_compiler_options
    from lowlight_jax.runtime.exports import keep_exports

    options = {"compiler_options": cpu_compiler_options()}

    @functools.partial(jax.jit, **options)
    def run(
        params: "Params",
        window: jax.Array,
        mask: jax.Array | None,
        thumbnail: jax.Array | None,
        place: jax.Array | None,
        strength: jax.Array,
        controls: Mapping[str, jax.Array],
    ) -> jax.Array:
        integer = jnp.issubdtype(window.dtype, jnp.integer)
        full = jnp.iinfo(window.dtype).max if integer else 1
        given = window[None].astype(jnp.float32) / full
        image = jnp.broadcast_to(given, (*given.shape[:-1], 3))
        if mask is not None:
            mask = mask[None].astype(jnp.float32)
        context = {"mask": mask, "thumbnail": thumbnail, "place": place}
        used = {name: value for name, value in context.items() if value is not None}
        pred = network.task.predict(network, params, image, controls, **used)
        if given.shape[-1] == 1:
            pred = pred.mean(-1, keepdims=True)
        # Clip, then mix, then round: nothing wraps, and strength 0 is the image itself.
        mixed = given + strength * (jnp.clip(pred, 0.0, 1.0) - given)
        if integer:
            mixed = jnp.round(mixed * full)
        return mixed[0].astype(window.dtype)

    is_ours = type(network).__module__.startswith("lowlight_jax.")
    folder = exports_folder() if is_ours else None
    return keep_exports(run, repr(network), folder, **options) if folder else run


@functools.cache
def _cached(
    kind: "type[Enhancer | Repairer]", model: str, checkpoint: str | None, backend: str
) -> Runner:
    return kind(model, checkpoint, backend=backend)


def enhance(
    image: np.ndarray,
    *,
    model: str = DEFAULT_MODEL,
    checkpoint: str | None = None,
    backend: str = "jax",
    strength: float = 1.0,
    progress: Listener | None = None,
    **controls: float,
) -> np.ndarray:
    """Brightens a dark image: see `Enhancer` and `Runner.__call__`.

    Weights are loaded at the first call and kept.
    """
    enhancer = _cached(Enhancer, model, checkpoint, backend)
    return enhancer(image, strength=strength, progress=progress, **controls)


def repair(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    model: str = INPAINT_MODEL,
    checkpoint: str | None = None,
    backend: str = "jax",
    strength: float = 1.0,
    progress: Listener | None = None,
) -> np.ndarray:
    """Fills the holes of an image: see `Repairer` and `Runner.__call__`.

    Weights are loaded at the first call and kept.
    """
    repairer = _cached(Repairer, model, checkpoint, backend)
    return repairer(image, mask, strength=strength, progress=progress)
