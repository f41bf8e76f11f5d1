"""What an error means to the user: one sentence, for a command or one item of many.

A loop over files ends each turn with `except Exception as error`, and asks `of_item`
what to say: no list of classes is complete, since decoders, OpenCV, XLA and the
system raise what they like.
"""

import errno
import os
import re
import sys
import traceback

from lowlight_jax.runtime.preemption import Preempted

# No input is to blame for these.
_MISTAKES = (AssertionError, NameError)
# What we raise ourselves, with a sentence; OSError is the system's.
_EXPECTED = (ValueError, ImportError, FloatingPointError)

_shows_tracebacks = False


def show_tracebacks(shown: bool) -> None:
    """Whether an error also shows where it came from: the flag --debug."""
    global _shows_tracebacks
    _shows_tracebacks = shown


def trace(error: BaseException) -> None:
    """Prints where an error came from, if --debug was given."""
    if _shows_tracebacks:
        traceback.print_exception(error, file=sys.stderr)


def is_out_of_memory(error: BaseException) -> bool:
    """Python, NumPy, OpenCV and XLA each say it in their own way."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, (*_EXPECTED, OSError)) or is_disk_full(error):
        return False
    text = str(error)
    return "RESOURCE_EXHAUSTED" in text or "Insufficient memory" in text


def is_disk_full(error: BaseException) -> bool:
    """The system, TensorStore and ArrayRecord each say it in their own way."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return os.strerror(errno.ENOSPC) in str(error)


def sentence(error: BaseException) -> str:
    """What to say of an error.

    An unexpected one is named by its class and its first line; --debug tells the rest.
    """
    text = str(error).strip()
    if is_out_of_memory(error):
        reason = f" ({_first_line(text)})" if text else ""
        return f"out of memory{reason}; smaller images, crops or batches need less"
    if isinstance(error, FileNotFoundError) and _is_nowhere():
        return "the current folder is gone; change into one that exists"
    if isinstance(error, OSError):
        reason = error.strerror or text or type(error).__name__
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, _EXPECTED) and text:
        return text
    reason = f": {_first_line(text)}" if text else ""
    return f"unexpected {type(error).__name__}{reason}; --debug shows where"


def of_item(error: Exception, name: object) -> str:
    """What to say of an error that one item of many met; the others go on.

    Args:
      error: anything that work on the item has raised.
      name: of the item, which the sentence names.
    Raises:
      Exception: the error itself, where the item is not to blame: a mistake of ours, or
        being told to stop.
    """
    if isinstance(error, (*_MISTAKES, Preempted)):
        raise error
    trace(error)
    if is_out_of_memory(error):
        return f"{name} does not fit into memory"
    text = sentence(error)
    is_named = re.search(rf"(^|/){re.escape(str(name))}\b", text)
    return text if is_named else f"{name}: {text}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _is_nowhere() -> bool:
    """Whether the current folder was deleted."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False
