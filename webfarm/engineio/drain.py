"""The drain: a worker that stops closes its connections, spread over time, so that not all clients return at once."""

import logging
from collections.abc import Mapping
from time import monotonic
from typing import Protocol

import gevent

from webfarm.engineio.connection import Connection
from webfarm.loop.time_slices import wait_a_turn
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.throttle import Throttled

log = Throttled(logging.getLogger(__name__))

_NOTICE_S = 2.0  # for load balancers to hear that new clients are to go elsewhere
_STOP_S = 2.0  # for disconnect handlers to run, and last messages to be polled
_MANY = 100  # connections; then the loop has a turn


class DrainedServer(Protocol):
    """The server whose connections a drain closes."""

    sockets: Mapping[str, Connection]

    def disconnect(self, sid: str | None = None) -> None: ...


class Drain:
    """Closes all connections of a server.

    Args:
        server: whose connections.
        drain_s: the seconds over which it closes them.
    """

    def __init__(self, server: DrainedServer, drain_s: float) -> None:
        self._server = server
        self._drain_s = drain_s
        self.has_begun = False

    def run(self, *, at_once: bool = False) -> None:
        """Close all connections over ``drain_s`` seconds, and wait a little until they are closed.

        ``at_once`` closes them without a pause, also those of a drain that has begun.
        """
        if at_once:
            self._drain_s = 0.0
        if self.has_begun:
            return
        self.has_begun = True
        # Closed connections that wait for a last poll are left alone.
        started, connections = monotonic(), [one for one in self._server.sockets.values() if not one.closed]
        log.info("drain begins", extra={"clients": len(connections), "over_s": self._drain_s})
        for number, connection in enumerate(connections):
            self._wait(started, number / len(connections))
            if number % _MANY == _MANY - 1:
                wait_a_turn()
            # After the messages that the client has sent so far, with their acknowledgements.
            connection.enqueue(0, connection.close, CloseReason.SERVER_DISCONNECT)
        with gevent.Timeout(_STOP_S, False):  # type: ignore[arg-type]
            while self._server.sockets:
                gevent.sleep(0.02)
        log.info("drain ends", extra={"left": len(self._server.sockets), "after_s": round(monotonic() - started, 1)})
        self._server.disconnect()  # those that wait for a handler that does not end

    def _wait(self, started: float, share: float) -> None:
        """Wait until it is time for the connection behind this ``share`` of all; ``run`` may end the waiting."""
        while True:
            notice_s = min(_NOTICE_S, self._drain_s / 2)
            due_s = self._drain_s and notice_s + (self._drain_s - notice_s) * share
            early_s = started + due_s - monotonic()
            if early_s <= 0:
                return
            gevent.sleep(min(early_s, 0.1))
