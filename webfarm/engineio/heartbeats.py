"""Heartbeats: the server sends pings, and closes the connection of a client that does not answer in time."""

from time import monotonic
from typing import Protocol

import gevent

from webfarm.engineio.connection import Connection
from webfarm.loop.deadlines import EARLY_S, SharedTimer
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.protocol.engine_packet import PING, EnginePacket

_PING = EnginePacket(PING)


class HeartbeatServer(Protocol):
    """The server whose connections are pinged. Both methods are called in the hub."""

    def on_ping(self, connection: Connection) -> None:
        """A heartbeat is about to be sent."""

    def on_pong(self, connection: Connection) -> None:
        """A heartbeat was answered."""


class Heartbeats:
    """The heartbeats of a server's connections.

    Args:
        server: learns of each heartbeat: an answered one shows that the client has received all before it.
        timer: of the server.
        interval_s: from an answer to the next heartbeat.
        timeout_s: that a client may take to answer.
    """

    def __init__(self, server: HeartbeatServer, timer: SharedTimer, interval_s: float, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._pings = timer.create_deadlines(interval_s, self._ping)
        self._timeouts = timer.create_deadlines(timeout_s, self.check)

    def begin(self, connection: Connection) -> None:
        """Send the first heartbeat after the interval."""
        self._pings.add(connection)

    def on_pong(self, connection: Connection) -> None:
        """Take the answer of a client."""
        connection.ponged_at = monotonic()
        if connection.pinged_at is not None:
            connection.pinged_at = None
            self._server.on_pong(connection)
            self._pings.add(connection)

    def check(self, connection: Connection) -> None:
        """Close a connection if its last heartbeat was not answered in time."""
        waits_s = self._timeout_s - 2 * EARLY_S
        pinged_at = connection.pinged_at
        if connection.closed or pinged_at is None or monotonic() - pinged_at < waits_s:
            return
        if connection.is_paused:  # the answer may have come: it is this server that does not read
            self._timeouts.add(connection)
        else:
            connection.close(CloseReason.PING_TIMEOUT)

    def probe(self, connection: Connection, timeout_s: float) -> None:
        """Close a connection if its client does not answer a heartbeat within ``timeout_s``."""
        if connection.closed or connection.probed_at is not None:
            return
        connection.probed_at = monotonic()
        connection.send_at_once(_PING)
        gevent.spawn_later(timeout_s, self._check_probe, connection)

    def _check_probe(self, connection: Connection) -> None:
        probed_at, connection.probed_at = connection.probed_at, None
        if probed_at is not None and connection.ponged_at < probed_at:
            connection.close(CloseReason.PING_TIMEOUT)

    def _ping(self, connection: Connection) -> None:
        if connection.closed:
            return
        connection.pinged_at = monotonic()
        # A pong need not be the answer to this heartbeat if messages are held, or a probe is under way.
        if not connection.is_joining and connection.probed_at is None:
            self._server.on_ping(connection)
        connection.send_at_once(_PING)
        self._timeouts.add(connection)
