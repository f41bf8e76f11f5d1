"""Overlapping patches: taking them out, finding similar ones, laying them back.

And what the denoisers that work on them share: planes of colour, and the noise in them.

Contract: planes are float32 `[h, w]`; a patch is `size_px` on each side, flat in its
last axis. A patch is named by one integer, its position: `y * (w - size_px + 1) + x` of
its top left pixel. Positions that follow each other in raster order make everything
here cheaper, so work through the references in batches, as they come.
"""

import cv2
import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from lowlight_jax.checks import in_range, number

# Rows are orthogonal; over `_LENGTHS` all have the length 1 / sqrt(3).
_OPPONENT = np.float32([[1, 1, 1], [1, 0, -1], [1, -2, 1]])
_LENGTHS = np.float32([3, 6**0.5, 18**0.5])

_MOST_DISTANCES = 2**26  # that `match` holds at a time: 256 MiB


def references(shape: tuple[int, int], *, size_px: int, step_px: int) -> np.ndarray:
    """Positions of patches on a grid that covers the plane, in raster order.

    Args:
      shape: (h, w) of the plane, neither below size_px.
      size_px: side of a patch.
      step_px: from one to the next, at most size_px; the last row and column of the
        grid are at the border and may be nearer.
    Returns:
      int64 `[n]`.
    """
    rows, columns = _grid(shape, size_px, step_px)
    return (rows[:, None] * (shape[1] - size_px + 1) + columns).ravel()


def extract(plane: np.ndarray, positions: np.ndarray, *, size_px: int) -> np.ndarray:
    """The patches at some positions.

    Args:
      plane: float32 `[h, w]`.
      positions: integers of any shape.
      size_px: side of a patch.
    Returns:
      float32 `[*positions.shape, size_px**2]`.
    """
    windows = np.lib.stride_tricks.sliding_window_view(plane, (size_px, size_px))
    patches = windows[np.divmod(positions, windows.shape[1])]
    return patches.reshape(*positions.shape, size_px**2)


def match(
    guide: np.ndarray, *, size_px: int, step_px: int, radius_px: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """For every reference patch the most similar ones around it, by squared difference.

    Args:
      guide: float32 `[h, w]`, the plane to compare in.
      size_px: side of a patch.
      step_px: as of `references`, whose order the result has.
      radius_px: how far a similar patch may be, in rows and in columns.
      count: of similar patches, the reference itself among them; a small plane gives
        all references as many as its corners have.
    Returns:
      positions: int64 `[n, count]`, the reference first, then by growing distance.
      distances: float32 `[n, count]`, mean squared differences of a pixel.
    """
    h, w = (side - size_px + 1 for side in guide.shape)
    rows, columns = _grid(guide.shape, size_px, step_px)
    down, across = min(radius_px, h - 1), min(radius_px, w - 1)
    count = min(count, (down + 1) * (across + 1))
    shifts = [
        (dy, dx) for dy in range(-down, down + 1) for dx in range(-across, across + 1)
    ]
    shifts.sort(key=lambda shift: shift != (0, 0))  # the patch itself wins its ties
    offsets = np.array([dy * w + dx for dy, dx in shifts])
    band = max(1, _MOST_DISTANCES // (len(columns) * len(shifts)))
    found = []
    for first in range(0, len(rows), band):
        of_band = rows[first : first + band]
        top = max(of_band[0] - down, 0)
        slab = guide[top : of_band[-1] + down + size_px]
        shift, distances = _nearest(
            slab, of_band - top, columns, shifts, size_px=size_px, count=count
        )
        grid = (of_band[:, None] * w + columns).reshape(-1, 1)
        found.append((grid + offsets[shift], distances))
    positions, distances = zip(*found, strict=True)
    return np.concatenate(positions), np.concatenate(distances)


def _nearest(
    guide: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    shifts: list[tuple[int, int]],
    *,
    size_px: int,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Which shifts lead to the nearest patches, and their distances; `[n, count]`."""
    h, w = (side - size_px + 1 for side in guide.shape)
    distances = np.full((len(rows), len(columns), len(shifts)), np.inf, np.float32)
    for i, (dy, dx) in enumerate(shifts):
        here = guide[max(-dy, 0) : guide.shape[0] - max(dy, 0)]
        here = here[:, max(-dx, 0) : guide.shape[1] - max(dx, 0)]
        there = guide[max(dy, 0) : guide.shape[0] - max(-dy, 0)]
        there = there[:, max(dx, 0) : guide.shape[1] - max(-dx, 0)]
        squares = cv2.sqrBoxFilter(  # its mean at a patch's top left pixel
            cv2.subtract(here, there), -1, (size_px, size_px), anchor=(0, 0)
        )
        y0, y1 = np.searchsorted(rows, (max(-dy, 0), h - max(dy, 0)))
        x0, x1 = np.searchsorted(columns, (max(-dx, 0), w - max(dx, 0)))
        inside = squares[rows[y0:y1] - max(-dy, 0)][:, columns[x0:x1] - max(-dx, 0)]
        distances[y0:y1, x0:x1, i] = inside
    distances[..., 0] = -1  # first, also of equal ones
    distances = distances.reshape(-1, len(shifts))
    nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    distances = np.take_along_axis(distances, nearest, 1)
    order = np.argsort(distances, axis=1, kind="stable")
    nearest = np.take_along_axis(nearest, order, 1)
    return nearest, np.maximum(np.take_along_axis(distances, order, 1), 0)


def check_plane(plane: ArrayLike, sigma_u8: float) -> tuple[np.ndarray, float]:
    """A plane to be denoised, float32, and the noise's standard deviation.

    Raises:
      ValueError: not `[h, w]`, NaN or infinities, or sigma is not 0 to 255.
    """
    plane = np.asarray(plane, np.float32)
    if plane.ndim != 2 or not plane.size:
        raise ValueError(
            f"image has shape {plane.shape}; expected [h, w], one plane of code values"
        )
    in_range("image", plane, -np.inf, np.inf, expected="finite code values")
    return plane, number("sigma_u8", sigma_u8, 0, 255)


def estimate_sigma(plane: np.ndarray) -> float:
    """Of white noise, by the median of the finest diagonal wavelet coefficients.

    Args:
      plane: float32 `[h, w]`.
    Returns:
      In the plane's units; 0 where no coefficient is other than 0, as in a constant.
    Source: Donoho, Johnstone 1994, doi:10.1093/biomet/81.3.425; as scikit-image's
    `estimate_sigma`, which needs PyWavelets, leaves exact zeros out.
    """
    root = np.sqrt(3)
    wavelet = np.array([1 - root, root - 3, 3 + root, -1 - root]) / np.sqrt(32)
    details = np.abs(cv2.sepFilter2D(plane, -1, wavelet, wavelet))
    details = details[details > 1e-3]  # what rounding leaves of zeros
    return float(np.median(details)) / 0.6745 if details.size else 0.0


def to_planes(image: np.ndarray) -> np.ndarray:
    """The mean of the channels and two differences of colour, or the one of gray.

    Orthogonal and of one length, so white noise stays white: sigma in each channel is
    sigma / sqrt(3) in each plane.

    Args:
      image: uint8 `[h, w, c]`.
    Returns:
      float32 `[c, h, w]`; of gray, whatever c, the first is its value.
    """
    planes = image.astype(np.float32)
    if image.shape[2] == 3:
        planes = planes @ _OPPONENT.T / _LENGTHS  # so that gray is exact
    return np.ascontiguousarray(planes.transpose(2, 0, 1))


def from_planes(planes: np.ndarray) -> np.ndarray:
    """The image that `to_planes` is of, clipped and rounded."""
    image = planes.transpose(1, 2, 0)
    if len(planes) == 3:
        image = image @ (_OPPONENT * (3 / _LENGTHS[:, None]))
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


class Canvas:
    """A plane that patches are laid on; where they overlap, their weighted mean."""

    def __init__(self, shape: tuple[int, int], *, size_px: int):
        """An empty canvas.

        Args:
          shape: (h, w) of the plane.
          size_px: side of a patch.
        """
        self._size_px = size_px
        self._total = np.zeros(shape, np.float32)
        self._weight = np.zeros(shape, np.float32)

    def add(
        self,
        positions: np.ndarray,
        patches: np.ndarray,
        weights: np.ndarray | np.float32,
    ) -> None:
        """Lays patches; a position may come as often as it likes.

        Args:
          positions: integers of any shape.
          patches: float32 `[*positions.shape, size_px**2]`.
          weights: float32, positive, broadcast to positions' shape.
        """
        size = self._size_px
        columns = self._total.shape[1] - size + 1
        first, last = positions.min() // columns, positions.max() // columns
        weights = np.broadcast_to(weights, positions.shape).ravel()
        # A matrix that sums the patches of each position, in the rows concerned only.
        gather = scipy.sparse.csc_array(
            (
                weights.astype(np.float32),
                positions.ravel() - first * columns,
                np.arange(positions.size + 1),
            ),
            shape=((last - first + 1) * columns, positions.size),
        )
        sums = gather @ patches.reshape(positions.size, size**2)
        sums = sums.reshape(-1, columns, size**2)
        weight = gather.sum(axis=1).reshape(-1, columns)
        for pixel in range(size**2):
            dy, dx = divmod(pixel, size)
            part = np.s_[first + dy : last + 1 + dy, dx : dx + columns]
            self._total[part] += sums[..., pixel]
            self._weight[part] += weight

    def plane(self) -> np.ndarray:
        """The mean, float32 `[h, w]`; every pixel must have been covered."""
        return self._total / self._weight


def _grid(
    shape: tuple[int, int], size_px: int, step_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of `references`."""
    lasts = [side - size_px for side in shape]
    return tuple(np.unique(np.r_[0:last:step_px, last]) for last in lasts)
