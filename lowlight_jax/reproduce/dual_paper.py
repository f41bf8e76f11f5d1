"""Paper A: "Accelerated Dual Network Model for Low-Exposure Image Enhancement".

Section 3 and 4: figures 4, 5 and 6, the noise that brightening amplifies, and each
claim with its measured answer, by the paper's recipe and by today's.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from lowlight_jax import baselines
from lowlight_jax.baselines.method import Method
from lowlight_jax.data.pairs import Pair
from lowlight_jax.evaluation import comparison
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.inference.methods import load_method
from lowlight_jax.reproduce import claims, figures, page
from lowlight_jax.reproduce.claims import Claim
from lowlight_jax.reproduce.page import Section
from lowlight_jax.reproduce.recipes import DUAL_RECIPES
from lowlight_jax.reproduce.study import Run, Study, classical_runs
from lowlight_jax.reproduce.trainings import Training
from lowlight_jax.tasks.task import PairMethod

TITLE = "Accelerated dual network: the paper's experiments"
SHOWN_METRICS = (
    *("psnr_rgb", "ssim_rgb", "ms_ssim_rgb", "delta_e76", "ciede2000", "delta_e_itp"),
    *("niqe", "brisque", "noise_level"),
)
CURVE_METRICS = ("psnr_rgb", "ssim_rgb", "niqe", "brisque")
# The paper's formulas 15 to 18 are the first two and a colour difference, the names
# that it gives them the last three.
_JUDGES = ("psnr_rgb", "ssim_rgb", "delta_e_itp", "niqe", "brisque")

_ENHANCED, _FULL = "enhancement only", "full"
_VARIANTS = {
    "full": _FULL,
    "no_two_way": "no two-way constraint",
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
    Claim(
        "The first part of the enhancement module alone, without denoising, is worse",
        _FULL,
        "coarse stage only",
    ),
    Claim("The two-way constraint helps", _FULL, "no two-way constraint"),
    Claim("A fine stage of 5 layers is worse than of 4", _FULL, "5-layer fine stage"),
    Claim("Denoising is needed after enhancement", _FULL, _ENHANCED),
    Claim("Ours beats GHP", _FULL, "GHP"),
    Claim("Ours beats LSSC", _FULL, "LSSC"),
    Claim("Ours beats SVD", _FULL, "SVD"),
)


def _named(recipe: str, variant: str) -> str:
    return f"{recipe}: {variant}"


_OURS = tuple(_named(r, v) for r in DUAL_RECIPES for v in (_ENHANCED, _FULL))


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
    for training in trainings:
        recipe, _, variant = training.name.partition("-")
        if variant == "full":
            only = partial(_network, training.source, denoise=0.0)
            runs.append(Run(_named(recipe, _ENHANCED), only, training.seed))
        make = partial(_network, training.source)
        runs.append(Run(_named(recipe, _VARIANTS[variant]), make, training.seed))
    runs.append(Run("truth", lambda: comparison.truth))
    return Study(output, pairs, SHOWN_METRICS, runs)


def _on_dark_side(method: Method, pair: Pair) -> np.ndarray:
    return method(pair.low)


def _network(source: str, denoise: float = 1.0) -> PairMethod:
    method = load_method(source)
    return lambda pair: method(pair.low, denoise=denoise)


def sections(study: Study, trainings: Sequence[Training]) -> list[Section]:
    """The report, from the scores and pictures of a finished study."""
    table = study.table()
    answers = {recipe: _answers(study, recipe) for recipe in DUAL_RECIPES}
    found = [
        _side_by_side(answers),
        page.pictures_section(
            "figure-4",
            "Figure 4: results",
            study,
            ("input", "GHP", "LSSC", "SVD", *_OURS[:2], _OURS[-1], "truth"),
            "GHP, LSSC and SVD denoise the histogram-equalised image: the paper does "
            "not say how they brighten.",
        ),
        _figure_5(study, table),
    ]
    for recipe, words in DUAL_RECIPES.items():
        curves = {
            variant: [
                t.curve()
                for t in trainings
                if t.name == f"{recipe}-{name}" and t.workdir
            ]
            for name, variant in _VARIANTS.items()
        }
        curves = {variant: rows for variant, rows in curves.items() if rows}
        if curves:
            config = next(
                t.config for t in trainings if t.config and t.name.startswith(recipe)
            )
            found.append(_figure_6(curves, config, recipe, words))
    found.append(_variants(study, table))
    found += [
        _noise(study, table, recipe, words) for recipe, words in DUAL_RECIPES.items()
    ]
    found += answers.values()
    return found


def _figure_5(study: Study, table: Mapping[str, Scores]) -> Section:
    trained = set(study.trained) - set(_OURS)
    shown = {m: scores for m, scores in table.items() if m not in trained}
    compared = {m: s for m, s in shown.items() if m != "truth"}
    return page.scores_section(
        "figure-5",
        "Figure 5: metrics",
        study.about,
        shown,
        figure=figures.bars(compared, SHOWN_METRICS[:-1], ours=_OURS),
    )


def _figure_6(
    curves: Mapping[str, Sequence[Sequence[dict]]],
    config: ConfigDict,
    recipe: str,
    words: str,
) -> Section:
    phases = config.phases
    counts = sorted({len(rows) for rows in curves.values()})
    data = [
        {"variant": variant, "seed": seed, "step": row["step"]}
        | {metric: row[metric] for metric in CURVE_METRICS}
        for variant, seeds in curves.items()
        for seed, rows in enumerate(seeds)
        for row in rows
    ]
    return Section(
        f"figure-6-{recipe}",
        f"Figure 6: metrics against training steps, {words}",
        f"Line: mean over seeds ({' or '.join(map(str, counts))} a variant); band: "
        "from the lowest to the highest seed. Enhancement and denoising in line, "
        "on the whole held-out images in 8 bits, nothing rescaled "
        "by the truth; the denoising module is "
        f"untrained until step {phases.enhance.steps}, where the coarse stage, which "
        "has none, is done.",
        figure=figures.curves(
            curves, CURVE_METRICS, boundaries={"denoising →": phases.enhance.steps}
        ),
        data=data,
    )


def _variants(study: Study, table: Mapping[str, Scores]) -> Section:
    named = {
        _named(recipe, variant): table[_named(recipe, variant)]
        for recipe in DUAL_RECIPES
        for variant in _VARIANTS.values()
    }
    data = [
        {"variant": name, "metric": metric, "seed": seed, "mean": value}
        for metric in SHOWN_METRICS
        for name, values in study.means(metric).items()
        if name in named
        for seed, value in enumerate(values)
    ]
    section = page.scores_section(
        "variants",
        "Figure 6, at the end: the variants of the ablation",
        f"What seeds make of it is in the claims below; each seed is in the CSV. "
        f"{study.about}",
        named,
    )
    return dataclasses.replace(section, data=data)


def _noise(
    study: Study, table: Mapping[str, Scores], recipe: str, words: str
) -> Section:
    enhanced, full = _named(recipe, _ENHANCED), _named(recipe, _FULL)
    shown = {m: table[m] for m in ("input", enhanced, full, "truth")}
    means = {m: scores.mean("noise_level") for m, scores in shown.items()}
    data = [{"method": m, "noise_level_u8": mean} for m, mean in means.items()]
    return Section(
        f"noise-{recipe}",
        f"Noise amplification, {words}",
        f"Noise level (Immerkær 1996; it sees fine texture too, hence the truth's): "
        f"{means['input']:.1f} in the input, {means[enhanced]:.1f} after enhancement, "
        f"{means[full]:.1f} after the denoising module, {means['truth']:.1f} in the "
        f"truth. A thin line is an image, the heavy one their mean. {study.about}",
        figure=figures.stages(shown, "noise_level"),
        columns=["method", "noise (8-bit units)"],
        rows=[[m, f"{mean:.2f}"] for m, mean in means.items()],
        data=data,
    )


def _answers(study: Study, recipe: str) -> Section:
    """The claims, judged with the networks of one recipe and their seeds alone."""
    prefix = _named(recipe, "")
    others = {m for m in study.trained if not m.startswith(prefix)}

    def means(metric: str) -> dict[str, list[float]]:
        return {
            method.removeprefix(prefix): values
            for method, values in study.means(metric).items()
            if method not in others
        }

    return claims.section(
        _CLAIMS,
        _JUDGES,
        {metric: means(metric) for metric in _JUDGES},
        [m.removeprefix(prefix) for m in study.trained if m not in others],
        name=f"claims-{recipe}",
        title=f"The paper's claims, {DUAL_RECIPES[recipe]}",
    )


def _with_metrics(answer: str, metrics: str) -> str:
    """The answer, and where the metrics do not give the same one, which say what."""
    mixed = answer in (claims.DISAGREE, claims.IN_PART)
    return f"{answer} (for it: {metrics})" if mixed else answer


def _side_by_side(answers: Mapping[str, Section]) -> Section:
    """Each claim's answers by recipe, and in words whether they agree."""
    by_claim = {
        claim.text: {
            DUAL_RECIPES[recipe]: _with_metrics(*section.rows[i][1:3])
            for recipe, section in answers.items()
        }
        for i, claim in enumerate(_CLAIMS)
    }
    differing = sum(len(set(found.values())) > 1 for found in by_claim.values())
    data = [{"claim": text} | found for text, found in by_claim.items()]
    return Section(
        "claims",
        "The paper's claims",
        f"{differing} of {len(by_claim)} answers depend on the recipe. The paper's: "
        "formulas 5 to 14 alone (configs/dual_paper.py). Today's: more terms, averaged "
        "parameters, a falling rate (configs/dual_lol.py, shorter). The metrics "
        "behind each answer are in the tables at the end.",
        columns=["claim", "answer"],
        rows=[[text, claims.in_words(found)] for text, found in by_claim.items()],
        data=data,
    )
