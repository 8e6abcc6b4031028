"""The Socket.IO server.

https://github.com/socketio/socket.io-protocol (revision 5)

Overridden of ``socketio.Server`` (5.18), and why:

- ``_engineio_server_class``: our transport; ``_send_packet``: what a connect handler emits waits for its answer.
- ``_handle_eio_connect``: the manager was started with the worker, not with the first client; a connection that has
  joined no namespace for ``connect_timeout_s`` is closed. ``environ``: what is kept of an environment is small.
- ``on_message``, for ``_handle_eio_message``: a packet is read in the hub, so that an acknowledgement reaches the
  handler that waits for it; everything else is handled in the connection's own order. What is no packet closes its connection.
- ``emit``: knows ``volatile``.
- ``disconnect``, ``_handle_disconnect``, ``_handle_eio_disconnect``: a disconnect handler runs in its client's own
  order as well; nothing of a client stays, also if its handler failed.
- more in its parts: ``webfarm.socketio.joining``, ``webfarm.socketio.handling``, ``webfarm.socketio.client_api``,
  ``webfarm.socketio.keeping``. What stock has no word for is in ``webfarm.socketio.all_nodes``.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import socketio
from socketio import packet

from webfarm.engineio.connection import Connection
from webfarm.engineio.requests import get_sid_prefix
from webfarm.engineio.server import EngineServer
from webfarm.errors import ClientError, Flooding
from webfarm.http import environ as environs
from webfarm.manager.local_manager import LocalManager
from webfarm.manager.redis_manager import RedisManager
from webfarm.monitoring.counters import counters
from webfarm.monitoring.gauges import gauges
from webfarm.monitoring.throttle import Throttled
from webfarm.protocol import strict_json
from webfarm.protocol.assembler import Assembler
from webfarm.protocol.engine_packet import MESSAGE, EnginePacket
from webfarm.protocol.packet import Packet
from webfarm.service import Service
from webfarm.socketio.all_nodes import AllNodes
from webfarm.socketio.client_api import Calls
from webfarm.socketio.client_log import log_disconnect
from webfarm.socketio.handling import ACKS, Handling
from webfarm.socketio.hooks import GetUser, Hooks, Identify, NamespaceHooks, OnPresence, SelectRooms
from webfarm.socketio.joining import Joining
from webfarm.socketio.keeping import Keeping
from webfarm.socketio.stock import StockServer

log = Throttled(logging.getLogger(__name__))

_BAD_PACKET = (ValueError, TypeError, LookupError, RecursionError)  # what parsers raise
_CONNECT_ANSWERS = (packet.CONNECT, packet.CONNECT_ERROR)  # before what the connect handler emits
_MAX_LAG_S = 2.0  # of the event loop, at which new clients are better off elsewhere
_JOB_BYTES = 500  # what a parsed event keeps, beside its data


class Server(Joining, Handling, Calls, Keeping, AllNodes, Service, StockServer):
    """A Socket.IO server that starts and stops with its gunicorn worker.

    One client's events are handled one after the other, in the order sent; acknowledgements overtake them, so a
    handler may ``call`` its own client. A handler that raises a ``ClientError`` refuses the event: its
    acknowledgement is ``{"ok": false, "error": {"code", "message"}}``.

    Args:
        client_manager: a ``RedisManager``, or ``None`` for one process without Redis.
        connect_timeout_s: after so many seconds without a namespace a connection is closed.
        identify: returns who a client is, given its environment and its ``auth``: a user's name, ``None`` for a guest,
            or an ``Identity`` (``webfarm.socketio.identity``). Only the same user can resume the client's session;
            anybody who knows its ``pid`` can resume a guest's. The session ends at the identity's ``expires_at``. While
            the client joins, the identity is in ``environ["webfarm.identity"]``. It may raise a ``ClientError``.
        get_user: returns the user of a sid, or ``None``: for the log, the registry, and limits by user. ``None``: the
            user that ``identify`` named.
        max_connections_per_user: on all nodes, 0: any number; who has as many is refused at CONNECT, once the connect
            handler has run (with ``always_connect`` none is counted), and does not get another session back. A
            ``RedisManager`` is needed.
        select_rooms: is asked about a client that comes back, given its sid, environment and rooms; returns those where
            it may still be. It is put into no other, and gets nothing of them.
        admit: is asked about each event, given its user (its connection, if that has none) and its bytes; in the hub,
            so it must be quick. It may raise a ``ClientError``, which refuses the event, or ``Flooding``, which closes
            the connection. ``None``: all are let through.
        on_presence: called when a user came into a room that clients of this worker watch (``RedisManager.watch``), or
            went some seconds ago: with namespace, room, user, whether it is there, and the clients' sids.
        has_user_rooms: whether each new client is put into its user's room as an inbox (``enter_inbox``), before its
            connect handler is called: ``user:<name>`` (``webfarm.socketio.external_events``). A client without a user
            becomes the guest ``guest-<16 hex digits>``.
        kwargs: as for ``socketio.Server``, and ``max_outbox_bytes`` as for ``EngineServer``.
    """

    def __init__(
        self,
        client_manager: LocalManager | RedisManager | None = None,
        *,
        connect_timeout_s: float = 10.0,
        identify: Identify = lambda environ, auth: None,
        get_user: GetUser | None = None,
        max_connections_per_user: int = 1000,
        select_rooms: SelectRooms = lambda sid, environ, rooms: rooms,
        admit: Callable[[str, int], None] | None = None,
        on_presence: OnPresence = lambda *args: None,
        has_user_rooms: bool = False,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {
            "serializer": Packet,
            "json": strict_json,
            "logger": logging.getLogger("socketio.server"),
            "engineio_logger": logging.getLogger("engineio.server"),
        }
        super().__init__(client_manager=client_manager or LocalManager(), **options | kwargs)
        self._connect_timeout_s = connect_timeout_s
        #: What was given above; a ``webfarm.Namespace`` decides for its own clients.
        self.hooks = Hooks(identify, get_user or self.manager.get_user, select_rooms, on_presence, has_user_rooms)
        self._hooks_of: dict[str, NamespaceHooks] = {}
        self._admit = admit
        self.max_connections_per_user = max_connections_per_user
        self.name = ""  #: HAProxy's of this worker, once a request has told it
        self._unjoined = self.eio.websockets.clock.create_deadlines(connect_timeout_s, self._close_if_unjoined)
        self._assembler = Assembler(self.packet_class, self.eio.max_http_buffer_size)
        self.environ = environs.Environs()
        self.serve_peers()
        self.eio.set_receiver(self)
        self.register()

    def start(self, node: str) -> None:
        """Start the manager; ``node`` names this worker in the cluster."""
        self.manager_initialized = True
        self.manager.start(node)
        gauges.watch(self)

    def get_unready_reason(self) -> str | None:
        """Return why this worker takes no new clients, or ``None`` while it does.

        ``draining``: it stops. ``lag``: its event loop was seconds late a moment ago. ``redis``: it is cut off from
        Redis. ``deaf``: it is not, but what is published does not come. ``full``: it can carry no more clients.
        """
        if self.eio.is_draining:
            return "draining"
        if gauges.lag.get_recent() > _MAX_LAG_S:  # first, as Redis has not been heard of meanwhile, either
            return "lag"
        return self.manager.get_unready_reason() or ("full" if self.eio.is_full else None)

    def register_namespace(self, namespace_handler: socketio.Namespace) -> None:
        """Have a class-based namespace handle its clients' events; the hooks of a ``webfarm.Namespace`` count, too."""
        super().register_namespace(namespace_handler)
        namespace = namespace_handler.namespace
        if isinstance(namespace_handler, NamespaceHooks):
            self._hooks_of[namespace] = namespace_handler

    def get_user(self, sid: str, namespace: str | None = None) -> str | None:
        """Return the user of a client of this worker, ``None`` if it has none."""
        return self._hooks_of.get(namespace or "/", self.hooks).get_user(sid)

    def select_rooms(self, sid: str, namespace: str, rooms: list[str]) -> Iterable[str]:
        """Return those of its former ``rooms`` in which a resumed client may still be."""
        environ = self.environ[self.manager.eio_sid_from_sid(sid, namespace) or ""]
        return self._hooks_of.get(namespace, self.hooks).select_rooms(sid, environ, rooms)

    def on_presence(self, namespace: str, room: str, user: str, is_online: bool, watchers: list[str]) -> None:
        """A user has entered a room that clients of this worker watch, or left it some seconds ago."""
        hooks = self._hooks_of.get(namespace)
        if hooks is not None:
            hooks.on_presence(room, user, is_online, watchers)
        else:
            self.hooks.on_presence(namespace, room, user, is_online, watchers)

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return the WSGI environment of a client's first request, without its body.

        What an application puts into it stays there.
        """
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace or "/")
        return self.environ.get(eio_sid) if eio_sid else None

    def encode(self, pkt: Packet) -> list[EnginePacket]:
        """Return a Socket.IO packet and its attachments, to be sent to any number of clients."""
        return [EnginePacket(MESSAGE + part if isinstance(part, str) else bytes(part)) for part in pkt.encode_parts()]

    def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
        callback: Any = None,
        ignore_queue: bool = False,
        *,
        volatile: bool = False,
    ) -> None:
        """Emit an event, as python-socketio documents it; it is stored when this returns.

        Args:
            volatile: it is not stored: best effort, for whoever is connected.

        Raises:
            Unavailable: Redis could not take it just now.
        """
        options = {"volatile": volatile, "ignore_queue": ignore_queue}
        self.manager.emit(event, data, namespace or "/", to or room, skip_sid, callback, **options)

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a client from a namespace, on whichever worker it is; its session ends.

        It is told so at once, after what was emitted before, gets nothing more, and no event of it begins any more. Its
        disconnect handler runs after the event that is being handled; this does not wait for it.
        """
        namespace = namespace or "/"
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace)
        if eio_sid is None:
            if not ignore_queue:
                self.manager.peers.end_session(sid, namespace)  # it may be away
            super().disconnect(sid, namespace, ignore_queue)
            return
        self.manager.wait_until_delivered()
        if self.manager.is_connected(sid, namespace) and self.manager.eio_sid_from_sid(sid, namespace) == eio_sid:
            self.manager.pre_disconnect(sid, namespace)
            self._send_packet(eio_sid, self.packet_class(packet.DISCONNECT, namespace=namespace))
            connection = self.eio.sockets[eio_sid]
            connection.fail_calls(namespace)
            self.manager.recovery.end(sid, eio_sid)
            connection.enqueue(0, self._end, eio_sid, namespace, sid, self.reason.SERVER_DISCONNECT)

    def evict(self, sid: str, namespace: str, eio_sid: str) -> None:
        """Forget a client whose session another connection has taken: it is told so, and no handler runs for it."""
        connection = self.eio.sockets.get(eio_sid)
        if connection is not None and self.manager.eio_sid_from_sid(sid, namespace) == eio_sid:
            for message in self.encode(self.packet_class(packet.DISCONNECT, namespace=namespace)):
                connection.send(message)  # before what is held, if it is joining
            connection.fail_calls(namespace)
            log_disconnect(self, eio_sid, namespace, sid, "taken")
            self.manager.disconnect(sid, namespace, ignore_queue=True)
            self._unjoined.add(eio_sid)

    def _send_packet(self, eio_sid: str, pkt: Packet) -> None:
        connection = self.eio.sockets.get(eio_sid)
        if connection is not None:
            namespace = None if pkt.packet_type in _CONNECT_ANSWERS else pkt.namespace or "/"
            for message in self.encode(pkt):
                connection.send(message, namespace=namespace)

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self.environ[eio_sid] = environs.strip(environ)
        self.name = get_sid_prefix(environ)[:-1] or self.name
        self._unjoined.add(eio_sid)

    def _close_if_unjoined(self, eio_sid: str) -> None:
        if eio_sid in self.environ and not self._has_joined(eio_sid):
            log.info("closed: it joined no namespace in time", extra={"connection": eio_sid})
            self.eio.disconnect(eio_sid)

    def _has_joined(self, eio_sid: str) -> bool:
        manager = self.manager
        names = manager.get_namespaces_of(eio_sid)
        return any(manager.is_connected(manager.sid_from_eio_sid(eio_sid, name), name) for name in names)

    # From the client, in the hub

    def on_ping(self, connection: Connection) -> None:
        self.manager.on_ping(connection)

    def on_pong(self, connection: Connection) -> None:
        self.manager.on_pong(connection)

    def on_upgraded(self, connection: Connection) -> None:
        self.manager.on_upgraded(connection)

    def on_message(self, connection: Connection, data: str | bytes) -> None:
        try:
            pkt = self._assembler.add(connection.sid, data)
        except _BAD_PACKET as error:
            connection.refuse(f"a packet that is none: {str(error)[:200]}")
            return
        if pkt is None:
            return
        namespace, eio_sid = pkt.namespace or "/", connection.sid
        if pkt.packet_type in ACKS:
            sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
            if sid is not None and self.manager.has_callback(sid, pkt.id):
                gevent.spawn(self.manager.trigger_callback, sid, pkt.id or 0, pkt.data)
                return
        if self._admit is not None and pkt.packet_type != packet.DISCONNECT:
            try:
                self._admit(self._get_sender(eio_sid, namespace), pkt.size)
            except (ClientError, Flooding) as error:
                self._refuse_packet(connection, pkt, error)
                return
        if pkt.packet_type in ACKS:
            return  # nobody waits for it
        size = pkt.size + _JOB_BYTES
        if pkt.packet_type in (packet.EVENT, packet.BINARY_EVENT):
            counters.events_received += 1
            connection.enqueue(size, self._handle_event, eio_sid, namespace, pkt.id, pkt.data)
        elif pkt.packet_type == packet.CONNECT:
            connection.enqueue(size, self._handle_connect, eio_sid, namespace, pkt.data)
        else:
            connection.enqueue(size, self._handle_disconnect, eio_sid, namespace, self.reason.CLIENT_DISCONNECT)

    # Handlers, in a greenlet

    def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
        if sid is not None:
            self.eio.sockets[eio_sid].fail_calls(namespace or "/")
            self.manager.recovery.end(sid, eio_sid)
            self._end(eio_sid, namespace or "/", sid, reason or self.reason.CLIENT_DISCONNECT)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        for namespace in self.manager.get_namespaces_of(eio_sid):
            sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
            if sid is not None:
                self.manager.recovery.close(sid, eio_sid)
                self._end(eio_sid, namespace, sid, reason)
        self.environ.pop(eio_sid, None)
        self._assembler.drop(eio_sid)

    def _end(self, eio_sid: str, namespace: str, sid: str, reason: str) -> None:
        """Call the disconnect handler of ``sid``, unless that has been done; then nothing of it is left."""
        if self.manager.eio_sid_from_sid(sid, namespace) != eio_sid:
            return
        self.manager.pre_disconnect(sid, namespace)
        try:
            log_disconnect(self, eio_sid, namespace, sid, reason)
            self._trigger_event("disconnect", namespace, sid, reason)
        except BaseException:  # whatever it is, nothing of the client stays
            log.exception("the disconnect handler of %s failed", sid)
        if self.manager.eio_sid_from_sid(sid, namespace) == eio_sid:
            self.manager.disconnect(sid, namespace, ignore_queue=True)
        if not self.eio.sockets[eio_sid].closed and not self._has_joined(eio_sid):
            self._unjoined.add(eio_sid)
