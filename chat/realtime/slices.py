"""Work on many connections at once, in slices: the loop looks after everybody else in between."""

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Generic, TypeVar

import gevent

T = TypeVar("T")

_SLICE_S = 0.004


class Slices(Generic[T]):
    """Calls ``action(item)`` once for each item that is added, in order, at the end of the loop's turn.

    What takes longer than four milliseconds goes on in the next turn. ``action`` runs in the hub and must not block.
    """

    def __init__(self, action: Callable[[T], None]) -> None:
        self._action = action
        self._items: deque[T] = deque()
        self._callback: Any = None

    def add(self, item: T) -> None:
        """Have ``item`` seen to."""
        self._items.append(item)
        if self._callback is None:
            self._callback = gevent.get_hub().loop.run_callback(self._run)

    def _run(self) -> None:
        self._callback = None
        items, action = self._items, self._action
        end = monotonic() + _SLICE_S
        try:
            while items:
                action(items.popleft())
                if monotonic() > end:
                    break
        finally:  # also if an action failed: the others are waiting
            if items:
                self._callback = gevent.get_hub().loop.run_callback(self._run)
