"""Scores of 8-bit images, one row per image: what is saved is what is scored.

Every score is of one image, whatever batch or device it was computed in, and means are
taken on the host at the very end, in float64, over the images that have a score. So no
batch size, number of devices or ragged tail can change them.
Not here: the metrics (`metrics`), files and tables (`evaluate`).
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lowlight_jax.metrics import METRICS
from lowlight_jax.ops.colour import luma
from lowlight_jax.runtime import parallel
from lowlight_jax.runtime.errors import of_item

WITH_TARGET = ("psnr_rgb", "ssim_rgb", "ms_ssim_rgb", "ciede2000", "delta_e_itp")
WITHOUT_TARGET = ("niqe", "brisque", "noise_level")
_GTMEAN = "_gtmean"

PROTOCOL = (
    "8-bit images as saved, all channels, nothing rescaled by the target; mean over "
    "images. delta_e_itp: white at 100 cd/m2."
)
GTMEAN_PROTOCOL = (
    " Columns *_gtmean: the image was first multiplied by mean luma of the target / "
    "mean luma of the image, clipped and rounded; not comparable with the others."
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
    """

    name: str
    pred: np.ndarray
    target: np.ndarray | None = None
    low: np.ndarray | None = None
    mask: np.ndarray | None = None


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
    means = [float(luma(jnp.float32(image)).mean()) for image in (pred, target)]
    scaled = pred.astype(np.float64) * (means[1] / max(means[0], 1e-9))
    return np.uint8(np.rint(np.clip(scaled, 0, 255)))


def score_items(
    items: Iterable[Item],
    metrics: Sequence[str],
    *,
    gt_mean: bool = False,
    batch_size: int = 0,
) -> Scores:
    """Scores every item; consecutive items of one size share a batch.

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
    for batch in _same_size_batches(items, batch_size):
        scores.names += [item.name for item in batch]
        rows = {name: _score_batch(batch, name, batch_size) for name in metrics}
        if gt_mean:
            matched = [
                dataclasses.replace(item, pred=match_mean(item.pred, item.target))
                for item in batch
            ]
            for metric in compared:
                values = _score_batch(matched, metric, batch_size)
                rows[metric + _GTMEAN] = values
        for column, values in rows.items():
            for item, value in zip(batch, values, strict=True):
                if isinstance(value, str):
                    scores.notes.append(f"{item.name}: no {column}: {value}")
                    value = None
                scores.columns[column].append(value)
    return scores


def _same_size_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        if batch and (len(batch) == size or batch[0].pred.shape != item.pred.shape):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _score_batch(batch: Sequence[Item], name: str, size: int) -> list[float | str]:
    """A value for each item, or for each the reason why there is none."""
    metric = METRICS[name]
    roles = ("pred", *metric.needs)
    sides = [[getattr(item, role) for item in batch] for role in roles]
    try:
        if metric.on_host:
            values = metric(*(np.stack(side) / 255.0 for side in sides))
        else:
            values = _run(metric, sides, size)[: len(batch)]
    except Exception as error:
        if len(batch) > 1:  # one of them is to blame
            return [_score_batch([item], name, size)[0] for item in batch]
        return [of_item(error, batch[0].name).removeprefix(f"{batch[0].name}: ")]
    return [
        float(value) if np.isfinite(value) else "not defined for this image"
        for value in np.asarray(values, np.float64)
    ]


def _run(
    function: Callable, sides: Sequence[list[np.ndarray]], size: int
) -> np.ndarray:
    """One compiled call; a short batch is filled up with copies, dropped by the caller.

    Otherwise the tail of every set would be compiled anew.
    """
    filled = [np.stack(side + side[-1:] * (size - len(side))) for side in sides]
    images = [np.float32(side) / np.float32(255) for side in filled]
    return np.asarray(function(*parallel.share(images)))
