"""How an event is handled: its handler, and its acknowledgement.

Overridden of ``socketio.Server`` (5.18), and why:

- ``_handle_event``: an event to a namespace that the client has not joined closes the connection.
- ``_handle_event_internal``: a refused or failed event is answered; one that Redis could not take is not.
"""

import logging
from collections.abc import Callable
from typing import Any

import gevent
import socketio
from socketio import packet
from socketio.exceptions import DisconnectedError

from chat.errors import BadRequest, ClientError, Internal, Unavailable
from chat.realtime.local_manager import Manager
from chat.realtime.manager import RedisManager
from chat.realtime.packet import is_too_deep
from chat.realtime.throttle import Throttled
from chat.realtime.transport import EngineServer

log = Throttled(logging.getLogger(__name__))

_READY_S = 0.5  # for Redis to be heard of again, if the whole worker stood still


class Handling(socketio.Server):
    """The half of a ``Server`` that handles events."""

    manager: Manager | RedisManager
    eio: EngineServer
    _get_user: Callable[[str], str | None]

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
