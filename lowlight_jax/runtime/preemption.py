"""Being told to stop: SIGTERM, as clusters send it before they take a machine back."""

import signal
import threading
from types import FrameType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command, again, goes on


class Preempted(Exception):
    """The run was told to stop and has saved its state; one plain sentence."""


class StopSignal:
    """A context in which SIGTERM and Ctrl-C no longer end the process by themselves.

    Of several processes, any one may get SIGTERM; JAX tells the others, and all stop
    at the same step. A second signal ends a single process at once. Outside the main
    thread, the only one that Python lets handle signals, none is looked for.
    """

    def __init__(self):
        self._received: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self):
        import jax  # not above: the command asks for the exit code alone

        is_main_thread = threading.current_thread() is threading.main_thread()
        if jax.process_count() == 1 and is_main_thread:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exc):
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def received(self, step: int) -> str | None:
        """The signal's name, once all processes know of it; call it at every step."""
        from jax.experimental import multihost_utils

        if multihost_utils.reached_preemption_sync_point(step):  # False if it is alone
            return "SIGTERM"
        return self._received
