"""How a client leaves a namespace: disconnected, by its own word, with its connection, or evicted.

In place of methods of ``socketio.Server`` (5.18): ``disconnect``, ``_handle_disconnect``, ``_handle_eio_disconnect``. A
disconnect handler runs in its client's own order as well. Nothing of a client stays, even if its handler failed.
"""

import logging

from socketio import packet

from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.throttle import Throttled
from webfarm.socketio.client_log import log_disconnect
from webfarm.socketio.core import ServerCore
from webfarm.socketio.handling import Handling
from webfarm.socketio.unjoined import Unjoined

log = Throttled(logging.getLogger(__name__))


class Leaving:
    """The part of a ``Server`` that lets clients out."""

    def __init__(self, server: ServerCore, handling: Handling, unjoined: Unjoined) -> None:
        self._server = server
        self._manager = server.manager
        self._handling = handling
        self._unjoined = unjoined

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a client from a namespace, on whichever worker it is; its session ends.

        The client is told at once, after earlier emits. It gets nothing more, and no later event of it is handled. Its
        disconnect handler runs after the event that is being handled; this method does not wait for it.
        """
        namespace, manager = namespace or "/", self._manager
        eio_sid = manager.eio_sid_from_sid(sid, namespace)
        if eio_sid is None:
            if not ignore_queue:
                manager.peers.end_session(sid, namespace)  # the client may have no connection
                manager.can_disconnect(sid, namespace)  # which asks the other workers
            return
        manager.wait_until_delivered()
        if manager.is_connected(sid, namespace) and manager.eio_sid_from_sid(sid, namespace) == eio_sid:
            manager.pre_disconnect(sid, namespace)
            self._server.send_packet(eio_sid, self._server.packet_class(packet.DISCONNECT, namespace=namespace))
            connection = self._server.eio.sockets[eio_sid]
            self._server.eio.calls.fail(connection, namespace)
            manager.recovery.disconnect(sid, eio_sid)
            connection.enqueue(0, self.finish, eio_sid, namespace, sid, CloseReason.SERVER_DISCONNECT)

    def evict(self, sid: str, namespace: str, eio_sid: str) -> None:
        """Forget a client whose session another connection has taken: it is told, and no handler runs for it."""
        connection = self._server.eio.sockets.get(eio_sid)
        if connection is not None and self._manager.eio_sid_from_sid(sid, namespace) == eio_sid:
            for message in self._server.encode(self._server.packet_class(packet.DISCONNECT, namespace=namespace)):
                connection.send(message)  # before held messages, if the client is joining
            self._server.eio.calls.fail(connection, namespace)
            log_disconnect(self._server, eio_sid, namespace, sid, "taken")
            self._manager.disconnect(sid, namespace, ignore_queue=True)
            self._unjoined.add(eio_sid)

    def handle(self, eio_sid: str, namespace: str) -> None:
        """Handle a client's DISCONNECT: its session ends."""
        sid = self._manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is not None:
            self._server.eio.calls.fail(self._server.eio.sockets[eio_sid], namespace)
            self._manager.recovery.disconnect(sid, eio_sid)
            self.finish(eio_sid, namespace, sid, CloseReason.CLIENT_DISCONNECT)

    def on_closed(self, eio_sid: str, reason: str) -> None:
        """A connection has ended; the sessions of its clients live on."""
        for namespace in self._manager.get_namespaces_of(eio_sid):
            sid = self._manager.sid_from_eio_sid(eio_sid, namespace)
            if sid is not None:
                self._manager.recovery.close(sid, eio_sid)
                self.finish(eio_sid, namespace, sid, reason)

    def finish(self, eio_sid: str, namespace: str, sid: str, reason: str) -> None:
        """Call the disconnect handler of ``sid`` if that was not done, then forget the client."""
        manager = self._manager
        if manager.eio_sid_from_sid(sid, namespace) != eio_sid:
            return
        manager.pre_disconnect(sid, namespace)
        try:
            log_disconnect(self._server, eio_sid, namespace, sid, reason)
            self._handling.trigger("disconnect", namespace, sid, reason)
        except BaseException:  # whatever it is, nothing of the client stays
            log.exception("the disconnect handler of %s failed", sid)
        if manager.eio_sid_from_sid(sid, namespace) == eio_sid:
            manager.disconnect(sid, namespace, ignore_queue=True)
        self._unjoined.add_if_left(self._server.eio.sockets[eio_sid])
