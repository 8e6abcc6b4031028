"""How an event is handled: its handler, and its acknowledgement.

In place of methods of ``socketio.Server`` (5.18):

- ``_handle_event``: an event to a namespace that the client has not joined closes the connection. A refused or failed
  event is answered; an event that Redis could not take is not.
- ``_trigger_event``: the signature of a connect or disconnect handler tells whether it takes the last argument. (Stock
  calls the handler again after any ``TypeError``, whatever the handler has done by then.)
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from socketio import packet
from socketio.exceptions import DisconnectedError

from webfarm.engineio.connection import Connection
from webfarm.errors import BadRequest, ClientError, Flooding, Internal, Unavailable
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.counters import counters
from webfarm.monitoring.throttle import Throttled
from webfarm.protocol.packet import Packet, is_too_deep, list_arguments
from webfarm.socketio.core import ServerCore
from webfarm.socketio.signatures import fit

log = Throttled(logging.getLogger(__name__))

#: Packets that answer an emit of this server.
ACKS = (packet.ACK, packet.BINARY_ACK)
_REFUSAL_BYTES = 500  # of a queued refusal
_READY_S = 0.5  # for Redis to be heard of again, if the whole worker stalled


class Handling:
    """The part of a ``Server`` that handles events."""

    def __init__(self, server: ServerCore) -> None:
        self._server = server
        self._manager = server.manager

    def handle(self, eio_sid: str, namespace: str, id: int | None, data: list[Any]) -> None:
        """Handle one event of a client, and acknowledge it if it has an ``id``. Called in the client's own order."""
        manager = self._manager
        sid = manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None:
            why = f"an event to the namespace {namespace[:50]!r}, which it has not joined"
            self._server.eio.sockets[eio_sid].refuse(why)
            return
        if not manager.is_connected(sid, namespace):  # it is being disconnected
            return
        started_at = monotonic()
        try:
            is_ready = manager.is_ready
            if not is_ready and not self._server.eio.sockets[eio_sid].closed:
                is_ready = manager.wait_until_ready(_READY_S)
            if not is_ready:
                raise Unavailable("Redis does not answer")
            if is_too_deep(data):
                raise BadRequest("The data is nested too deeply.")
            answer = self.trigger(data[0], namespace, sid, *data[1:])
            if answer is not self._server.not_handled and id is not None:
                self._acknowledge(eio_sid, namespace, id, answer)
        except Unavailable as error:
            counters.events_refused["unavailable"] += 1
            log.warning("not acknowledged", extra={"sid": sid, "event": data[0], "reason": str(error)})
        except ClientError as error:
            self._refuse_event(eio_sid, namespace, id, error)
        except DisconnectedError:
            log.info("the called client has disconnected", extra={"sid": sid, "event": data[0]})
            self._refuse_event(eio_sid, namespace, id, Internal("The called client has disconnected."))
        except (Exception, gevent.Timeout) as error:
            if manager.eio_sid_from_sid(sid, namespace) != eio_sid:  # its session was taken meanwhile
                log.info("event %r from %s, whose session was taken: %r", data[0], sid, error)
                return
            user = self._server.get_user(sid, namespace)
            log.exception("the handler of event %r from %s (user %r) failed", data[0], sid, user)
            self._refuse_event(eio_sid, namespace, id, Internal("The server failed to handle this event."))
        counters.handling.observe(monotonic() - started_at)

    def trigger(self, event: str, namespace: str, *args: Any) -> Any:
        """Call the handler of an event with ``args``; return its answer, or ``not_handled``."""
        server = self._server
        handler, arguments = server._get_event_handler(event, namespace, args)
        if handler is not None:
            return handler(*(self.fit(handler, arguments) if event in ("connect", "disconnect") else arguments))
        namespace_handler, arguments = server._get_namespace_handler(namespace, args)
        if namespace_handler is None:
            return server.not_handled
        if event in ("connect", "disconnect"):
            method = getattr(namespace_handler, f"on_{event}", None)
            if method is not None:
                arguments = self.fit(method, arguments)
        return namespace_handler.trigger_event(event, *arguments)

    def fit(self, handler: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return those ``arguments`` that a connect or disconnect handler takes."""
        return fit(handler, arguments)

    def get_sender(self, eio_sid: str, namespace: str) -> str:
        """Return the user of a client; its connection's id if it has no user, or has not joined ``namespace``."""
        sid = self._manager.sid_from_eio_sid(eio_sid, namespace)
        return (self._server.get_user(sid, namespace) if sid is not None else None) or eio_sid

    def refuse_packet(self, connection: Connection, pkt: Packet, error: ClientError | Flooding) -> None:
        """Answer a refused packet in its turn. Close the connection if its client floods, or can't be answered."""
        if isinstance(error, Flooding) or pkt.packet_type == packet.CONNECT:
            log.warning("closed: rate limited", extra={"connection": connection.sid, "reason": str(error)})
            connection.close(CloseReason.RATE_LIMITED)
            return
        namespace = pkt.namespace or "/"
        user = self.get_sender(connection.sid, namespace)
        log.info("event refused", extra={"connection": connection.sid, "user": user, "code": error.code})
        if pkt.packet_type not in ACKS and pkt.id is not None:
            connection.enqueue(_REFUSAL_BYTES, self._refuse_event, connection.sid, namespace, pkt.id, error)
        else:
            counters.events_refused[error.code] += 1

    def _refuse_event(self, eio_sid: str, namespace: str, id: int | None, error: ClientError) -> None:
        counters.events_refused[error.code] += 1
        if id is not None:
            self._acknowledge(eio_sid, namespace, id, {"ok": False, "error": error.to_dict()})

    def _acknowledge(self, eio_sid: str, namespace: str, id: int, answer: Any) -> None:
        pkt = self._server.packet_class(packet.ACK, namespace=namespace, id=id, data=list_arguments(answer))
        self._server.send_packet(eio_sid, pkt)
