"""Denoising over time: the past result, moved along, is mixed into the present one.

Results are noisy in the dark, where the gain is large, and the noise is new in each
frame. Optical flow moves the past result to where its things are now; where it differs
there from the present one by more than noise (behind what moved, after a cut, in a
flash), the present one stays as it is.

Pure: a state of arrays goes in, another comes out, the same for any number of threads.
OpenCV is loaded at the first call. All numbers are chosen on clips that
`benchmarks/video.py` makes, in levels: 1/255 of white.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8, UInt16

Frame = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Luma = Float[np.ndarray, "h w"]

# Share of the past in the result where nothing speaks against it. Interpolation takes
# a little detail each time, so that it is less where the picture moves.
RESTING, MOVING = 0.85, 0.65
_MOVING_PX = 0.05  # along either axis, at half size
_REST_GAIN = 0.9  # motion must explain so much more than rest does, or it is rest
_GUIDE_SIGMA_PX = 1.0  # blur of what the flow is found on, at half size
_WINDOW_PX = 9  # over which differences are averaged, at half size
_BIAS_SIGMAS = 0.5  # of noise: a mean difference by which the past is doubted
_POWER = 1.8  # mean square difference, in variances of noise, from which it is doubted
_BINS = 8  # of luma, each with a noise of its own
_FEWEST = 100  # samples in a bin to tell it
_LEAST_SIGMA, _MOST_SIGMAS = 0.5, 1.6  # levels; times the noise of the whole frame
_GRAIN = np.float32([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6  # keeps white noise
_MOST_GRAINS = 2.0  # denoised noise is coarse and has less of it than white
_QUARTILE = 0.3186  # of the absolute value of a normal variable
_LEAST_SIDE_PX = 32  # frames with a shorter side stay as they are: no flow


class Past(NamedTuple):
    """What the next frame needs to know.

    Attributes:
      result: `[h, w, 3]` float32 in levels, not rounded, or small steps would stay.
      luma: `[h / 2, w / 2]` float32 of it, for the flow.
    """

    result: np.ndarray
    luma: np.ndarray


def blend_past(past: Past | None, frame: Frame) -> tuple[Frame, Past]:
    """The frame with less noise, and what the next one needs.

    Args:
      past: of the frame before; None at the first one and at a cut.
      frame: `[h, w, 3]` sRGB, uint8 or uint16 of full range, brightened.
    Returns:
      A frame of the same shape and dtype: the same one after no past, or one of another
      size.
    """
    import cv2  # heavy

    h, w = frame.shape[:2]
    white = np.iinfo(frame.dtype).max
    now = cv2.multiply(frame, _each(255 / white), dtype=cv2.CV_32F)
    luma = _half_luma(now)
    if min(h, w) < _LEAST_SIDE_PX or past is None or past.result.shape != now.shape:
        return frame, Past(now, luma)
    flow = _flow(past.luma, luma)
    moved = _moved(past.result, flow)
    rests = np.maximum(*np.abs(cv2.split(flow))) < _MOVING_PX
    share = np.where(rests, RESTING, MOVING)
    share = share.astype(np.float32) * _trust(luma, _half_luma(moved))
    share = cv2.resize(share, (w, h), interpolation=cv2.INTER_LINEAR)
    share = cv2.cvtColor(share, cv2.COLOR_GRAY2RGB)  # 5 times as fast as broadcasting
    cv2.subtract(moved, now, dst=moved)
    cv2.multiply(moved, share, dst=moved)
    result = cv2.add(moved, now, dst=moved)
    # Rounded, and clipped to what the type holds.
    depth = cv2.CV_8U if white == 255 else cv2.CV_16U
    rounded = cv2.multiply(result, _each(white / 255), dtype=depth)
    return rounded, Past(result, _half_luma(result))


def _each(factor: float) -> tuple[float, float, float, float]:
    """As OpenCV wants a factor for all channels."""
    return (factor,) * 4


def _half_luma(image: np.ndarray) -> Luma:
    import cv2

    h, w = image.shape[:2]
    half = max(w // 2, 1), max(h // 2, 1)
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(luma, half, interpolation=cv2.INTER_AREA)


def _guide(luma: Luma) -> UInt8[np.ndarray, "h w"]:
    import cv2

    blurred = cv2.GaussianBlur(luma, (0, 0), _GUIDE_SIGMA_PX)
    return np.clip(np.rint(blurred), 0, 255).astype(np.uint8)


def _flow(before: Luma, luma: Luma) -> Float[np.ndarray, "h w 2"]:
    """Where each pixel was, x and y, in pixels of half size; 0 where that does as well.

    Flow of noise is not 0, and would blur a picture at rest, or take a bit of what
    passes by for the wall behind it.
    """
    import cv2

    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    dis.setFinestScale(1)  # that of the preset, 2, lacks precision
    flow = dis.calc(_guide(luma), _guide(before), None)
    misfits = [_mean(np.abs(there - luma)) for there in (before, _moved(before, flow))]
    moves = (_REST_GAIN * misfits[0] >= misfits[1]).astype(np.float32)
    soft = np.clip(1.5 * cv2.blur(moves, (5, 5)) - 0.25, 0, 1)  # no seams
    return flow * soft[..., None]


def _moved(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The image along a flow of the same or half its size."""
    import cv2

    h, w = image.shape[:2]
    method = cv2.INTER_LINEAR
    if flow.shape[:2] != (h, w):
        scale = np.float32([w / flow.shape[1], h / flow.shape[0]])
        flow = cv2.resize(flow * scale, (w, h), interpolation=cv2.INTER_LINEAR)
        method = cv2.INTER_CUBIC  # linear would blur more each time
    places = cv2.add(flow, _grid(h, w))
    return cv2.remap(image, places, None, method, borderMode=cv2.BORDER_REPLICATE)


@functools.lru_cache(maxsize=2)  # of the video's size and its half
def _grid(h: int, w: int) -> Float[np.ndarray, "h w 2"]:
    """x and y of each pixel."""
    y, x = np.mgrid[:h, :w].astype(np.float32)
    return np.dstack([x, y])


def _trust(luma: Luma, moved: Luma) -> Luma:
    """1 where both differ by noise alone, down to 0."""
    difference = luma - moved
    sigma = _noise(luma, difference)
    bias = _mean(difference) / (_BIAS_SIGMAS * sigma)
    power = _mean(np.square(difference)) / np.square(sigma)
    doubt = np.maximum(np.square(bias), power - _POWER)
    return np.exp(-doubt)


def _noise(luma: Luma, difference: Luma) -> Luma:
    """Standard deviation of the differences that are noise, by the luma of a pixel.

    Of quartiles, since most of a frame may have been moved wrongly; all of it after a
    flash, so that it cannot be much more than the grain of the present frame.
    Source of the grain's filter: Immerkær 1996, doi:10.1006/cviu.1996.0060.
    """
    import cv2

    sizes, levels = np.abs(difference[::3, ::3]), luma[::3, ::3]
    grain = np.abs(cv2.filter2D(luma, -1, _GRAIN)[::3, ::3])
    limit = _MOST_GRAINS * np.quantile(grain, 0.25)
    whole = min(np.quantile(sizes, 0.25), limit) / _QUARTILE
    whole = max(whole, _LEAST_SIGMA)
    bins = np.clip(levels * (_BINS / 256), 0, _BINS - 1).astype(np.uint8)
    centres, sigmas = [], []
    for i in range(_BINS):
        inside = sizes[bins == i]
        if inside.size >= _FEWEST:
            centres.append((i + 0.5) * 256 / _BINS)
            sigmas.append(np.quantile(inside, 0.25) / _QUARTILE)
    if not centres:
        return np.full_like(luma, whole)
    sigmas = np.clip(sigmas, _LEAST_SIGMA, _MOST_SIGMAS * whole)
    of_level = np.interp(np.arange(256), centres, sigmas).astype(np.float32)
    return of_level[np.clip(luma, 0, 255).astype(np.uint8)]


def _mean(values: Luma) -> Luma:
    import cv2

    return cv2.blur(values, (_WINDOW_PX, _WINDOW_PX))
