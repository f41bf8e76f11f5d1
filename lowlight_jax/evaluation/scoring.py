"""Scores of 8-bit images, one row per image: what is saved is what is scored.

Every score is of one image, whatever batch or device it was computed in, and means are
taken on the host at the very end, in float64, over the images that have a score. So no
batch size, number of devices or ragged tail can change them.
Images of many sizes are padded to a few shapes, or every size would be compiled anew;
the metrics know where an image ends, so that only rounding differs, in the sixth digit.
Not here: the metrics (`metrics`), files and tables (`evaluate`).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import numpy as np
from jax.typing import ArrayLike

from lowlight_jax.checks import same_shape
from lowlight_jax.metrics import METRICS, Metric
from lowlight_jax.metrics.contract import check_sides
from lowlight_jax.ops.colour import luma
from lowlight_jax.runtime import parallel
from lowlight_jax.runtime.errors import of_item

WITH_TARGET = ("psnr_rgb", "ssim_rgb", "ms_ssim_rgb", "ciede2000", "delta_e_itp")
WITHOUT_TARGET = ("niqe", "brisque", "noise_level")
_GTMEAN = "_gtmean"
_STEP_PX = 512

Shape = tuple[int, ...]  # (h, w, c)

PROTOCOL = (
    "8-bit images as saved, all channels, nothing rescaled by the target; mean over "
    "images. delta_e_itp: white at 100 cd/m2."
)
GTMEAN_PROTOCOL = (
    " Columns *_gtmean: the image was first multiplied by mean luma of the target / "
    "mean luma of the image, clipped and rounded; not comparable with the others."
)
BY_IMAGE_PROTOCOL = (
    " Pairs held out by image: training may have seen other pictures of their scenes."
)


@dataclasses.dataclass(frozen=True)
class Item:
    """One image to be scored, uint8 `[h, w, c]` all.

    Attributes:
      name: of its row.
      pred: the image.
      target: what it should be, or None.
      low: the dark original, or None.
      mask: uint8 `[h, w, 1]`, not 0 in holes, or None.

    Which of them a metric asks for is in `Metric.needs`.

    Raises:
      ValueError: an image is none of these, or of another size.
    """

    name: str
    pred: np.ndarray
    target: np.ndarray | None = None
    low: np.ndarray | None = None
    mask: np.ndarray | None = None

    def __post_init__(self):
        for role in ("pred", "target", "low", "mask"):
            image = getattr(self, role)
            if image is None:
                continue
            channels = (1,) if role == "mask" else (1, 3)
            if (
                image.dtype != np.uint8
                or image.ndim != 3
                or image.shape[-1] not in channels
                or not image.size
            ):
                raise ValueError(
                    f"{self.name}: {role} is {image.dtype} {list(image.shape)}; "
                    f"expected uint8 [h, w, {' or '.join(map(str, channels))}]"
                )
            if role == "mask":
                same_shape(f"{self.name}, its mask,", image, self.pred[..., :1])
            else:
                same_shape(f"{self.name}, its {role},", image, self.pred)


@dataclasses.dataclass
class Scores:
    """Scores of many images.

    Attributes:
      names: of the images.
      columns: by metric, a value for each image; None where the image has none.
      notes: one sentence for each missing value.
    """

    names: list[str] = dataclasses.field(default_factory=list)
    columns: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def values(self, metric: str) -> np.ndarray:
        """Float64, the images that have this score."""
        column = self.columns[metric]
        return np.array([value for value in column if value is not None], np.float64)

    def mean(self, metric: str) -> float:
        """Mean over the images that have this score; NaN where none has."""
        values = self.values(metric)
        return float(values.mean()) if values.size else math.nan

    def std(self, metric: str) -> float:
        """Standard deviation over images (of the sample, n - 1); NaN below two."""
        values = self.values(metric)
        return float(values.std(ddof=1)) if values.size > 1 else math.nan


def interleave(parts: Sequence[Scores]) -> Scores:
    """Undoes the dealing out of images: part i of n scored images i, i + n, ..."""
    merged = Scores(columns={column: [] for column in parts[0].columns})
    for i in range(max(len(part.names) for part in parts)):
        for part in parts:
            if i < len(part.names):
                merged.names.append(part.names[i])
                for column, values in part.columns.items():
                    merged.columns[column].append(values[i])
    merged.notes = [note for part in parts for note in part.notes]
    return merged


def resolve_metrics(names: Iterable[str]) -> list[str]:
    """Full names of metrics; "psnr" and "ssim" are short for "psnr_rgb" and so on.

    Raises:
      ValueError: a name is unknown.
    """
    full = []
    for name in names:
        short = [m for m in METRICS if m.rsplit("_", 1)[0] == name]
        found = name if name in METRICS else next(iter(short), None)
        if not found:
            raise ValueError(
                f"no metric {name!r}; expected some of {', '.join(METRICS)}"
            )
        full.append(found)
    return list(dict.fromkeys(full))


def match_mean(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`pred` scaled to the target's mean luma, clipped, rounded; uint8 `[h, w, c]`.

    Source: the evaluation of KinD (Zhang, Zhang, Guo 2019) and its successors. It lets
    the truth correct the exposure, so scores of it stand apart.
    """
    means = [luma(np.float32(image)).mean(dtype=np.float64) for image in (pred, target)]
    scaled = pred.astype(np.float64) * (means[1] / max(means[0], 1e-9))
    return np.uint8(np.rint(np.clip(scaled, 0, 255)))


def score_items(
    items: Iterable[Item],
    metrics: Sequence[str],
    *,
    gt_mean: bool = False,
    batch_size: int = 0,
) -> Scores:
    """Scores every item; consecutive items of one shape share a batch.

    Args:
      items: in the order of the rows.
      metrics: full names; each needs what it compares with in every item.
      gt_mean: also scores `match_mean` of each image, in columns named `*_gtmean`.
      batch_size: images at a time, rounded up to a multiple of the local devices, which
        share them; 0: one for each device.
    """
    scores = Scores(columns={metric: [] for metric in metrics})
    if gt_mean:
        compared = [m for m in metrics if "target" in METRICS[m].needs]
        scores.columns |= {metric + _GTMEAN: [] for metric in compared}
    devices = jax.local_device_count()
    batch_size = -(-max(batch_size, 1) // devices) * devices
    for batch, shape in _batches(items, batch_size):
        scores.names += [item.name for item in batch]
        rows = {name: _score_batch(batch, name, batch_size, shape) for name in metrics}
        if gt_mean:
            matched = [
                dataclasses.replace(item, pred=match_mean(item.pred, item.target))
                for item in batch
            ]
            for metric in compared:
                values = _score_batch(matched, metric, batch_size, shape)
                rows[metric + _GTMEAN] = values
        for column, values in rows.items():
            for item, value in zip(batch, values, strict=True):
                if isinstance(value, str):
                    scores.notes.append(f"{item.name}: no {column}: {value}")
                    value = None
                scores.columns[column].append(value)
    return scores


def padded_sides(h: int, w: int) -> tuple[int, int]:
    """The height and width, in pixels, that images of many sizes are padded to.

    Squares of 64, 128, 256 and 512, so that small images have four shapes in all; above
    that multiples of 512, so that large ones are not padded to several times their own.
    """
    longer = max(h, w, 64)
    if longer <= _STEP_PX:
        side = 1 << (longer - 1).bit_length()
        return side, side
    return -(-h // _STEP_PX) * _STEP_PX, -(-w // _STEP_PX) * _STEP_PX


def _batches(
    items: Iterable[Item], batch_size: int
) -> Iterator[tuple[list[Item], Shape]]:
    """Consecutive items and the shape that they share, of images of a few shapes.

    A set mostly has one size, the first item's, which is not padded.
    """
    first: Shape = ()

    def shape(item: Item) -> Shape:
        nonlocal first
        own = item.pred.shape
        first = first or own
        return own if own == first else (*padded_sides(*own[:2]), own[2])

    for common, group in itertools.groupby(items, key=shape):
        while batch := list(itertools.islice(group, batch_size)):
            yield batch, common


def _score_batch(
    batch: Sequence[Item], name: str, size: int, shape: Shape
) -> list[float | str]:
    """A value for each item, or for each the reason why there is none."""
    metric = METRICS[name]
    roles = ("pred", *metric.needs)
    images = [[getattr(item, role) for role in roles] for item in batch]
    if not metric.takes_size:
        return [
            _score_alone(metric, item, sides)
            for item, sides in zip(batch, images, strict=True)
        ]
    refusals = [_refusal(name, metric, *pred.shape[:2]) for pred, *_ in images]
    if all(refusals):
        return refusals
    try:
        values = _run(metric, images, size, shape)
    except Exception as error:
        if len(batch) > 1:  # one of them is to blame
            return [_score_batch([item], name, size, shape)[0] for item in batch]
        return [_reason(error, batch[0])]
    return [
        refusal or _value(value)
        for refusal, value in zip(refusals, values, strict=False)
    ]


def _score_alone(
    metric: Metric, item: Item, images: Sequence[np.ndarray]
) -> float | str:
    try:
        return _value(metric(*(np.float32(i[None]) / np.float32(255) for i in images)))
    except Exception as error:
        return _reason(error, item)


def _reason(error: Exception, item: Item) -> str:
    return of_item(error, item.name).removeprefix(f"{item.name}: ")


def _refusal(name: str, metric: Metric, h: int, w: int) -> str:
    try:
        check_sides(name, h, w, min_side_px=metric.min_side_px)
    except ValueError as error:
        return str(error)
    return ""


def _value(score: ArrayLike) -> float | str:
    value = np.asarray(score, np.float64).item()
    return value if np.isfinite(value) else "not defined for this image"


def _run(
    metric: Metric, images: Sequence[Sequence[np.ndarray]], count: int, shape: Shape
) -> np.ndarray:
    """One compiled call; a short batch is filled up, the caller drops what is added.

    Otherwise the tail of every set would be compiled anew.
    """
    sides = []
    for side in zip(*images, strict=True):
        padded = np.zeros((count, *shape[:2], side[0].shape[-1]), np.float32)
        for whole, image in zip(padded, side, strict=False):
            whole[: image.shape[0], : image.shape[1]] = image
        sides.append(padded / np.float32(255))
    if all(pred.shape == shape for pred, *_ in images):
        return np.asarray(_compiled(metric)(*parallel.share(sides)))
    size = np.full((count, 2), shape[:2], np.int32)
    size[: len(images)] = [pred.shape[:2] for pred, *_ in images]
    *sides, size = parallel.share([*sides, size])
    return np.asarray(_compiled(metric)(*sides, size=size))


@functools.cache
def _compiled(metric: Metric) -> Callable:
    """It leaves out the look at values: those of 8-bit codes are in [0, 1]."""
    return jax.jit(metric.function)
