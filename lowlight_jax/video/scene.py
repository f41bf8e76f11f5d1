"""The scene that a network is shown with each frame, smoothed over time.

Networks read their curves off a thumbnail of the whole picture. That of each frame by
itself has noise and passers-by in it, so that the result flickers; a mean over time
lags behind the camera's exposure, which is worse. So the mean is taken of scenes that
were brought to the exposure of the present one. And where the exposure itself trembles,
of which networks let a part through, frame and scene are brought to its own mean first.

Pure: a state of arrays goes in, another comes out; numpy alone.
"""

import math
from typing import NamedTuple

import numpy as np

from lowlight_jax.ops.thumbnail import THUMBNAIL_PX

CUT_CORRELATION = 0.6  # of successive log scenes; below, another scene begins
_FLAT = 0.1  # standard deviation of a log scene; below, its correlation is of noise
_CELL_PX = 8  # of the thumbnail: 16 by 16 cells, in which noise is gone
_DARK = 1 / 255  # added before logarithms: the step of 8 bits
_LEAST, _MOST = 3 / 255, 0.95  # a cell outside is black or clipped and tells no gain
_FEWEST = 0.05  # of the cells, or there is no gain to tell
_MOST_HELD = 0.2  # log of light; a larger change of exposure is no trembling


class SceneState(NamedTuple):
    """What is known of the past.

    Attributes:
      smooth: `[128, 128, 3]` float32 in [0, 1], for `Scene.thumbnail`.
      last: `[16, 16, 3]` float32, cells of the thumbnail before.
      exposure: `[]` float32, log of the light in the frame over that in its mean over
        time; see `hold_exposure`.
    """

    smooth: np.ndarray
    last: np.ndarray
    exposure: np.ndarray


def next_scene(
    state: SceneState | None,
    thumbnail: np.ndarray,
    seconds: float,
    smooth_seconds: float,
) -> tuple[SceneState, bool]:
    """The scene with one more frame in it, and whether a new one begins.

    smooth <- (1 - a) smooth e^g + a thumbnail, a = 1 - exp(-seconds / smooth_seconds),
    where g, the change of exposure, is the median change over cells of the log of their
    light. The gain acts on light as well: in sRGB values the same change is twice as
    large in the dark as where it is bright. And exposure <- (1 - a) (exposure + g),
    within 0.2 of 0.

    Args:
      state: of the frame before; None at the first.
      thumbnail: `[128, 128, 3]` float32 in [0, 1], see `ops.thumbnail`.
      seconds: since the frame before.
      smooth_seconds: time constant; 0: `smooth` is the thumbnail itself, and the
        exposure 0.
    Returns:
      The new state; True at the first frame and at a cut.
    """
    cells = _cells(thumbnail)
    if state is None or _is_cut(state.last, cells):
        return SceneState(thumbnail, cells, np.zeros((), np.float32)), True
    kept = math.exp(-seconds / smooth_seconds) if smooth_seconds else 0.0
    log_gain = _log_gain(state.last, cells)
    smooth = _with_gain(state.smooth, log_gain)
    smooth = kept * smooth + (1 - kept) * thumbnail
    exposure = np.clip(kept * (state.exposure + log_gain), -_MOST_HELD, _MOST_HELD)
    return SceneState(
        smooth.astype(np.float32), cells, np.asarray(exposure, np.float32)
    ), False


def hold_exposure(image: np.ndarray, state: SceneState) -> np.ndarray:
    """A frame, or its scene, as if the exposure had its mean over time.

    Args:
      image: uint8 or uint16 of full range, or floating point in [0, 1].
      state: of the frame.
    Returns:
      Float32 in [0, 1].
    """
    if image.dtype in (np.uint8, np.uint16):
        values = np.linspace(0, 1, np.iinfo(image.dtype).max + 1)
        table = _with_gain(values, -state.exposure).astype(np.float32)
        return table[image]
    return _with_gain(image, -state.exposure).astype(np.float32)


def _with_gain(srgb: np.ndarray, log_gain: float) -> np.ndarray:
    return _as_srgb(math.exp(log_gain) * _as_light(srgb)) if log_gain else srgb


def _cells(thumbnail: np.ndarray) -> np.ndarray:
    n = THUMBNAIL_PX // _CELL_PX
    return thumbnail.reshape(n, _CELL_PX, n, _CELL_PX, 3).mean((1, 3))


def _log_gain(last: np.ndarray, cells: np.ndarray) -> float:
    """Of the exposure: the median does not see what moves."""
    lit = (np.minimum(last, cells) > _LEAST) & (np.maximum(last, cells) < _MOST)
    if lit.mean() < _FEWEST:
        return 0.0
    return float(np.median(np.log(_as_light(cells[lit]) / _as_light(last[lit]))))


def _is_cut(last: np.ndarray, cells: np.ndarray) -> bool:
    before, now = (np.log(c.mean(-1) + _DARK) for c in (last, cells))
    before, now = before - before.mean(), now - now.mean()
    spreads = before.std(), now.std()
    if max(spreads) < _FLAT:
        return False
    return bool((before * now).mean() <= CUT_CORRELATION * spreads[0] * spreads[1])


# IEC 61966-2-1, as in `ops.colour`, without JAX.
def _as_light(srgb: np.ndarray) -> np.ndarray:
    power = ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(srgb > 0.04045, power, srgb / 12.92)


def _as_srgb(light: np.ndarray) -> np.ndarray:
    light = np.minimum(light, 1.0)
    power = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(light > 0.0031308, power, light * 12.92)
