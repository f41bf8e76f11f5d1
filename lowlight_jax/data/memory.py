"""What decoded images may take of the host's memory, all sources and parts together.

Images are decoded at their first use and kept while there is room; what finds no room
is decoded at each use. So the memory that a set takes does not grow with it.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

Item = TypeVar("Item")
_DEFAULT_GIB = 4.0


class Memory:
    """Bytes that are shared by all that keep images.

    Args:
      gib: how many, in GiB.
    """

    def __init__(self, gib: float = _DEFAULT_GIB):
        self._left = gib * 2**30
        self._lock = threading.Lock()  # crops are cut by several threads

    def kept(
        self, cache: dict[Hashable, Item], key: Hashable, make: Callable[[], Item]
    ) -> Item:
        """An item out of a cache; or made, and put there if there is room for it.

        Args:
          cache: of the caller; items are arrays, or hold arrays: as values of a
            dictionary, or as attributes.
          key: of the item.
          make: the item, the same at each call.
        """
        if key in cache:
            return cache[key]
        item = make()
        with self._lock:
            nbytes = sum(array.nbytes for array in _arrays(item))
            if key not in cache and nbytes <= self._left:
                self._left -= nbytes
                cache[key] = item
        return item


def _arrays(item: Any) -> list[np.ndarray]:
    if isinstance(item, np.ndarray):
        return [item]
    values = item.values() if isinstance(item, dict) else vars(item).values()
    return [value for value in values if isinstance(value, np.ndarray)]


class Mapped(Sequence[Item], Generic[Item]):
    """A function of each item, called at each access."""

    def __init__(self, items: Sequence[Any], function: Callable[[Any], Item]):
        self._items, self._function = items, function

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._function(self._items[index])


class Kept(Sequence[Item], Generic[Item]):
    """Items that are kept from their first access on, while there is room."""

    def __init__(self, items: Sequence[Item], memory: Memory):
        self._items, self._memory = items, memory
        self._cache: dict[Hashable, Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        index = range(len(self))[index]
        return self._memory.kept(self._cache, index, lambda: self._items[index])
