"""The scene that a network is shown with each frame, smoothed over time.

Networks read their curves off a thumbnail of the whole picture. That of each frame by
itself has noise and passers-by in it, so that the result flickers; a mean over time
lags behind the camera's exposure, which is worse. So the mean is taken of scenes that
were brought to the exposure of the present one.

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


class SceneState(NamedTuple):
    """What is known of the past.

    Attributes:
      smooth: `[128, 128, 3]` float32 in [0, 1], for `Scene.thumbnail`.
      last: `[16, 16, 3]` float32, cells of the thumbnail before.
    """

    smooth: np.ndarray
    last: np.ndarray


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
    large in the dark as where it is bright.

    Args:
      state: of the frame before; None at the first.
      thumbnail: `[128, 128, 3]` float32 in [0, 1], see `ops.thumbnail`.
      seconds: since the frame before.
      smooth_seconds: time constant; 0: `smooth` is the thumbnail itself.
    Returns:
      The new state; True at the first frame and at a cut.
    """
    cells = _cells(thumbnail)
    if state is None or _is_cut(state.last, cells):
        return SceneState(thumbnail, cells), True
    kept = math.exp(-seconds / smooth_seconds) if smooth_seconds else 0.0
    smooth = state.smooth
    if log_gain := _log_gain(state.last, cells):
        smooth = _as_srgb(math.exp(log_gain) * _as_light(smooth))
    smooth = kept * smooth + (1 - kept) * thumbnail
    return SceneState(smooth.astype(np.float32), cells), False


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
