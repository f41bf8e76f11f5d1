"""Paper A: "Accelerated Dual Network Model for Low-Exposure Image Enhancement".

Section 3 and 4: figures 4, 5 and 6, the noise that brightening amplifies, and each
claim with its measured answer. SYSTEM section 7.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from lowlight_jax import baselines
from lowlight_jax.data.pairs import Pair
from lowlight_jax.evaluation import comparison
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.inference.methods import load_method
from lowlight_jax.reproduce import claims, figures, page
from lowlight_jax.reproduce.claims import Claim
from lowlight_jax.reproduce.page import Section
from lowlight_jax.reproduce.study import Run, Study, classical_runs
from lowlight_jax.reproduce.trainings import Training
from lowlight_jax.tasks.task import PairMethod

TITLE = "Accelerated dual network: the paper's experiments"
MEASURES = (
    *("psnr_rgb", "ssim_rgb", "ms_ssim_rgb", "delta_e76", "ciede2000", "delta_e_itp"),
    *("niqe", "brisque", "noise_level"),
)
CURVE_MEASURES = ("psnr_rgb", "ssim_rgb", "niqe", "brisque")
_JUDGES = ("psnr_rgb", "ssim_rgb")  # both must agree in the one answer to a claim
_ALSO_SHOWN = ("delta_e_itp", "niqe", "brisque")  # the paper's own

_ENHANCED, _DENOISED = "enhancement only", "enhancement + denoising"
_OURS = (_ENHANCED, _DENOISED)
_VARIANTS = {
    "paper": "full",
    "no_reverse": "no reverse terms",
    "fine5": "5-layer fine stage",
    "coarse_only": "coarse stage only",
}
_CLASSICAL = {
    "histogram equalisation": "histogram-equalisation",
    "DWT-SVD": "dwt-svd",
    "GHP": "ghp",
    "LSSC": "lssc",
    "SVD": "svd",
}
_CLAIMS = (
    Claim("The fine stage helps: full beats coarse only", "full", "coarse stage only"),
    Claim("The reverse terms help", "full", "no reverse terms"),
    Claim("A fine stage of 5 layers is worse than of 4", "full", "5-layer fine stage"),
    Claim("Denoising is needed after enhancement", "full", _ENHANCED),
    Claim("Ours beats GHP", "full", "GHP"),
    Claim("Ours beats LSSC", "full", "LSSC"),
    Claim("Ours beats SVD", "full", "SVD"),
)


def make_study(
    trainings: Sequence[Training], pairs: Sequence[Pair], output: Path
) -> Study:
    """Every method of the report on the held-out pairs."""
    runs = [Run("input", lambda: lambda pair: pair.low)]
    runs += classical_runs(
        {
            name: partial(_on_dark_side, baselines.METHODS[method])
            for name, method in _CLASSICAL.items()
        }
    )
    for name, variant in _VARIANTS.items():
        for training in trainings:
            if training.name != name:
                continue
            make = partial(_network, training.source)
            if name == "paper":
                only = partial(_network, training.source, denoise=0.0)
                runs.append(Run(_ENHANCED, only, training.seed))
                runs.append(Run(_DENOISED, make, training.seed))
            else:
                runs.append(Run(variant, make, training.seed))
    runs.append(Run("truth", lambda: comparison.truth))
    return Study(output, pairs, MEASURES, runs)


def _on_dark_side(method, pair: Pair):
    return method(pair.low)


def _network(source: str, denoise: float = 1.0) -> PairMethod:
    method = load_method(source)
    return lambda pair: method(pair.low, denoise=denoise)


def sections(study: Study, trainings: Sequence[Training]) -> list[Section]:
    """The report, from the scores and pictures of a finished study."""
    table = study.table()
    found = [
        page.pictures_section(
            "figure-4",
            "Figure 4: results",
            study,
            ("input", "GHP", "LSSC", "SVD", *_OURS, "truth"),
            "GHP, LSSC and SVD denoise the histogram-equalised image: the paper does "
            "not say how they brighten.",
        ),
        _figure_5(study, table),
    ]
    curves = {
        variant: [t.curve() for t in trainings if t.name == name and t.workdir]
        for name, variant in _VARIANTS.items()
    }
    curves = {variant: rows for variant, rows in curves.items() if rows}
    if curves:
        config = next(t.config for t in trainings if t.config)
        found.append(_figure_6(curves, config))
    found.append(_variants(study, table))
    found.append(_noise(study, table))
    found.append(_answers(study))
    return found


def _figure_5(study: Study, table: Mapping[str, Scores]) -> Section:
    shown = {
        method: scores
        for method, scores in table.items()
        if method not in _VARIANTS.values()
    }
    compared = {m: s for m, s in shown.items() if m != "truth"}
    return page.scores_section(
        "figure-5",
        "Figure 5: measures",
        study.about,
        shown,
        figure=figures.bars(compared, MEASURES[:-1], ours=_OURS),
    )


def _figure_6(curves: Mapping[str, Sequence[Sequence[dict]]], config) -> Section:
    phases = config.phases
    counts = sorted({len(rows) for rows in curves.values()})
    data = [
        {"variant": variant, "seed": seed, "step": row["step"]}
        | {measure: row[measure] for measure in CURVE_MEASURES}
        for variant, seeds in curves.items()
        for seed, rows in enumerate(seeds)
        for row in rows
    ]
    return Section(
        "figure-6",
        "Figure 6: measures against training steps",
        f"Line: mean over seeds ({' or '.join(map(str, counts))} a variant); band: "
        "from the lowest to the highest seed. Enhancement and denoising in line, "
        "averaged parameters, on the whole held-out images in 8 bits, nothing rescaled "
        "by the truth; the denoising module is "
        f"untrained until step {phases.enhance.steps}.",
        figure=figures.curves(
            curves, CURVE_MEASURES, boundaries={"denoising →": phases.enhance.steps}
        ),
        data=data,
    )


def _variant_means(study: Study, measure: str) -> dict[str, list[float]]:
    means = study.means(measure)
    return {"full": means.pop(_DENOISED)} | means


def _variants(study: Study, table: Mapping[str, Scores]) -> Section:
    named = {"full": table[_DENOISED]} | {
        name: table[name] for name in list(_VARIANTS.values())[1:]
    }
    by_measure = {m: _variant_means(study, m) for m in MEASURES}
    data = [
        {"variant": name, "measure": measure, "seed": seed, "mean": value}
        for measure, means in by_measure.items()
        for name in named
        for seed, value in enumerate(means[name])
    ]
    section = page.scores_section(
        "variants",
        "Figure 6, at the end: the variants of the ablation",
        f"What seeds make of it is in the claims below; each seed is in the CSV. "
        f"{study.about}",
        named,
    )
    return dataclasses.replace(section, data=data)


def _noise(study: Study, table: Mapping[str, Scores]) -> Section:
    shown = {m: table[m] for m in ("input", *_OURS, "truth")}
    means = {m: scores.mean("noise_level") for m, scores in shown.items()}
    data = [{"method": m, "noise_level_u8": mean} for m, mean in means.items()]
    before, after = means[_ENHANCED], means[_DENOISED]
    return Section(
        "noise",
        "Noise amplification",
        f"Noise level (Immerkær 1996; it sees fine texture too, hence the truth's): "
        f"enhancement raises it from {means['input']:.1f} to {before:.1f}, the "
        f"denoising module leaves {after:.1f}, the truth has {means['truth']:.1f}. A "
        f"thin line is an image, the heavy one their mean. {study.about}",
        figure=figures.stages(shown, "noise_level"),
        columns=["method", "noise (8-bit units)"],
        rows=[[m, f"{mean:.2f}"] for m, mean in means.items()],
        data=data,
    )


def _answers(study: Study) -> Section:
    judges = (*_JUDGES, *_ALSO_SHOWN)
    trained = [m for m in study.trained if m != _DENOISED] + ["full"]
    means = {measure: _variant_means(study, measure) for measure in judges}
    return claims.section(_CLAIMS, _JUDGES, means, trained)
