"""Scores as tables on the terminal and as files."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lowlight_jax.evaluation import scoring
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.metrics import METRICS
from lowlight_jax.runtime.whole_file import write_whole


def print_scores(
    title: str, scores: Mapping[str, Scores], *, per_image: bool = False
) -> None:
    """A row for each method: mean ± standard deviation over images."""
    table = Table(title=title)
    table.add_column("")
    columns = list(next(iter(scores.values())).columns)
    for column in columns:
        table.add_column(heading(column), justify="right")
    for method, of_method in scores.items():
        if per_image:
            for i, name in enumerate(of_method.names):
                values = [of_method.columns[column][i] for column in columns]
                cells = [_cell(c, v) for c, v in zip(columns, values, strict=True)]
                table.add_row(name, *cells)
            table.add_section()
        table.add_row(method, *(summary(of_method, column) for column in columns))
    Console(width=max(100, 24 + 18 * len(columns))).print(table)


def heading(column: str) -> str:
    """The name of a metric, and the direction in which it gets better."""
    return f"{column} {METRICS[column.removesuffix('_gtmean')].arrow}".strip()


def _cell(column: str, value: float | None) -> str:
    digits = METRICS[column.removesuffix("_gtmean")].digits
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def summary(scores: Scores, column: str) -> str:
    """Mean ± standard deviation over images, and how many where not all have one."""
    mean, std = scores.mean(column), scores.std(column)
    count = scores.values(column).size
    text = _cell(column, mean)
    if not np.isnan(std):
        text += f" ± {_cell(column, std)}"
    return text if count == len(scores.names) else f"{text} ({count} images)".strip()


def write_report(
    path: Path, scores: Mapping[str, Scores], *, protocol: str = scoring.PROTOCOL
) -> None:
    """Protocol, versions, means and a row for each image; JSON or CSV by suffix."""
    rows = [
        {"method": method, "image": name}
        | {column: values[i] for column, values in of_method.columns.items()}
        for method, of_method in scores.items()
        for i, name in enumerate(of_method.names)
    ]
    summary = {
        method: {
            column: {
                "mean": or_none(of_method.mean(column)),
                "std": or_none(of_method.std(column)),
                "images": int(of_method.values(column).size),
            }
            for column in of_method.columns
        }
        for method, of_method in scores.items()
    }
    notes = [note for of_method in scores.values() for note in of_method.notes]
    about = {
        "protocol": protocol,
        "versions": find_versions(),
        "summary": summary,
        "notes": notes,
    }
    write_rows(path, rows, about, commented=("protocol", "versions"))


def find_versions() -> dict[str, str]:
    """Of the libraries that scores may depend on."""
    return {name: metadata.version(name) for name in ("jax", "dm-pix", "numpy")}


def write_rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    *,
    commented: Sequence[str],
) -> None:
    """A table and what is to be said about it; JSON or CSV by suffix.

    Args:
      path: ends in .json or .csv.
      rows: at least one, all with the same keys.
      about: what JSON says beside the rows.
      commented: what of it CSV says too, a line each that begins with #.
    """
    if path.suffix == ".csv":
        file = io.StringIO()
        for name in commented:
            value = about[name]
            if not isinstance(value, str):
                value = json.dumps(value, ensure_ascii=False)
            file.write(f"# {value}\n")
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        text = file.getvalue()
    else:
        text = json.dumps({**about, "rows": list(rows)}, indent=1)
    # Names that are no UTF-8 stay as they are.
    write_whole(path, text.encode(errors="surrogateescape"))


def or_none(value: float) -> float | None:
    """What files say of a score that there is not."""
    return None if np.isnan(value) else value  # JSON has no NaN
