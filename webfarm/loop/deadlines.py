"""Deadlines of many connections on one timer.

Each kind of deadline has one delay for all connections, so its entries are due in the order in which they were
added. This is a queue, not a heap, and nothing is searched for when a connection ends. The action of an entry
checks, when it is due, whether it still matters.
"""

import math
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Generic, TypeVar

import gevent

T = TypeVar("T")

#: How much too early an action may come, in seconds: entries that are due so soon are done at once.
EARLY_S = 0.005


class SharedTimer:
    """One timer of the event loop for any number of kinds of deadlines; it runs only while one is pending."""

    def __init__(self) -> None:
        self._kinds: list[Deadlines[Any]] = []
        self._timer: Any = None
        self._wakes_at = math.inf

    def create_deadlines(self, delay_s: float, action: Callable[[T], None]) -> "Deadlines[T]":
        """Return a new kind: ``action(item)`` is called ``delay_s`` seconds, less 5 ms at most, after ``add(item)``.

        ``action`` runs in the hub and must not block.
        """
        kind: Deadlines[T] = Deadlines(self, delay_s, action)
        self._kinds.append(kind)
        return kind

    def wake_at(self, due: float) -> None:
        """Look for due entries at ``due`` (of ``time.monotonic``) at the latest."""
        if due >= self._wakes_at:
            return
        self._stop()
        self._wakes_at = due
        self._timer = gevent.get_hub().loop.timer(max(due - monotonic(), 0.0))
        self._timer.start(self._wake)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _wake(self) -> None:
        self._stop()
        self._wakes_at = math.inf
        now = monotonic() + EARLY_S
        try:
            for kind in self._kinds:
                kind.run(now)
        finally:  # an action that fails stops no other
            self.wake_at(min((kind.due for kind in self._kinds), default=math.inf))


class Deadlines(Generic[T]):
    """One kind of deadline: made by ``SharedTimer.create_deadlines``."""

    def __init__(self, timer: SharedTimer, delay_s: float, action: Callable[[T], None]) -> None:
        self._timer = timer
        self._delay_s = delay_s
        self._action = action
        self._items: deque[tuple[float, T]] = deque()

    @property
    def due(self) -> float:
        """When the first item is due; infinity without one."""
        return self._items[0][0] if self._items else math.inf

    def add(self, item: T) -> None:
        """Call the action with ``item`` when the delay has passed."""
        due = monotonic() + self._delay_s
        self._items.append((due, item))
        if len(self._items) == 1:
            self._timer.wake_at(due)

    def run(self, now: float) -> None:
        """Call the action with each item that is due."""
        items = self._items
        while items and items[0][0] <= now:
            self._action(items.popleft()[1])
