"""Batches of augmented crops, as a pure function of seed and batch number.

Batch n of a seed is the same whatever was read before it and however many hosts share
it, so resuming at step n is starting at n. Crops stay uint8 until they are on the
device.
"""

import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import grain
import numpy as np

from lowlight_jax.ops.damage import Damage, random_holes
from lowlight_jax.ops.padding import reflected_window
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX

# uint8 `[h, w, 3]` of one scene, all of the same size; and, by names that end in
# "_thumbnail", `make_thumbnail` of them, float32 `[128, 128, 3]`; and single values.
Views = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How crops are moved about, all views of a scene alike.

    Attributes:
      flips: half of them are mirrored.
      quarter_turns: turned by 0, 90, 180 or 270 degrees.
      rotate_degrees: turned by up to this angle either way; pixels are interpolated.
      translate_px: moved by up to this either way, also beyond the image's border,
        which is reflected there.
      least_framing: a random part of the thumbnail, at least this fraction of its
        height and width, replaces the whole.
    """

    flips: bool = True
    quarter_turns: bool = True
    rotate_degrees: float = 0.0
    translate_px: int = 0
    least_framing: float = 1.0


class RandomCrop(grain.transforms.RandomMap):
    """The same random crop, moved in the same way, of all views of a scene.

    Images smaller than the crop are reflected at their borders. Thumbnails are not
    cut, only turned as the crop is and framed anew; "place" tells where the crop lies
    in them, but not by how many degrees it is turned.
    """

    def __init__(self, crop_px: int, geometry: Geometry = Geometry()):
        self._crop_px, self._geometry = crop_px, geometry

    def random_map(self, views: Views, rng: np.random.Generator) -> Views:
        side, geometry = self._crop_px, self._geometry
        h, w = next(iter(views.values())).shape[:2]
        window = _draw_window(rng, h, w, side, geometry)
        top, left, turns, flip, angle = window

        def crop(image: np.ndarray) -> np.ndarray:
            if geometry.rotate_degrees:
                image = _rotated_window(image, top, left, side, angle)
            elif 0 <= top <= h - side and 0 <= left <= w - side:
                image = image[top : top + side, left : left + side]
            else:
                image = reflected_window(image, top, left, side, side)
            return turned(image)

        def turned(image: np.ndarray) -> np.ndarray:
            image = np.rot90(image, turns)
            return np.ascontiguousarray(image[:, ::-1] if flip else image)

        whole = {name for name in views if name.endswith("_thumbnail")}
        crops = {
            name: crop(view) if np.ndim(view) else view
            for name, view in views.items()
            if name not in whole
        }
        if whole:
            rows, columns = _draw_frames(rng, geometry)
            crops |= {n: turned(views[n][rows.at][:, columns.at]) for n in whole}
            crops["place"] = window.place(rows, columns, h, w, side)
        return crops


class RandomWindow(grain.transforms.RandomMap):
    """Where `RandomCrop` would cut, by the same draws, for `device_crops` to cut there.

    Args:
      crop_px, geometry: as for `RandomCrop`, which alone turns by degrees.
      like: one of the images, all of one size.
    """

    def __init__(self, crop_px: int, geometry: Geometry, like: Views):
        self._crop_px, self._geometry = crop_px, geometry
        self._size = next(iter(like.values())).shape[:2]
        self._frames = any(name.endswith("_thumbnail") for name in like)

    def random_map(self, views: Views, rng: np.random.Generator) -> Views:
        side, (h, w) = self._crop_px, self._size
        window = _draw_window(rng, h, w, side, self._geometry)
        drawn = views | {"window": np.int32(window[:4])}  # top, left, turns, flip
        if self._frames:
            rows, columns = _draw_frames(rng, self._geometry)
            drawn["frames"] = np.int32([rows, columns])
            drawn["place"] = window.place(rows, columns, h, w, side)
        return drawn


class _Window(NamedTuple):
    """A crop: its corner in the image, then how it is turned.

    Attributes:
      top, left: in pixels; it may reach beyond the image.
      turns: quarters of a full turn, before it is mirrored.
      flip: 1 where it is mirrored.
      degrees: about its centre, on top of all that.
    """

    top: int
    left: int
    turns: int
    flip: int
    degrees: float

    def place(
        self, rows: "_Frame", columns: "_Frame", h: int, w: int, side: int
    ) -> np.ndarray:
        """Where it lies in the thumbnail so framed, float32 `[4]`; see `Places`."""
        top, bottom = rows.place(self.top / h), rows.place((self.top + side) / h)
        left = columns.place(self.left / w)
        right = columns.place((self.left + side) / w)
        for _ in range(self.turns):
            top, left, bottom, right = 1 - right, top, 1 - left, bottom
        if self.flip:
            left, right = 1 - right, 1 - left
        return np.float32([top, left, bottom, right])


def _draw_window(
    rng: np.random.Generator, h: int, w: int, side: int, geometry: Geometry
) -> _Window:
    top = rng.integers(max(h - side, 0) + 1)
    left = rng.integers(max(w - side, 0) + 1)
    turns, flip = rng.integers(4), rng.integers(2)
    angle = rng.uniform(-1.0, 1.0) * geometry.rotate_degrees
    down, right = rng.integers(-geometry.translate_px, geometry.translate_px + 1, 2)
    return _Window(
        int(top + down),
        int(left + right),
        int(turns * geometry.quarter_turns),
        int(flip * geometry.flips),
        angle,
    )


def _draw_frames(
    rng: np.random.Generator, geometry: Geometry
) -> tuple["_Frame", "_Frame"]:
    """The rows and the columns of a thumbnail."""
    return _framed(rng, geometry.least_framing), _framed(rng, geometry.least_framing)


class _Frame(NamedTuple):
    """A part of a thumbnail's rows or columns, stretched to all of them."""

    start: int
    size: int

    @property
    def at(self) -> np.ndarray:
        """Where each row or column comes from."""
        return self.start + np.arange(THUMBNAIL_PX) * self.size // THUMBNAIL_PX

    def place(self, whole: float) -> float:
        """Where in the frame lies what lies there in the whole."""
        return (whole * THUMBNAIL_PX - self.start) / self.size


def _framed(rng: np.random.Generator, least: float) -> _Frame:
    size = rng.integers(round(least * THUMBNAIL_PX), THUMBNAIL_PX + 1)
    return _Frame(int(rng.integers(THUMBNAIL_PX - size + 1)), int(size))


def _rotated_window(
    image: np.ndarray, top: int, left: int, side: int, degrees: float
) -> np.ndarray:
    """A window `[side, side, c]` turned about its centre, reflected at borders."""
    centre = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), degrees, 1.0)
    matrix[:, 2] += left, top
    return cv2.warpAffine(
        image,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


class RandomDamage(grain.transforms.RandomMap):
    """Adds "mask": random holes of the crop."""

    def __init__(self, damage: Damage):
        self._damage = damage

    def random_map(self, views: Views, rng: np.random.Generator) -> Views:
        h, w = views["high"].shape[:2]
        return views | {"mask": random_holes(rng, h, w, self._damage)}


class _Epochs:
    """All examples again and again without an end, each time in another order.

    grain's own shuffle takes 6 ms for an index of 4 examples, 1 ms of 64.
    """

    def __init__(self, examples: Sequence[Views], seed: int):
        self._examples = examples
        self._order = functools.lru_cache(maxsize=4)(
            lambda epoch: np.random.default_rng([seed, epoch]).permutation(
                len(examples)
            )
        )

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> Views:
        epoch, position = divmod(index, len(self._examples))
        return self._examples[self._order(epoch)[position]]


class _Number(grain.transforms.MapWithIndex):
    """Adds "number", the place of a crop in the batch of all hosts."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size

    def map_with_index(self, index: int, views: Views) -> Views:
        return views | {"number": np.uint32(index % self._batch_size)}


def stream_seed(seed: int, phase: int) -> int:
    """The `seed` of `make_batches` for a phase of a training, below 2**32.

    Sums would give seed 0 in phase 1 the crops of seed 1 in phase 0.
    """
    return int(np.random.SeedSequence([seed, phase]).generate_state(1)[0])


def make_batches(
    examples: Sequence[Views],
    *,
    seed: int,
    crop_px: int,
    batch_size: int,
    geometry: Geometry = Geometry(),
    damage: Damage | None = None,
    first_batch: int = 0,
    host_index: int = 0,
    host_count: int = 1,
    threads: int = 2,
    on_device: bool = False,
) -> Iterator[Views]:
    """Endless batches: uint8 crops `[b, crop_px, crop_px, 3]` by view, and "number".

    Thumbnails among the views are `[b, 128, 128, 3]`, of the images of the crops, and
    "place" `[b, 4]` where these lie in them.

    All hosts share one shuffled order, epoch by epoch; each takes every `host_count`-th
    crop, so none is used twice or left out.

    Args:
      examples: random access to the images; the same on all hosts.
      seed: of order and augmentation.
      crop_px: side of the square crops.
      batch_size: over all hosts, a multiple of `host_count`; `b` is this host's share.
      geometry: how crops are moved about.
      damage: holes to draw into each crop's "mask", `[b, crop_px, crop_px, 1]`.
      first_batch: number of the first batch to return: the step to resume at.
      host_index, host_count: this host and how many there are.
      threads: that read ahead.
      on_device: not the crops but where they are to be cut, for `device_crops`.
    """
    cut: grain.transforms.RandomMap = RandomCrop(crop_px, geometry)
    if on_device:
        cut = RandomWindow(crop_px, geometry, examples[0])
        examples = [{"index": np.array(i, np.int32)} for i in range(len(examples))]
    crops = grain.MapDataset.source(_Epochs(examples, seed)).seed(seed)
    crops = crops.random_map(cut)
    if damage:
        crops = crops.random_map(RandomDamage(damage))
    crops = crops.map_with_index(_Number(batch_size))[host_index::host_count]
    batches = crops.batch(batch_size // host_count, drop_remainder=True)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    iterator = iter(batches.to_iter_dataset(options))
    iterator.set_state({"next_index": first_batch})
    return iterator
