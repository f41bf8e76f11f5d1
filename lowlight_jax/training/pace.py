"""How far a run is in its schedule: by its steps or, with `max_minutes`, by the clock.

The schedule is the phases one after the other, each as long as its configured steps;
`position` is where in it a run stands. By the clock each step goes as far in it as the
time left allows, so that both end together: a phase's steps are its share of the time,
and what its warm-up is measured by.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlight_jax.config import ConfigError
from lowlight_jax.runtime import parallel
from lowlight_jax.training.optimizer import at_schedule_step
from lowlight_jax.types import TrainState

if TYPE_CHECKING:
    from lowlight_jax.training.loop import Phase

_LOOK_S = 0.1  # between looks at the clock, or a step where that is longer
_MARGIN, _MARGIN_S = 0.05, 10.0  # of the time, and at most: to save and to leave
_EVALUATION_PART = 0.25  # of the time left: what an evaluation on the way may take


class StepPace:
    """Each step of the run is one of the schedule.

    Attributes:
      position: in the schedule.
      total: its length.
      note: what the user should know of how training ended; mostly empty.
    """

    note = ""

    def __init__(self, phases: "Sequence[Phase]", step: int):
        self.position: float = step
        self.total = phases[-1].stop

    def begin(self, phase: "Phase", step: int) -> int:
        """Enters a phase or goes on in it; the step of the run at which it began."""
        self._phase = phase
        return phase.start

    def steer(self, state: TrainState, backend: str) -> TrainState:
        """The state with the learning rate that its next step is to have."""
        return state

    def is_over(self, step: int) -> bool:
        """Whether the phase is, of which a step has just been done."""
        self.position = step
        return step >= self._phase.stop

    def end(self, step: int) -> int:
        """Leaves the phase, at its end or before; the number that its last step has."""
        self.position = self._phase.stop
        return self._phase.stop

    @contextlib.contextmanager
    def apart(self, *, evaluates: bool = False) -> Iterator[None]:
        """Evaluating and saving, which are no part of the schedule."""
        yield

    def has_time_to_evaluate(self) -> bool:
        """Whether an evaluation on the way is worth its time."""
        return True

    def remaining_s(self) -> float | None:
        """Seconds until the end of training, where they are known."""
        return None

    def row(self) -> dict[str, float]:
        """What it adds to the rows of metrics.jsonl."""
        return {}

    def about(self) -> dict[str, Any]:
        """What it adds to a checkpoint."""
        return {}

    def describe(self, step: int) -> str:
        """Where the run stands, in words."""
        return f"step {step} of {self.total}"


class ClockPace(StepPace):
    """The schedule ends when the time does, after however many steps.

    What is not training takes time, but nothing from the schedule: preparations,
    compilation, evaluation, saving. What the final evaluation needs is kept back. Of
    several processes the first one has the clock and tells the others.

    Args:
      phases, step: as above.
      minutes: from `begun` to the end of the run, final evaluation included.
      begun: `monotonic` when this process began with it.
      before: `about` of the checkpoint that it goes on from, if it does: the time of
        processes before counts, what lies between them does not.
    """

    def __init__(
        self,
        phases: "Sequence[Phase]",
        step: int,
        *,
        minutes: float,
        begun: float,
        before: Mapping[str, Any],
    ):
        super().__init__(phases, step)
        clock = before.get("clock", {})
        self.position = clock.get("position", self.position)
        # Of the run, where the phase in progress began.
        began = max(phase.start for phase in phases if phase.start <= step)
        self._first_step = clock.get("first_step", began)
        self._minutes = minutes
        self._begun = begun - clock.get("elapsed_s", 0.0)
        self._stops = [phase.stop for phase in phases]
        self._margin_s = min(_MARGIN * 60 * minutes, _MARGIN_S)
        self._final_s = self._evaluation_s = 0.0
        self._evaluations = 1  # at the end
        self._compile_s = 0.0  # the longest so far, of a phase
        self._to_compile = 0

    def keep_back(self, seconds: float, *, ends_with_one_more: bool) -> None:
        """For the final evaluation; one on the way takes no longer.

        Args:
          seconds: that it may take.
          ends_with_one_more: training itself ends with an evaluation too.
        """
        self._final_s = self._evaluation_s = seconds
        self._evaluations = 1 + ends_with_one_more

    def elapsed_s(self) -> float:
        """Of the run, in this process and those before."""
        return monotonic() - self._begun

    def remaining_s(self) -> float:
        return 60 * self._minutes - self.elapsed_s() - self._kept_s()

    def _kept_s(self) -> float:
        compile_s = self._compile_s * self._to_compile
        return self._margin_s + self._evaluations * self._final_s + compile_s

    def begin(self, phase: "Phase", step: int) -> int:
        self._phase = phase
        self._to_compile = sum(stop >= phase.stop for stop in self._stops)
        self._entered = monotonic()
        self._left: float | None = None  # at the last look
        self._next = step + 1  # at which to look
        self._is_moved = True
        refusal = ""
        if self.remaining_s() <= 0:
            refusal = self._give_up()
        self._agree(refusal)
        return self._first_step

    def steer(self, state: TrainState, backend: str) -> TrainState:
        if not self._is_moved:
            return state
        self._is_moved = False
        step = np.int32(self.position - self._phase.start)
        step = parallel.place_state(step, backend)
        return state.replace(opt_state=at_schedule_step(state.opt_state, step))

    def is_over(self, step: int) -> bool:
        if step == self._next:
            self._agree(self._look(step))
            self._is_moved = True
        return self.position >= self._phase.stop

    def _look(self, step: int) -> str:
        """Moves on in the schedule; why the run cannot go on, if it cannot."""
        before = self._left
        if before is None:  # most of this step was compilation
            self._compile_s = max(self._compile_s, monotonic() - self._entered)
            self._to_compile -= 1
        left = self._left = self.remaining_s()
        if left <= 0:
            return self._give_up()
        step_s = _LOOK_S
        if before is not None:
            step_s = max((before - left) / (step - self._looked), 1e-6)
            to_come = (self.total - self.position) * left / before
            self.position = self.total - to_come
        self._looked = step
        part = (self._phase.stop - self.position) / (self.total - self.position)
        if part * left < step_s:  # no other step fits
            self.position = self._phase.stop
        else:
            self._next = step + max(1, int(min(_LOOK_S, part * left) / step_s))
        return ""

    def _give_up(self) -> str:
        """There is no time left: an error where nothing was trained at all."""
        if self.position:
            done = self.position / self.total
            self.note = f"the time was over at {done:.0%} of the schedule"
            self.position = self.total
            return ""
        elapsed_s, kept_s = self.elapsed_s(), self._kept_s()
        return (
            f"max_minutes is {self._minutes:g}, but preparing the data and compiling "
            f"took {elapsed_s:.0f} s, and {kept_s:.0f} s are to be kept for "
            "compiling, the final evaluation and saving, so no time is left to train; "
            f"expected more than {(elapsed_s + kept_s) / 60:.1f}, or fewer images to "
            "score (data.validation_images)"
        )

    def _agree(self, refusal: str) -> None:
        """What the first process has found holds for all."""
        found = [refusal, self.position, self._next]
        refusal, self.position, self._next = parallel.gather(found)[0]
        if refusal:
            raise ConfigError(refusal)

    def end(self, step: int) -> int:
        self.position = max(self.position, self._phase.stop)
        self._first_step = step
        return step

    @contextlib.contextmanager
    def apart(self, *, evaluates: bool = False) -> Iterator[None]:
        start, before = monotonic(), self.remaining_s()
        yield
        if evaluates:
            self._evaluation_s = monotonic() - start
            self._final_s = max(self._final_s, self._evaluation_s)
        if self._left is not None:
            self._left += self.remaining_s() - before

    def has_time_to_evaluate(self) -> bool:
        fits = self._evaluation_s <= _EVALUATION_PART * self.remaining_s()
        return parallel.gather(fits)[0]

    def row(self) -> dict[str, float]:
        return {
            "minutes": self.elapsed_s() / 60,
            "schedule": self.position / self.total,
        }

    def about(self) -> dict[str, Any]:
        return {
            "clock": {
                "elapsed_s": self.elapsed_s(),
                "position": self.position,
                "first_step": self._first_step,
            }
        }

    def describe(self, step: int) -> str:
        return f"step {step}, {self.elapsed_s() / 60:.1f} of {self._minutes:g} minutes"
