"""Trainings of a report: run, or taken from weights that are given."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ml_collections import ConfigDict

from lowlight_jax import weights
from lowlight_jax.reproduce.parts import Part
from lowlight_jax.runtime.whole_file import write_whole


@dataclasses.dataclass(frozen=True)
class Training:
    """One seed of a network.

    Attributes:
      name: of its recipe.
      seed: "seed 0", or "given" for weights that were not trained here.
      source: its weights: a file, a workdir or the name of weights that ship.
      workdir: of the training; None for given weights.
      config: of the training; None for given weights.
    """

    name: str
    seed: str
    source: str
    workdir: Path | None = None
    config: ConfigDict | None = None

    def part(self, metrics: Sequence[str]) -> Part:
        """The training as a part, scored as it goes by `metrics`."""
        return Part(
            f"training {self.name}, {self.seed}",
            "training",
            Path(self.source),
            partial(_train, self, metrics),
        )

    def curve(self) -> list[dict]:
        """Steps and validation scores while it was trained, in order of step."""
        lines = (self.workdir / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if "psnr_rgb" in row]


def plan_trainings(
    configs: Mapping[str, ConfigDict],
    seeds: Sequence[int],
    given: Mapping[str, str],
    output: Path,
) -> list[Training]:
    """Every seed of every recipe, or the weights that are given in their place."""
    trainings = []
    for name, config in configs.items():
        if name in given:
            trainings.append(Training(name, "given", given[name]))
            continue
        for seed in seeds:
            seeded = config.copy_and_resolve_references()
            seeded.seed = seed
            slug = f"{name}-seed{seed}"
            trainings.append(
                Training(
                    name,
                    f"seed {seed}",
                    str(output / "weights" / f"{slug}.safetensors"),
                    output / "runs" / slug,
                    seeded,
                )
            )
    return trainings


def _train(training: Training, metrics: Sequence[str]) -> None:
    import jax

    from lowlight_jax.training.loop import train

    train(training.config, training.workdir, metrics=metrics)
    finished = (training.workdir / weights.WORKDIR_FILE).read_bytes()
    write_whole(Path(training.source), finished)
    jax.clear_caches()  # each training has programs of its own
