"""Frames enhanced one after the other, each in the light of those before it.

Frame by frame, a network's estimate of the exposure trembles with the noise, which one
sees as flicker. So it is shown a scene that is smoothed over time (`scene`), and what
is left of the noise is averaged along the motion (`temporal`).
`enhance_frames` is for frames from anywhere, `enhanced` for those of a video; both take
one step after the other, `FrameMethod`, a pure function, whose state can be kept to go
on later as if nothing had happened.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lowlight_jax.checks import as_image, number
from lowlight_jax.inference.finish import blend, converted, finish
from lowlight_jax.inference.runner import DEFAULT_MODEL, Enhancer, Runner, Scene
from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.video.reader import Frame
from lowlight_jax.video.scene import SceneState, hold_exposure, next_scene
from lowlight_jax.video.temporal import Past, blend_past

if TYPE_CHECKING:
    from lowlight_jax.inference.methods import ClassicalMethod

SMOOTH_SECONDS = 1.0  # chosen
_WHOLE = (0.0, 0.0, 1.0, 1.0)


class State(NamedTuple):
    """What a frame leaves to the next one.

    Attributes:
      scene: None before the first frame, and of methods that see no scene.
      past: None before the first frame, and without temporal denoising.
    """

    scene: SceneState | None = None
    past: Past | None = None

    def as_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays, for a file."""
        parts = {"scene": self.scene, "past": self.past}
        return {
            f"{part}.{name}": np.asarray(array)
            for part, value in parts.items()
            if value is not None
            for name, array in value._asdict().items()
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "State":
        """The inverse of `as_arrays`."""
        parts = {}
        for part, kind in (("scene", SceneState), ("past", Past)):
            values = [arrays.get(f"{part}.{name}") for name in kind._fields]
            parts[part] = None if values[0] is None else kind(*values)
        return cls(**parts)


START = State()


class Result(NamedTuple):
    """A frame that is done.

    Attributes:
      pixels: `[h, w, 3]`.
      pts: see `reader.Frame`.
      state: for the next one.
    """

    pixels: np.ndarray
    pts: int
    state: State


@dataclasses.dataclass(frozen=True)
class FrameMethod:
    """A method, and all that is asked of it, for frames in a row.

    Attributes:
      method: see `inference.methods.load_method`.
      smooth_seconds: over how long the scene is averaged; 0: each frame has its own.
      temporal_denoise: whether a result is averaged with those before it.
      inside: rows and columns without black bars.
      mask: `[h, w]`, not 0 in holes, for a method that needs one.
      strength, controls: see `Runner.__call__`.
      unsharp, saturation: see `finish`.
    """

    method: "Runner | ClassicalMethod"
    smooth_seconds: float = SMOOTH_SECONDS
    temporal_denoise: bool = True
    inside: tuple[slice, slice] = (slice(None), slice(None))
    mask: np.ndarray | None = None
    strength: float = 1.0
    unsharp: float = 0.0
    saturation: float = 1.0
    controls: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __call__(
        self, state: State, frame: np.ndarray, seconds: float
    ) -> tuple[State, np.ndarray]:
        """The next frame's result, of the same shape and dtype.

        Args:
          state: of the frame before; `START` for the first.
          frame: `[h, w, 3]` uint8 or uint16.
          seconds: since the frame before.
        """
        shown = frame[self.inside]
        if self.method.needs_mask:
            scene, past = None, None
            result = self.method(shown, self.mask, strength=self.strength)
        else:
            scene, past, result = self._brighten(state, shown, seconds)
            # Now, or strength 0 would not leave the frame as it is.
            result = blend(shown, result, self.strength)
        whole = frame.copy()
        whole[self.inside] = finish(
            result, unsharp=self.unsharp, saturation=self.saturation
        )
        return State(scene, past), whole

    def _brighten(
        self, state: State, frame: np.ndarray, seconds: float
    ) -> tuple[SceneState | None, Past | None, np.ndarray]:
        scene, is_cut = None, False
        if isinstance(self.method, Runner):
            scene, is_cut = next_scene(
                state.scene, make_thumbnail(frame), seconds, self.smooth_seconds
            )
            given = hold_exposure(frame, scene) if self.smooth_seconds else frame
            shown = Scene(hold_exposure(scene.smooth, scene), _WHOLE)
            result = self.method(given, scene=shown, **self.controls)
        else:
            result = self.method(frame)
        result = converted(result, frame.dtype)
        if not self.temporal_denoise:
            return scene, None, result
        result, past = blend_past(None if is_cut else state.past, result)
        return scene, past, result


def enhanced(
    frames: Iterable[Frame],
    method: FrameMethod,
    time_base: Fraction,
    state: State = START,
    last: int | None = None,
) -> Iterator[Result]:
    """Frames as a method makes them, each when it is asked for.

    Args:
      frames: in order.
      method: one step.
      time_base: a tick, in seconds.
      state, last: what the frame before left, and its time; of the first nothing.
    """
    for pixels, pts in frames:
        seconds = 0.0 if last is None else float((pts - last) * time_base)
        state, result = method(state, pixels, seconds)
        last = pts
        yield Result(result, pts, state)


def enhance_frames(
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    model: str = DEFAULT_MODEL,
    checkpoint: str | None = None,
    smooth_seconds: float = SMOOTH_SECONDS,
    temporal_denoise: bool = True,
    strength: float = 1.0,
    **controls: float,
) -> Iterator[np.ndarray]:
    """Brightens the frames of a video, without flicker.

    Only one frame is held beside what the next one needs of it: `frames` may be a
    camera.

    Args:
      frames: `[h, w, 3]` RGB, uint8 or uint16, all of one shape and dtype.
      fps: how many there are in a second.
      model, checkpoint: as of `Enhancer`.
      smooth_seconds, temporal_denoise: see `FrameMethod`.
      strength, **controls: see `Runner.__call__`.
    Raises:
      ValueError: a frame or a value is none of these.
    """
    fps = number("fps", fps, 1e-3, 1e6)
    method = FrameMethod(
        Enhancer(model, checkpoint),
        number("smooth_seconds", smooth_seconds, 0, 3600),
        temporal_denoise,
        strength=strength,
        controls=controls,
    )
    checked = (Frame(frame, i) for i, frame in enumerate(_of_one_kind(frames)))
    for result in enhanced(checked, method, Fraction(1 / fps)):
        yield result.pixels


def _of_one_kind(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    first = None
    for frame in frames:
        frame = as_image(frame, batches=False)
        first = frame if first is None else first
        if frame.shape != first.shape or frame.dtype != first.dtype:
            raise ValueError(
                f"a frame is {frame.dtype} {frame.shape}, and the first is "
                f"{first.dtype} {first.shape}; expected frames of one kind"
            )
        if frame.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"frames are {frame.dtype}; expected uint8 or uint16 of full range"
            )
        yield frame
