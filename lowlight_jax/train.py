"""Training from config to shipped weights: data, phases, the loop, the last table.

`train_and_evaluate` is a script; everything that it calls is a library.
"""

import dataclasses
import json
import platform
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lowlight_jax import evaluate, parallel, preemption, telemetry, weights
from lowlight_jax.checkpoint import Checkpoints
from lowlight_jax.config import validate
from lowlight_jax.data.pairs import Pair, load_split
from lowlight_jax.data.pipeline import Views, make_batches
from lowlight_jax.enhance import Enhancer
from lowlight_jax.losses.dual import DenoisingWeights, EnhancementWeights
from lowlight_jax.models import make_model
from lowlight_jax.objectives import OBJECTIVES, DualSettings, make_objective
from lowlight_jax.ops.degrade import Exposure, underexpose
from lowlight_jax.optimizer import make_optimizer, make_schedule
from lowlight_jax.picture_grid import save_picture_grid
from lowlight_jax.scoring import Scores, interleave
from lowlight_jax.train_step import TrainState, init_train_state, train_step

_EVALUATION_STOPS = (2.0, 3.0)  # under-exposure of the embedded evaluation pictures


def load_data(config: ConfigDict) -> tuple[Sequence[Views], Sequence[Pair]]:
    """Training scenes (views by name) and evaluation pairs.

    Raises:
      PairsError: the folder is not what it should be; all problems are listed.
    """
    data = config.data
    if not data.root:
        return _embedded_data(config)
    load = partial(
        load_split,
        data.root,
        validation_every=data.validation_every,
        cache_dir=data.cache_dir,
        bad_pairs=data.bad_pairs,
        memory_gib=data.memory_gib,
    )
    training = load("train")
    held_out = load("validation") if data.validation_every else ()
    if parallel.is_main_process():
        print(
            f"{data.root}: {len(training)} pairs to train on, {len(held_out)} held out"
        )
    return _PairViews(training), held_out


class _PairViews(Sequence[Views]):
    """Pairs as the pipeline wants them."""

    def __init__(self, pairs: Sequence[Pair]):
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Views:
        pair = self._pairs[index]
        return {"low": pair.low, "high": pair.high}


def _embedded_data(config: ConfigDict) -> tuple[Sequence[Views], list[Pair]]:
    from lowlight_jax.data import embedded

    photographs = embedded.load_photographs(embedded.TRAINING)
    darken = jax.jit(underexpose)
    pairs = []
    for name in embedded.EVALUATION:
        (high,) = embedded.load_photographs((name,))
        for stops in _EVALUATION_STOPS:
            fixed = dataclasses.replace(
                make_settings(config).exposure, min_stops=stops, max_stops=stops
            )
            low = darken(jax.random.key(0)[None], np.float32(high)[None] / 255, fixed)
            low = np.uint8(np.rint(np.asarray(low[0]) * 255))
            pairs.append(Pair(f"{name} {stops:g} stops under", name, low, high))
    return [{"high": photograph} for photograph in photographs], pairs


def make_settings(config: ConfigDict) -> DualSettings:
    """The phases' settings as plain dataclasses."""
    return DualSettings(
        enhancement=EnhancementWeights(**config.loss.enhancement),
        denoising=DenoisingWeights(**config.loss.denoising),
        exposure=Exposure(**config.synthetic),
        identity_fraction=config.identity_fraction,
        enhanced_fraction=config.enhanced_fraction,
        max_noise_u8=config.max_noise_u8,
    )


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> TrainState:
    """Runs every phase from wherever the workdir stands, then evaluates.

    Leaves in `workdir`: config.json, metrics.jsonl, checkpoints/, weights.safetensors,
    scores.json and results.png. Of several processes, the first one writes them all;
    the workdir must be one folder that every process sees.

    Args:
      config: see `lowlight_jax.config`.
      workdir: made where it does not exist; a run that was cut off there goes on.
    Raises:
      ConfigError, PairsError, CheckpointError, TrainingDiverged: one plain message.
      Preempted: told to stop; the state is saved.
    """
    validate(config)
    backend = parallel.choose_backend(
        config.parallel, config.data.batch_size, config.optimizer.accumulate
    )
    workdir = Path(workdir)
    _check_writable(workdir)
    scenes, pairs = load_data(config)
    commit = _commit()
    model_config = config.model.to_dict()
    network = make_model(**model_config)
    # In the order of OBJECTIVES: a ConfigDict sorts its keys by the alphabet.
    phases = [(n, config.phases[n]) for n in OBJECTIVES if config.phases[n].steps]
    total = sum(phase.steps for _, phase in phases)
    optimizers = {name: _make_optimizer(config, phase) for name, phase in phases}

    params_key, steps_key = jax.random.split(jax.random.PRNGKey(config.seed))
    side = 8 * network.stride
    params = jax.jit(network.init)(params_key, jnp.zeros((1, side, side, 3)))["params"]
    state = init_train_state(steps_key, params, next(iter(optimizers.values())))

    checkpoints = Checkpoints(workdir)
    state = checkpoints.restore_latest(state, model_config) or jax.device_get(state)
    step = int(state.step)
    is_main = parallel.is_main_process()
    if is_main:
        if step:
            print(f"resuming at step {step} of {total} from {workdir}")
        _write_config(workdir, config, commit)
    rows = telemetry.MetricsFile(
        workdir / "metrics.jsonl", last_step=step, is_writer=is_main
    )

    def save(phase: str, state: TrainState) -> None:
        checkpoints.save(state, {"phase": phase, "model": model_config})
        if is_main:
            weights.save_weights(
                workdir / weights.WORKDIR_FILE,
                state.ema_params,
                model=model_config,
                about={"steps": str(int(state.step)), "commit": commit},
            )

    may_skip = config.optimizer.skip_nonfinite
    line = telemetry.ProgressLine(
        config.data.batch_size, step, total, quiet=not is_main
    )
    with line as progress, preemption.StopSignal() as signals:
        start = 0  # of the phase
        for number, (name, phase) in enumerate(phases):
            stop = start + phase.steps
            if step >= stop:  # done before this run was resumed
                start = stop
                continue
            if step == start:  # a phase starts from the averaged parameters
                state = jax.device_get(state)
                opt_state = jax.device_get(optimizers[name].init(state.ema_params))
                state = state.replace(params=state.ema_params, opt_state=opt_state)
            state = parallel.place_state(state, backend)
            run_step = parallel.compile_step(
                partial(
                    train_step,
                    objective=make_objective(
                        name, model=network, settings=make_settings(config)
                    ),
                    tx=optimizers[name],
                    ema_decay=config.optimizer.ema_decay,
                    accumulate=config.optimizer.accumulate,
                ),
                backend,
            )
            batches = make_batches(
                scenes,
                seed=config.seed + number,
                crop_px=config.data.crop_px,
                batch_size=config.data.batch_size,
                first_batch=step - start,
                host_index=jax.process_index(),
                host_count=jax.process_count(),
                threads=config.data.threads,
            )
            clock = telemetry.Stopwatch()
            first_step = True
            before = None  # metrics of the step before, not yet looked at
            while step < stop:
                batch = parallel.place_batch(next(batches), backend)
                waiting_s = clock.lap()
                state, metrics = run_step(state, batch)
                step += 1
                # Looking at the step before this one keeps the device busy meanwhile.
                if before is not None:
                    before = jax.device_get(before)
                    telemetry.check_finite(name, step - 1, before, may_skip=may_skip)
                before = metrics
                busy_s = clock.lap()
                if first_step:  # compilation, not a rate to go by
                    first_step = False
                    progress.compiled(name, busy_s)
                else:
                    progress.count(waiting_s + busy_s, waiting_s)
                signal = signals.received(step)
                is_last = step == stop
                is_saved = is_last or step % config.checkpoint_every_steps == 0
                is_logged = is_last or step % config.log_every_steps == 0
                if is_saved or is_logged or signal:
                    values = {k: float(v) for k, v in jax.device_get(metrics).items()}
                    telemetry.check_finite(name, step, values, may_skip=may_skip)
                if is_logged:
                    rows.write(name, step, values)
                    progress.log(name, step, values)
                every = config.evaluate_every_steps
                if pairs and every and step % every == 0:
                    scores = _validation_scores(network, state.ema_params, pairs)
                    rows.write(name, step, scores)
                    progress.note(name, step, scores)
                if is_saved or signal:
                    save(name, state)
                if signal:
                    raise preemption.Preempted(
                        f"stopped by {signal} at step {step} of {total}; all is saved, "
                        "and the same command goes on from there"
                    )
                clock.lap()  # evaluating and saving are not part of the step
            start = stop
    checkpoints.close()
    state = jax.device_get(state)
    if pairs:
        _final_evaluation(network, state.ema_params, pairs, workdir, config.grid_images)
    return state


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


def _make_optimizer(config: ConfigDict, phase: ConfigDict):
    schedule = make_schedule(
        config.optimizer.schedule,
        peak=phase.learning_rate,
        steps=phase.steps,
        warmup_steps=min(config.optimizer.warmup_steps, phase.steps),
        final_fraction=config.optimizer.final_fraction,
        step_at=config.optimizer.step_at,
        step_factor=config.optimizer.step_factor,
    )
    return make_optimizer(
        schedule,
        name=config.optimizer.name,
        decay=config.optimizer.decay,
        clip_norm=config.optimizer.clip_norm,
        skip_nonfinite=config.optimizer.skip_nonfinite,
    )


def _commit() -> str:
    """The git commit of the source, "unknown" outside a checkout."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"


def _write_config(workdir: Path, config: ConfigDict, commit: str) -> None:
    packages = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    record = {
        "config": config.to_dict(),
        "commit": commit,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "devices": [str(device) for device in jax.devices()],
    }
    (workdir / "config.json").write_text(json.dumps(record, indent=1))


def _score(
    methods: Mapping[str, evaluate.Method], pairs: Sequence[Pair], *, quiet: bool
) -> dict[str, Scores]:
    """Scores of all pairs, of which each process takes its share."""
    own = evaluate.score_methods(methods, parallel.own_part(pairs), quiet=quiet)
    parts = parallel.gather({k: dataclasses.asdict(v) for k, v in own.items()})
    return {name: interleave([Scores(**part[name]) for part in parts]) for name in own}


def _validation_scores(network, params, pairs: Sequence[Pair]) -> dict[str, float]:
    enhancer = Enhancer.from_params(network, jax.device_get(params))
    methods = evaluate.network_methods(enhancer)
    scores = _score(methods, pairs, quiet=True)
    full, enhanced = (scores[name] for name in reversed(list(methods)))
    return {measure: full.mean(measure) for measure in evaluate.COMPARED} | {
        f"{measure}_enhanced": enhanced.mean(measure)
        for measure in ("psnr_rgb", "ssim_rgb")
    }


def _final_evaluation(
    network, params, pairs: Sequence[Pair], workdir: Path, grid_images: int
) -> None:
    """The table, the scores of every image, the grid, and what to do next."""
    enhancer = Enhancer.from_params(network, params)
    methods = evaluate.classical_methods() | evaluate.network_methods(enhancer)
    is_main = parallel.is_main_process()
    scores = _score(methods, pairs, quiet=not is_main)
    if not is_main:
        return
    evaluate.print_scores(f"{len(pairs)} pairs held out of training", scores)
    evaluate.write_report(workdir / "scores.json", scores)
    grid = workdir / "results.png"
    if grid_images:
        step = -(-len(pairs) // grid_images)
        shown = [pairs[i] for i in range(0, len(pairs), step)]
        save_picture_grid(
            grid,
            [
                {name: method(pair.low) for name, method in methods.items()}
                | {"truth": pair.high}
                for pair in shown
            ],
        )
        print(f"pictures: {grid}")
    command = "python -m lowlight_jax.enhance PHOTO --output OUT.png"
    print(f"your own photo:\n  {command} --checkpoint {workdir}")
