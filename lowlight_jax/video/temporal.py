"""Denoising over time: the past result, moved along, is mixed into the present one.

Results are noisy in the dark, where the gain is large, and the noise is new in each
frame. Optical flow moves the past result to where its things are now; where it differs
there from the present one by more than noise (behind what moved, after a cut, in a
flash), the present one stays as it is.

Pure: a state of arrays goes in, another comes out. OpenCV is loaded at the first call.
"""

from typing import NamedTuple

import numpy as np

MOST_PAST = 0.8  # share of the past where nothing speaks against it
_FLOW_SCALE = 2  # flow and doubts are found at half size
_WINDOW_PX = 7  # at half size: over which differences are averaged
_LEAST_SIGMA = 0.5 / 255  # of noise: rounding
_LEAST_SIDE_PX = 32  # below, frames are not blended


class Past(NamedTuple):
    """What is known of the past.

    Attributes:
      result: `[h, w, 3]` float32, in levels of 8 bits.
      luma: `[h / 2, w / 2]` uint8 of it, for the flow.
    """

    result: np.ndarray
    luma: np.ndarray


def blend_past(past: Past | None, frame: np.ndarray) -> tuple[np.ndarray, Past]:
    """The frame with less noise, and what the next one needs.

    Args:
      past: of the frame before; None at the first and at a cut.
      frame: `[h, w, 3]` uint8 or uint16, a bright result.
    Returns:
      A frame of the same shape and dtype.
    """
    import cv2  # heavy

    full = np.iinfo(frame.dtype).max
    now = frame.astype(np.float32)
    if full != 255:
        now *= np.float32(255 / full)
    h, w = frame.shape[:2]
    half = max(w // _FLOW_SCALE, 1), max(h // _FLOW_SCALE, 1)

    def reduced_luma(image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)

    luma = reduced_luma(now)
    guide = luma.round().astype(np.uint8)
    if past is None or past.result.shape != now.shape or min(h, w) < _LEAST_SIDE_PX:
        return frame, Past(now, guide)
    flow = _flow(past.luma, guide)
    warped = _moved(past.result, flow)
    share = _share(luma, reduced_luma(warped))
    share = cv2.resize(share, (w, h), interpolation=cv2.INTER_LINEAR)
    result = now + share[..., None] * (warped - now)
    state = Past(result, reduced_luma(result).round().astype(np.uint8))
    if full != 255:
        result = result * np.float32(full / 255)
    return np.clip(np.rint(result), 0, full).astype(frame.dtype), state


def _flow(past: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Where each pixel of the present frame was, `[h, w, 2]`, x and y, in pixels."""
    import cv2

    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    return dis.calc(now, past, None)


def _moved(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The image along a flow of lower resolution."""
    import cv2

    h, w = image.shape[:2]
    scale = np.float32([w / flow.shape[1], h / flow.shape[0]])
    flow = cv2.resize(flow * scale, (w, h), interpolation=cv2.INTER_LINEAR)
    flow[..., 0] += np.arange(w, dtype=np.float32)
    flow[..., 1] += np.arange(h, dtype=np.float32)[:, None]
    return cv2.remap(
        image, flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _share(luma: np.ndarray, warped: np.ndarray) -> np.ndarray:
    """Of the past in the result, for each pixel at half size."""
    import cv2

    difference = luma - warped
    sigma = max(float(np.median(np.abs(difference))) / 0.6745, 255 * _LEAST_SIGMA)
    window = (_WINDOW_PX, _WINDOW_PX)
    bias = cv2.blur(difference, window) / sigma
    power = cv2.blur(np.square(difference), window) / sigma**2
    doubt = np.maximum(np.square(bias * 2), power - 1.5)
    return MOST_PAST * np.exp(-np.maximum(doubt, 0))
