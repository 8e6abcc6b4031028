"""Periodic work: callbacks that are called together, again and again.

The work for all shards is done in one turn of the loop, so that their commands leave together. A Redis that wakes once
for several scripts spends much less than a Redis that wakes for each.
"""

import logging
from collections.abc import Callable
from typing import Any

import gevent

from webfarm.defaults import TICK_S

log = logging.getLogger(__name__)


class Ticker:
    """A timer, and the callbacks that it calls."""

    def __init__(self) -> None:
        self._callbacks: list[tuple[int, Callable[[], object]]] = []
        self._number = 0
        self._timer: Any = None

    def add(self, callback: Callable[[], object], every_s: float = TICK_S) -> None:
        """Call ``callback`` in the hub each ``every_s`` seconds, a multiple of 0.5; it may not block."""
        self._callbacks.append((round(every_s / TICK_S), callback))

    def start(self) -> None:
        """Begin."""
        self._timer = gevent.get_hub().loop.timer(TICK_S, TICK_S)
        self._timer.start(self._tick)

    def _tick(self) -> None:
        self._number += 1
        for every, callback in self._callbacks:
            if self._number % every == 0:
                try:
                    callback()
                except Exception:
                    log.exception("not done in this tick: %s", callback)
