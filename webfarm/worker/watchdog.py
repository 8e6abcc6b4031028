"""What systemd is told: that the service is ready once a worker is, and that it lives while master and workers do.

gunicorn says READY=1 when its master is up, before a worker serves, and knows no watchdog. Here the master says both
from its own loop: if it stalls, it says nothing, and the watchdog ends it. The master speaks for its workers. Each
worker leaves a sign of life from its event loop every second. The master replaces a worker that leaves none; if that
does not help, the watchdog replaces all.

Overridden of gunicorn's ``Arbiter``: ``manage_workers`` and ``reap_workers`` report when they have done their work. The
override is on the one object, as gunicorn lets you choose no other class. One of the two is called at least once a
second, also while the master waits for the old workers after HUP.
"""

import functools
import os
from collections.abc import Callable
from time import monotonic
from typing import Any

from gunicorn.systemd import sd_notify

_REPORT_S = 1.0
_MARGIN_S = 5.0  # in which the master can replace a worker that is over its timeout
_MORE_S = 10.0  # to end in, said again while connections are closed


class Watchdog:
    """Reports of one master to the socket at ``address``; ``attach`` makes it."""

    def __init__(self, arbiter: Any, address: str) -> None:
        self._arbiter = arbiter
        self._address = address
        self._reported_at = 0.0
        self._is_ready = False
        self._is_stopping = False
        self._is_well = True

    @classmethod
    def attach(cls, arbiter: Any) -> None:
        """Have ``arbiter`` report from now on, instead of gunicorn itself, if systemd has asked for reports."""
        address = os.environ.pop("NOTIFY_SOCKET", None)
        if address is not None:
            watchdog = cls(arbiter, address)
            for name in ("manage_workers", "reap_workers"):
                setattr(arbiter, name, watchdog._report_after(getattr(arbiter, name)))

    def _report_after(self, method: Callable[[], None]) -> Callable[[], None]:
        @functools.wraps(method)
        def call() -> None:
            method()
            was_stopping, self._is_stopping = self._is_stopping, not self._arbiter.LISTENERS
            if monotonic() - self._reported_at >= _REPORT_S or self._is_stopping > was_stopping:
                self._reported_at = monotonic()
                self._report()

        return call

    def _report(self) -> None:
        workers = list(self._arbiter.WORKERS.items())
        if self._is_stopping:
            self._say(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={_MORE_S * 1e6:.0f}")
        elif not self._is_ready and any(worker.is_confirmed for _, worker in workers):
            self._is_ready = True
            self._say("READY=1")
        limit = monotonic() - self._arbiter.timeout - _MARGIN_S
        frozen = [pid for pid, worker in workers if self._arbiter.timeout and worker.tmp.last_update() < limit]
        if not frozen:
            self._say("WATCHDOG=1")
        elif self._is_well:
            self._arbiter.log.critical("Worker (pid:%s) gives no sign of life; systemd hears nothing more", frozen[0])
        self._is_well = not frozen

    def _say(self, state: str) -> None:
        os.environ["NOTIFY_SOCKET"] = self._address  # not for the workers, nor for gunicorn
        sd_notify(state, self._arbiter.log, unset_environment=True)
