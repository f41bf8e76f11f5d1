"""Training from config to shipped weights: phases, the loop, the last table.

`train_and_evaluate` is a script; everything that it calls is a library.
"""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from lowlight_jax import weights
from lowlight_jax.config import ConfigError, validate
from lowlight_jax.data.device_crops import device_crops, stack_views
from lowlight_jax.data.pairs import Pair
from lowlight_jax.data.pipeline import Geometry, Views, make_batches, stream_seed
from lowlight_jax.data.sources import Options
from lowlight_jax.evaluation import comparison, report, scoring
from lowlight_jax.evaluation.picture_grid import save_picture_grid
from lowlight_jax.evaluation.scoring import Scores, interleave
from lowlight_jax.images.files import read_photo
from lowlight_jax.inference.runner import Runner
from lowlight_jax.losses.dual import DenoisingWeights, EnhancementWeights
from lowlight_jax.losses.repair import RepairWeights
from lowlight_jax.losses.supervised import SupervisedWeights
from lowlight_jax.metrics import METRICS
from lowlight_jax.models import (
    all_phases,
    init_params,
    make_model,
    model_fields,
    name_of,
)
from lowlight_jax.ops.damage import Damage
from lowlight_jax.ops.degrade import ColourVariation, Compression, Exposure
from lowlight_jax.runtime import parallel, preemption, provenance
from lowlight_jax.runtime.lock import InUseError, locked
from lowlight_jax.runtime.whole_file import write_whole
from lowlight_jax.tasks.task import (
    Network,
    PairMethod,
    Settings,
    keeping_parts,
    make_objective,
)
from lowlight_jax.training import resume, telemetry
from lowlight_jax.training.checkpoint import Checkpoints
from lowlight_jax.training.data import load_data
from lowlight_jax.training.early_stopping import Best
from lowlight_jax.training.optimizer import Plateau, make_optimizer, make_schedule
from lowlight_jax.training.pace import ClockPace, StepPace
from lowlight_jax.training.step import init_train_state, train_step
from lowlight_jax.types import Batch, Metrics, Params, TrainState

GRID_FILE = "results.png"
BEST_FILE = "best.safetensors"  # of the phase in progress, with early stopping
Reporter = Callable[[int, dict[str, float]], None]


def make_settings(config: ConfigDict) -> Settings:
    """The phases' settings as plain dataclasses."""
    return Settings(
        enhancement=EnhancementWeights(**config.loss.enhancement),
        denoising=DenoisingWeights(**config.loss.denoising),
        supervised=SupervisedWeights(**config.loss.supervised),
        repair=RepairWeights(**config.loss.repair),
        exposure=Exposure(**config.synthetic),
        damage=Damage(**config.damage),
        colour=ColourVariation(**config.augment.colour),
        dark_stops=config.augment.dark_stops,
        dark_jpeg=Compression(**config.augment.dark_jpeg),
        identity_fraction=config.identity_fraction,
        enhanced_fraction=config.enhanced_fraction,
        kept_parts=config.kept_parts,
        max_noise_u8=config.max_noise_u8,
    )


def load_training_data(
    config: ConfigDict, network: Network
) -> tuple[Sequence[Views], Sequence[Pair]]:
    """What `config.data` names, for the task of a network; see `training.data`."""
    data = config.data
    return load_data(
        Options(**{f.name: data[f.name] for f in dataclasses.fields(Options)}),
        network.task,
        make_settings(config),
        held_out_images=data.validation_images,
        darken_pairs=data.darken_pairs,
        with_thumbnails=network.sees_thumbnail,
    )


@dataclasses.dataclass(frozen=True)
class Phase:
    """One of the phases of a run.

    Attributes:
      name: of its objective.
      number: 0, 1, 2, ... of those that have steps.
      start, stop: steps of the run at which it begins and ends.
      tx: its optimizer.
    """

    name: str
    number: int
    start: int
    stop: int
    tx: optax.GradientTransformation


def plan_phases(config: ConfigDict) -> list[Phase]:
    """The phases that have steps, in the order of `all_phases`."""
    phases: list[Phase] = []
    for name in all_phases():  # not config.phases: a ConfigDict sorts by the alphabet
        if steps := config.phases[name].steps:
            start = phases[-1].stop if phases else 0
            tx = _make_optimizer(config, config.phases[name])
            phases.append(Phase(name, len(phases), start, start + steps, tx))
    return phases


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | Path,
    *,
    on_scores: Reporter | None = None,
    may_differ: bool = False,
) -> TrainState:
    """`train`, then scores.json and results.png: all methods on the pairs held out."""
    workdir = Path(workdir)
    network, state, pairs = train(
        config, workdir, on_scores=on_scores, may_differ=may_differ
    )
    if pairs:
        _final_evaluation(config, network, state.ema_params, pairs, workdir)
        grid = workdir / GRID_FILE
        if config.tensorboard and config.grid_images and parallel.is_main_process():
            telemetry.show_picture(workdir, int(state.step), read_photo(grid).pixels)
    return state


def train(
    config: ConfigDict,
    workdir: str | Path,
    *,
    on_scores: Reporter | None = None,
    metrics: Sequence[str] = (),
    may_differ: bool = False,
) -> tuple[Network, TrainState, Sequence[Pair]]:
    """Runs every phase from wherever the workdir stands.

    Leaves in `workdir`: config.json, metrics.jsonl, checkpoints/, weights.safetensors,
    and with `config.tensorboard` its event files.
    Of several processes, the first one writes them all; the workdir must be one folder
    that every process sees.

    Args:
      config: see `lowlight_jax.config`.
      workdir: made where it does not exist; a run that was cut off there goes on.
      on_scores: told the step and the validation scores whenever there are some; what
        it raises ends the run.
      metrics: of the validation scores; empty: `Task.metrics`.
      may_differ: goes on with a run of another config or other data; else an error.
    Returns:
      The network, its state at the end, and the pairs held out of training.
    Raises:
      ConfigError, PairsError, CheckpointError, TrainingDiverged: one plain message.
      ImportError: an extra is missing.
      Preempted: told to stop; the state is saved.
    """
    validate(config)
    if config.tensorboard:
        telemetry.check_tensorboard()
    backend = parallel.choose_backend(
        config.parallel, config.data.batch_size, config.optimizer.accumulate
    )
    if config.data.on_device and backend != "jit":
        raise ConfigError(
            f"data.on_device is for one device, but parallel is {backend!r}; leave it "
            "out, or pass --config.parallel=jit"
        )
    workdir = Path(workdir)
    _check_writable(workdir)
    with _only_process(workdir):
        return _train(config, workdir, backend, on_scores, metrics, may_differ)


def _train(
    config: ConfigDict,
    workdir: Path,
    backend: str,
    on_scores: Reporter | None,
    metrics: Sequence[str],
    may_differ: bool,
) -> tuple[Network, TrainState, Sequence[Pair]]:
    """See `train`."""
    begun = monotonic()
    checkpoints = Checkpoints(workdir)
    about = {"config": resume.describe(config)}
    before = checkpoints.about_latest() or {}
    before = {key: value for key, value in before.items() if key in ("config", "data")}
    changed = _check_resumes(workdir, before, about, may_differ)
    network = make_model(**config.model)
    phases = plan_phases(config)
    params_key, steps_key = jax.random.split(jax.random.key(config.seed))
    params = _initial_params(config, network, params_key)
    try:  # now, not when phase "joint" begins
        keeping_parts(params, config.kept_parts)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    examples, pairs = load_training_data(config, network)
    _check_data(config, examples, pairs)
    about["data"] = resume.describe_data(examples, pairs)
    _check_resumes(workdir, before, about, may_differ)

    images = None
    if config.data.on_device:
        geometry = Geometry(**config.augment.geometry)
        images = parallel.place_batch(stack_views(examples, geometry), backend)
    state = init_train_state(steps_key, params, phases[0].tx)
    state = checkpoints.restore_latest(state, config.model.to_dict()) or state
    state = jax.device_get(state)
    step, total = int(state.step), phases[-1].stop
    pace = StepPace(phases, step)
    if config.max_minutes:
        pace = ClockPace(
            phases,
            step,
            minutes=config.max_minutes,
            begun=begun,
            before=checkpoints.about_latest() or {},
        )
        pace.keep_back(
            _expected_evaluation_s(config, network, state.ema_params, pairs),
            ends_with_one_more=config.early_stopping_patience > 0,
        )
        total = None
    is_main = parallel.is_main_process()
    commit = provenance.commit()
    if is_main:
        if step:
            print(f"resuming at {pace.describe(step)} from {workdir}")
            print("".join(f"  changed: {line}\n" for line in changed), end="")
        _write_config(workdir, config, commit)
    line = telemetry.ProgressLine(
        config.data.batch_size, step, total, quiet=not is_main
    )
    events = contextlib.nullcontext()
    if config.tensorboard and is_main:
        events = telemetry.open_events(workdir, step)
    with (
        line as progress,
        preemption.StopSignal() as signals,
        checkpoints,
        events as event_writer,
    ):
        run = _Run(
            config=config,
            workdir=workdir,
            network=network,
            examples=examples,
            pairs=pairs,
            images=images,
            backend=backend,
            about=about,
            commit=commit,
            checkpoints=checkpoints,
            rows=telemetry.MetricsFile(
                workdir / "metrics.jsonl",
                last_step=step,
                is_writer=is_main,
                events=event_writer,
            ),
            progress=progress,
            signals=signals,
            on_scores=on_scores,
            metrics=metrics or network.task.metrics,
            pace=pace,
        )
        for phase in phases:
            if pace.position < phase.stop:
                state = run.train_phase(phase, state)
    return network, state, pairs


@dataclasses.dataclass(frozen=True)
class _Run:
    """All that the loop needs and that stays the same from phase to phase."""

    config: ConfigDict
    workdir: Path
    network: Network
    examples: Sequence[Views]
    pairs: Sequence[Pair]
    images: Batch | None  # of the examples, where they stay on the device
    backend: str
    about: Mapping[str, Any]  # what a later process is compared with
    commit: str
    checkpoints: Checkpoints
    rows: telemetry.MetricsFile
    progress: telemetry.ProgressLine
    signals: preemption.StopSignal
    on_scores: Reporter | None
    metrics: Sequence[str]
    pace: StepPace

    def train_phase(self, phase: Phase, state: TrainState) -> TrainState:
        """Runs a phase from `state`, in NumPy arrays, to its end; returns the like."""
        config, progress, pace = self.config, self.progress, self.pace
        may_skip = config.optimizer.skip_nonfinite
        step = int(state.step)
        first_step = pace.begin(phase, step)
        if step == first_step:  # a phase starts from the averaged parameters
            opt_state = jax.device_get(phase.tx.init(state.ema_params))
            state = state.replace(params=state.ema_params, opt_state=opt_state)
        judge = self.network.task.best_metric
        best = Best(
            config.early_stopping_patience,
            METRICS[judge].is_better,
            self.rows.history(phase.name, judge, last_step=step),
        )
        state = parallel.place_state(state, self.backend)
        run_step = self._compile_step(phase)
        batches = self._make_batches(phase, step - first_step)
        clock = telemetry.Stopwatch()
        is_compiled = False
        before = None  # metrics of the step before, not yet looked at
        signal = None
        while pace.position < phase.stop and not best.is_over:
            batch = parallel.place_batch(next(batches), self.backend)
            waiting_s = clock.lap()
            state, metrics = run_step(pace.steer(state, self.backend), batch)
            step += 1
            # Looking at the step before this one keeps the device busy meanwhile.
            if before is not None:
                before = jax.device_get(before)
                telemetry.check_finite(phase.name, step - 1, before, may_skip=may_skip)
            before = metrics
            busy_s = clock.lap()
            if is_compiled:
                progress.count(waiting_s + busy_s, waiting_s)
            else:  # not a rate to go by
                is_compiled = True
                progress.compiled(phase.name, busy_s)
            signal = self.signals.received(step)
            is_last = pace.is_over(step)
            is_saved = step % config.checkpoint_every_steps == 0
            is_logged = is_last or step % config.log_every_steps == 0
            if is_saved or is_logged or signal:
                values = {k: float(v) for k, v in jax.device_get(metrics).items()}
                telemetry.check_finite(phase.name, step, values, may_skip=may_skip)
            if is_logged:
                self.rows.write(phase.name, step, values | pace.row())
                progress.log(phase.name, step, values, pace.remaining_s())
            if self._is_evaluated(step, is_last):
                with pace.apart(evaluates=True):
                    scores = self._evaluate(phase, step, state.ema_params)
                if best.add(scores[judge]) and config.early_stopping_patience:
                    self._save_weights(BEST_FILE, state)
            if (is_saved or signal) and not is_last:
                with pace.apart():
                    self._save(phase, state)
                self._stop_at(signal, step)
            clock.lap()  # evaluating and saving are not part of the step
        state = jax.device_get(state)
        is_early = pace.position < phase.stop
        last_step = pace.end(step)
        if pace.note:
            progress.say(f"{phase.name}: {pace.note}")
        if config.early_stopping_patience:
            state = self._back_to_best(phase, state, last_step, is_early)
        self._save(phase, state)
        self._stop_at(signal, last_step)
        return state

    def _compile_step(self, phase: Phase) -> parallel.Step:
        objective = make_objective(
            phase.name, model=self.network, settings=make_settings(self.config)
        )
        step = partial(
            train_step,
            objective=objective,
            tx=phase.tx,
            ema_decay=self.config.optimizer.ema_decay,
            accumulate=self.config.optimizer.accumulate,
        )
        if self.images is None:
            return parallel.compile_step(step, self.backend)
        step = partial(_cut_and_step, step=step, crop_px=self.config.data.crop_px)
        compiled = parallel.compile_step(step, self.backend)
        return lambda state, windows: compiled(state, (self.images, windows))

    def _make_batches(self, phase: Phase, first_batch: int):
        config = self.config
        return make_batches(
            self.examples,
            seed=stream_seed(config.seed, phase.number),
            crop_px=config.data.crop_px,
            batch_size=config.data.batch_size,
            geometry=Geometry(**config.augment.geometry),
            damage=Damage(**config.damage) if self.network.task.needs_mask else None,
            first_batch=first_batch,
            host_index=jax.process_index(),
            host_count=jax.process_count(),
            threads=config.data.threads,
            on_device=config.data.on_device,
        )

    def _is_evaluated(self, step: int, is_last: bool) -> bool:
        every = self.config.evaluate_every_steps
        if not (self.pairs and every):
            return False
        if is_last and self.config.early_stopping_patience:
            return True
        return step % every == 0 and self.pace.has_time_to_evaluate()

    def _evaluate(self, phase: Phase, step: int, params: Params) -> dict[str, float]:
        scores = _validation_scores(self.network, params, self.pairs, self.metrics)
        self.rows.write(phase.name, step, scores | self.pace.row())
        self.progress.note(phase.name, step, scores)
        if self.on_scores:
            self.on_scores(step, scores)
        return scores

    def _back_to_best(
        self, phase: Phase, state: TrainState, last_step: int, is_early: bool
    ) -> TrainState:
        """The state at the end of the phase, with its best parameters."""
        step = int(state.step)
        parallel.gather(step)  # the file of the first process is complete
        _, params = weights.load_weights(self.workdir / BEST_FILE)
        params = jax.device_get(params)
        if is_early:
            self.progress.say(
                f"{phase.name}: no better for {self.config.early_stopping_patience} "
                f"evaluations, ended at step {step}"
            )
        return state.replace(step=np.int32(last_step), params=params, ema_params=params)

    def _save(self, phase: Phase, state: TrainState) -> None:
        model = self.config.model.to_dict()
        about = {"phase": phase.name, "model": model, **self.about, **self.pace.about()}
        self.checkpoints.save(state, about)
        self._save_weights(weights.WORKDIR_FILE, state)

    def _save_weights(self, name: str, state: TrainState) -> None:
        if parallel.is_main_process():
            weights.save_weights(
                self.workdir / name,
                state.ema_params,
                model=self.config.model.to_dict(),
                about={"steps": str(int(state.step)), "commit": self.commit},
            )

    def _stop_at(self, signal: str | None, step: int) -> None:
        if signal and self.pace.position < self.pace.total:
            raise preemption.Preempted(
                f"stopped by {signal} at {self.pace.describe(step)}; all is saved, "
                "and the same command goes on from there"
            )


def _cut_and_step(
    state: TrainState,
    batch: tuple[Batch, Batch],
    *,
    step: Callable,
    crop_px: int,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """A step on crops of images that are on the device already."""
    images, windows = batch
    crops = device_crops(images, windows, crop_px)
    return step(state, crops, axis_name=axis_name)


def _initial_params(config: ConfigDict, network: Network, key: jax.Array):
    """Random parameters, or those of the weights that the config names."""
    if not config.initial_weights:
        return init_params(network, key)
    given, params = weights.load_any(config.initial_weights)
    if config.initial_parts:
        return _with_parts(config, init_params(network, key), params)
    theirs, ours = (
        {"name": name_of(n)} | {k: getattr(n, k) for k in _fields(n)}
        for n in (given, network)
    )
    if theirs != ours:
        raise ConfigError(
            f"initial_weights {config.initial_weights!r} are those of the model "
            f"{theirs}, the config's is {ours}; set --config.model to the former, or "
            "initial_parts to what both have"
        )
    return params


def _with_parts(config: ConfigDict, params: Params, given: Params) -> Params:
    """`params` with `config.initial_parts` from `given`."""
    ours, theirs = (flatten_dict(tree, sep="/") for tree in (params, given))
    for part in config.initial_parts:
        fits = [
            {n: leaf.shape for n, leaf in flat.items() if n.startswith(f"{part}/")}
            for flat in (ours, theirs)
        ]
        if not fits[0] or fits[0] != fits[1]:
            raise ConfigError(
                f"initial_parts: {part!r} of {config.initial_weights!r} has not the "
                "parameters that the model has there; expected a module of both"
            )
        ours |= {name: theirs[name] for name in fits[0]}
    return unflatten_dict(ours, sep="/")


def _fields(network: Network) -> set[str]:
    """Fields that the shapes or the meaning of parameters depend on."""
    return model_fields(name_of(network)).keys() - {"name", "dtype"}


def _check_writable(workdir: Path) -> None:
    """Makes the workdir; an error now is better than one at the first save."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise OSError(
            f"the workdir {workdir} cannot be written to ({error.strerror}); pass "
            "another --workdir"
        ) from error


@contextlib.contextmanager
def _only_process(workdir: Path) -> Iterator[None]:
    """That the workdir is this run's alone; of several processes the first one asks.

    Raises:
      InUseError: in all of them.
    """
    with contextlib.ExitStack() as stack:
        refusal = None
        if parallel.is_main_process():
            try:
                stack.enter_context(locked(workdir))
            except InUseError as error:
                refusal = str(error)
        refusal = parallel.gather(refusal)[0]
        if refusal:
            raise InUseError(refusal)
        yield


def _check_resumes(
    workdir: Path, before: Mapping, about: Mapping, may_differ: bool
) -> list[str]:
    """Compares what both know of their config and data; lines of what has changed.

    Raises:
      ConfigError: something that decides the result has, and may not.
    """
    lines = []
    for part in before.keys() & about.keys():
        changed = resume.differences(before[part], about[part])
        lines += changed.values()
        fixed = list(changed.values())
        if part == "config":
            fixed = resume.decisive(changed, before[part], about[part])
        if not may_differ:
            remedy = (
                "pass another --workdir, or --continue_changed to go on in this one"
            )
            resume.check_same(workdir, fixed, remedy)
    return lines


def _check_data(
    config: ConfigDict, examples: Sequence[Views], pairs: Sequence[Pair]
) -> None:
    """What of the config only the data can tell.

    Raises:
      ConfigError: it cannot work.
    """
    if config.early_stopping_patience and not pairs:
        raise ConfigError(
            "early_stopping_patience is set, but no pair is held out to judge by; "
            "expected data.validation_every or early_stopping_patience=0"
        )
    side = config.data.crop_px
    sizes = (next(iter(views.values())).shape[:2] for views in examples)
    if not any(max(size) >= side for size in sizes):
        raise ConfigError(
            f"data.crop_px is {side}, more than any image of the data has in height or "
            "width; expected a smaller one"
        )


def _make_optimizer(config: ConfigDict, phase: ConfigDict):
    c = config.optimizer
    schedule = make_schedule(
        c.schedule,
        peak=phase.learning_rate,
        steps=phase.steps,
        warmup_steps=min(c.warmup_steps, phase.steps),
        final_fraction=c.final_fraction,
        step_at=c.step_at,
        step_factor=c.step_factor,
    )
    plateau = Plateau(c.plateau_steps, c.plateau_patience, c.step_factor)
    return make_optimizer(
        schedule,
        name=c.name,
        decay=c.decay,
        clip_norm=c.clip_norm,
        skip_nonfinite=c.skip_nonfinite,
        plateau=plateau if c.schedule == "plateau" else None,
    )


def _write_config(workdir: Path, config: ConfigDict, commit: str) -> None:
    record = {
        "config": config.to_dict(),
        "commit": commit,
        "versions": provenance.versions(),
        "devices": [str(device) for device in jax.devices()],
    }
    write_whole(workdir / "config.json", json.dumps(record, indent=1).encode())


def _score(
    methods: Mapping[str, PairMethod],
    pairs: Sequence[Pair],
    metrics: Sequence[str],
    *,
    quiet: bool,
) -> dict[str, Scores]:
    """Scores of all pairs, of which each process takes its share."""
    own = comparison.score_methods(
        methods, parallel.own_part(pairs), metrics=metrics, quiet=quiet
    )
    parts = parallel.gather({k: dataclasses.asdict(v) for k, v in own.items()})
    return {name: interleave([Scores(**part[name]) for part in parts]) for name in own}


def _validation_scores(
    network: Network, params: Params, pairs: Sequence[Pair], metrics: Sequence[str]
) -> dict[str, float]:
    """Means of the network's scores; those of a part of it end in its name."""
    runner = Runner(network, jax.device_get(params))
    *parts, whole = comparison.steps_of(runner).items()
    scores = _score(dict([whole]), pairs, metrics, quiet=True)
    means = {metric: scores[whole[0]].mean(metric) for metric in metrics}
    shown = ("psnr_rgb", "ssim_rgb")  # of the enhancement module alone
    for part, of_part in _score(dict(parts), pairs, shown, quiet=True).items():
        for metric in shown:
            means[f"{metric}_{part.replace(' ', '_')}"] = of_part.mean(metric)
    return means


def _compared(
    config: ConfigDict, network: Network, params: Params
) -> dict[str, PairMethod]:
    """The methods of the final evaluation; under a time limit few of them."""
    automatic = "none" if config.max_minutes else "all"
    return comparison.all_methods(
        Runner(network, params), config.baselines or automatic
    )


def _expected_evaluation_s(
    config: ConfigDict, network: Network, params: Params, pairs: Sequence[Pair]
) -> float:
    """Seconds that the final evaluation will take at most.

    As long as the largest pair takes, for each; and to compile, for each shape.
    """
    if not pairs:
        return 0.0
    methods = _compared(config, network, params)
    shapes = [pair.high.shape for pair in pairs]
    largest = pairs[int(np.argmax(np.prod(shapes, axis=1)))]
    seconds = []
    for _ in range(2):  # the first time is compilation
        start = monotonic()
        comparison.score_methods(
            methods, [largest], metrics=network.task.metrics, quiet=True
        )
        seconds.append(monotonic() - start)
    first, again = seconds
    count = -(-len(pairs) // jax.process_count()) + config.grid_images
    return count * again + (len(set(shapes)) - 1) * max(0.0, first - again)


def _final_evaluation(
    config: ConfigDict,
    network: Network,
    params: Params,
    pairs: Sequence[Pair],
    workdir: Path,
) -> None:
    """The table, the scores of every image, the grid, and what to do next."""
    methods = _compared(config, network, params)
    is_main = parallel.is_main_process()
    scores = _score(methods, pairs, network.task.metrics, quiet=not is_main)
    if not is_main:
        return
    by_image = config.data.validation_by == "image"
    report.print_scores(
        f"{len(pairs)} pairs held out of training{' by image' * by_image}", scores
    )
    protocol = scoring.PROTOCOL + scoring.BY_IMAGE_PROTOCOL * by_image
    report.write_report(workdir / "scores.json", scores, protocol=protocol)
    grid = workdir / GRID_FILE
    if config.grid_images:
        step = -(-len(pairs) // config.grid_images)
        shown = [pairs[i] for i in range(0, len(pairs), step)]
        save_picture_grid(
            grid,
            [
                {name: method(pair) for name, method in methods.items()}
                for pair in shown
            ],
        )
        print(f"pictures: {grid}")
    command = "python -m lowlight_jax.enhance PHOTO --output OUT.png"
    print(f"your own photo:\n  {command} --checkpoint {workdir}")
