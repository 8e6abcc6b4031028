"""HTTP of a worker: gevent's handler, made strict and quick, and the place where a websocket leaves it.

Overridden of gevent-websocket's ``WebSocketHandler`` (a ``gevent.pywsgi.WSGIHandler``), and why:

- ``MessageClass``, ``_headers``: llhttp (``httptools``) parses heads, at a tenth of the cost. It refuses heads on which
  two parsers may disagree (RFC 9112, 6.3: two lengths, a length with chunks). A head's size has a limit.
- ``rfile``: the application gets the bytes that are buffered when a websocket begins, without another read.
- ``get_environ``: an unwanted body is not read to its end; an application can ask whether its client is connected.
- ``handle``: a client that disconnects within a request leaves no traceback.
- ``run_application``: a websocket begins when the application accepts it, not earlier; its socket then leaves this
  machinery.
- ``finalize_headers``: an answer says when the connection ends with it; else the next request may be lost.
- ``read_requestline``: an idle connection can be closed when the worker stops.
- ``do_read``: when there are too many connections, idle ones are closed; some descriptors stay free.
- ``log_request``, ``log_error``, ``_handle_client_error``: no line is formatted that is not logged.
"""

import _socket
import contextlib
import logging
import socket
import sys
from collections.abc import Iterator
from typing import Any

import httptools
from gevent import pywsgi
from geventwebsocket.handler import WebSocketHandler
from gunicorn.workers.ggevent import PyWSGIHandler, PyWSGIServer

from webfarm.http.environ import IS_CONNECTED
from webfarm.monitoring.capacity import capacity
from webfarm.monitoring.throttle import Throttled
from webfarm.protocol.handshake import UPGRADE, answer_handshake

log = Throttled(logging.getLogger(__name__))

_MAX_HEAD_BYTES = 65_536
_MAX_UNREAD_BYTES = 65_536  # of a body, to be read and dropped so that the connection can serve the next request
_READ_BYTES = 16_384
_IO_S = 60.0  # for each read or write
_ACCEPTS_PER_TURN = 16


class Reader:
    """The bytes of a connection, buffered: as much of a file as pywsgi uses."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self.closed = False

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        while len(self._buffer) < size and self._fill():
            pass
        return self.take(size)

    def readline(self, limit: int) -> bytes:
        """Return the bytes up to the next line feed, ``limit`` at most."""
        end = 0
        while not (end := self._buffer.find(b"\n") + 1) and len(self._buffer) < limit and self._fill():
            pass
        return self.take(min(end or limit, limit))

    def read_head(self) -> bytes:
        """Return the bytes up to the next empty line. Raises ``ValueError`` if they are too many, or cut off."""
        while not self._buffer.startswith(b"\r\n"):
            end = self._buffer.find(b"\r\n\r\n")
            if end >= 0:
                return self.take(end + 4)
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise ValueError("the head is too large")
            if not self._fill():
                raise ValueError("the head is cut off")
        return self.take(2)

    def take(self, size: int = sys.maxsize) -> bytes:
        """Return the bytes that have come already, ``size`` at most."""
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def close(self) -> None:
        self.closed = True

    def _fill(self) -> bool:
        data = self._connection.recv(_READ_BYTES)
        self._buffer += data
        return bool(data)


class Headers:
    """The headers of a request, in the shape that pywsgi expects. Raises ``ValueError`` if they are none."""

    status = ""

    def __init__(self, requestline: str, reader: "Reader") -> None:
        self.items: list[tuple[str, str]] = []
        head = b"%s\r\n%s" % (requestline.encode("latin-1"), reader.read_head())
        try:
            httptools.HttpRequestParser(self).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise ValueError(str(error)) from None
        if [value for name, value in self.items if name == "transfer-encoding" and value.lower() != "chunked"]:
            raise ValueError("a transfer coding other than chunked")
        self._values = dict(self.items)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.items.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name.lower(), default)

    getheader = get

    def __delitem__(self, name: str) -> None:
        raise KeyError(name)  # a length beside chunks, which llhttp has refused

    @property
    def typeheader(self) -> str | None:
        return self._values.get("content-type")


class _Input(pywsgi.Input):
    """A request's body. Its unread part is read and dropped after the answer only if it is small."""

    handler: "Handler"

    def _discard(self) -> None:
        if self.chunked_input or (self.content_length or 0) - self.position > _MAX_UNREAD_BYTES:
            self.handler.close_connection = True
        else:
            super()._discard()  # type: ignore[misc]


class Handler(WebSocketHandler, PyWSGIHandler):
    """One HTTP connection."""

    server: "HTTPServer"
    socket: Any
    result: Any
    wsgi_input: Any

    def __init__(self, connection: Any, address: Any, server: "HTTPServer") -> None:
        super().__init__(connection, address, server, rfile=Reader(connection))

    def handle(self) -> None:
        self.socket.settimeout(_IO_S)
        with contextlib.suppress(OSError):  # the other side disconnected within a request
            super().handle()

    def read_requestline(self) -> str:
        if self.server.is_stopping:
            return ""  # ends the connection
        self.server.idle[self] = None
        try:
            return str(super().read_requestline())
        finally:
            self.server.idle.pop(self, None)

    def MessageClass(self, reader: Reader, *_: Any) -> Headers:  # noqa: N802 - pywsgi's name
        return Headers(self.requestline, reader)

    def _headers(self) -> Iterator[tuple[str, str]]:
        for name, value in self.headers.items:
            if "_" not in name and name not in ("content-type", "content-length"):
                yield "HTTP_" + name.replace("-", "_").upper(), value

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        body = self.wsgi_input
        self.wsgi_input = _Input(body.rfile, body.content_length, socket=body.socket, chunked_input=body.chunked_input)
        self.wsgi_input.handler = self
        environ["wsgi.input"] = self.wsgi_input
        environ[IS_CONNECTED] = self._is_connected
        return environ

    def _is_connected(self) -> bool:
        """Return whether the other side has neither ended nor reset the connection, without waiting."""
        try:
            return bool(self.socket._sock.recv(1, socket.MSG_PEEK))  # gevent's own ``recv`` would wait
        except BlockingIOError:
            return True
        except OSError:
            return False

    def run_application(self) -> None:
        if self.environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            self.environ[UPGRADE] = self._upgrade
        pywsgi.WSGIHandler.run_application(self)

    def _upgrade(self) -> tuple[_socket.socket, bytes, bytes]:
        """Take the socket of a proper opening handshake; return it, the answer to send, and bytes that came early.

        Raises:
            HandshakeError: the request is no proper opening handshake.
        """
        head = answer_handshake(self.environ)
        return self._detach(), head, self.rfile.take()

    def _detach(self) -> _socket.socket:
        """Take the socket away from this handler and its greenlet, which then have nothing left to do."""
        connection, self.socket = self.socket, None
        self.headers_sent = True
        self.close_connection = True
        self.result = []
        family = connection.family
        plain = _socket.socket(family, socket.SOCK_STREAM, 0, connection.detach())
        plain.setblocking(False)  # whatever socket.setdefaulttimeout says
        return plain

    def finalize_headers(self) -> None:
        if self.close_connection and not any(name.lower() == b"connection" for name, _ in self.response_headers):
            self.response_headers.append((b"Connection", b"close"))
        super().finalize_headers()

    def log_request(self) -> None:
        if self.server.has_access_log and self.status is not None:
            PyWSGIHandler.log_request(self)

    def log_error(self, msg: str, *args: Any) -> None:
        log.info(msg, *args)

    def _handle_client_error(self, ex: Exception) -> Any:
        log.info("a request of %s that is none: %s", self.client_address, ex)
        return "400", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HTTPServer(PyWSGIServer):
    """The HTTP server of one listener."""

    def __init__(self, *args: Any, has_access_log: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_accept = _ACCEPTS_PER_TURN
        self.has_access_log = has_access_log
        self.idle: dict[Handler, None] = {}  # the longest first
        self.is_stopping = False
        capacity.http, capacity.idle = self.pool.greenlets, self.idle
        from webfarm.monitoring.counters import counters  # not loaded before gevent patches

        self._refused = counters.connections_refused

    def do_read(self) -> Any:
        """Accept a connection. If there are too many, close the one that is idle longest, or else the new one."""
        accepted = super().do_read()
        if accepted is None or not capacity.is_exceeded():
            return accepted
        if self.idle:
            self._close(next(iter(self.idle)))
            return accepted
        self._refused["descriptors"] += 1
        accepted[0].close()
        return None

    def close_idle(self) -> None:
        """Let requests finish; close the connections that wait for another request."""
        self.is_stopping = True
        for handler in list(self.idle):
            self._close(handler)

    def _close(self, handler: Handler) -> None:
        """End a connection that waits for a request, as if the other side had."""
        self.idle.pop(handler, None)
        if handler.socket is not None:
            with contextlib.suppress(OSError):  # the other side was quicker
                handler.socket.shutdown(socket.SHUT_RD)
