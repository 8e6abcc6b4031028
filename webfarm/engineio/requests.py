"""Engine.IO over HTTP: handshakes, polls, posts and requests for an upgrade.

https://github.com/socketio/engine.io-protocol (revision 4); error codes as Node's engine.io gives them.
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

import gevent

from webfarm.engineio.connection import Connection, ConnectionServer
from webfarm.engineio.heartbeats import Heartbeats
from webfarm.engineio.polling import Polling, PollingError
from webfarm.engineio.upgrade import Upgrade
from webfarm.http.environ import IS_CONNECTED
from webfarm.loop.time_slices import wait_a_turn
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.counters import counters
from webfarm.monitoring.refusals import log_refusal
from webfarm.protocol.engine_packet import CLOSE, NOOP, OPEN, EnginePacket
from webfarm.protocol.handshake import UPGRADE, HandshakeError
from webfarm.protocol.payload import decode_payload, encode_payload

_SERVER_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_POLL_GRACE_S = 0.02  # a poll that was sent just before a close may be read after it
_PACKETS_AT_ONCE = 100  # of a post; then others get their turn
_MAX_COMPRESSED_BYTES = 262_144  # a larger answer would hold up everybody else while it is being compressed
_TEXT = ("Content-Type", "text/plain; charset=UTF-8")
_JSON = ("Content-Type", "application/json")

_UNKNOWN_TRANSPORT = (0, "Transport unknown")
_UNKNOWN_SID = (1, "Session ID unknown")
_BAD_HANDSHAKE_METHOD = (2, "Bad handshake method")
_BAD_REQUEST = (3, "Bad request")
_UNSUPPORTED_VERSION = (5, "Unsupported protocol version")


class Response(NamedTuple):
    """An answer; ``connection`` is the session whose messages are its body."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: Connection | None = None


class RequestServer(ConnectionServer, Protocol):
    """The server whose requests are answered: its sessions, and python-engineio's options."""

    sockets: dict[str, Connection]
    is_draining: bool
    transports: list[str]
    allow_upgrades: bool
    ping_interval: float
    ping_interval_grace_period: float
    ping_timeout: float
    http_compression: bool
    compression_threshold: int

    @property
    def heartbeats(self) -> Heartbeats: ...

    @property
    def is_full(self) -> bool: ...

    def generate_id(self) -> str: ...

    def is_origin_allowed(self, environ: dict[str, Any]) -> bool: ...

    def get_cors_headers(self, environ: dict[str, Any]) -> list[tuple[str, str]]: ...

    def create_cookies(self, sid: str) -> list[tuple[str, str]]:
        """Return the headers that set the session's cookie, if there is to be one."""

    def ask_handler(self, sid: str, environ: dict[str, Any]) -> Any:
        """Call the connect handler; return the body of a refusal, ``None`` if the client may connect."""

    def remove(self, connection: Connection) -> None:
        """Take a session out of ``sockets``."""


class Requests:
    """Answers the requests of a server's clients."""

    def __init__(self, server: RequestServer) -> None:
        self._server = server

    def handle(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request, as a WSGI application does."""
        try:
            response = self._respond(environ)
        except HandshakeError as error:
            response = Response(error.status, [*error.headers, _TEXT], str(error).encode())
        if response is None:  # it has become a websocket
            return []
        status, headers, body, connection = response
        server = self._server
        headers += [("Cache-Control", "no-store"), *server.get_cors_headers(environ)]
        if (
            server.http_compression
            and server.compression_threshold <= len(body) <= _MAX_COMPRESSED_BYTES
            and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "")
        ):
            body = gzip.compress(body, 1)
            headers.append(("Content-Encoding", "gzip"))
        headers.append(("Content-Length", str(len(body))))
        start_response(status, headers)
        return [body] if connection is None else self._deliver(connection, body)

    def _deliver(self, connection: Connection, body: bytes) -> Iterator[bytes]:
        """Yield the answer to a poll; its session ends if that can't be written."""
        polling = connection.polling
        counters.sent_bytes += len(body)
        try:
            yield body
        except GeneratorExit:
            self._lose(connection, polling)
            raise
        if connection.is_over:
            self._server.remove(connection)

    def _lose(self, connection: Connection, polling: Polling | None) -> None:
        """The connection of a poll has ended: the session ends, too, unless it has a websocket by now."""
        if connection.polling is polling:
            connection.close(CloseReason.TRANSPORT_CLOSE)

    def _respond(self, environ: dict[str, Any]) -> Response | None:
        if not self._server.is_origin_allowed(environ):
            if "sid=" not in environ.get("QUERY_STRING", ""):
                log_refusal("origin", environ, origin=environ["HTTP_ORIGIN"])
            return _refuse((_BAD_REQUEST[0], "Not an accepted origin"))
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return Response("200 OK", [_TEXT], b"ok")
        query = parse_qs(environ.get("QUERY_STRING", ""))
        transport = query.get("transport", [""])[0]
        if transport not in self._server.transports:
            return _refuse(_UNKNOWN_TRANSPORT)
        if "j" in query or (transport == "websocket") != (UPGRADE in environ):
            return _refuse(_BAD_REQUEST)  # no JSONP; a websocket must ask for an upgrade
        sid = query.get("sid", [None])[0]
        if sid is None:
            if query.get("EIO") != ["4"]:
                return _refuse(_UNSUPPORTED_VERSION)
            return self._open(environ, transport) if method == "GET" else _refuse(_BAD_HANDSHAKE_METHOD)
        connection = self._server.sockets.get(sid)
        if connection is None or (connection.closed and connection.polling is None):
            return _refuse(_UNKNOWN_SID)
        return self._respond_to(connection, environ, transport)

    def _respond_to(self, connection: Connection, environ: dict[str, Any], transport: str) -> Response | None:
        """Serve a request that names its session."""
        method = environ["REQUEST_METHOD"]
        self._server.heartbeats.check(connection)
        if connection.closed:
            if method != "GET" or not connection.polling or not connection.polling.messages:
                return _refuse(_UNKNOWN_SID)
            return _answer_poll(connection, connection.polling.take())
        if transport == "websocket":
            self._upgrade(connection, environ)
            return None
        if connection.polling is None:  # it is a websocket already
            return _refuse(_BAD_REQUEST)
        if method == "GET":
            return self._poll(connection, environ)
        return self._post(connection, environ) if method == "POST" else _refuse(_BAD_REQUEST)

    def _open(self, environ: dict[str, Any], transport: str) -> Response | None:
        """Open a session: send OPEN, then go on as a websocket or answer the first poll."""
        if self._server.is_draining or self._server.is_full:
            log_refusal("draining" if self._server.is_draining else "full", environ)
            body = b"This worker is %s; please try again.\n" % (b"stopping" if self._server.is_draining else b"full")
            return Response("503 Service Unavailable", [_TEXT, ("Connection", "close")], body)
        sid = get_sid_prefix(environ) + self._server.generate_id()
        connection = self._server.sockets[sid] = Connection(self._server, sid)
        counters.connections_opened += 1
        connection.send(EnginePacket(OPEN + self._describe(sid, transport)))
        refusal = self._server.ask_handler(sid, environ)
        if refusal is not None:
            self._server.remove(connection)
            return Response("401 Unauthorized", [_JSON], json.dumps(refusal).encode())
        self._server.heartbeats.begin(connection)
        if transport == "polling":
            assert connection.polling is not None
            return _answer_poll(connection, connection.polling.take(), self._server.create_cookies(sid))
        try:
            connection.switch_to(self._server.websockets.accept(environ, connection))
        except HandshakeError:
            connection.close(CloseReason.TRANSPORT_ERROR)
            raise
        if connection.is_over:
            self._server.remove(connection)
        return None

    def _describe(self, sid: str, transport: str) -> str:
        server = self._server
        can_upgrade = transport == "polling" and server.allow_upgrades and "websocket" in server.transports
        upgrades = '["websocket"]' if can_upgrade else "[]"
        return (
            f'{{"sid":"{sid}","upgrades":{upgrades},'
            f'"pingInterval":{round((server.ping_interval + server.ping_interval_grace_period) * 1000)},'
            f'"pingTimeout":{round(server.ping_timeout * 1000)},"maxPayload":{server.max_http_buffer_size}}}'
        )

    def _upgrade(self, connection: Connection, environ: dict[str, Any]) -> None:
        """Probe the websocket that asks for the session; close it if the session has a websocket already."""
        if connection.upgrading is None and connection.polling is not None and self._server.allow_upgrades:
            Upgrade(connection, environ)
        else:
            self._server.websockets.accept(environ, connection).close()

    def _poll(self, connection: Connection, environ: dict[str, Any]) -> Response:
        polling = connection.polling
        assert polling is not None
        if connection.upgrading is not None and connection.upgrading.is_probed:
            return Response("200 OK", [_TEXT], NOOP.encode())
        try:
            messages = polling.poll(self._server.ping_interval + self._server.ping_timeout)
        except PollingError as error:
            connection.refuse(str(error))
            return _refuse(_BAD_REQUEST)
        if IS_CONNECTED in environ and not environ[IS_CONNECTED]():  # the client would not get them
            polling.put_back(messages)
            self._lose(connection, polling)
            return _refuse(_BAD_REQUEST)
        return _answer_poll(connection, messages)

    def _post(self, connection: Connection, environ: dict[str, Any]) -> Response:
        polling = connection.polling
        assert polling is not None
        if polling.is_posted:
            connection.refuse("two posts at once")
            return _refuse(_BAD_REQUEST)
        polling.is_posted = True
        try:
            body = self._read(environ)
            if body is None:
                body = b"The message is too large.\n"
                return Response("413 Content Too Large", [_TEXT, ("Connection", "close")], body)
            for count, data in enumerate(decode_payload(body)):
                if data == CLOSE and not polling.is_polled:
                    gevent.sleep(_POLL_GRACE_S)
                elif count % _PACKETS_AT_ONCE == _PACKETS_AT_ONCE - 1:
                    wait_a_turn()
                connection.on_message(data)
                if not connection.closed:
                    connection.wait_until_read()
                if connection.closed:
                    break
        except OSError as error:  # the connection ended or stalled within the body
            connection.refuse(f"a post that did not arrive: {error}")
        except ValueError as error:
            connection.refuse(f"a post that is no payload: {error}")
        finally:
            polling.is_posted = False
        if connection.closed == CloseReason.TRANSPORT_ERROR:
            return _refuse(_BAD_REQUEST)
        return Response("200 OK", [_TEXT], b"ok")

    def _read(self, environ: dict[str, Any]) -> bytes | None:
        """Return the request's body; ``None`` if it is larger than a message may be, without having read it."""
        limit = self._server.max_http_buffer_size
        if int(environ.get("CONTENT_LENGTH") or 0) > limit:
            return None
        body: bytes = environ["wsgi.input"].read(limit + 1)
        counters.received_bytes += len(body)
        return body if len(body) <= limit else None


def get_sid_prefix(environ: dict[str, Any]) -> str:
    """Return ``"<server>."`` with the name that HAProxy gave this worker, or ``""`` without one.

    HAProxy tells it in ``X-Webfarm-Server`` (``http-send-name-header``), and routes each later request by the part
    before the dot of its sid. A name that is not ``[A-Za-z0-9_-]{1,32}`` counts as none.
    """
    name = environ.get("HTTP_X_WEBFARM_SERVER", "")
    return f"{name}." if _SERVER_NAME.fullmatch(name) else ""


def _answer_poll(
    connection: Connection, messages: list[EnginePacket], headers: Iterable[tuple[str, str]] = ()
) -> Response:
    return Response("200 OK", [_TEXT, *headers], encode_payload(messages) or NOOP.encode(), connection)


def _refuse(error: tuple[int, str]) -> Response:
    code, message = error
    return Response("400 Bad Request", [_JSON], json.dumps({"code": code, "message": message}).encode())
