"""A search for good settings: trainings, compared by their validation score.

Each trial is a training in a folder of its own beside the study, ended early where it
is worse than the median of the others at the same step. The study is an SQLite file of
Optuna, of the extra [tune].
"""

import dataclasses
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from lowlight_jax.config import ConfigError, validate
from lowlight_jax.metrics import METRICS
from lowlight_jax.models import make_model
from lowlight_jax.runtime.lock import locked
from lowlight_jax.training.resume import check_same, decisive, describe, differences

if TYPE_CHECKING:
    import optuna


class SearchError(ValueError):
    """The search cannot be done; one plain sentence."""


@dataclasses.dataclass(frozen=True)
class Range:
    """What a key may become.

    Attributes:
      key: of the config, like "data.batch_size".
      choices: one of these; or, where there are none,
      low, high: anything in between, a whole number where the config has one.
      log: drawn evenly in the logarithm.
    """

    key: str
    choices: tuple = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def suggest(self, trial: "optuna.Trial") -> str | int | float:
        """The value of a trial."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        if isinstance(self.low, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


def parse_range(text: str, config: ConfigDict) -> Range:
    """The range of `KEY=LOW:HIGH`, `KEY=LOW:HIGH:log` or `KEY=A,B,C`.

    Raises:
      SearchError: it is none of these, or the config has no such key.
    """
    key, _, values = text.partition("=")
    try:
        kind = type(_lookup(config, key))
        if "," in values and kind in _READ:
            return Range(key, choices=tuple(_READ[kind](v) for v in values.split(",")))
        low, high, *log = values.split(":")
        if kind in (int, float) and log in ([], ["log"]):
            found = Range(key, low=kind(low), high=kind(high), log=bool(log))
            if found.low < found.high and (found.low > 0 or not log):
                return found
    except (KeyError, AttributeError, ValueError):
        pass
    raise SearchError(
        f"--search={text}: expected a key of the config that is a single value, then "
        "=LOW:HIGH, =LOW:HIGH:log (LOW below HIGH, with log above 0) or =A,B,C"
    )


_READ = {
    int: int,
    float: float,
    str: str,
    bool: {"true": True, "false": False}.__getitem__,
}


def _lookup(config: ConfigDict, key: str):
    value = config
    for part in key.split("."):
        value = value[part]
    return value


def default_search(config: ConfigDict) -> list[Range]:
    """Learning rates, batch size, loss weights in use, and width where there is one."""
    phases = [name for name, phase in config.phases.items() if phase.steps]
    ranges = []
    for name in phases:
        rate = config.phases[name].learning_rate
        key = f"phases.{name}.learning_rate"
        ranges.append(Range(key, low=rate / 10, high=rate * 10, log=True))
    batch = config.data.batch_size
    ranges.append(
        Range("data.batch_size", choices=(max(1, batch // 2), batch, 2 * batch))
    )
    losses = make_model(**config.model).task.losses
    for loss in sorted({loss for name in phases for loss in losses.get(name, ())}):
        weights = {k: w for k, w in config.loss[loss].items() if w}
        if len(weights) > 1:  # the weight of a single term changes nothing
            for term, weight in weights.items():
                key = f"loss.{loss}.{term}"
                ranges.append(Range(key, low=weight / 4, high=weight * 4, log=True))
    for field in ("width", "channels"):
        if field in config.model:
            width = config.model[field]
            choices = (max(1, width // 2), width, 2 * width)
            ranges.append(Range(f"model.{field}", choices=choices))
    return ranges


def run_trial(
    trial: "optuna.Trial", config: ConfigDict, search: Sequence[Range], workdir: Path
) -> float:
    """Trains with the values of a trial; the best validation score.

    Raises:
      optuna.TrialPruned: it is worse than the median of the trials before.
    """
    import optuna

    from lowlight_jax.training.loop import train_and_evaluate

    config = ConfigDict(config.to_dict())
    config.update_from_flattened_dict({r.key: r.suggest(trial) for r in search})
    workdir.mkdir(parents=True, exist_ok=True)
    judge = best_metric(config)
    known = {step for step, _ in _history(workdir, judge)}

    def report(step: int, scores: dict[str, float]) -> None:
        if step not in known:
            trial.report(scores[judge], step)
        if trial.should_prune():
            raise optuna.TrialPruned

    train_and_evaluate(config.lock(), workdir, on_scores=report)
    best = max if METRICS[judge].better == "higher" else min
    return best((score for _, score in _history(workdir, judge)), default=math.nan)


def best_metric(config: ConfigDict) -> str:
    """The metric that trials are compared by, of the network's task."""
    return make_model(**config.model).task.best_metric


def _history(workdir: Path, metric: str) -> list[tuple[int, float]]:
    """Steps and validation scores of a training."""
    file = workdir / "metrics.jsonl"
    rows = map(json.loads, file.open()) if file.exists() else ()
    return [(row["step"], row[metric]) for row in rows if metric in row]


def tune(
    config: ConfigDict,
    study_file: Path,
    *,
    trials: int,
    search: Sequence[Range],
    train: Callable = run_trial,
) -> "optuna.Study":
    """Runs trials until the study has so many.

    Args:
      config: of the trainings; `evaluate_every_steps` says how often they are compared.
      study_file: SQLite, made where it does not exist.
      trials: in all.
      search: what to vary.
      train: see `run_trial`.
    Raises:
      SearchError, ConfigError: trials cannot be made, or not be compared.
      InUseError: another process is at it.
      ImportError: the extra [tune] is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "tuning needs Optuna; install it with pip install 'lowlight_jax[tune]'"
        ) from error
    _check_search(config, search)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = study_file.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        study = _open_study(study_file, config, search)
        _run_trials(study, folder, config, trials, search, train)
    return study


def _check_search(config: ConfigDict, search: Sequence[Range]) -> None:
    """That trials can be compared, and made with each of the values.

    Raises:
      SearchError, ConfigError: one line for each that cannot.
    """
    validate(config)
    if not config.evaluate_every_steps:
        raise SearchError(
            "evaluate_every_steps is 0; expected the steps after which trials are "
            "compared: pass --config.evaluate_every_steps=N"
        )
    failures = []
    for key, count in Counter(r.key for r in search).items():
        if count > 1:
            failures.append(f"{key} is searched {count} times; expected once")
    for of in search:
        for value in of.choices or (of.low, of.high):
            trial = ConfigDict(config.to_dict())
            trial.update_from_flattened_dict({of.key: value})
            try:
                validate(trial)
            except ConfigError as error:
                reasons = str(error).splitlines()[1:]
                failures.append(
                    f"{of.key}={value}: {'; '.join(map(str.strip, reasons))}"
                )
    if failures:
        raise SearchError("the search cannot work:\n  " + "\n  ".join(failures))


def _open_study(
    study_file: Path, config: ConfigDict, search: Sequence[Range]
) -> "optuna.Study":
    """The study, made where there is none.

    Raises:
      ConfigError: it is one of other settings, whose trials cannot be compared.
    """
    import optuna

    better = METRICS[best_metric(config)].better
    study = optuna.create_study(
        study_name="lowlight_jax",
        storage=f"sqlite:///{study_file}",
        sampler=optuna.samplers.TPESampler(seed=config.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        direction="maximize" if better == "higher" else "minimize",
        load_if_exists=True,
    )
    settings = {
        "config": describe(config),
        "search": describe({r.key: dataclasses.asdict(r) for r in search}),
    }
    before = study.user_attrs.get("settings", settings)
    changed = differences(before["config"], settings["config"])
    lines = decisive(changed, before["config"], settings["config"])
    lines += differences(before["search"], settings["search"]).values()
    check_same(study_file, lines, "pass another --study")
    study.set_user_attr("settings", settings)
    return study


def _run_trials(
    study: "optuna.Study",
    folder: Path,
    config: ConfigDict,
    trials: int,
    search: Sequence[Range],
    train: Callable,
) -> None:
    """See `tune`."""
    import jax
    import optuna

    from lowlight_jax.training.telemetry import TrainingDiverged

    running = optuna.trial.TrialState.RUNNING
    while True:
        # One that is running was cut off: only one process works on a study.
        cut_off = study.get_trials(deepcopy=False, states=(running,))
        if cut_off:
            trial = optuna.Trial(study, cut_off[0]._trial_id)
        elif len(study.get_trials(deepcopy=False)) < trials:
            trial = study.ask()
        else:
            return
        workdir = folder / f"trial-{trial.number:04d}"
        print(f"trial {trial.number + 1} of {trials}: {workdir}")
        try:
            study.tell(trial, train(trial, config, search, workdir))
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except TrainingDiverged as error:
            print(f"trial {trial.number + 1}: {error}", file=sys.stderr)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        jax.clear_caches()  # every width and batch size has programs of its own


def print_study(study: "optuna.Study", metric: str) -> None:
    """A row for each trial, the best first, and how to train with it."""
    keys = sorted({key for trial in study.trials for key in trial.params})
    metric = METRICS[metric]
    table = Table(title=f"validation {metric.label}; best first")
    for heading in ("trial", f"{metric.label} {metric.arrow}", "state", *keys):
        table.add_column(heading)
    done = [t for t in study.trials if t.value is not None]
    for trial in sorted(done, key=lambda t: t.value, reverse=metric.better == "higher"):
        values = [
            f"{v:.3g}" if isinstance(v, float) else str(v)
            for v in (trial.params.get(key, "") for key in keys)
        ]
        state = trial.state.name.lower()
        table.add_row(
            str(trial.number + 1), f"{trial.value:.{metric.digits}f}", state, *values
        )
    Console(width=max(100, 30 + 14 * len(keys))).print(table)
    if any(t.state.name == "COMPLETE" for t in done):
        best = study.best_trial
        settings = " ".join(f"--config.{k}={v}" for k, v in best.params.items())
        print(f"the best, trial {best.number + 1}:\n  {settings}")
