"""How a command starts and ends: its streams, `--debug`, errors, its exit code."""

import _thread
import argparse
import codecs
import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from lowlight_jax.runtime import preemption
from lowlight_jax.runtime.errors import sentence, show_tracebacks, trace

USAGE = 2  # wrong arguments
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE

GOES_ON = "interrupted; the same command goes on"
NOTHING_WRITTEN = "Interrupted; nothing was written"
DEBUG_HELP = "if something goes wrong, show where"

_SPELT = {"±": "+-", "×": "x", "→": "->", "↑": "^", "↓": "v", "…": "...", "–": "-"}


def run_command(run: Callable[[], int], *, interrupted: str, failed: int = 1) -> int:
    """Calls `run` and returns its exit code, or that of the error that ended it.

    Any error is told in one sentence; with `--debug` its traceback comes before.

    Args:
      run: parses the arguments and does what was asked.
      interrupted: what to say after Ctrl-C.
      failed: exit code of errors.
    """
    show_tracebacks(False)
    _mend_streams()
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _show_unraisable
    try:
        code = _code_of(run, interrupted, failed)
        if code == INTERRUPTED:
            # Where it passed through an exec(), as JAX has many, CPython remembers, and
            # ends by the signal, whatever is returned; the next exec() clears that.
            exec("pass")
        sys.stdout.flush()  # a pipe that nobody reads any more shows only now
        return code
    except BrokenPipeError:
        _silence_streams()
        return BROKEN_PIPE
    except OSError as error:  # of flush: what was printed is lost
        print(f"error: {sentence(error)}", file=sys.stderr)
        _silence_streams()
        return failed


def _code_of(run: Callable[[], int], interrupted: str, failed: int) -> int:
    try:
        return run()
    except BrokenPipeError:
        raise
    except preemption.Preempted as stop:
        from lowlight_jax.runtime import parallel  # not above: it imports JAX

        if parallel.is_main_process():
            print(stop, file=sys.stderr)
        return preemption.EXIT_CODE
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        trace(error)
        print(f"error: {sentence(error)}", file=sys.stderr)
        return failed


def _show_unraisable(unraisable: Any) -> None:
    """What nobody can handle, where it occurs, is shown by --debug alone.

    When a checkpoint cannot be written, TensorStore's threads print dozens of such
    tracebacks, beside the error that says so. Ctrl-C is not lost: JAX has a callback of
    the garbage collector, which Python calls often while it traces.
    """
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _thread.start_new_thread(_interrupt_soon, ())
    else:
        trace(unraisable.exc_value)


def _interrupt_soon() -> None:
    time.sleep(0.2)  # by then the main thread is where it can be interrupted
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:  # Windows; this does not wake it
        _thread.interrupt_main()


def add_debug_flag(parser: argparse.ArgumentParser) -> None:
    """The flag `--debug`, as every command has it."""
    parser.add_argument("--debug", action=_ShowTracebacks, nargs=0, help=DEBUG_HELP)


def number_between(low: float, high: float) -> Callable[[str], float]:
    """A `type` of argparse's arguments: a number from low to high."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"'{text}' is not a number from {low} to {high}"
            )
        return value

    return parse


class _ShowTracebacks(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        show_tracebacks(True)


def _mend_streams() -> None:
    """Closed streams lead nowhere; what a stream's encoding lacks is spelt out.

    Without the former, the next file that is opened would get the number of standard
    output, and what libraries print.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    codecs.register_error("spelt", _spell)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="spelt")


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Our symbols in ASCII, anything else as Python writes it."""
    escaped, end = codecs.backslashreplace_errors(error)
    missing = error.object[error.start : error.end]
    if set(missing) <= _SPELT.keys():
        return "".join(_SPELT[character] for character in missing), error.end
    return escaped, end


def _silence_streams() -> None:
    """When Python ends it writes what is left: to nowhere, or it would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # one that is no file has no number
            os.dup2(nowhere, stream.fileno())
