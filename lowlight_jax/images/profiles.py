"""Colour profiles: what a network is shown of photographs with other colours than sRGB.

Networks know sRGB. A photograph with a matrix profile (Display P3, Adobe RGB, ProPhoto)
is shown to them as sRGB, and what they make of it is brought back into its own space.
What sRGB cannot hold is cut off before and added again behind, as much brighter as the
network made the pixel: saturated colours stay so, and a pixel that the network leaves
as it is stays so bit for bit.
Source: ICC.1:2022, 10.6 (curve), 10.18 (parametric curve), F.3 (matrix profiles).
Not here: profiles with tables, of gray and CMYK, which are not converted.
"""

import dataclasses
import functools
import struct
from collections.abc import Callable

import numpy as np

from lowlight_jax.images.deflate import on_all_cores

# To XYZ under D50, as profiles have it; columns are red, green and blue.
_SRGB_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear sRGB
_STEPS = 65536  # of a curve: each value of 16 bits
_DARK = 2e-4  # linear, less than a level of 8 bits: what is darker gains no more
_AS_GOOD = 1 / 255  # a profile that differs from sRGB by less is taken for sRGB
_BAND_ROWS = 256
_MOST_TAGS = 200
# Parameters in the order of the profile, by the type of a parametric curve.
_PARAMETERS = ("g", "gab", "gabc", "gabcd", "gabcdef")


def _srgb_curve(encoded: np.ndarray) -> np.ndarray:
    return np.where(
        encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    )


class _Curve:
    """Between encoded and linear values, both in [0, 1], by tables.

    Args:
      linear: of `_STEPS` equally spaced encoded values, not falling.
    """

    def __init__(self, linear: np.ndarray):
        self._linear = linear.astype(np.float32)
        self._linear_u8 = self._linear[::257].copy()
        steps = np.linspace(0, 1, _STEPS)
        # By the square root, since curves are steep near black.
        self._encoded = np.interp(steps**2, linear, steps).astype(np.float32)

    def decode(self, samples: np.ndarray) -> np.ndarray:
        """Linear, of uint8 or uint16."""
        is_u8 = samples.dtype == np.uint8
        return (self._linear_u8 if is_u8 else self._linear)[samples]

    def encode(self, linear: np.ndarray) -> np.ndarray:
        """In [0, 1]; what is outside is clipped."""
        root = np.sqrt(np.clip(linear, 0, 1)) * (_STEPS - 1) + 0.5
        return self._encoded[root.astype(np.uint16)]


@functools.cache
def _srgb() -> _Curve:
    return _Curve(_srgb_curve(np.linspace(0, 1, _STEPS)))


@dataclasses.dataclass(frozen=True)
class ColourSpace:
    """Of a matrix profile that is not sRGB's; pixels are `[h, w, 3]` uint8 or uint16.

    Attributes:
      to_linear_srgb: `[3, 3]`, of linear values; white is white, so rows sum up to 1.
      curves: of red, green and blue.
    """

    to_linear_srgb: np.ndarray
    curves: tuple[_Curve, _Curve, _Curve]

    def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """In sRGB, uint16; what it cannot hold is clipped.

        In 8 bits the colours of a dark photograph would be rounded twice.
        """
        shown = np.empty(pixels.shape, np.uint16)

        def convert(rows: slice) -> None:
            linear = self._linear_srgb(pixels[rows])
            shown[rows] = _rounded(_srgb().encode(linear), shown.dtype)

        _in_bands(convert, len(pixels))
        return shown

    def from_srgb(
        self,
        result: np.ndarray,
        shown: np.ndarray,
        pixels: np.ndarray,
        *,
        is_brighter: bool = True,
    ) -> np.ndarray:
        """A network's result in this space, of the dtype of `pixels`.

        Args:
          result: of the network, in sRGB, uint16.
          shown: what it was given, `to_srgb` of `pixels`.
          pixels: the photograph's own.
          is_brighter: whether it is the same scene in another light, so that what sRGB
            does not hold of `pixels` belongs to it; else it is another one.
        """
        own = np.empty_like(pixels)
        back = np.linalg.inv(self.to_linear_srgb)

        def convert(rows: slice) -> None:
            linear = _srgb().decode(result[rows])
            if is_brighter:
                before = _srgb().decode(shown[rows])
                gain = (linear @ _LUMINANCE + _DARK) / (before @ _LUMINANCE + _DARK)
                rest = self._linear_srgb(pixels[rows]) - before
                linear = linear + gain[..., None] * rest
            linear = _multiplied(linear, back)
            encoded = [c.encode(linear[..., i]) for i, c in enumerate(self.curves)]
            differs = result[rows] != shown[rows]
            changed = differs[..., 0] | differs[..., 1] | differs[..., 2]
            converted = _rounded(np.stack(encoded, axis=-1), pixels.dtype)
            own[rows] = np.where(changed[..., None], converted, pixels[rows])

        _in_bands(convert, len(pixels))
        return own

    def _linear_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """Below 0 and above 1 where sRGB ends."""
        own = [c.decode(pixels[..., i]) for i, c in enumerate(self.curves)]
        return _multiplied(np.stack(own, axis=-1), self.to_linear_srgb)


def _multiplied(linear: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """By rows that sum up to 1: gray stays gray to the last bit."""
    green = linear[..., 1:2]
    return green + (linear - green) @ matrix.T.astype(np.float32)


def _rounded(encoded: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(encoded * np.iinfo(dtype).max).astype(dtype)


def _in_bands(convert: Callable[[slice], None], rows: int) -> None:
    bands = (slice(top, top + _BAND_ROWS) for top in range(0, rows, _BAND_ROWS))
    for _ in on_all_cores(convert, bands):
        pass


@functools.lru_cache(maxsize=4)
def colour_space(icc: bytes | None) -> ColourSpace | None:
    """What a profile of RGB describes; None for sRGB, which no profile means too.

    Raises:
      ValueError: it is damaged, or of a kind that is not converted, in words.
    """
    if not icc:
        return None
    try:
        matrix, tables = _matrix_and_curves(icc)
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError("damaged") from error
    matrix = np.linalg.inv(_SRGB_XYZ) @ matrix
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-3:
        raise ValueError("damaged")
    matrix /= matrix.sum(axis=1, keepdims=True)
    if _is_srgb(matrix, tables):
        return None
    return ColourSpace(matrix, tuple(map(_Curve, tables)))


def _is_srgb(matrix: np.ndarray, tables: list[np.ndarray]) -> bool:
    """By colours of which no channel is next to black, where curves are steep."""
    steps = np.linspace(_STEPS // 10, _STEPS - 1, 10).astype(int)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    linear = np.stack([t[colours[:, i]] for i, t in enumerate(tables)], axis=-1)
    wanted = _srgb_curve(colours / (_STEPS - 1))
    # A level of 8 bits is so much linear light, by the slope of the curve.
    level = _AS_GOOD * 2.4 * wanted ** (1.4 / 2.4)
    return bool((np.abs(linear @ matrix.T - wanted) < level).all())


def _matrix_and_curves(icc: bytes) -> tuple[np.ndarray, list[np.ndarray]]:
    """`[3, 3]` to XYZ, and the linear value at each of `_STEPS`, for each channel."""
    if len(icc) < 132 or icc[36:40] != b"acsp":
        raise ValueError("damaged")
    tags = {}
    (count,) = struct.unpack_from(">L", icc, 128)
    for i in range(min(count, _MOST_TAGS)):
        tag, start, size = struct.unpack_from(">4sLL", icc, 132 + 12 * i)
        tags[tag] = icc[start : start + size]
    if icc[16:20] != b"RGB ":
        raise ValueError("not for RGB")
    if icc[20:24] != b"XYZ " or b"A2B0" in tags:
        raise ValueError("made of tables")
    columns = [
        struct.unpack_from(">3l", tags[colour + b"XYZ"], 8)
        for colour in (b"r", b"g", b"b")
    ]
    tables = [_curve(tags[colour + b"TRC"]) for colour in (b"r", b"g", b"b")]
    return np.array(columns).T / 65536, tables


def _curve(tag: bytes) -> np.ndarray:
    """The linear value at each of `_STEPS`."""
    x = np.linspace(0, 1, _STEPS)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">L", tag, 8)
        if count == 0:
            return x
        if count == 1:
            return x ** (struct.unpack_from(">H", tag, 12)[0] / 256)
        if len(tag) < 12 + 2 * count:
            raise ValueError("damaged")
        values = np.frombuffer(tag, ">u2", count, 12) / 65535
        linear = np.interp(x, np.linspace(0, 1, count), values)
    elif tag[:4] == b"para":
        names = _PARAMETERS[struct.unpack_from(">H", tag, 8)[0]]
        values = np.array(struct.unpack_from(f">{len(names)}l", tag, 12)) / 65536
        linear = _parametric(x, **dict(zip(names, values, strict=True)))
    else:
        raise ValueError("damaged")
    if not np.isfinite(linear).all() or (np.diff(linear) < 0).any():
        raise ValueError("damaged")
    linear = np.clip(linear, 0, 1)
    if linear[-1] - linear[0] < 0.5:
        raise ValueError("damaged")
    return linear


def _parametric(
    x: np.ndarray,
    g: float,
    a: float = 1.0,
    b: float = 0.0,
    c: float = 0.0,
    d: float | None = None,
    e: float = 0.0,
    f: float = 0.0,
) -> np.ndarray:
    """`(ax + b)^g + e` from d on, `cx + f` below; of types 1 and 2, c is added."""
    if d is None:
        e, f, c, d = c, c, 0.0, -b / a if a else 0.0
    with np.errstate(all="ignore"):
        power = np.maximum(a * x + b, 0) ** g + e
    return np.where(x >= d, power, c * x + f)
