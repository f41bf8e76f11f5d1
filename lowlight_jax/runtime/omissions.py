"""What was left out, told to the command that must say so in its summary."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("omissions", default=None)


@contextlib.contextmanager
def collecting() -> Iterator[list[str]]:
    """A list of what is reported inside; it is not printed then."""
    found: list[str] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def report(text: str) -> None:
    """Says what was left out and why."""
    found = _collected.get()
    if found is None:
        print(text)
    else:
        found.append(text)
