"""How an event is handled: its handler, and its acknowledgement.

Overridden of ``socketio.Server`` (5.18), and why:

- ``_handle_event``: an event to a namespace that the client has not joined closes the connection.
- ``_trigger_event``: a connect or disconnect handler that takes an argument less is known by its signature. (Stock
  calls it again when it raises a ``TypeError``, whatever it has done by then.)
- ``_handle_event_internal``: a refused or failed event is answered; one that Redis could not take is not.
"""

import inspect
import logging
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import Any

import gevent
import socketio
from socketio import packet
from socketio.exceptions import DisconnectedError

from webfarm.engineio.connection import Connection
from webfarm.engineio.server import EngineServer
from webfarm.errors import BadRequest, ClientError, Flooding, Internal, Unavailable
from webfarm.manager.local_manager import LocalManager
from webfarm.manager.redis_manager import RedisManager
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.counters import counters
from webfarm.monitoring.throttle import Throttled
from webfarm.protocol.packet import Packet, is_too_deep, list_arguments

log = Throttled(logging.getLogger(__name__))

#: Packets that answer an emit of ours.
ACKS = (packet.ACK, packet.BINARY_ACK)
_REFUSAL_BYTES = 500  # what waits to be answered

_READY_S = 0.5  # for Redis to be heard of again, if the whole worker stood still


class Handling(socketio.Server):
    """The half of a ``Server`` that handles events."""

    manager: LocalManager | RedisManager
    eio: EngineServer
    get_user: Callable[..., str | None]

    def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        handler, arguments = self._get_event_handler(event, namespace, args)
        if handler is not None:
            return handler(*(self._fit(handler, arguments) if event in ("connect", "disconnect") else arguments))
        namespace_handler, arguments = self._get_namespace_handler(namespace, args)
        if namespace_handler is None:
            return self.not_handled
        method = getattr(namespace_handler, f"on_{event}", None)
        if event in ("connect", "disconnect") and method is not None:
            arguments = self._fit(method, arguments)
        return namespace_handler.trigger_event(event, *arguments)

    def _fit(self, handler: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return fit(handler, arguments)

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
        started_at = monotonic()
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
            counters.events_refused["unavailable"] += 1
            log.warning("not acknowledged", extra={"sid": sid, "event": data[0], "reason": str(error)})
        except ClientError as error:
            self._refuse_event(eio_sid, namespace, id, error)
        except DisconnectedError:
            log.info("the client that was asked is gone", extra={"sid": sid, "event": data[0]})
            self._refuse_event(eio_sid, namespace, id, Internal("The client that was asked is gone."))
        except (Exception, gevent.Timeout) as error:
            if self.manager.eio_sid_from_sid(sid, namespace) != eio_sid:  # its session was taken meanwhile
                log.info("event %r from %s, which has gone: %r", data[0], sid, error)
                return
            log.exception(
                "the handler of event %r from %s (user %r) failed", data[0], sid, self.get_user(sid, namespace)
            )
            self._refuse_event(eio_sid, namespace, id, Internal("The server failed to handle this event."))
        counters.handling.observe(monotonic() - started_at)

    def _get_sender(self, eio_sid: str, namespace: str) -> str:
        """Return the user of a client; one that has not joined is known by its connection."""
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        return (self.get_user(sid, namespace) if sid is not None else None) or eio_sid

    def _refuse_packet(self, connection: Connection, pkt: Packet, error: ClientError | Flooding) -> None:
        """Answer an event that is not let through, in its turn; close who goes on, or can't be answered."""
        if isinstance(error, Flooding) or pkt.packet_type == packet.CONNECT:
            log.warning("closed: rate limited", extra={"connection": connection.sid, "reason": str(error)})
            connection.close(CloseReason.RATE_LIMITED)
            return
        user = self._get_sender(connection.sid, pkt.namespace or "/")
        log.info("event refused", extra={"connection": connection.sid, "user": user, "code": error.code})
        if pkt.packet_type not in ACKS and pkt.id is not None:
            namespace = pkt.namespace or "/"
            connection.enqueue(_REFUSAL_BYTES, self._refuse_event, connection.sid, namespace, pkt.id, error)
        else:
            counters.events_refused[error.code] += 1

    def _refuse_event(self, eio_sid: str, namespace: str, id: int | None, error: ClientError) -> None:
        counters.events_refused[error.code] += 1
        if id is not None:
            self._acknowledge(eio_sid, namespace, id, {"ok": False, "error": error.to_dict()})

    def _acknowledge(self, eio_sid: str, namespace: str, id: int, answer: Any) -> None:
        pkt = self.packet_class(packet.ACK, namespace=namespace, id=id, data=list_arguments(answer))
        self._send_packet(eio_sid, pkt)


def fit(handler: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments that a connect or disconnect handler takes: all, or all but the last."""
    return arguments if _takes(handler, len(arguments)) else arguments[:-1]


@cache
def _takes(handler: Callable[..., object], count: int) -> bool:
    """Return whether ``handler`` can be called with ``count`` arguments."""
    try:
        inspect.signature(handler).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # it has no signature
        pass
    return True
