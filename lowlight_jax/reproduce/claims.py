"""Whether a paper's claim holds: differences of means against the noise of seeds."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy.stats import t

from lowlight_jax.metrics import METRICS
from lowlight_jax.reproduce.figures import label
from lowlight_jax.reproduce.page import Section

CONFIDENCE = 0.95
CONFIRMED, REFUTED, UNDECIDED = (
    "confirmed",
    "not confirmed",
    "within the noise of seeds",
)
DISAGREE, IN_PART = "metrics disagree", "confirmed in part"  # of several metrics
_MARKS = {CONFIRMED: "✓", REFUTED: "✗", UNDECIDED: "≈"}


@dataclasses.dataclass(frozen=True)
class Claim:
    """`better` is better than `worse`, says the paper.

    Attributes:
      text: the claim in one line.
      better, worse: names of methods.
    """

    text: str
    better: str
    worse: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric of both methods.

    Attributes:
      gain: how much better `better` is, positive also where lower is better; NaN where
        the images have no such score.
      noise: the difference that seeds alone make in 19 of 20 cases; NaN: not known,
        0 where nothing is random.
    """

    gain: float
    noise: float

    @property
    def answer(self) -> str:
        """By the sign alone where the noise is not known."""
        within = abs(self.gain) <= self.noise  # never of a NaN noise
        if math.isnan(self.gain) or self.gain == 0 or within:
            return UNDECIDED
        return CONFIRMED if self.gain > 0 else REFUTED

    def spell(self, digits: int) -> str:
        """Mark, gain and noise, "–" without a gain."""
        if math.isnan(self.gain):
            return "–"
        noise = "?" if math.isnan(self.noise) else f"{self.noise:.{digits}f}"
        return f"{_MARKS[self.answer]} {self.gain:+.{digits}f} ± {noise}"


def compare(
    claim: Claim,
    metric: str,
    means: Mapping[str, Sequence[float]],
    trained: Collection[str],
) -> Comparison:
    """Two-sided t-test of two means with one standard deviation for all methods.

    A few seeds of one method say little of their spread; those of all trained methods
    together say more.

    Args:
      claim: what is compared.
      metric: whose direction decides what better means.
      means: by method, the mean over images for each seed.
      trained: the methods that have seeds; the others have one value.
    """
    seeds = [np.asarray(means[name]) for name in trained]
    degrees = sum(len(values) - 1 for values in seeds)
    squares = sum(float(np.sum((values - values.mean()) ** 2)) for values in seeds)
    better, worse = means[claim.better], means[claim.worse]
    gain = float(np.mean(better) - np.mean(worse))
    if METRICS[metric].better == "lower":
        gain = -gain
    scale = sum(
        1 / len(means[name]) for name in (claim.better, claim.worse) if name in trained
    )
    if not scale:
        return Comparison(gain, 0.0)
    if not degrees:
        return Comparison(gain, math.nan)
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, degrees))
    return Comparison(gain, quantile * math.sqrt(squares / degrees * scale))


def overall(answers: Sequence[str]) -> str:
    """One answer of several metrics'.

    Those within the noise of seeds count neither way, but make "confirmed" "in part".
    """
    if CONFIRMED in answers and REFUTED in answers:
        return DISAGREE
    if CONFIRMED in answers:
        return IN_PART if UNDECIDED in answers else CONFIRMED
    return REFUTED if REFUTED in answers else UNDECIDED


def in_words(answers: Mapping[str, str]) -> str:
    """Answers by recipe in words, as one where they agree."""
    if len(set(answers.values())) == 1:
        return f"{next(iter(answers.values()))}, whatever the recipe"
    return "recipes differ: " + ", ".join(
        f"{answer} with {recipe}" for recipe, answer in answers.items()
    )


def _sides(compared: Mapping[str, Comparison]) -> str:
    """Which metrics are for a claim and which against it."""

    def names(answer: str) -> str:
        found = [
            METRICS[m].label.split(" (")[0]
            for m, c in compared.items()
            if c.answer == answer
        ]
        return ", ".join(found) or "none"

    return f"{names(CONFIRMED)}; against: {names(REFUTED)}"


def section(
    claims: Sequence[Claim],
    judges: Sequence[str],
    means: Mapping[str, Mapping[str, Sequence[float]]],
    trained: Collection[str],
    *,
    name: str = "claims",
    title: str = "The paper's claims",
) -> Section:
    """A line for each claim: the one answer, and every metric's difference.

    Args:
      claims: of the paper.
      judges: the metrics that make the one answer.
      means: by metric, those and others, what `compare` takes.
      trained: see `compare`.
      name, title: of the section.
    """
    rows, data = [], []
    for claim in claims:
        compared = {
            metric: compare(claim, metric, of_metric, trained)
            for metric, of_metric in means.items()
        }
        answer = overall([compared[metric].answer for metric in judges])
        cells = [c.spell(METRICS[m].digits) for m, c in compared.items()]
        sides = _sides({metric: compared[metric] for metric in judges})
        rows.append([claim.text, answer, sides, *cells])
        data += [
            {
                "claim": claim.text,
                "metric": metric,
                "gain": comparison.gain,
                "noise_of_seeds": comparison.noise,
                "answer": comparison.answer,
            }
            for metric, comparison in compared.items()
        ]
    return Section(
        name,
        title,
        "How much better, in each metric, positive also where lower is better, ± what "
        "the choice of seeds alone makes in 19 of 20 cases (t-test, one standard "
        "deviation for all networks; ? with one seed, when the sign alone answers). "
        f"✓ confirmed, ✗ the opposite, ≈ within the noise of seeds. The answer takes "
        f"{', '.join(METRICS[m].label.split(' (')[0] for m in judges)}: confirmed if "
        f"all are, {IN_PART} if some are and none is the opposite, not confirmed if "
        "some are the opposite and none is confirmed.",
        columns=["claim", "answer", "for it", *map(label, means)],
        rows=rows,
        data=data,
    )
