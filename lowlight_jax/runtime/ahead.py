"""Stages of a pipeline that work at once, each in a thread of its own."""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


@contextlib.contextmanager
def ahead(items: Iterable[Item], count: int = 2) -> Iterator[Iterator[Item]]:
    """The same items, made in a thread while the one before is used.

    At the end of the `with` block, however it comes, the thread is at rest: what
    `items` reads from may be closed.

    Args:
      items: its `__next__` is called in the thread, one call at a time.
      count: so many are made ahead at most, and held.
    Raises:
      Exception: what `items` raises, in its place.
    """
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        made = deque(thread.submit(next, iterator, end) for _ in range(count))

        def given() -> Iterator[Item]:
            while (item := made.popleft().result()) is not end:
                made.append(thread.submit(next, iterator, end))
                yield item

        yield given()
