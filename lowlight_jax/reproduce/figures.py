"""Plots of a report: PNG files that can be read in print and by the colour-blind.

Colours are those of Okabe and Ito 2008; lines also differ in dash and marker.
matplotlib is imported when it is used: it is of the extra [report].
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lowlight_jax.evaluation.picture_grid import draw_picture_grid, most_detailed
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", ":", "D"),
)
_OURS, _OTHERS = "#0072B2", "#BBBBBB"
_DPI = 160


def label(metric: str) -> str:
    """Name, unit and which direction is better."""
    return f"{METRICS[metric].label} {METRICS[metric].arrow}"


def bars(
    table: Mapping[str, Scores], metrics: Sequence[str], *, ours: Sequence[str]
) -> bytes:
    """A panel for each metric, a bar for each method: mean ± SD over images.

    Args:
      table: scores by method.
      metrics: of the panels.
      ours: methods that stand out.
    """
    from matplotlib.figure import Figure

    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    height = 0.9 + 0.28 * len(table)
    figure = Figure(figsize=(3.1 * columns, height * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    names = list(table)
    for axes, metric in zip(panels, metrics, strict=False):
        shown = [i for i, n in enumerate(names) if table[n].values(metric).size]
        spreads = [np.nan_to_num(table[names[i]].std(metric)) for i in shown]
        axes.barh(
            shown,
            [table[names[i]].mean(metric) for i in shown],
            xerr=spreads,
            color=[_OURS if names[i] in ours else _OTHERS for i in shown],
            hatch=["///" if names[i] in ours else "" for i in shown],
            edgecolor="white",
            error_kw={"elinewidth": 1, "capsize": 2},
        )
        axes.set_xlabel(label(metric))
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    panels[0].invert_yaxis()
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    return _png(figure)


def curves(
    seeds: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    metrics: Sequence[str],
    *,
    boundaries: Mapping[str, int],
) -> bytes:
    """A panel for each metric: mean over seeds against steps, their range as a band.

    Args:
      seeds: by line, for each seed its rows with "step" and the metrics.
      metrics: of the panels.
      boundaries: steps at which a phase ends, by what is written there.
    """
    from matplotlib.figure import Figure

    columns = min(2, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.1 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True)).ravel()
    for axes, metric in zip(panels, metrics, strict=False):
        for (name, of_seeds), style in zip(seeds.items(), _LINES, strict=False):
            colour, dash, marker = style
            steps = [row["step"] for row in of_seeds[0]]
            values = np.array([[row[metric] for row in seed] for seed in of_seeds])
            axes.fill_between(
                steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0
            )
            axes.plot(
                steps, values.mean(0), dash, color=colour, marker=marker, label=name
            )
        for text, step in boundaries.items():
            axes.axvline(step, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)))
            axes.annotate(
                text,
                (step, 0),
                xycoords=("data", "axes fraction"),
                xytext=(2, 3),
                textcoords="offset points",
                fontsize=8,
                color="0.3",
            )
        axes.set_ylabel(label(metric))
        axes.grid(color="0.92")
    for axes in panels[-columns:]:
        axes.set_xlabel("training steps")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return _png(figure)


def stages(table: Mapping[str, Scores], metric: str) -> bytes:
    """One metric from stage to stage: a thin line for each image, their mean heavy."""
    from matplotlib.figure import Figure

    names = list(table)
    values = np.array([table[name].columns[metric] for name in names], np.float64)
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(values, color="0.75", linewidth=0.7)
    axes.plot(np.nanmean(values, 1), color=_OURS, marker="o", linewidth=2.5)
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    axes.set_ylabel(label(metric).rsplit(" ", 1)[0])
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.92")
    return _png(figure)


def pictures(rows: Sequence[Mapping[str, np.ndarray]], *, width_px: int) -> bytes:
    """`draw_picture_grid` as JPEG, enlarged where the last picture has most detail."""
    zooms = [most_detailed(list(row.values())[-1]) for row in rows]
    grid = draw_picture_grid(rows, width_px=width_px, zooms=zooms)
    file = io.BytesIO()
    Image.fromarray(grid).save(file, "JPEG", quality=90, subsampling="4:4:4")
    return file.getvalue()


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()
