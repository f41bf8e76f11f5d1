"""Both papers' experiments, each by one command.

    python -m lowlight_jax.reproduce --paper dual --config.data.root=DIR --output OUT
    python -m lowlight_jax.reproduce --paper cnn --config.data.root=DIR \\
        --config.data.photographs=DIR --output OUT

OUT gets `report.html` and all that it is made of; the same command goes on where it was
cut off. Without folders: photographs that come with scikit-image. --config.KEY=VALUE
sets data, seeds and steps; the keys are in reproduce/recipes.py. Needs the extra
[report]. Exit codes as those of `lowlight_jax.main`.
"""

import datetime
import functools
import hashlib
import importlib.util
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict, config_flags

from lowlight_jax.reproduce import PAPERS
from lowlight_jax.runtime import provenance
from lowlight_jax.runtime.allocator import keep_freed_memory
from lowlight_jax.runtime.cache import use_compilation_cache
from lowlight_jax.runtime.command import GOES_ON, run_command
from lowlight_jax.runtime.command_flags import parse_flags
from lowlight_jax.runtime.lock import locked

if TYPE_CHECKING:
    from lowlight_jax.data.pairs import Pair
    from lowlight_jax.reproduce.trainings import Training

PROG = "python -m lowlight_jax.reproduce"
_SETTINGS_FILE = "settings.json"
_NEEDED = {
    "jinja2": "Jinja2",
    "matplotlib": "matplotlib",
    "pywt": "PyWavelets",
    "sklearn": "scikit-learn",
}


def define_flags(words: list[str]) -> None:
    """Those of the command; a library that is imported defines none."""
    flags.DEFINE_enum("paper", None, PAPERS, "Which paper.")
    flags.DEFINE_string("output", None, "Folder of the report, and of its parts.")
    flags.DEFINE_bool(
        "quick",
        False,
        "Short trainings and small parts of few images, at most 10 minutes on 2 CPU "
        "cores: to see that all of it runs. Its figures mean nothing.",
    )
    flags.DEFINE_multi_string(
        "model",
        [],
        "NAME=MODEL: what --model of the other commands takes, in the place of a "
        "training; NAME is RECIPE-VARIANT, paper or baseline and full, "
        "no_two_way, fine5 or coarse_only, or of --paper cnn: cnn, mirnet or inpaint. "
        "May be repeated.",
    )
    flags.DEFINE_alias("weights", "model")
    flags.mark_flags_as_required(["paper", "output"])


def define_config(words: list[str]) -> None:
    """--config, whose values import JAX."""
    from lowlight_jax.reproduce import recipes

    config_flags.DEFINE_config_dict("config", recipes.command_config(), sys_argv=words)


def parse_given(texts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Models by the name of the training in whose place they are given.

    Raises:
      ConfigError: not of the form NAME=MODEL, or no such training.
    """
    from lowlight_jax.config import ConfigError

    given = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or name not in names:
            raise ConfigError(
                f"--model={text}: expected NAME=MODEL, NAME one of {', '.join(names)}"
            )
        given[name] = source
    return given


def check_packages() -> None:
    """Raises an ImportError, before hours of work, where the extra is missing."""
    missing = [name for module, name in _NEEDED.items() if not _is_there(module)]
    if missing:
        raise ImportError(
            f"a report needs {', '.join(missing)}; install them with "
            "pip install 'lowlight_jax[report]'"
        )


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def settle(output: Path, settings: dict) -> None:
    """Notes what the parts in `output` are made with; they must not be mixed.

    Raises:
      ConfigError: there is a report of other settings already.
    """
    from lowlight_jax.config import ConfigError
    from lowlight_jax.runtime.whole_file import write_whole
    from lowlight_jax.training.resume import check_same, describe, differences

    file = output / _SETTINGS_FILE
    settings = describe(settings)
    if file.exists():
        changed = differences(json.loads(file.read_text()), settings)
        check_same(output, list(changed.values()), "pass another --output")
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(settings, indent=1).encode())
    except OSError as error:
        raise ConfigError(
            f"--output {output} cannot be written to ({error.strerror}); pass another"
        ) from error


def reproduce(
    paper: str, command: ConfigDict, output: Path, given: dict[str, str]
) -> Path:
    """Everything that is not done yet, then the report.

    Args:
      paper: "dual" or "cnn".
      command: see `recipes.command_config`.
      output: folder.
      given: weights by training, see `parse_given`.
    Returns:
      The page.
    Raises:
      ConfigError, PairsError, WeightsError, ImportError: one plain sentence.
      Preempted: told to stop; what is done is kept.
    """
    check_packages()
    from lowlight_jax.config import ConfigError, validate
    from lowlight_jax.models import make_model
    from lowlight_jax.reproduce import cnn_paper, dual_paper, page, recipes
    from lowlight_jax.reproduce.parts import run_parts
    from lowlight_jax.reproduce.study import cut_middle
    from lowlight_jax.reproduce.trainings import plan_trainings
    from lowlight_jax.training.loop import load_training_data

    recipes.check(command)
    check_given(paper, given)
    configs = recipes.trainings(paper, command)
    for config in configs.values():
        validate(config)
    first = next(iter(configs.values()))
    examples, pairs = load_training_data(first, make_model(**first.model))
    trained_on = [len(examples)]
    held_out = [cut_middle(pair, command.side_px) for pair in pairs]
    trainings = plan_trainings(configs, command.seeds, given, output)
    metrics = dual_paper.CURVE_METRICS if paper == "dual" else ()
    parts = [t.part(metrics) for t in trainings if t.workdir]
    if paper == "dual":
        title = dual_paper.TITLE
        study = dual_paper.make_study(trainings, held_out, output)
        parts += study.parts()
        make_sections = functools.partial(dual_paper.sections, study, trainings)
        shown = held_out
    else:
        title = cnn_paper.TITLE
        repair = configs["inpaint"]
        examples, damaged = load_training_data(repair, make_model(**repair.model))
        trained_on.append(len(examples))
        damaged = [cut_middle(pair, command.side_px) for pair in damaged]
        study = cnn_paper.make_study(trainings, held_out, output / "brightening")
        repairs = cnn_paper.make_repair_study(trainings, damaged, output / "repair")
        parts += study.parts() + repairs.parts() + [cnn_paper.table_1_part(study)]
        make_sections = functools.partial(cnn_paper.sections, study, repairs)
        shown = held_out + damaged
    if not shown:
        raise ConfigError(
            "no image is kept for validation, and so there is none to show; set "
            "--config.data.validation_every"
        )
    settle(output, _settings(paper, command, given, trained_on, shown))
    with locked(output):
        run_parts(parts, output)
        page.write_report(
            output,
            title=title,
            facts=_facts(command, trainings, output),
            sections=make_sections(),
        )
    return output / "report.html"


def check_given(paper: str, given: dict[str, str]) -> None:
    """Loads the models that are given, so that what does not fit is told at once.

    Raises:
      ValueError: there is none of this name, or it is for another task.
    """
    from lowlight_jax.inference.methods import load_method
    from lowlight_jax.models import MODELS

    for name, source in given.items():
        method = load_method(source)
        task = MODELS[name if paper == "cnn" else "dual"].task
        if method.task is not task:
            raise ValueError(
                f"--model={name}={source} is for {method.task.name}; expected one for "
                f"{task.name}"
            )
        if paper == "dual" and "denoise" not in method.controls:
            raise ValueError(
                f"--model={name}={source} has no denoising module; expected a network "
                "with one"
            )


def _settings(
    paper: str,
    command: ConfigDict,
    given: dict,
    trained_on: Sequence[int],
    pairs: Sequence["Pair"],
) -> dict:
    """All that the parts depend on, but for seeds, of which more may be added."""
    data = command.data.to_dict()
    for key in ("cache_dir", "threads", "memory_gib"):
        del data[key]
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(pair.low.tobytes() + pair.high.tobytes())
    return {
        "paper": paper,
        **{
            key: value for key, value in command.items() if key not in ("data", "seeds")
        },
        "data": data,
        "weights": given,
        "images to train on": trained_on,
        "images": digest.hexdigest()[:16],
    }


def _facts(
    command: ConfigDict, trainings: Sequence["Training"], output: Path
) -> dict[str, str]:
    """What the report was made with, in words."""
    from lowlight_jax import weights
    from lowlight_jax.models import all_phases
    from lowlight_jax.reproduce import parts

    folders = [command.data.root, command.data.photographs]
    names = [Path(folder).name for folder in folders if folder]
    steps = {
        t.name: " + ".join(
            f"{t.config.phases[phase].steps} {phase}"
            for phase in all_phases()  # in their order, which a config does not keep
            if t.config.phases[phase].steps
        )
        + f", {t.config.data.batch_size} crops of {t.config.data.crop_px} px"
        for t in trainings
        if t.config
    }
    commits = {
        weights.read_header(t.source).get("commit", "unknown")
        for t in trainings
        if t.workdir
    }
    given = {t.name: t.source for t in trainings if not t.workdir}
    hours = parts.hours(output)
    facts = {
        "Data": ", ".join(names) or "the photographs that come with scikit-image",
        "Steps": "; ".join(f"{n}: {s}" for n, s in steps.items()) or "none",
        "Seeds": ", ".join(map(str, command.seeds)) if steps else "none",
        "Hours": "; ".join(f"{k}: {v:.2f}" for k, v in hours.items()),
        "Machine": provenance.machine(),
        "Commit": f"{provenance.commit()}; of the trainings: "
        f"{', '.join(sorted(commits)) or 'none'}",
        "Versions": ", ".join(f"{k} {v}" for k, v in provenance.versions().items()),
        "Date": datetime.date.today().isoformat(),
    }
    if given:
        listing = ", ".join(f"{name}: {source}" for name, source in given.items())
        facts["Weights that were given"] = listing
    if command.steps != 1 or command.images or command.side_px:
        facts["Not the full run"] = (
            f"steps × {command.steps:g}, {command.images or 'all'} images, cut to "
            f"{command.side_px or 'whole'} px"
        )
    return facts


def run(argv: Sequence[str] | None, prog: str) -> int:
    """Makes the report that is asked for; returns the exit code."""
    parse_flags(
        define_flags, argv, prog=prog, about=__doc__, define_config=define_config
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_freed_memory()
    use_compilation_cache()
    from lowlight_jax.reproduce import recipes

    command = flags.FLAGS.config
    if flags.FLAGS.quick:
        recipes.make_quick(command)
    names = list(recipes.trainings(flags.FLAGS.paper, command))
    given = parse_given(flags.FLAGS.model, names)
    page = reproduce(flags.FLAGS.paper, command, Path(flags.FLAGS.output), given)
    print(f"written: {page}")
    return 0


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    return run_command(lambda: run(argv, prog), interrupted=GOES_ON)


if __name__ == "__main__":
    sys.exit(main())
