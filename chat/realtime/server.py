"""The Socket.IO server.

https://github.com/socketio/socket.io-protocol (revision 5)

Overridden of ``socketio.Server`` (5.18), and why:

- ``_engineio_server_class``: our transport; ``_send_packet``: what a connect handler emits waits for its answer.
- ``_handle_eio_connect``: the manager was started with the worker, not with the first client; a connection that has
  joined no namespace for ``connect_timeout_s`` is closed. ``environ``: what is kept of an environment is small.
- ``_handle_eio_message``: a packet is read in the hub, so that an acknowledgement reaches the handler that waits for
  it; everything else is handled in the connection's own order. What is no packet closes its connection.
- ``_handle_connect``: a client waits while Redis is away, and is then closed, not refused (the stock client never
  comes back from a refusal); an unknown namespace is refused in the protocol's words; what the handler emits, and what
  the client's rooms emit meanwhile, comes after the answer.
- ``disconnect``, ``_handle_disconnect``, ``_handle_eio_disconnect``: a disconnect handler runs in its client's own
  order as well; nothing of a client stays, also if its handler failed.
- ``_handle_event``: an event to a namespace that the client has not joined closes the connection.
- ``_handle_event_internal``: a refused or failed event is answered; one that Redis could not take is not.
"""

import logging
from collections.abc import Callable
from typing import Any

import gevent
from socketio import packet
from socketio.exceptions import DisconnectedError

from chat.errors import BadRequest, ClientError, Internal, Unavailable
from chat.realtime import environ as environs
from chat.realtime import strict_json
from chat.realtime.assembler import Assembler
from chat.realtime.calls import Calls
from chat.realtime.connection import Connection
from chat.realtime.manager import Manager, RedisManager
from chat.realtime.message import MESSAGE, Message
from chat.realtime.packet import Packet, is_too_deep
from chat.realtime.service import Service
from chat.realtime.throttle import Throttled
from chat.realtime.transport import EngineServer

log = Throttled(logging.getLogger(__name__))

_MAX_NAMESPACES = 100  # of one connection
_BAD_PACKET = (ValueError, TypeError, LookupError, RecursionError)  # what parsers raise
_CONNECT_ANSWERS = (packet.CONNECT, packet.CONNECT_ERROR)  # before what the connect handler emits
_READY_S = 0.5  # for Redis to be heard of again, if the whole worker stood still
_JOB_BYTES = 500  # what a parsed event keeps, beside its data


class Server(Calls, Service):
    """A Socket.IO server that starts and stops with its gunicorn worker.

    One client's events are handled one after the other, in the order sent; acknowledgements overtake them, so a
    handler may ``call`` its own client. A handler that raises a ``ClientError`` refuses the event: its
    acknowledgement is ``{"ok": false, "error": {"code", "message"}}``.

    Args:
        client_manager: a ``RedisManager``, or ``None`` for one process without Redis.
        connect_timeout_s: after so many seconds without a namespace a connection is closed.
        get_user: names the user of a sid for the log, ``None`` if it has none.
        kwargs: as for ``socketio.Server``, and ``max_outbox_bytes`` as for ``EngineServer``.
    """

    manager: Manager | RedisManager
    eio: EngineServer

    def __init__(
        self,
        client_manager: Manager | RedisManager | None = None,
        *,
        connect_timeout_s: float = 10.0,
        get_user: Callable[[str], str | None] = lambda sid: None,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {
            "serializer": Packet,
            "json": strict_json,
            "logger": logging.getLogger("socketio.server"),
            "engineio_logger": logging.getLogger("engineio.server"),
        }
        super().__init__(client_manager=client_manager or Manager(), **options | kwargs)
        self._connect_timeout_s = connect_timeout_s
        self._get_user = get_user
        self._unjoined = self.eio.websockets.clock.create_deadlines(connect_timeout_s, self._close_if_unjoined)
        self._assembler = Assembler(self.packet_class, self.eio.max_http_buffer_size)
        self.environ = environs.Environs()
        self.eio.deliver = self._handle_eio_message
        self.register()

    def start(self, node: str) -> None:
        """Start the manager; ``node`` names this worker in the cluster."""
        self.manager_initialized = True
        self.manager.start(node)

    def stop(self) -> None:
        """Take no new clients, and close every connection; clients come back by themselves, elsewhere."""
        self.eio.stop()

    def get_unready_reason(self) -> str | None:
        """Return why this worker takes no new clients (``draining``, ``redis``), or ``None`` while it does."""
        if self.eio.is_draining:
            return "draining"
        return None if self.manager.is_ready else "redis"

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return the WSGI environment of a client's first request, without its body.

        What an application puts into it stays there.
        """
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace or "/")
        return self.environ.get(eio_sid) if eio_sid else None

    def encode(self, pkt: packet.Packet) -> list[Message]:
        """Return a Socket.IO packet and its attachments, to be sent to any number of clients."""
        encoded = pkt.encode()
        parts = encoded if isinstance(encoded, list) else [encoded]
        return [Message(MESSAGE + part if isinstance(part, str) else bytes(part)) for part in parts]

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a client from a namespace, on whichever worker it is.

        It is told so at once, gets nothing more, and no event of it begins any more. Its disconnect handler runs after
        the event that is being handled; this does not wait for it.
        """
        namespace = namespace or "/"
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace)
        if eio_sid is None:
            super().disconnect(sid, namespace, ignore_queue)
        elif self.manager.is_connected(sid, namespace):
            self.manager.pre_disconnect(sid, namespace)
            self._send_packet(eio_sid, self.packet_class(packet.DISCONNECT, namespace=namespace))
            connection = self.eio.sockets[eio_sid]
            connection.fail_calls(namespace)
            connection.enqueue(0, self._end, eio_sid, namespace, sid, self.reason.SERVER_DISCONNECT)

    def _send_packet(self, eio_sid: str, pkt: packet.Packet) -> None:
        connection = self.eio.sockets.get(eio_sid)
        if connection is not None:
            namespace = None if pkt.packet_type in _CONNECT_ANSWERS else pkt.namespace or "/"
            for message in self.encode(pkt):
                connection.send(message, namespace=namespace)

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self.environ[eio_sid] = environs.strip(environ)
        self._unjoined.add(eio_sid)

    def _close_if_unjoined(self, eio_sid: str) -> None:
        if eio_sid in self.environ and not self._has_joined(eio_sid):
            log.info("connection %s closed: it joined no namespace in time", eio_sid)
            self.eio.disconnect(eio_sid)

    def _has_joined(self, eio_sid: str) -> bool:
        manager = self.manager
        names = manager.get_namespaces_of(eio_sid)
        return any(manager.is_connected(manager.sid_from_eio_sid(eio_sid, name), name) for name in names)

    # From the client, in the hub

    def _handle_eio_message(self, connection: Connection, data: str | bytes) -> None:
        try:
            pkt = self._assembler.add(connection.sid, data)
        except _BAD_PACKET as error:
            connection.refuse(f"a packet that is none: {str(error)[:200]}")
            return
        if pkt is None:
            return
        namespace, eio_sid = pkt.namespace or "/", connection.sid
        if pkt.packet_type in (packet.ACK, packet.BINARY_ACK):
            sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
            if sid is not None and self.manager.has_callback(sid, pkt.id):
                gevent.spawn(self.manager.trigger_callback, sid, pkt.id or 0, pkt.data)
            return
        size = len(data) + _JOB_BYTES
        if pkt.packet_type in (packet.EVENT, packet.BINARY_EVENT):
            connection.enqueue(size, self._handle_event, eio_sid, namespace, pkt.id, pkt.data)
        elif pkt.packet_type == packet.CONNECT:
            connection.enqueue(size, self._handle_connect, eio_sid, namespace, pkt.data)
        else:
            connection.enqueue(size, self._handle_disconnect, eio_sid, namespace, self.reason.CLIENT_DISCONNECT)

    # Handlers, in a greenlet

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        namespace = namespace or "/"
        if self.eio.sockets[eio_sid].closed:
            return
        if not self._is_served(namespace):
            self._refuse_connect(eio_sid, namespace, "Invalid namespace")
        elif self.manager.sid_from_eio_sid(eio_sid, namespace):
            self._refuse_connect(eio_sid, namespace, "Already connected")
        elif len(self.manager.get_namespaces_of(eio_sid)) >= _MAX_NAMESPACES:
            self._refuse_connect(eio_sid, namespace, "Too many namespaces")
        elif not self.manager.wait_until_ready(self._connect_timeout_s):
            self.eio.disconnect(eio_sid)
        else:
            self._connect(eio_sid, namespace, data)

    def _is_served(self, namespace: str) -> bool:
        return (
            self.namespaces == "*"
            or namespace in self.namespaces
            or namespace in self.handlers
            or namespace in self.namespace_handlers
        )

    def _refuse_connect(self, eio_sid: str, namespace: str, message: str) -> None:
        self._send_packet(
            eio_sid, self.packet_class(packet.CONNECT_ERROR, data={"message": message}, namespace=namespace)
        )

    def _connect(self, eio_sid: str, namespace: str, data: Any) -> None:
        connection = self.eio.sockets[eio_sid]
        if not self.always_connect:
            connection.hold(namespace)
        try:
            super()._handle_connect(eio_sid, namespace, data)
        except Unavailable as error:
            log.warning("connection %s closed, it will come back: %s", eio_sid, error)
            self._drop(eio_sid, namespace)
        except (Exception, gevent.Timeout):
            log.exception("the connect handler failed; connection %s closed", eio_sid)
            self._drop(eio_sid, namespace)
        finally:
            connection.release(is_joined=self.manager.sid_from_eio_sid(eio_sid, namespace) is not None)
        self.environ.pack(eio_sid)

    def _drop(self, eio_sid: str, namespace: str) -> None:
        """Forget a client that has not been connected yet, and close its connection."""
        self.manager.disconnect(self.manager.sid_from_eio_sid(eio_sid, namespace), namespace, ignore_queue=True)
        self.eio.disconnect(eio_sid)

    def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        namespace = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        self._end(eio_sid, namespace, sid, reason or self.reason.CLIENT_DISCONNECT)

    def _end(self, eio_sid: str, namespace: str, sid: str | None, reason: str) -> None:
        """Call the disconnect handler of ``sid``, unless that has been done; then nothing of it is left."""
        if sid is None or not self.manager.is_sid_room(namespace, sid):
            return
        self.manager.pre_disconnect(sid, namespace)
        try:
            self._trigger_event("disconnect", namespace, sid, reason)
        except (Exception, gevent.Timeout):
            log.exception("the disconnect handler of %s failed", sid)
        finally:
            self.manager.disconnect(sid, namespace, ignore_queue=True)
        if not self.eio.sockets[eio_sid].closed and not self._has_joined(eio_sid):
            self._unjoined.add(eio_sid)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        for namespace in self.manager.get_namespaces_of(eio_sid):
            self._handle_disconnect(eio_sid, namespace, reason)
        self.environ.pop(eio_sid, None)
        self._assembler.drop(eio_sid)

    def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        namespace = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is not None and self.manager.is_connected(sid, namespace):
            self._handle_event_internal(self, sid, eio_sid, data, namespace, id)
        elif sid is None:  # and not one that is being disconnected
            self.eio.sockets[eio_sid].refuse(f"an event to the namespace {namespace[:50]!r}, which it has not joined")

    def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, id: int | None
    ) -> None:
        try:
            is_ready = self.manager.is_ready
            if not is_ready and not self.eio.sockets[eio_sid].closed:
                is_ready = self.manager.wait_until_ready(_READY_S)
            if not is_ready:
                raise Unavailable("Redis does not answer")
            if is_too_deep(data):
                raise BadRequest("The data is nested too deeply.")
            answer = self._trigger_event(data[0], namespace, sid, *data[1:])
            if answer is not self.not_handled and id is not None:
                self._acknowledge(eio_sid, namespace, id, answer)
        except Unavailable as error:
            log.warning("event %r from %s is not acknowledged: %s", data[0], sid, error)
        except ClientError as error:
            self._refuse_event(eio_sid, namespace, id, error)
        except DisconnectedError as error:
            log.info("event %r from %s: %s", data[0], sid, error)
            self._refuse_event(eio_sid, namespace, id, Internal("The client that was asked is gone."))
        except (Exception, gevent.Timeout):
            log.exception("the handler of event %r from %s (user %r) failed", data[0], sid, self._get_user(sid))
            self._refuse_event(eio_sid, namespace, id, Internal("The server failed to handle this event."))

    def _refuse_event(self, eio_sid: str, namespace: str, id: int | None, error: ClientError) -> None:
        if id is not None:
            self._acknowledge(eio_sid, namespace, id, {"ok": False, "error": error.to_dict()})

    def _acknowledge(self, eio_sid: str, namespace: str, id: int, answer: Any) -> None:
        arguments = [] if answer is None else list(answer) if isinstance(answer, tuple) else [answer]
        self._send_packet(eio_sid, self.packet_class(packet.ACK, namespace=namespace, id=id, data=arguments))
