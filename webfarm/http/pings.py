"""Pings of websockets without Engine.IO, which has heartbeats of its own."""

from time import monotonic
from typing import Protocol

from webfarm.loop.deadlines import EARLY_S, SharedTimer
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.protocol.frames import PING_FRAME


class Pinged(Protocol):
    """A websocket that is pinged."""

    pinged_at: float | None  # until something comes

    @property
    def receiver(self) -> object | None: ...  # None: it is closing

    @property
    def is_reading(self) -> bool: ...

    def send(self, frame: bytes) -> None: ...

    def lose(self, reason: CloseReason) -> None: ...


class Pings:
    """The pings of an app's websockets.

    Args:
        timer: when to send, and when to look for an answer.
        interval_s: from a websocket's last sign of life to its next ping; ``None``: no pings.
        timeout_s: that a pinged websocket may be silent.
    """

    def __init__(self, timer: SharedTimer, interval_s: float | None, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._due = None if interval_s is None else timer.create_deadlines(interval_s, self._ping)
        self._unanswered = timer.create_deadlines(timeout_s, self._check)

    def schedule(self, websocket: Pinged) -> None:
        """Ping ``websocket`` after the interval."""
        if self._due is not None:
            self._due.add(websocket)

    def _ping(self, websocket: Pinged) -> None:
        if websocket.receiver is not None:
            websocket.pinged_at = monotonic()
            websocket.send(PING_FRAME)
            self._unanswered.add(websocket)

    def _check(self, websocket: Pinged) -> None:
        """End the connection if nothing has come since its last ping, and should have."""
        pinged_at = websocket.pinged_at
        if websocket.receiver is None or pinged_at is None or monotonic() - pinged_at < self._timeout_s - 2 * EARLY_S:
            return
        if websocket.is_reading:
            websocket.lose(CloseReason.PING_TIMEOUT)
        else:  # the answer may have come: it is this side that does not read
            self._unanswered.add(websocket)
