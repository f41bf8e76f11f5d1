"""Measures of video: does brightness pump, does a surface stay as it is?

    flicker        alone        lower   levels
    warping_error  alone        lower   squares of values in [0, 1], times 1000
    AB(var)        with truth   lower   levels squared
    MABD           with truth   lower   levels squared

Contract: frames `[h, w, 3]` RGB, uint8 or uint16 of full range, one after the other;
a level is 1/255 of white. Brightness is Rec. 601 luma. Of each frame four numbers are
kept, and the pixels of the last one alone: an hour takes no more memory than a second.
Not here: measures of single frames (PSNR, SSIM and the others of `metrics`); files and
tables (`lowlight_jax.evaluation.video`). Which paper leaves what open, and what each
measure cannot tell, is in docs/measures.md.
"""

import dataclasses
import math
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

from lowlight_jax.checks import same_shape
from lowlight_jax.ops.colour import luma

Frame = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Luma = Float[np.ndarray, "h w"]
Rgb = Float[np.ndarray, "h w 3"]
Flow = Float[np.ndarray, "h w 2"]
Visible = Bool[np.ndarray, "h w"]

DTYPES = (np.uint8, np.uint16)
CUT_BELOW = 0.6  # correlation of successive scenes
_SCENE_PX = 32  # side
_FLAT = 0.05  # standard deviation of a log scene without contrast: 5 % of brightness
_FLOW_SIDE_PX = 12  # a frame with both sides below has no flow


@dataclasses.dataclass(frozen=True)
class VideoMeasure:
    """How a measure of video is shown; the lower, the better each.

    Attributes:
      unit: in words.
      digits: behind the point, in tables.
      needs_target: it compares with the truth.
    """

    unit: str
    digits: int = 3
    needs_target: bool = False


VIDEO_MEASURES = {
    "flicker": VideoMeasure("levels"),
    "warping_error": VideoMeasure("10⁻³"),
    "AB(var)": VideoMeasure("levels²", needs_target=True),
    "MABD": VideoMeasure("levels²", digits=4, needs_target=True),
}


class _Picture:
    """A frame in levels: float32 `rgb` `[h, w, 3]`, `luma` `[h, w]` and its mean."""

    def __init__(self, pixels: Frame) -> None:
        white = np.iinfo(pixels.dtype).max
        self.rgb = np.float32(pixels) * np.float32(255 / white)
        self.luma = luma(self.rgb)[..., 0]
        self.brightness = float(self.luma.mean(dtype=np.float64))


@dataclasses.dataclass
class Track:
    """What is kept of a video: for each frame a number, NaN where there is none.

    Attributes:
      brightness: mean luma, in levels.
      flicker: absolute change of the brightness from the frame before, in levels; none
        for the first frame and after a cut.
      warping_error: of the frame before and this one; none for the first frame, after a
        cut, and where no pixel is seen in both.
      mabd: mean over pixels of the absolute change of luma, in levels; none for the
        first frame.
    """

    brightness: list[float] = dataclasses.field(default_factory=list)
    flicker: list[float] = dataclasses.field(default_factory=list)
    warping_error: list[float] = dataclasses.field(default_factory=list)
    mabd: list[float] = dataclasses.field(default_factory=list)

    def _add(
        self,
        before: _Picture | None,
        now: _Picture,
        seen: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """`before` is none for the first frame, `seen` (the flow) neither at a cut."""
        flicker = error = mabd = math.nan
        if before:
            mabd = float(np.abs(now.luma - before.luma).mean(dtype=np.float64))
        if before and seen:
            flicker = abs(now.brightness - before.brightness)
            error = warping_error(before.rgb, now.rgb, *seen)
        self.brightness.append(now.brightness)
        self.flicker.append(flicker)
        self.warping_error.append(error)
        self.mabd.append(mabd)

    def summary(self) -> dict[str, float]:
        """The measures that need no truth, means over frames; NaN of what has none."""
        return {
            "flicker": _mean(self.flicker),
            "warping_error": _mean(self.warping_error),
        }


class VideoMeasures:
    """All measures of a video in one pass: `add` frame by frame, then `summary`.

    Attributes:
      pred: of the result, a number for each frame.
      target: of the truth; empty without one.
    """

    def __init__(self) -> None:
        self.pred = Track()
        self.target = Track()
        self._last: list[_Picture] = []

    def add(self, pred: np.ndarray, target: np.ndarray | None = None) -> None:
        """The next frame, and that of the truth, which all frames have or none has.

        Cuts and optical flow are those of the truth, so that every result is measured
        at the same pixels; without one they are those of the result.

        Raises:
          ValueError: no `[h, w, 3]` of uint8 or uint16; sizes differ, of both or from
            the frame before; or the truth is given for some frames alone.
        """
        number = len(self.pred.brightness)
        for pixels in (pred, target):
            if pixels is not None:
                _check_frame(number, pixels)
        if target is not None:
            same_shape(f"frame {number} beside its target", pred, target)
        now = [_Picture(pixels) for pixels in (pred, target) if pixels is not None]
        before: list[_Picture | None] = [*self._last] or [None] * len(now)
        if len(before) != len(now):
            raise ValueError(
                f"frame {number}: expected a target for every frame, or for none"
            )
        seen = None
        if before[0]:
            same_shape(f"frame {number} after the last", before[0].rgb, pred)
            guides = before[-1].luma, now[-1].luma
            seen = None if is_cut(*guides) else flow_between(*guides)
        for track, last, picture in zip(
            (self.pred, self.target), before, now, strict=False
        ):
            track._add(last, picture, seen)
        self._last = now

    def summary(self) -> dict[str, float]:
        """Those of `VIDEO_MEASURES` that can be told; NaN where too few frames came."""
        summary = self.pred.summary()
        if self.target.brightness:
            result, truth = (
                float(np.var(track.brightness)) for track in (self.pred, self.target)
            )
            differences = np.subtract(self.pred.mabd, self.target.mabd)
            summary["AB(var)"] = abs(result - truth)
            summary["MABD"] = _mean(np.square(differences))
        return summary


def is_cut(first: Luma, second: Luma) -> bool:
    """Whether another scene begins between two successive frames.

    It does where the logs of both, reduced to 32x32 px, correlate by 0.6 or less. A
    change of exposure adds a constant to a log and so is no cut; between two frames
    without contrast there is none either.

    Args:
      first, second: luma in levels.
    """
    scenes = []
    for frame in (first, second):
        small = cv2.resize(frame, (_SCENE_PX, _SCENE_PX), interpolation=cv2.INTER_AREA)
        scene = np.log(small + 1.0)  # one level, or black would be far from everything
        scenes.append(scene - scene.mean())
    spreads = [float(scene.std()) for scene in scenes]
    if max(spreads) < _FLAT:
        return False
    covariance = float(np.mean(scenes[0] * scenes[1]))
    return covariance <= CUT_BELOW * spreads[0] * spreads[1]


def flow_between(first: Luma, second: Luma) -> tuple[Flow, Visible]:
    """Where each pixel of a frame is in the next one, and which pixels are seen there.

    Optical flow is OpenCV's DIS (preset medium) on 8-bit luma. A pixel is seen there if
    it stays in the picture, if the flow back leads to where it came from,
    |f + b|² <= 0.01 (|f|² + |b|²) + 0.5, and if it is not at a boundary of motion,
    |∇u|² + |∇v|² <= 0.01 |f|² + 0.002.

    Args:
      first, second: luma in levels.
    Returns:
      `[h, w, 2]`, x and y in pixels, and `[h, w]`. No pixel is seen where both sides
      are below 12 px, which DIS does not take.
    Source: Ruder, Dosovitskiy, Brox 2016, "Artistic style transfer for videos",
      arXiv:1604.08610; DIS: Kroeger et al. 2016, arXiv:1603.03590.
    """
    h, w = first.shape
    if max(h, w) < _FLOW_SIDE_PX:
        return np.zeros((h, w, 2), np.float32), np.zeros((h, w), bool)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (np.uint8(np.rint(frame)) for frame in (first, second))
    forward, backward = dis.calc(first, second, None), dis.calc(second, first, None)
    back = _warp(backward, forward)
    x, y = _ends(forward)
    inside = (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
    returns = _square(forward + back) <= 0.01 * (_square(forward) + _square(back)) + 0.5
    slope = np.zeros((h, w), np.float32)
    slope[:, :-1] += _square(forward[:, 1:] - forward[:, :-1])
    slope[:-1] += _square(forward[1:] - forward[:-1])
    return forward, inside & returns & (slope <= 0.01 * _square(forward) + 0.002)


def warping_error(first: Rgb, second: Rgb, flow: Flow, visible: Visible) -> float:
    """Mean square difference of a frame and the next one, warped back to it.

    Args:
      first, second: in levels.
      flow, visible: see `flow_between`.
    Returns:
      Times 1000, of values in [0, 1], over the pixels that are seen and all channels;
      NaN if there are none.
    Source: Lai et al. 2018, "Learning blind video temporal consistency",
      arXiv:1808.00449, and evaluate_WarpError.py of its authors.
    """
    if not visible.any():
        return math.nan
    difference = (_warp(second, flow) - first)[visible] / 255
    return 1000 * float(np.square(difference).mean(dtype=np.float64))


def _check_frame(number: int, pixels: np.ndarray) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in DTYPES:
        raise ValueError(
            f"frame {number} is {pixels.dtype} {list(pixels.shape)}; expected uint8 or "
            "uint16 [h, w, 3]"
        )


def _ends(flow: Flow) -> tuple[np.ndarray, np.ndarray]:
    """x and y in the next frame of every pixel, `[h, w]` each."""
    h, w = flow.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    return x + flow[..., 0], y + flow[..., 1]


def _warp(image: np.ndarray, flow: Flow) -> np.ndarray:
    """What a flow points to, interpolated linearly, `[h, w, c]`."""
    return cv2.remap(
        image, *_ends(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _square(flow: Flow) -> np.ndarray:
    return np.square(flow[..., 0]) + np.square(flow[..., 1])  # 5 times as fast as sum()


def _mean(values: Iterable[float]) -> float:
    """Of those that are numbers; NaN of none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
