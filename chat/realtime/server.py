"""The Socket.IO server, and the WSGI application around it.

Overridden of ``socketio.Server`` (5.18), and why:

- ``_engineio_server_class``: our transport.
- ``_handle_eio_connect``: the manager was started with the worker, not with the first client; a connection that
  joins no namespace within ``connect_timeout_s`` is closed.
- ``_handle_connect``: a client waits while Redis is away, and is then closed, not refused (the stock client never
  comes back from a refusal); if its connection ended while the handler ran, it is taken out again.
- ``handle_request``: a draining worker opens no new session.
- ``_handle_eio_message``: what is no Socket.IO packet closes its connection, with one line in the log.
- ``_handle_disconnect``, ``_handle_eio_disconnect``: nothing of a client stays, also if its handler failed.
- ``_handle_event``: an event is an array with a name in front, and the name is not one of Socket.IO's own.
- ``_handle_event_internal``: a refused or failed event is answered; one that Redis could not take is not.
"""

import logging
import weakref
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from urllib.parse import parse_qs

import gevent
import socketio
from gevent.pool import Pool
from socketio import packet

from chat.errors import BadRequest, ClientError, Internal, Unavailable
from chat.realtime import strict_json
from chat.realtime.manager import RedisManager
from chat.realtime.packet import Packet, is_too_deep
from chat.realtime.transport import EngineServer

log = logging.getLogger(__name__)

_CLOSING_AT_ONCE = 100


class Server(socketio.Server):
    """A Socket.IO server that starts and stops with its gunicorn worker.

    One client's events are handled one after the other, in the order sent. A handler that raises a
    ``ClientError`` refuses the event: its acknowledgement is ``{"ok": false, "error": {"code", "message"}}``.

    Args:
        client_manager: the ``RedisManager``.
        connect_timeout_s: after so many seconds a connection that joined no namespace is closed.
        kwargs: as for ``socketio.Server``.
    """

    #: The servers of this process, which the worker starts and stops.
    instances: ClassVar["weakref.WeakSet[Server]"] = weakref.WeakSet()

    manager: RedisManager

    def __init__(self, client_manager: RedisManager, *, connect_timeout_s: float = 10.0, **kwargs: Any) -> None:
        options: dict[str, Any] = {
            "async_mode": "gevent",
            "async_handlers": False,
            "serializer": Packet,
            "json": strict_json,
            "logger": logging.getLogger("socketio.server"),
            "engineio_logger": logging.getLogger("engineio.server"),
        }
        super().__init__(client_manager=client_manager, **options | kwargs)
        self._connect_timeout_s = connect_timeout_s
        self._draining = False
        Server.instances.add(self)

    def start(self, node: str) -> None:
        """Connect to Redis and stay connected. ``node`` names this worker in the cluster."""
        self.manager_initialized = True
        self.manager.initialize()
        self.manager.registry.start(node)

    def stop(self) -> None:
        """Take no new clients, and close every connection; clients come back by themselves, elsewhere."""
        self._draining = True
        pool = Pool(_CLOSING_AT_ONCE)
        reason = self.reason.SERVER_DISCONNECT
        for session in list(self.eio.sockets.values()):
            pool.spawn(session.close, wait=False, reason=reason)
        pool.join()

    def get_unready_reason(self) -> str | None:
        """Return why this worker takes no new clients (``draining``, ``redis``), or ``None`` while it does."""
        if self._draining:
            return "draining"
        return None if self.manager.is_connected_to_redis else "redis"

    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Any:
        if self._draining and "sid" not in parse_qs(environ.get("QUERY_STRING", "")):
            start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Connection", "close")])
            return [b"This worker is stopping; please try again.\n"]
        return super().handle_request(environ, start_response)

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self.environ[eio_sid] = environ
        gevent.spawn_later(self._connect_timeout_s, self._close_if_unjoined, eio_sid)

    def _close_if_unjoined(self, eio_sid: str) -> None:
        namespaces = self.manager.get_namespaces()
        if eio_sid in self.environ and not any(self.manager.sid_from_eio_sid(eio_sid, n) for n in namespaces):
            log.info("connection %s closed: it joined no namespace in time", eio_sid)
            self.eio.disconnect(eio_sid)

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        namespace = namespace or "/"
        try:
            if self.manager.wait_for_redis(self._connect_timeout_s):
                super()._handle_connect(eio_sid, namespace, data)
            else:
                self.eio.disconnect(eio_sid)
        except Unavailable as error:
            log.warning("connection %s closed, it will come back: %s", eio_sid, error)
            self._drop(eio_sid, namespace)
        except Exception:
            log.exception("the connect handler failed; connection %s closed", eio_sid)
            self._drop(eio_sid, namespace)
        if eio_sid not in self.environ:
            self._handle_disconnect(eio_sid, namespace, self.reason.TRANSPORT_CLOSE)

    def _drop(self, eio_sid: str, namespace: str) -> None:
        """Forget a client that has not been connected yet, and close its connection."""
        self.manager.disconnect(self.manager.sid_from_eio_sid(eio_sid, namespace), namespace, ignore_queue=True)
        self.eio.disconnect(eio_sid)

    def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        namespace = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        try:
            super()._handle_disconnect(eio_sid, namespace, reason)
        except Exception:
            log.exception("the disconnect handler of %s failed", sid)
            self.manager.disconnect(sid, namespace, ignore_queue=True)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        super()._handle_eio_disconnect(eio_sid, reason)
        self._binary_packet.pop(eio_sid, None)

    def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            self._check_attachments(eio_sid, data)
            super()._handle_eio_message(eio_sid, data)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            log.info("connection %s closed: it sent a packet that is none: %s", eio_sid, error)
            self.eio.disconnect(eio_sid)

    def _check_attachments(self, eio_sid: str, data: Any) -> None:
        """Raise ``ValueError`` if one packet's attachments together exceed what a client may send."""
        pending = self._binary_packet.get(eio_sid)
        if pending and sum(map(len, pending.attachments)) + len(data) > self.eio.max_http_buffer_size:
            raise ValueError("its attachments are too large")

    def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        if not isinstance(data, list) or not data or not isinstance(data[0], str) or data[0] in self.reserved_events:
            raise ValueError("an event is an array that begins with a name")
        super()._handle_event(eio_sid, namespace, id, data)

    def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, id: int | None
    ) -> None:
        try:
            if not self.manager.is_connected_to_redis:
                raise Unavailable("Redis does not answer")
            if is_too_deep(data):
                raise BadRequest("The data is nested too deeply.")
            answer = self._trigger_event(data[0], namespace, sid, *data[1:])
        except Unavailable as error:
            log.warning("event %r from %s is not acknowledged: %s", data[0], sid, error)
            return
        except ClientError as error:
            answer = _refusal(error)
        except Exception:
            log.exception("the handler of event %r from %s failed", data[0], sid)
            answer = _refusal(Internal("The server failed to handle this event."))
        if answer is not self.not_handled and id is not None:
            arguments = [] if answer is None else list(answer) if isinstance(answer, tuple) else [answer]
            ack = self.packet_class(packet.ACK, namespace=namespace, id=id, data=arguments)
            self._send_packet(eio_sid, ack)


def _refusal(error: ClientError) -> dict[str, Any]:
    return {"ok": False, "error": error.to_dict()}


class WSGIApp:
    """``server`` at ``path`` and nowhere else; all other paths go to ``wsgi_app``.

    (``socketio.WSGIApp`` takes everything below the path, the browser client's files included.)
    """

    def __init__(
        self,
        server: Server,
        wsgi_app: Callable[..., Iterable[bytes]] | None = None,
        path: str = "/socket.io/",
    ) -> None:
        self._server = server
        self._wsgi_app = wsgi_app or _not_found
        self._paths = {path, path.rstrip("/")}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] in self._paths:
            return self._server.handle_request(environ, start_response)
        return self._wsgi_app(environ, start_response)


def _not_found(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"Not found\n"]
