"""Two methods on the same images: is one better, or was it chance?

Scores differ by several dB from image to image, for all methods much alike. So methods
are compared image by image: the mean of the differences has a far smaller error than
the difference of two means with theirs.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import ttest_rel

from lowlight_jax.evaluation.report import heading
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.metrics import METRICS


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of one metric, over the images that both methods have a score of.

    Attributes:
      gain: mean difference, positive where the first method is the better one, also
        where lower scores are.
      error: its standard error; NaN of one image.
      wins: images of which the first has the better score.
      images: how many there are.
      p_value: of the two-sided paired t-test: how often chance alone, in images drawn
        from many like these, makes as large a difference; NaN where nothing varies.
    """

    gain: float
    error: float
    wins: int
    images: int
    p_value: float


def compare_paired(scores: Scores, others: Scores) -> dict[str, Difference]:
    """By metric, of those that both have and of which one score can be better."""
    both = [name for name in scores.names if name in set(others.names)]
    columns = [
        column
        for column in scores.columns
        if column in others.columns and METRICS[_metric(column)].better != "neither"
    ]
    differences = {}
    for column in columns:
        first, second = (
            dict(zip(of.names, of.columns[column], strict=True))
            for of in (scores, others)
        )
        values = [(first[name], second[name]) for name in both]
        values = np.array([v for v in values if None not in v], float).reshape(-1, 2)
        if METRICS[_metric(column)].better == "lower":
            values = -values
        if len(values):
            differences[column] = _difference(*values.T)
    return differences


def _metric(column: str) -> str:
    return column.removesuffix("_gtmean")


def _difference(first: np.ndarray, second: np.ndarray) -> Difference:
    gains, count = first - second, len(first)
    varies = count > 1 and np.ptp(gains) > 0
    return Difference(
        gain=float(gains.mean()),
        error=float(gains.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan,
        wins=int((gains > 0).sum()),
        images=count,
        p_value=float(ttest_rel(first, second).pvalue) if varies else math.nan,
    )


def read_report(path: Path) -> dict[str, Scores]:
    """By method, what `report.write_report` wrote as JSON.

    Raises:
      ValueError: the file is none of these.
    """
    expected = f"{path}: expected the .json file that `evaluate --output` writes"
    try:
        rows = json.loads(path.read_bytes())["rows"]
        methods: dict[str, Scores] = {}
        for row in rows:
            scores = methods.setdefault(row["method"], Scores())
            scores.names.append(row["image"])
            for column, value in row.items():
                if _metric(column) in METRICS:
                    scores.columns.setdefault(column, []).append(value)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(expected) from None
    if not methods:
        raise ValueError(expected)
    return methods


def main_method(methods: Mapping[str, Scores]) -> str:
    """Of those that were scored together: the one that `--model` named, whole."""
    return [name for name in methods if name != "truth"][-1]


def print_paired(first: str, second: str, differences: dict[str, Difference]) -> None:
    """A row for each metric."""
    table = Table(title=f"{first} against {second}, image by image")
    for column in ("", "better by", "in images", "p"):
        table.add_column(column, justify="right" if column else "left")
    for column, found in differences.items():
        digits = METRICS[_metric(column)].digits
        error = "" if math.isnan(found.error) else f" ± {found.error:.{digits}f}"
        table.add_row(
            heading(column),
            f"{found.gain:+.{digits}f}{error}",
            f"{found.wins} of {found.images}",
            "" if math.isnan(found.p_value) else f"{found.p_value:.2g}",
        )
    console = Console(width=100)
    console.print(table)
    console.print("± the standard error of the mean; p: paired t-test, two-sided")
