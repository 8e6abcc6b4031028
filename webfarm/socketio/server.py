"""The Socket.IO server.

https://github.com/socketio/socket.io-protocol (revision 5)

Its parts do the work, each in place of some methods of ``socketio.Server`` (5.18). ``receiving`` reads packets,
``joining`` and ``leaving`` let clients in and out, and ``handling`` calls handlers. Handlers use ``client_api`` and
``all_nodes``.

Overridden here, and why:

- ``_engineio_server_class``: the transport is the engine's.
- ``_send_packet`` (``send_packet``): what a connect handler emits waits for the answer to CONNECT.
- ``environ``: an environment is kept small.
- ``emit``: knows ``volatile``.
- ``register_namespace``: a ``webfarm.Namespace`` has hooks.
"""

import logging
from collections.abc import Iterable
from typing import Any, ClassVar

import socketio
from socketio import packet

from webfarm.defaults import CONNECT_TIMEOUT_S
from webfarm.engineio.server import EngineServer
from webfarm.http.environ import Environs
from webfarm.manager.local_manager import LocalManager
from webfarm.manager.redis_manager import RedisManager
from webfarm.monitoring.gauges import gauges
from webfarm.protocol import strict_json
from webfarm.protocol.engine_packet import MESSAGE, EnginePacket
from webfarm.protocol.packet import Packet
from webfarm.service import Service
from webfarm.socketio.all_nodes import AllNodes
from webfarm.socketio.client_api import ClientAPI
from webfarm.socketio.delegation import delegate
from webfarm.socketio.handling import Handling
from webfarm.socketio.hooks import GetUser, Hooks, Identify, NamespaceHooks, OnPresence, SelectRooms
from webfarm.socketio.joining import Joining
from webfarm.socketio.leaving import Leaving
from webfarm.socketio.receiving import Admit, Receiving
from webfarm.socketio.stock import StockServer
from webfarm.socketio.unjoined import Unjoined

_CONNECT_ANSWERS = (packet.CONNECT, packet.CONNECT_ERROR)  # before what the connect handler emits
_MAX_LAG_S = 2.0  # of the event loop; above it, new clients are better off elsewhere


class Server(Service, StockServer, socketio.Server):
    """A Socket.IO server that starts and stops with its gunicorn worker.

    One client's events are handled one after the other, in the order sent; acknowledgements overtake them, so a
    handler may ``call`` its own client. A handler that raises a ``ClientError`` refuses the event: its
    acknowledgement is ``{"ok": false, "error": {"code", "message"}}``.

    Args:
        client_manager: a ``RedisManager``, or ``None`` for one process without Redis.
        connect_timeout_s: after so many seconds without a namespace a connection is closed.
        identify: returns a client's user, given its environment and its ``auth``: a name, a number, ``None`` for a
            guest, or an ``Identity`` (``webfarm.socketio.identity``). Only the same user can resume the client's
            session; anybody who knows its ``pid`` can resume a guest's. The session ends at ``expires_at``. While the
            client joins, the identity is in ``environ["webfarm.identity"]``. It may raise a ``ClientError``.
        get_user: returns the user of a sid, or ``None``, for limits and lists. The default: what ``identify`` named.
        max_connections_per_user: on all nodes; 0: any number. Needs a ``RedisManager``. A client above it is refused
            at CONNECT, after its connect handler. It resumes no other session. ``always_connect`` switches it off.
        select_rooms: returns the rooms in which a resumed client may still be, given its sid, environment and rooms.
            The client is put into no other room, and gets nothing of it.
        admit: is asked about each event, given its user (its connection's id if it has no user) and its bytes. It runs
            in the hub, so it must be quick. It may raise a ``ClientError``, which refuses the event, or ``Flooding``,
            which closes the connection. ``None``: all are let through.
        on_presence: called when a user has entered a room that clients of this worker watch (``RedisManager.watch``),
            or left it some seconds ago: with namespace, room, user, whether the user is there, and the clients' sids.
        has_user_rooms: whether each new client is put into its user's room as an inbox (``enter_inbox``), before its
            connect handler is called: ``user:<name>`` (``webfarm.socketio.external_events``). A client without a user
            becomes the guest ``guest-<16 hex digits>``.
        kwargs: as for ``socketio.Server``, and ``max_outbox_bytes`` as for ``EngineServer``.

    A ``webfarm.Namespace`` decides for its own clients with methods of the same names as the functions above.
    """

    manager: LocalManager | RedisManager
    eio: EngineServer
    environ: Environs

    #: The part that calls handlers; the adapter of another framework has its own.
    handling_class: ClassVar[type[Handling]] = Handling

    def __init__(
        self,
        client_manager: LocalManager | RedisManager | None = None,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        identify: Identify = lambda environ, auth: None,
        get_user: GetUser | None = None,
        max_connections_per_user: int = 1000,
        select_rooms: SelectRooms = lambda sid, environ, rooms: rooms,
        admit: Admit | None = None,
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
        self.environ = Environs()
        self.name = ""  #: HAProxy's of this worker, once a request has told it
        self.max_connections_per_user = max_connections_per_user
        #: What was given above; a ``webfarm.Namespace`` decides for its own clients.
        self.hooks = Hooks(identify, get_user or self.manager.get_user, select_rooms, on_presence, has_user_rooms)
        self._hooks_of: dict[str, NamespaceHooks] = {}
        handling, unjoined = self.handling_class(self), Unjoined(self, connect_timeout_s)
        self._leaving = Leaving(self, handling, unjoined)
        joining = Joining(self, handling, self._leaving, connect_timeout_s)
        self._receiving = Receiving(self, joining, handling, self._leaving, unjoined, admit)
        self._client_api, self._all_nodes = ClientAPI(self), AllNodes(self)
        self.eio.on("connect", self._receiving.on_connected)
        self.eio.on("disconnect", self._receiving.on_closed)
        self.eio.set_receiver(self._receiving)
        self.register()

    call = delegate("_client_api", ClientAPI.call)
    save_session = delegate("_client_api", ClientAPI.save_session)
    enter_room = delegate("_client_api", ClientAPI.enter_room)
    enter_inbox = delegate("_client_api", ClientAPI.enter_inbox)
    is_recovered = delegate("_client_api", ClientAPI.is_recovered)
    expire_session = delegate("_client_api", ClientAPI.expire_session)

    disconnect = delegate("_leaving", Leaving.disconnect)
    evict = delegate("_leaving", Leaving.evict)

    disconnect_all = delegate("_all_nodes", AllNodes.disconnect_all)
    enter_all = delegate("_all_nodes", AllNodes.enter_all)
    leave_all = delegate("_all_nodes", AllNodes.leave_all)
    close_room = delegate("_all_nodes", AllNodes.close_room)
    fetch_clients = delegate("_all_nodes", AllNodes.fetch_clients)
    call_all = delegate("_all_nodes", AllNodes.call_all)
    on_server_event = delegate("_all_nodes", AllNodes.on_server_event)
    server_emit = delegate("_all_nodes", AllNodes.server_emit)
    server_call = delegate("_all_nodes", AllNodes.server_call)

    def start(self, node: str) -> None:
        """Start the manager; ``node`` names this worker in the cluster."""
        self.manager_initialized = True
        self.manager.start(node)
        gauges.watch(self)

    def get_unready_reason(self) -> str | None:
        """Return why this worker takes no new clients, or ``None`` while it does.

        ``draining``: it stops. ``lag``: its event loop was seconds late a moment ago. ``redis``: it is cut off from
        Redis. ``deaf``: Redis answers, but publications do not come. ``full``: it can carry no more clients.
        """
        if self.eio.is_draining:
            return "draining"
        if gauges.lag.get_recent() > _MAX_LAG_S:  # first, as a late loop has not heard of Redis, either
            return "lag"
        return self.manager.get_unready_reason() or ("full" if self.eio.is_full else None)

    def register_namespace(self, namespace_handler: socketio.Namespace) -> None:
        """Have a class-based namespace handle its clients' events; a ``webfarm.Namespace`` has hooks, too."""
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
            volatile: it is not stored: best effort, for the connected clients.

        Raises:
            Unavailable: Redis could not take it just now.
        """
        options = {"volatile": volatile, "ignore_queue": ignore_queue}
        self.manager.emit(event, data, namespace or "/", to or room, skip_sid, callback, **options)

    def encode(self, pkt: Packet) -> list[EnginePacket]:
        """Return a Socket.IO packet and its attachments, to be sent to any number of clients."""
        return [EnginePacket(MESSAGE + part if isinstance(part, str) else bytes(part)) for part in pkt.encode_parts()]

    def send_packet(self, eio_sid: str, pkt: Packet) -> None:
        """Send a Socket.IO packet to a client; dropped if its connection has ended."""
        connection = self.eio.sockets.get(eio_sid)
        if connection is not None:
            namespace = None if pkt.packet_type in _CONNECT_ANSWERS else pkt.namespace or "/"
            for message in self.encode(pkt):
                connection.send(message, namespace=namespace)

    _send_packet = send_packet  # python-socketio's own manager calls it

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer
