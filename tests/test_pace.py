"""Runs that end by the clock, here one that is set; their steps are not computed."""

import itertools
import re

import jax
import numpy as np
import optax
import pytest

from lowlight_jax.config import ConfigError, base_config, model_config
from lowlight_jax.data.pairs import Pair
from lowlight_jax.runtime import parallel
from lowlight_jax.training import loop, pace
from lowlight_jax.training.loop import train
from lowlight_jax.training.optimizer import Plateau, at_schedule_step, make_optimizer

PHASES = {"enhance": 20, "denoise": 60}  # steps, so a quarter and three of the time
STEPS = sum(PHASES.values())
PAIRS, PAIR_S = 2, 3.0  # held out, and the seconds that scoring one takes
PARAMS = {"w": np.ones(2, np.float32)}
PREPARING_S, COMPILING_S = 40.0, 20.0


class Run:
    """A machine with a clock of its own, and what was done on it."""

    def __init__(self, step_s=1.0, evaluation_s=PAIRS * PAIR_S, cut_off_at=0):
        self.now = 1000.0
        self.step_s, self.evaluation_s = step_s, evaluation_s
        self.cut_off_at = cut_off_at
        self.rates = []  # of each phase, as steps of its schedule, with the time
        self.first_batches = []
        self.evaluated = []

    def compile_step(self, step, backend):
        rates = []
        self.rates.append(rates)

        def fake(state, batch):
            self.now += self.step_s if rates else COMPILING_S
            count = optax.tree.get(
                state.opt_state,
                "count",
                filtering=lambda path, _: "Schedule" in path[-1].tuple_name,
            )
            rates.append((self.now, int(count)))
            if int(state.step) + 1 == self.cut_off_at:
                raise KeyboardInterrupt
            return state.replace(step=state.step + 1), {"loss": 0.0}

        return fake

    def make_batches(self, examples, *, first_batch, **kwargs):
        self.first_batches.append(first_batch)
        return itertools.repeat({"high": np.zeros((8, 24, 24, 3), np.uint8)})

    def load_data(self, config, network):
        self.now += PREPARING_S
        image = np.zeros((32, 40, 3), np.uint8)
        pairs = [Pair(name, name, image, image) for name in "ab"[:PAIRS]]
        return [{"high": image}], pairs

    def score_pair(self, *args, **kwargs):
        self.now += PAIR_S

    def evaluate(self, *args):
        self.evaluated.append(self.now)
        self.now += self.evaluation_s
        return {"psnr_rgb": 10.0}

    def take_over(self, monkeypatch):
        for module in (loop, pace):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(parallel, "compile_step", self.compile_step)
        monkeypatch.setattr(loop, "make_batches", self.make_batches)
        monkeypatch.setattr(loop, "load_training_data", self.load_data)
        monkeypatch.setattr(loop, "_initial_params", lambda *args: PARAMS)
        monkeypatch.setattr(loop.comparison, "score_methods", self.score_pair)
        monkeypatch.setattr(loop, "_validation_scores", self.evaluate)
        return self


@pytest.fixture
def config():
    c = base_config()
    c.model = model_config("dual")
    c.model.fine_layers, c.model.denoises = 0, False  # the smallest
    for name in c.phases:
        c.phases[name].steps = PHASES.get(name, 0)
    c.data.crop_px, c.data.batch_size = 24, 8
    c.optimizer.warmup_steps = 5
    c.grid_images = 0
    c.log_every_steps = 10
    c.max_minutes = 10.0
    return c


@pytest.mark.parametrize("step_s", [1.0, 25.0])
def test_it_uses_its_time_and_ends_annealed(monkeypatch, tmp_path, config, step_s):
    """Whether that is many more steps than the schedule has, or far fewer."""
    run = Run(step_s).take_over(monkeypatch)
    start = run.now
    train(config, tmp_path)
    spent = run.now + PAIRS * PAIR_S - start
    assert 600 - pace._MARGIN_S - 2 * step_s < spent <= 600
    times, counts = ([[row[i] for row in phase] for phase in run.rates] for i in (0, 1))
    for of_phase, steps in zip(counts, PHASES.values(), strict=True):
        assert of_phase[0] == 0 and of_phase == sorted(of_phase)
        assert steps * (1 - 2 / len(of_phase)) - 1 <= of_phase[-1] < steps
    seconds = [of_phase[-1] - of_phase[0] for of_phase in times]
    assert abs(seconds[0] / sum(seconds) - 20 / 80) < step_s / 300
    # Evenly, but for what compiling the second phase took.
    middle = counts[1][len(counts[1]) // 2]
    assert abs(middle - 30) <= 1 + 60 * step_s / 400


def test_it_goes_on_with_the_time_that_was_left(monkeypatch, tmp_path, config, capsys):
    """Which is not less for the time that it was stopped, and nothing is repeated."""
    config.checkpoint_every_steps = 50
    first = Run(cut_off_at=220).take_over(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path)
    done = len(first.rates[0])
    saved_at, saved = first.rates[1][200 - done - 1]
    second = Run()
    second.now = 50_000.0
    monkeypatch.undo()
    second.take_over(monkeypatch)
    train(config, tmp_path)
    assert re.search(
        r"resuming at step 200, \d\.\d of 10 minutes", capsys.readouterr().out
    )
    assert second.first_batches == [200 - done]
    assert abs(second.rates[0][0][1] - saved) <= 1
    assert second.rates[0][-1][1] == 59
    spent = saved_at - 1000 + second.now - 50_000 + PAIRS * PAIR_S
    assert 580 < spent <= 600


def test_evaluations_are_kept_back_as_long_as_they_take(monkeypatch, tmp_path, config):
    """Not as long as was expected; and none is begun where hardly any time is left."""
    config.evaluate_every_steps = 25
    run = Run(evaluation_s=30.0).take_over(monkeypatch)
    start = run.now
    train(config, tmp_path)
    assert 600 - 30 - pace._MARGIN_S - 3 < run.now - start <= 600 - 30
    assert len(run.evaluated) > 5
    assert run.evaluated[-1] + 30 < run.rates[1][-1][0] - 30
    counts = [count for _, count in run.rates[1]]
    assert counts[-1] == 59 and np.diff(counts).max() <= 2  # no jump over any of them


@pytest.mark.parametrize("minutes", [0.5, 1.2])
def test_too_little_time_is_said(monkeypatch, tmp_path, config, minutes):
    """Before the first step, or once it is compiled."""
    config.max_minutes = minutes
    run = Run().take_over(monkeypatch)
    with pytest.raises(ConfigError) as error:
        train(config, tmp_path)
    message = str(error.value)
    assert message.startswith(f"max_minutes is {minutes:g}, but preparing")
    assert "\n" not in message
    enough = float(re.search(r"expected more than ([\d.]+),", message)[1])
    assert enough > minutes
    assert sum(map(len, run.rates)) == (minutes == 1.2)


def test_the_end_that_a_resumed_run_has_no_time_for_is_left_out(
    monkeypatch, tmp_path, config, capsys
):
    config.checkpoint_every_steps = 470
    run = Run(cut_off_at=471).take_over(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path)
    again = Run()
    monkeypatch.undo()
    again.take_over(monkeypatch)
    _, state, _ = train(config, tmp_path)
    assert int(state.step) == 470 and not again.rates[-1]
    said = capsys.readouterr().err
    assert re.search(r"denoise: the time was over at 9\d% of the schedule", said)
    assert run.rates[1][-1][1] < 59


def test_early_stopping_leaves_its_time_to_the_next_phase(
    monkeypatch, tmp_path, config
):
    config.evaluate_every_steps, config.early_stopping_patience = 10, 2
    config.phases.denoise.steps = 0
    config.phases.joint.steps = 60
    monkeypatch.setattr(loop.weights, "load_weights", lambda path: (None, PARAMS))
    run = Run().take_over(monkeypatch)
    train(config, tmp_path)
    assert [len(phase) for phase in run.rates] == [30, 30]
    assert run.first_batches == [0, 0]
    assert run.rates[1][0][1] == 0


def test_other_processes_are_told_where_the_first_one_is(monkeypatch):
    """Theirs may be late: the time that counts is not their own."""
    now = 0.0
    monkeypatch.setattr(pace, "monotonic", lambda: now)
    phase = loop.Phase("enhance", 0, 0, 100, optax.identity())
    ours = pace.ClockPace([phase], 0, minutes=1.0, begun=0.0, before={})
    monkeypatch.setattr(parallel, "gather", lambda found: [["", 0.0, 1], found])
    ours.begin(phase, 0)
    now = 30.0
    monkeypatch.setattr(parallel, "gather", lambda found: [["", 12.5, 7], found])
    assert not ours.is_over(1) and ours.position == 12.5
    monkeypatch.setattr(parallel, "gather", lambda found: [["", 100.0, 8], found])
    assert not ours.is_over(6)  # not looked
    assert ours.is_over(7)
    monkeypatch.setattr(parallel, "gather", lambda found: [["no time", 0.0, 8], found])
    with pytest.raises(ConfigError, match="no time"):
        ours.begin(phase, 0)


def test_short_steps_are_not_timed_one_by_one(monkeypatch):
    now = 0.0
    monkeypatch.setattr(pace, "monotonic", lambda: now)
    phase = loop.Phase("enhance", 0, 0, 100, optax.identity())
    ours = pace.ClockPace([phase], 0, minutes=1.0, begun=0.0, before={})
    ours.begin(phase, 0)
    looks, step, before = 0, 0, -1.0
    while True:
        now += 0.01
        step += 1
        is_over = ours.is_over(step)
        looks += ours.position != before
        before = ours.position
        if is_over:
            break
    assert 5600 < step <= 5700 and looks < step / 9  # 3 s are the margin
    assert now <= 57.0


@pytest.mark.parametrize("name, skip_nonfinite", [("rmsprop", 0), ("adam", 2)])
def test_only_the_learning_rate_is_set(name, skip_nonfinite):
    params = {"w": np.float32([1.0, 2.0])}
    options = {"name": name, "skip_nonfinite": skip_nonfinite, "clip_norm": 1.0}
    options["plateau"] = Plateau(2, 2, 0.5)
    linear = make_optimizer(optax.linear_schedule(0.0, 1.0, 10), **options)
    constant = make_optimizer(optax.constant_schedule(0.7), **options)
    state = at_schedule_step(linear.init(params), np.int32(7))
    updates, _ = linear.update(params, state, params, value=0.0)
    expected, _ = constant.update(params, constant.init(params), params, value=0.0)
    jax.tree.map(np.testing.assert_allclose, updates, expected)
