"""The Engine.IO server: its sessions, from the first to the last packet.

Overridden of ``engineio.Server`` (4.15): ``handle_request`` and all below it (``webfarm.engineio.requests``), ``send``,
``send_packet``, ``disconnect`` and ``_get_socket``. These connections are of another kind: they need no greenlet, no
queue and no task that looks for timeouts.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import engineio
from engineio import packet

from webfarm.defaults import MAX_OUTBOX_BYTES
from webfarm.engineio.connection import Connection
from webfarm.engineio.drain import Drain
from webfarm.engineio.heartbeats import Heartbeats
from webfarm.engineio.pending_calls import PendingCalls
from webfarm.engineio.requests import Requests
from webfarm.engineio.stock import StockEngineServer
from webfarm.engineio.upgrade import Upgrade
from webfarm.http.websocket import WebSockets
from webfarm.loop.time_slices import TimeSlices
from webfarm.monitoring.capacity import capacity
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.counters import counters
from webfarm.monitoring.throttle import Throttled
from webfarm.protocol.engine_packet import MESSAGE, EnginePacket
from webfarm.service import Service

log = Throttled(logging.getLogger(__name__))

_UPGRADE_TIMEOUT_S = 10.0
_LINGER_S = 30.0  # for the last messages of a closed session to be polled
_NAMES = {str(number): name for number, name in enumerate(packet.packet_names)}
_CONNECT = "0"  # Socket.IO's packet begins with it


class Receiver(Protocol):
    """The part above an ``EngineServer``. It is called in the hub, in order, and must not block."""

    def on_message(self, connection: Connection, data: str | bytes) -> None:
        """A message came from a client."""

    def on_ping(self, connection: Connection) -> None:
        """A heartbeat is about to be sent."""

    def on_pong(self, connection: Connection) -> None:
        """A heartbeat was answered."""

    def on_upgraded(self, connection: Connection) -> None:
        """A connection has become a websocket."""


class _Handlers:
    """python-engineio's way to receive: the handler of ``message`` is called in a greenlet."""

    def __init__(self, handlers: dict[str, Callable[..., Any]]) -> None:
        self._handlers = handlers

    def on_message(self, connection: Connection, data: str | bytes) -> None:
        if handler := self._handlers.get("message"):
            connection.enqueue(len(data), handler, connection.sid, data)

    def on_ping(self, connection: Connection) -> None:
        """No handler is for this."""

    def on_pong(self, connection: Connection) -> None:
        """No handler is for this."""

    def on_upgraded(self, connection: Connection) -> None:
        """No handler is for this."""


class EngineServer(Service, StockEngineServer, engineio.Server):
    """An Engine.IO server.

    Args:
        max_outbox_bytes: unsent bytes at which the next message to a client closes its connection instead.
        drain_s: the seconds over which a stop closes the connections.
        kwargs: as for ``engineio.Server``.
    """

    def __init__(self, *, max_outbox_bytes: int = MAX_OUTBOX_BYTES, drain_s: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**{"async_mode": "gevent", "monitor_clients": False} | kwargs)
        self.max_outbox_bytes = max_outbox_bytes
        self.websockets = WebSockets(max_message_bytes=self.max_http_buffer_size, max_outbox_bytes=max_outbox_bytes)
        timer = self.websockets.timer
        self.heartbeats = Heartbeats(self, timer, self.ping_interval, self.ping_timeout)
        self.upgrade_timeouts = timer.create_deadlines(_UPGRADE_TIMEOUT_S, Upgrade.cancel)
        self._unpolled = timer.create_deadlines(_LINGER_S, self.remove)
        self.calls = PendingCalls()
        self._requests = Requests(self)
        self.set_receiver(_Handlers(self.handlers))
        #: Beginnings of messages that no log may have.
        self.secrets: tuple[str, ...] = ()
        self.drain = Drain(self, drain_s)
        self.logs_packets = self.logger.isEnabledFor(20)
        self._closed: TimeSlices[tuple[Connection, CloseReason]] = TimeSlices(self._begin_to_finish)
        self.register()

    def set_receiver(self, receiver: Receiver) -> None:
        """Tell ``receiver`` of all that comes from clients; without one, the handlers of ``on`` are called."""
        self.deliver = receiver.on_message  # one look-up for each message, not two
        self.on_ping, self.on_pong, self.on_upgraded = receiver.on_ping, receiver.on_pong, receiver.on_upgraded

    # Requests

    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request, as a WSGI application does."""
        return self._requests.handle(environ, start_response)

    @property
    def is_full(self) -> bool:
        """Whether it has as many clients as this process can carry."""
        return capacity.is_full(len(self.sockets))

    def is_origin_allowed(self, environ: dict[str, Any]) -> bool:
        """Return whether a page of the request's ``Origin`` may connect; a request without one may."""
        origin = environ.get("HTTP_ORIGIN")
        if not origin or self.cors_allowed_origins == []:
            return True
        allowed = self._cors_allowed_origins(environ)
        return allowed is None or origin in allowed

    def get_cors_headers(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the headers that let a page of another origin read the answer."""
        headers: list[tuple[str, str]] = self._cors_headers(environ)
        return headers

    def create_cookies(self, sid: str) -> list[tuple[str, str]]:
        """Return the headers that set the session's cookie, if there is to be one."""
        if not self.cookie:
            return []
        attributes = (
            self.cookie if isinstance(self.cookie, dict) else {"name": self.cookie, "path": "/", "SameSite": "Lax"}
        )
        return [("Set-Cookie", self._generate_sid_cookie(sid, attributes))]

    def ask_handler(self, sid: str, environ: dict[str, Any]) -> Any:
        """Call the connect handler; return the body of a refusal, ``None`` if the client may connect."""
        answer = self._trigger_event("connect", sid, environ, run_async=False)
        return None if answer is None or answer is True else answer or "Unauthorized"

    def remove(self, connection: Connection) -> None:
        """Take a session out of ``sockets``."""
        self.sockets.pop(connection.sid, None)

    # To clients

    def send(self, sid: str, data: Any) -> None:
        """Send a text, bytes, or a value that becomes JSON to ``sid``. Dropped if there is no such client."""
        connection = self.sockets.get(sid)
        if connection is None:
            return
        if isinstance(data, bytes | bytearray):
            connection.send(EnginePacket(bytes(data)))
        else:
            text = data if isinstance(data, str) else packet.Packet.json.dumps(data, separators=(",", ":"))
            connection.send(EnginePacket(MESSAGE + text))

    def send_packet(self, sid: str, pkt: packet.Packet) -> None:
        """Send a packet of python-engineio's to ``sid``."""
        connection = self.sockets.get(sid)
        if connection is not None:
            connection.send(EnginePacket(pkt.encode()))

    def disconnect(self, sid: str | None = None) -> None:
        """Close the connection ``sid``, or all; the stock client then comes back by itself."""
        for connection in [self.sockets.get(sid)] if sid else list(self.sockets.values()):
            if connection is not None:
                connection.close(CloseReason.SERVER_DISCONNECT)

    def stop(self, *, at_once: bool = False) -> None:
        """Open no new session; close all over ``drain_s`` seconds, and wait a little until they are closed."""
        self.drain.run(at_once=at_once)

    @property
    def is_draining(self) -> bool:
        """Whether it opens no new session, as its worker stops."""
        return self.drain.has_begun

    def count_clients(self) -> tuple[dict[str, int], int]:
        """Return how many clients are connected, by transport, and the bytes that wait for them."""
        clients, unsent = {"polling": 0, "websocket": 0}, 0
        for connection in self.sockets.values():
            half = connection.websocket or connection.polling
            if half is not None and not connection.closed:
                clients["websocket" if half is connection.websocket else "polling"] += 1
                unsent += half.unsent
        return clients, unsent

    def log_packet(self, sid: str, verb: str, data: str | bytes) -> None:
        """Log one packet, for ``WEBFARM_LOG_LEVEL=debug``, without secrets such as the token and pid of a CONNECT."""
        name = _NAMES.get(data[:1], "UNKNOWN") if isinstance(data, str) else "MESSAGE"
        text = data[1:] if isinstance(data, str) else "<binary>"
        if name == "MESSAGE" and text.startswith(_CONNECT):
            text = f"{text.partition(',')[0]},<hidden>" if text.startswith(f"{_CONNECT}/") else f"{_CONNECT}<hidden>"
        elif name == "MESSAGE" and text.startswith(self.secrets):
            text = "<hidden>"
        self.logger.info("%s: %s packet %s data %s", sid, verb, name, text)

    def on_closed(self, connection: Connection, reason: CloseReason) -> None:
        """A connection has ended: its disconnect handler runs soon, after its other jobs.

        When thousands end at once, other clients get their turn in between.
        """
        counters.connections_closed[reason] += 1
        if reason == CloseReason.SLOW_CLIENT:
            log.warning("closed: slow client", extra={"connection": connection.sid, "unread": self.max_outbox_bytes})
        self._closed.add((connection, reason))

    def _begin_to_finish(self, closed: tuple[Connection, CloseReason]) -> None:
        connection, reason = closed
        connection.finish(self._finish, connection, reason)

    def _finish(self, connection: Connection, reason: CloseReason) -> None:
        try:
            self._trigger_event("disconnect", connection.sid, reason, run_async=False)
        finally:
            connection.is_finished = True
            if connection.is_over:
                self.remove(connection)
            else:
                self._unpolled.add(connection)

    def _get_socket(self, sid: str) -> Connection:
        """Return a connection, also one that is closing: its disconnect handler may ask for it."""
        connection: Connection = self.sockets[sid]
        return connection
