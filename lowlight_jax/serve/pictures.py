"""Pictures that somebody looks at, and previews of them.

A preview is of the whole picture or of a part, of at most a megapixel. The network is
given the scene of the whole picture with it, so that a preview is as bright as the
result will be. Sizes are such that a preview is one window of a few shapes, which are
compiled when the server starts.
"""

import dataclasses
import io
import math
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lowlight_jax.images.alpha import hidden_part, nearest_visible
from lowlight_jax.images.files import Photo, read_photo
from lowlight_jax.inference.finish import converted
from lowlight_jax.inference.methods import NoHolesError, enhance_photo
from lowlight_jax.inference.runner import Scene
from lowlight_jax.ops.letterbox import inside_bars
from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.serve.options import Options, load_network

MOST_PX = 1_000_000
# Of `inference.tiles`: height and width.
WINDOWS = (
    *((256, 256), (480, 648), (648, 480), (512, 512), (720, 1280), (1280, 720)),
    *((816, 1080), (1080, 816), (1080, 1080)),
)
LARGE_WINDOWS = (872, 936), (936, 872)  # those of large photographs
LEAST_PX = math.prod(WINDOWS[0])

View = tuple[float, float, float, float]  # top, left, bottom, right: 0 to 1
WHOLE: View = (0.0, 0.0, 1.0, 1.0)


def preview_size(h: int, w: int, most_px: float) -> tuple[int, int]:
    """The largest size that fits one of `WINDOWS` and has no more pixels than that."""
    fitting = [shape for shape in WINDOWS if math.prod(shape) <= 1.25 * most_px]
    scale = max(min(wh / h, ww / w) for wh, ww in fitting or WINDOWS[:1])
    scale = min(scale, math.sqrt(most_px / (h * w)), 1.0)
    return max(1, int(h * scale)), max(1, int(w * scale))


@dataclasses.dataclass
class Picture:
    """An upload, decoded once; what previews need of it is kept in memory.

    Attributes:
      path: of the upload.
      reduced: 8 bits, of at most `MOST_PX`.
      thumbnail: of the whole without black bars.
      inside: where it lies without them.
      mask: `[h, w]`, of at most `MOST_PX` too, True where it is to be repaired.
    """

    path: Path
    reduced: Photo
    thumbnail: np.ndarray
    inside: View
    mask: np.ndarray | None = None

    @classmethod
    def read(cls, path: Path) -> "Picture":
        """Decodes an upload.

        Raises:
          ImageFileError: it cannot be read.
        """
        photo = read_photo(path.read_bytes())
        pixels, hidden = photo.pixels, hidden_part(photo.alpha)
        if hidden is not None and not hidden.all():
            pixels = pixels[nearest_visible(hidden)]
        rows, columns = inside_bars(pixels)
        h, w = pixels.shape[:2]
        top, bottom, _ = rows.indices(h)
        left, right, _ = columns.indices(w)
        return cls(
            path,
            _resized(photo, preview_size(h, w, MOST_PX)),
            make_thumbnail(pixels[rows, columns]),
            (top / h, left / w, bottom / h, right / w),
        )


class Previews:
    """Makes previews; keeps one picture whole, whose parts are looked at closely.

    For one thread.
    """

    def __init__(self) -> None:
        self._whole: tuple[Path, Photo] | None = None

    def make(
        self, picture: Picture, options: Options, view: View, most_px: float
    ) -> tuple[bytes, str]:
        """A preview as a file, and its media type.

        Args:
          picture: is read anew where a part of it is wanted.
          options: with strength 0, it is the picture itself.
          view: the part.
          most_px: of the preview.
        Raises:
          NoHolesError: there is nothing to repair.
          ImageFileError: the picture has gone.
        """
        photo = picture.reduced if view == WHOLE else self._read(picture.path)
        rows, columns = _span(view, photo.pixels.shape[:2])
        photo = _cut(photo, rows, columns)
        photo = _resized(photo, preview_size(*photo.pixels.shape[:2], most_px))
        if not options.leaves_alone:
            photo = _enhanced(picture, photo, options, view)
        return encoded(photo)

    def forget(self, path: Path | None = None) -> None:
        """Drops the picture that is kept, if it is this one or none is named."""
        if self._whole and path in (None, self._whole[0]):
            self._whole = None

    def _read(self, path: Path) -> Photo:
        if self._whole is None or self._whole[0] != path:
            self._whole = None  # not two of them at once
            self._whole = path, read_photo(path.read_bytes())
        return self._whole[1]


def resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask `[h, w]`, bool, brought to another height and width."""
    levels = mask.astype(np.uint8) * 255
    return cv2.resize(levels, size[::-1], interpolation=cv2.INTER_LINEAR) > 127


def _enhanced(picture: Picture, photo: Photo, options: Options, view: View) -> Photo:
    method, values = load_network(options.model), options.all_on()
    values["progress"] = _nobody
    size = photo.pixels.shape[:2]
    if method.needs_mask:
        mask = picture.mask
        if mask is not None:
            mask = resized_mask(mask[_span(view, mask.shape)], size)
            if not mask.any():  # elsewhere
                return photo
        try:
            return enhance_photo(method, photo, mask, **values)
        except NoHolesError:
            if view == WHOLE:
                raise
            return photo
    part = (
        *map(max, view[:2], picture.inside[:2]),
        *map(min, view[2:], picture.inside[2:]),
    )
    if part[0] >= part[2] or part[1] >= part[3]:  # nothing but a black bar
        return photo
    rows, columns = _span(place_of(part, view), size)
    scene = Scene(picture.thumbnail, place_of(part, picture.inside))
    enhanced = enhance_photo(method, _cut(photo, rows, columns), scene=scene, **values)
    pixels = photo.pixels.copy()
    pixels[rows, columns] = enhanced.pixels
    return dataclasses.replace(photo, pixels=pixels)


def place_of(part: View, whole: View) -> View:
    """Where a part lies in another, both given as parts of a picture."""
    top, left, bottom, right = whole
    height, width = bottom - top, right - left
    return (
        (part[0] - top) / height,
        (part[1] - left) / width,
        (part[2] - top) / height,
        (part[3] - left) / width,
    )


def _span(view: View, size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of a part, at least one of each."""
    spans = []
    for axis in (0, 1):
        start = min(math.floor(view[axis] * size[axis] + 1e-6), size[axis] - 1)
        stop = math.ceil(view[axis + 2] * size[axis] - 1e-6)
        spans.append(slice(start, max(stop, start + 1)))
    return spans[0], spans[1]


def _cut(photo: Photo, rows: slice, columns: slice) -> Photo:
    alpha = None if photo.alpha is None else photo.alpha[rows, columns]
    return dataclasses.replace(photo, pixels=photo.pixels[rows, columns], alpha=alpha)


def _resized(photo: Photo, size: tuple[int, int]) -> Photo:
    """In 8 bits, by means of areas."""

    def resize(samples: np.ndarray) -> np.ndarray:
        if samples.shape[:2] == size:
            return converted(samples, np.uint8)
        smaller = cv2.resize(samples, size[::-1], interpolation=cv2.INTER_AREA)
        return converted(smaller.reshape(*size, -1), np.uint8)

    alpha = None if photo.alpha is None else resize(photo.alpha[..., None])[..., 0]
    return dataclasses.replace(photo, pixels=resize(photo.pixels), alpha=alpha)


def encoded(photo: Photo) -> tuple[bytes, str]:
    """A file for browsers, of 8 bits, and its media type."""
    pixels, file = photo.pixels, io.BytesIO()
    if photo.alpha is not None:
        pixels = np.dstack([pixels, photo.alpha])
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if photo.alpha is None:
        image.save(file, "JPEG", quality=92, icc_profile=photo.icc)
        return file.getvalue(), "image/jpeg"
    image.save(file, "PNG", compress_level=1, icc_profile=photo.icc)
    return file.getvalue(), "image/png"


def _nobody(fraction: float) -> None:
    """Listens: previews made within a photograph's computing are not its progress."""
