"""The Engine.IO server and its connections.

Overridden of ``engineio.Server``: ``_handle_connect`` (the name of the server stands in front of each
sid, fractions of a second are advertised exactly, no JSONP) and ``disconnect`` (does not wait for a client that
may never read again). A polling client's POST may hold more than stock's 16 packets: its size is bounded already,
and a stock client that emits a burst before its upgrade sends them all at once.
"""

import logging
import re
from typing import Any

import engineio
from engineio import exceptions, packet, payload, socket

log = logging.getLogger(__name__)

_BAD_INPUT = (ValueError, TypeError, LookupError, RecursionError)  # what the stock parsers raise
_MAX_PACKETS_PER_POST = 10_000
_SERVER_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Connection(socket.Socket):
    """A connection that ends when it sends what is no Engine.IO packet, with one line in the log.

    Stock lets the error out: a websocket's session then stays until its ping times out.
    """

    upgrading: bool

    def handle_post_request(self, environ: dict[str, Any]) -> None:
        try:
            super().handle_post_request(environ)
        except _BAD_INPUT as error:
            log.info("connection %s closed: it posted what is no payload: %s", self.sid, error)
            raise exceptions.EngineIOError from error

    def _websocket_handler(self, ws: Any) -> list[Any]:
        try:
            return list(super()._websocket_handler(ws))
        except _BAD_INPUT as error:
            log.info("connection %s: a frame that is no packet: %s", self.sid, error)
            if self.upgrading:  # the probe was none; polling goes on
                self.upgrading = False
            else:
                self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_ERROR)
            return []


class EngineServer(engineio.Server):
    """An Engine.IO server whose sids say which worker they belong to."""

    start_service_task: bool

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        payload.Payload.max_decode_packets = _MAX_PACKETS_PER_POST

    def disconnect(self, sid: str | None = None) -> None:
        """Close the connection ``sid``, or all; the stock client then comes back by itself."""
        for connection in [self.sockets.get(sid)] if sid else list(self.sockets.values()):
            if connection is not None:  # its disconnect handler may still ask for it
                connection.close(wait=False, reason=self.reason.SERVER_DISCONNECT)
                self.sockets.pop(connection.sid, None)

    def _handle_connect(
        self, environ: dict[str, Any], start_response: Any, transport: str, jsonp_index: int | None = None
    ) -> Any:
        """Open a session: send OPEN, then serve the websocket or answer the first poll."""
        self._start_service_task()
        sid = sid_prefix(environ) + self.generate_id()
        connection = self.sockets[sid] = Connection(self, sid)
        handshake = {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": round(self.ping_timeout * 1000),
            "pingInterval": round(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        connection.send(packet.Packet(packet.OPEN, handshake))
        self._trigger_event("connect", sid, environ, run_async=False)
        connection.schedule_ping()
        if transport == "polling":
            connection.connected = True
            return self._ok(connection.poll())
        try:
            if "wsgi.websocket" in environ:
                return connection.handle_get_request(environ, start_response)
            connection.close(wait=False, abort=True, reason=self.reason.TRANSPORT_ERROR)
            return self._bad_request("Invalid websocket upgrade")
        finally:
            if connection.closed:
                self.sockets.pop(sid, None)

    def _start_service_task(self) -> None:
        if self.start_service_task:
            self.start_service_task = False
            self.service_task_handle = self.start_background_task(self._service_task)


def sid_prefix(environ: dict[str, Any]) -> str:
    """Return ``"<server>."`` with the name that HAProxy gave this worker, or ``""`` without one.

    HAProxy tells it in ``X-Webfarm-Server`` (``http-send-name-header``) and routes each later request by
    what stands before the dot of its sid. A name that is not ``[A-Za-z0-9_-]{1,32}`` counts as none.
    """
    name = environ.get("HTTP_X_WEBFARM_SERVER", "")
    return f"{name}." if _SERVER_NAME.fullmatch(name) else ""
