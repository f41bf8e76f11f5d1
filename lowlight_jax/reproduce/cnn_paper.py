"""Paper B: "Image Enhancement using Convolution Neural Networks".

Section 4: tasks 1 to 3, and table I with its curve.
"""

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lowlight_jax.baselines import inpainting, tone
from lowlight_jax.data.pairs import Pair
from lowlight_jax.evaluation import comparison, jpeg_quality
from lowlight_jax.inference.methods import load_method
from lowlight_jax.reproduce import claims, figures, page
from lowlight_jax.reproduce.claims import Claim
from lowlight_jax.reproduce.page import Section
from lowlight_jax.reproduce.parts import Part
from lowlight_jax.reproduce.study import Run, Study, classical_runs
from lowlight_jax.reproduce.trainings import Training
from lowlight_jax.runtime.whole_file import write_whole
from lowlight_jax.tasks.task import PairMethod

TITLE = "Image enhancement using CNNs: the paper's experiments"
SHOWN_METRICS = (
    *("psnr_rgb", "ssim_rgb", "ms_ssim_rgb", "delta_e76", "ciede2000", "delta_e_itp"),
    *("niqe", "brisque", "noise_level"),
)
REPAIR_METRICS = ("psnr_holes", "psnr_rgb", "ssim_rgb", "ciede2000")
QUALITIES = tuple(range(95, 0, -5))  # of table I

_CNN, _MIRNET, _REPAIR = "plain CNN", "MIRNet-shaped", "repair network"
_LABELS = {"cnn": _CNN, "mirnet": _MIRNET, "inpaint": _REPAIR}
_CLAIMS = (
    Claim("The CNN beats the power law (gamma 0.4)", _CNN, "gamma 0.4"),
    Claim("The CNN beats histogram equalisation", _CNN, "histogram equalisation"),
    Claim("The CNN beats CLAHE", _CNN, "CLAHE"),
    Claim("MIRNet is better than the CNN", _MIRNET, _CNN),
)
_REPAIR_CLAIMS = tuple(
    Claim(f"A CNN removes damage better than {name}", _REPAIR, name)
    for name in inpainting.METHODS
)


def make_study(
    trainings: Sequence[Training], pairs: Sequence[Pair], output: Path
) -> Study:
    """Tasks 1 and 2: methods that brighten."""
    runs = classical_runs(
        {
            "input": lambda pair: pair.low,
            "gamma 0.4": lambda pair: tone.gamma(pair.low),
            "histogram equalisation": lambda p: tone.histogram_equalisation(p.low),
            "CLAHE": lambda pair: tone.clahe(pair.low),
        }
    )
    runs += [
        Run(_LABELS[t.name], partial(_network, t.source), t.seed)
        for t in trainings
        if t.name != "inpaint"
    ]
    runs.append(Run("truth", lambda: comparison.truth))
    return Study(output, pairs, SHOWN_METRICS, runs)


def make_repair_study(
    trainings: Sequence[Training], pairs: Sequence[Pair], output: Path
) -> Study:
    """Task 3: methods that remove damage."""
    runs = [Run("damaged", lambda: lambda pair: pair.low)]
    runs += classical_runs(
        {name: partial(_fill, method) for name, method in inpainting.METHODS.items()}
    )
    runs += [
        Run(_REPAIR, partial(_network, t.source), t.seed)
        for t in trainings
        if t.name == "inpaint"
    ]
    runs.append(Run("truth", lambda: comparison.truth))
    return Study(output, pairs, REPAIR_METRICS, runs)


def _fill(method: inpainting.Method, pair: Pair) -> np.ndarray:
    return method(pair.low, pair.mask)


def _network(source: str) -> PairMethod:
    method = load_method(source)
    return lambda pair: method(pair.low, pair.mask)


def sections(study: Study, repairs: Study) -> list[Section]:
    """The report, from the scores and pictures of both finished studies."""
    return [
        *_study_sections(
            study,
            "task-1-2",
            "Tasks 1 and 2: dark images by a plain CNN and a MIRNet-shaped network",
            shown=("input", "histogram equalisation", _CNN, _MIRNET, "truth"),
            ours=(_CNN, _MIRNET),
        ),
        *_study_sections(
            repairs,
            "task-3",
            "Task 3: removal of damage",
            shown=("damaged", *inpainting.METHODS, _REPAIR, "truth"),
            ours=(_REPAIR,),
        ),
        _table_1(study),
        claims.section(
            _CLAIMS,
            ("psnr_rgb", "ssim_rgb"),
            {m: study.means(m) for m in ("psnr_rgb", "ssim_rgb", "ciede2000")},
            study.trained,
        ),
        claims.section(
            _REPAIR_CLAIMS,
            ("psnr_holes", "ssim_rgb"),
            {m: repairs.means(m) for m in REPAIR_METRICS},
            repairs.trained,
            name="repair-claims",
            title="The paper's claims on damage",
        ),
    ]


def _study_sections(
    study: Study, name: str, title: str, *, shown: Sequence[str], ours: Sequence[str]
) -> list[Section]:
    table = study.table()
    compared = {m: scores for m, scores in table.items() if m != "truth"}
    return [
        page.scores_section(
            name,
            title,
            study.about,
            table,
            figure=figures.bars(compared, study.metrics[:8], ours=ours),
        ),
        page.pictures_section(
            f"{name}-pictures", f"{title}: before and after", study, shown
        ),
    ]


def table_1_part(study: Study) -> Part:
    """The sweep of JPEG qualities over the normally exposed images."""
    return Part("table I", "scoring", _table_1_file(study), partial(_sweep, study))


def _table_1_file(study: Study) -> Path:
    return study.output / "scores" / "table-1.json"


def _sweep(study: Study) -> None:
    rows = [
        dataclasses.asdict(row)
        for pair in study.pairs
        for row in jpeg_quality.sweep(pair.name, pair.high, QUALITIES)[0]
    ]
    write_whole(_table_1_file(study), json.dumps(rows).encode())


def _table_1(study: Study) -> Section:
    rows = [jpeg_quality.Row(**r) for r in json.loads(_table_1_file(study).read_text())]
    means = jpeg_quality.mean_rows(rows)
    return Section(
        "table-1",
        "Table I: JPEG quality, PSNR, SSIM and bytes",
        f"Mean over the {len(study.pairs)} normally exposed images. "
        f"{jpeg_quality.PROTOCOL} The paper's own column of bytes falls from 6231 to "
        "2594 and rises to 4191 at qualities 20, 15 and 10, which no encoder's does.",
        figure=jpeg_quality.plot(rows),
        columns=["quality", "PSNR (dB)", "SSIM", "bytes", "bits per pixel"],
        rows=[
            [
                str(row.quality),
                f"{row.psnr_rgb:.3f}",
                f"{row.ssim_rgb:.5f}",
                f"{row.bytes:.0f}",
                f"{row.bits_per_pixel:.3f}",
            ]
            for row in means
        ],
        data=[dataclasses.asdict(row) for row in rows],
    )
