"""HTTP of a worker: gevent's handler, made strict and quick, and the place where a websocket leaves it.

Overridden of gevent-websocket's ``WebSocketHandler`` (a ``gevent.pywsgi.WSGIHandler``), and why:

- ``MessageClass``, ``_headers``: heads are parsed by llhttp (``httptools``), which refuses what lets two parsers
  disagree (RFC 9112, 6.3: two lengths, a length with chunks) and costs a tenth. A head has a size and a time.
- ``get_environ``: a body that nobody wants is not read to its end.
- ``run_application``, ``_upgrade``: a websocket begins when the application accepts it, not before it was asked;
  its socket is then taken out of this machinery.
- ``finalize_headers``: an answer says when the connection ends with it, or the next request may meet its end.
- ``read_requestline``: an idle connection can be closed when the worker stops.
- ``log_request``, ``log_error``, ``_handle_client_error``: nothing is formatted that nobody logs.
"""

import _socket
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import httptools
from gevent import pywsgi
from geventwebsocket.handler import WebSocketHandler
from gunicorn.workers.ggevent import PyWSGIHandler, PyWSGIServer

from chat.realtime.websocket import UPGRADE, HandshakeError

log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 65_536
_MAX_UNREAD_BYTES = 65_536  # of a body, to be read and dropped so that the connection can serve the next request
_HEAD_S = 60.0  # for a head to arrive whole
_IO_S = 60.0  # for each further read or write
_ACCEPTS_PER_TURN = 16


class Headers:
    """The headers of a request, in the shape that pywsgi wants. Raises ``ValueError`` if they are none."""

    status = ""

    def __init__(self, requestline: str, lines: Any) -> None:
        self.items: list[tuple[str, str]] = []
        head = [requestline.encode("latin-1").rstrip(b"\r\n"), b"\r\n"]
        size = 0
        while (line := lines.readline(_MAX_HEAD_BYTES)) not in (b"\r\n", b"\n", b""):
            head.append(line)
            size += len(line)
            if size > _MAX_HEAD_BYTES:
                raise ValueError("the head is too large")
        head.append(b"\r\n")
        try:
            httptools.HttpRequestParser(self).feed_data(b"".join(head))
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise ValueError(str(error)) from None
        self._values = dict(self.items)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.items.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name.lower(), default)

    getheader = get

    @property
    def typeheader(self) -> str | None:
        return self._values.get("content-type")


class _Input(pywsgi.Input):
    """A request's body. What of it is unread after the answer is read and dropped only if it is little."""

    handler: "Handler"

    def _discard(self) -> None:
        if self.chunked_input or (self.content_length or 0) - self.position > _MAX_UNREAD_BYTES:
            self.handler.close_connection = True
        else:
            super()._discard()


class Handler(WebSocketHandler, PyWSGIHandler):
    """One HTTP connection."""

    server: "HTTPServer"

    def handle(self) -> None:
        self.socket.settimeout(_IO_S)
        super().handle()

    def read_requestline(self) -> str:
        if self.server.is_stopping:
            return ""  # ends the connection
        self.server.idle.add(self)
        try:
            return str(super().read_requestline())
        finally:
            self.server.idle.discard(self)

    def read_request(self, raw_requestline: str) -> bool:
        with gevent.Timeout(_HEAD_S, TimeoutError("the head did not arrive in time")):
            return bool(super().read_request(raw_requestline))

    def MessageClass(self, lines: Any, *_: Any) -> Headers:  # noqa: N802 - pywsgi's name
        return Headers(self.requestline, lines)

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
        return environ

    def run_application(self) -> None:
        if self.environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            self.environ[UPGRADE] = self._upgrade
        pywsgi.WSGIHandler.run_application(self)

    def _upgrade(self) -> tuple[_socket.socket, bytes, bytes]:
        """Take the socket of a proper opening handshake; return it, the answer to send, and what came early.

        Raises:
            HandshakeError: it is none.
        """
        sent: list[tuple[str, list[tuple[str, str]]]] = []
        self.start_response = lambda status, headers, exc_info=None: sent.append((status, headers))
        try:
            body = self.upgrade_websocket()
        except ValueError:  # the key is no base64
            body = ["Sec-WebSocket-Key is not valid"]
        finally:
            del self.start_response
        websocket = self.__dict__.pop("websocket", None)
        if websocket is None:
            status, headers = sent[0] if sent and sent[0][0].startswith("426") else ("400 Bad Request", [])
            raise HandshakeError(status, headers, (body[0] if body else "No websocket handshake") + ".\n")
        websocket.closed = True  # or gevent-websocket would send a close frame when it forgets the object
        self.environ.pop("wsgi.websocket")
        head = "".join(f"{name}: {value}\r\n" for name, value in sent[0][1])
        return self._detach(), f"HTTP/1.1 101 Switching Protocols\r\n{head}\r\n".encode("latin-1"), self._early

    def _detach(self) -> _socket.socket:
        """Take the socket away from this handler and its greenlet, which then have nothing left to do."""
        connection = self.socket
        connection.settimeout(0.0)
        self._early = b""
        with contextlib.suppress(OSError):
            self._early = self.rfile.peek()
        self.socket = None
        self.headers_sent = True
        self.close_connection = True
        self.result = []
        family = connection.family
        return _socket.socket(family, socket.SOCK_STREAM, 0, connection.detach())

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
        self.idle: set[Handler] = set()
        self.is_stopping = False

    def close_idle(self) -> None:
        """Let requests finish; close the connections that wait for another one."""
        self.is_stopping = True
        for handler in list(self.idle):
            if handler.socket is not None:
                with contextlib.suppress(OSError):  # the other side was quicker
                    handler.socket.shutdown(socket.SHUT_RD)
