"""Connections that have joined no namespace: they are closed after a while."""

import logging

from webfarm.engineio.connection import Connection
from webfarm.monitoring.throttle import Throttled
from webfarm.socketio.core import ServerCore

log = Throttled(logging.getLogger(__name__))


class Unjoined:
    """The part of a ``Server`` that closes connections that join no namespace within ``timeout_s``."""

    def __init__(self, server: ServerCore, timeout_s: float) -> None:
        self._server = server
        self._deadlines = server.eio.websockets.timer.create_deadlines(timeout_s, self._close)

    def add(self, eio_sid: str) -> None:
        """From now on, a connection has ``timeout_s`` to join a namespace."""
        self._deadlines.add(eio_sid)

    def add_if_left(self, connection: Connection) -> None:
        """The client left a namespace: if that was the last one, its open connection has ``timeout_s``."""
        if not connection.closed and not self._has_joined(connection.sid):
            self.add(connection.sid)

    def _close(self, eio_sid: str) -> None:
        if eio_sid in self._server.environ and not self._has_joined(eio_sid):
            log.info("closed: it joined no namespace in time", extra={"connection": eio_sid})
            self._server.eio.disconnect(eio_sid)

    def _has_joined(self, eio_sid: str) -> bool:
        manager = self._server.manager
        names = manager.get_namespaces_of(eio_sid)
        return any(manager.is_connected(manager.sid_from_eio_sid(eio_sid, name), name) for name in names)
