"""The lag of the event loop: a timer that is due a few times a second measures how late it fires."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent

from webfarm.monitoring.histogram import Histogram

log = logging.getLogger(__name__)

_TICK_S = 0.25
_TICKS_OF_WINDOW = 8
_LATE_S = 1.0  # such a lag is logged
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Lag:
    """The lag of the event loop of this process.

    Args:
        on_tick: called each time, in the hub.
    """

    def __init__(self, on_tick: Callable[[], None]) -> None:
        self.seconds = Histogram(_BOUNDS)
        self._on_tick = on_tick
        self._due = 0.0
        self._ticks = 0
        self._largest = [0.0, 0.0]  # of the window before, and of this one
        self._timer: Any = None

    def start(self) -> None:
        """Measure it from now on."""
        if self._timer is None:
            self._due = monotonic() + _TICK_S
            self._timer = gevent.get_hub().loop.timer(_TICK_S, _TICK_S, ref=False)
            self._timer.start(self._tick)

    def get_recent(self) -> float:
        """Return the largest lag of the last two to four seconds."""
        late_s = monotonic() - self._due if self._timer is not None else 0.0
        return max(*self._largest, late_s)

    def _tick(self) -> None:
        now = monotonic()
        late_s = max(now - self._due, 0.0)
        self._due = now + _TICK_S
        self.seconds.observe(late_s)
        self._largest[1] = max(self._largest[1], late_s)
        self._ticks += 1
        if self._ticks % _TICKS_OF_WINDOW == 0:
            self._largest = [self._largest[1], 0.0]
        if late_s > _LATE_S:
            log.warning("the event loop was late", extra={"late_s": round(late_s, 2)})
        self._on_tick()
