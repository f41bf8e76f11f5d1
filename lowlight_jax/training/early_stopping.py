"""When a phase has been no better for long enough."""

from collections.abc import Callable, Iterable


class Best:
    """The best validation score of a phase so far.

    Args:
      patience: scores in a row that are no better and end the phase; 0: none do.
      is_better: whether one score is better than another.
      before: the scores of this phase before it was resumed.
    """

    def __init__(
        self,
        patience: int,
        is_better: Callable[[float, float], bool],
        before: Iterable[float] = (),
    ):
        self._patience = patience
        self._is_better = is_better
        self._best: float | None = None
        self._since = 0
        for score in before:
            self.add(score)

    def add(self, score: float) -> bool:
        """Whether this score is the best so far."""
        if self._best is None or self._is_better(score, self._best):
            self._best, self._since = score, 0
            return True
        self._since += 1
        return False

    @property
    def is_over(self) -> bool:
        """Whether the phase should end."""
        return 0 < self._patience <= self._since
