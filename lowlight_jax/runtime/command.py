"""How a command ends: an error that is known in one sentence, and its exit code."""

import io
import os
import sys
from collections.abc import Callable

from lowlight_jax.runtime import preemption

USAGE = 2  # wrong arguments
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE

GOES_ON = "interrupted; the same command goes on"
NOTHING_WRITTEN = "Interrupted; nothing was written"


def run_command(run: Callable[[], int], *, interrupted: str, failed: int = 1) -> int:
    """Calls `run` and returns its exit code, or that of the error that ended it.

    Args:
      run: parses the arguments and does what was asked.
      interrupted: what to say after Ctrl-C.
      failed: exit code of errors that the user can mend: a value, a file, a missing
        extra, a training that diverged, too little memory. A mistake of ours keeps its
        traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()  # a pipe that nobody reads any more shows only now
    except preemption.Preempted as stop:
        from lowlight_jax.runtime import parallel  # not above: it imports JAX

        if parallel.is_main_process():
            print(stop, file=sys.stderr)
        return preemption.EXIT_CODE
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # When Python ends it writes what is left: to nowhere, or it would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        message = str(error)
    except (MemoryError, RuntimeError) as error:
        # JAX says so by a RuntimeError; its others are mistakes, or the machine's.
        reason = str(error).partition("\n")[0]
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in reason:
            raise
        details = f" ({reason})" if reason else ""
        message = f"out of memory{details}; smaller images, crops or batches need less"
    print(f"error: {message}", file=sys.stderr)
    return failed
