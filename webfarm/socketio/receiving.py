"""From connections to clients: what the Engine.IO server tells, in the hub and in order.

In place of methods of ``socketio.Server`` (5.18):

- ``_handle_eio_connect``: the manager starts with the worker, not with the first client. A connection that joins no
  namespace in time is closed. An environment is kept small.
- ``_handle_eio_message``: a packet is read in the hub, so that an acknowledgement reaches the handler that waits for
  it. All else is handled in the connection's own order. A message that is no packet closes its connection.
- ``_handle_eio_disconnect``: a disconnect handler runs in its client's own order as well.
"""

from collections.abc import Callable
from typing import Any

import gevent
from socketio import packet

from webfarm.engineio.connection import Connection
from webfarm.engineio.requests import get_sid_prefix
from webfarm.errors import ClientError, Flooding
from webfarm.http.environ import strip
from webfarm.monitoring.counters import counters
from webfarm.protocol.assembler import Assembler
from webfarm.socketio.core import ServerCore
from webfarm.socketio.handling import ACKS, Handling
from webfarm.socketio.joining import Joining
from webfarm.socketio.leaving import Leaving
from webfarm.socketio.unjoined import Unjoined

#: Asked about each event: its user, and its bytes.
Admit = Callable[[str, int], None]

_BAD_PACKET = (ValueError, TypeError, LookupError, RecursionError)  # what parsers raise
_EVENTS = (packet.EVENT, packet.BINARY_EVENT)
_JOB_BYTES = 500  # of a parsed event, beside its data


class Receiving:
    """The part of a ``Server`` that its ``EngineServer`` calls (``webfarm.engineio.server.Receiver``)."""

    def __init__(
        self,
        server: ServerCore,
        joining: Joining,
        handling: Handling,
        leaving: Leaving,
        unjoined: Unjoined,
        admit: Admit | None,
    ) -> None:
        self._server = server
        self._manager = server.manager
        self._handling = handling
        self._leaving = leaving
        self._unjoined = unjoined
        self._admit = admit
        self._assembler = Assembler(server.packet_class, server.eio.max_http_buffer_size)
        self._join, self._handle, self._leave = joining.handle, handling.handle, leaving.handle

    def on_connected(self, eio_sid: str, environ: dict[str, Any]) -> None:
        """A connection was opened; it has joined no namespace yet."""
        self._server.environ[eio_sid] = strip(environ)
        self._server.name = get_sid_prefix(environ)[:-1] or self._server.name
        self._unjoined.add(eio_sid)

    def on_message(self, connection: Connection, data: str | bytes) -> None:
        try:
            pkt = self._assembler.add(connection.sid, data)
        except _BAD_PACKET as error:
            connection.refuse(f"a packet that is none: {str(error)[:200]}")
            return
        if pkt is None:
            return
        namespace, eio_sid, kind = pkt.namespace or "/", connection.sid, pkt.packet_type
        if kind in ACKS:
            sid = self._manager.sid_from_eio_sid(eio_sid, namespace)
            if sid is not None and self._manager.has_callback(sid, pkt.id):
                gevent.spawn(self._manager.trigger_callback, sid, pkt.id or 0, pkt.data)
                return
        if self._admit is not None and kind != packet.DISCONNECT:
            try:
                self._admit(self._handling.get_sender(eio_sid, namespace), pkt.size)
            except (ClientError, Flooding) as error:
                self._handling.refuse_packet(connection, pkt, error)
                return
        if kind in ACKS:
            return  # nobody waits for it
        size = pkt.size + _JOB_BYTES
        if kind in _EVENTS:
            counters.events_received += 1
            connection.enqueue(size, self._handle, eio_sid, namespace, pkt.id, pkt.data)
        elif kind == packet.CONNECT:
            connection.enqueue(size, self._join, eio_sid, namespace, pkt.data)
        else:
            connection.enqueue(size, self._leave, eio_sid, namespace)

    def on_ping(self, connection: Connection) -> None:
        self._manager.on_ping(connection)

    def on_pong(self, connection: Connection) -> None:
        self._manager.on_pong(connection)

    def on_upgraded(self, connection: Connection) -> None:
        self._manager.on_upgraded(connection)

    def on_closed(self, eio_sid: str, reason: str) -> None:
        """A connection has ended: its clients leave, and nothing of it stays."""
        self._leaving.on_closed(eio_sid, reason)
        self._server.environ.pop(eio_sid, None)
        self._assembler.discard(eio_sid)
