"""Long work in slices: the loop serves all other clients in between.

A turn of the loop ends when it looks for new input. Before that, gevent runs callbacks, and the callbacks that these
add; ``gevent.sleep(0)`` is one. So work that is to go on in the next turn waits for a timer.
"""

from collections import deque
from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import Any, ClassVar, Generic, TypeVar

import gevent

T = TypeVar("T")

#: How long one piece of work may keep the loop from others, in seconds.
SLICE_S = 0.004


def wait_a_turn() -> float:
    """Let this greenlet go on in the next turn; return when its slice ends there, of ``time.monotonic``.

    In a greenlet with long work::

        slice_ends = monotonic() + SLICE_S
        for item in items:
            work(item)
            if monotonic() > slice_ends:
                slice_ends = wait_a_turn()
    """
    hub = gevent.get_hub()
    with closing(hub.loop.timer(0)) as timer:
        hub.wait(timer)
    return monotonic() + SLICE_S


class TimeSlices(Generic[T]):
    """Calls ``action(item)`` once for each item that is added, in order, at the end of the loop's turn.

    Work of more than four milliseconds goes on in the next turn, or when others have had as long in this one.
    ``action`` runs in the hub and must not block.
    """

    _paused_at: ClassVar[float] = 0.0  # when any of them last ended a slice

    def __init__(self, action: Callable[[T], None]) -> None:
        self._action = action
        self._items: deque[T] = deque()
        self._scheduled: Any = None  # a callback or a timer

    def add(self, item: T) -> None:
        """Have the action called with ``item``."""
        self._items.append(item)
        if self._scheduled is None:
            self._scheduled = gevent.get_hub().loop.run_callback(self._run)

    def _run(self) -> None:
        self._scheduled.close()
        self._scheduled = None
        items, action = self._items, self._action
        end = monotonic() + SLICE_S
        try:
            while items:
                action(items.popleft())
                if monotonic() > end:
                    break
        finally:  # also if an action failed: the others are waiting
            TimeSlices._paused_at = monotonic()
            if items:
                self._scheduled = gevent.get_hub().loop.run_callback(self._go_on)

    def _go_on(self) -> None:
        if monotonic() - TimeSlices._paused_at >= SLICE_S:
            self._run()
            return
        self._scheduled.close()
        self._scheduled = gevent.get_hub().loop.timer(0)
        self._scheduled.start(self._run)
