"""How far a slow method is, told to whoever listens; nobody by default.

A method iterates over `track(items)`; a command that wants a progress bar calls the
method inside `listening(to)`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Listener = Callable[[float], None]  # told the finished fraction, 0 to 1

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def listening(to: Listener | None) -> Iterator[None]:
    """Sends the progress of methods called inside to `to`; None changes nothing."""
    if to is None:
        yield
        return
    token = _listener.set(to)
    try:
        yield
    finally:
        _listener.reset(token)


def track(
    items: Sequence[Item], *, start: float = 0.0, stop: float = 1.0
) -> Iterator[Item]:
    """The items one by one; they are the work from `start` to `stop` of the whole."""
    listener = _listener.get()
    for i, item in enumerate(items, 1):
        yield item
        if listener:
            listener(start + (stop - start) * i / len(items))
