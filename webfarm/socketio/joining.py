"""How a client joins a namespace: its CONNECT, the connect handler, the answer.

In place of ``_handle_connect`` of ``socketio.Server`` (5.18), and why:

- A client waits while Redis is unreachable. Then its connection is closed; it is not refused, as the stock client never
  comes back from a refusal.
- An unknown namespace is refused in the protocol's words.
- A client that resumes its session has its id and rooms again (``webfarm.manager.recovery``).
- A handler may refuse a client by a ``ClientError``. A client whose user has too many connections is refused, too.
- The session is written before the client is answered. What the handler emits, and what the client's rooms emit
  meanwhile, comes after the answer.
"""

import logging
from typing import Any

import gevent
from socketio import exceptions, packet

from webfarm.errors import ClientError, Unavailable
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.counters import counters
from webfarm.monitoring.refusals import log_refusal
from webfarm.monitoring.throttle import Throttled
from webfarm.sessions.replay import Replay
from webfarm.sessions.session import NotResumable
from webfarm.socketio.client_log import log_connect
from webfarm.socketio.core import ServerCore, has_user_rooms
from webfarm.socketio.external_events import get_user_room
from webfarm.socketio.handling import Handling
from webfarm.socketio.identity import Identity, create_guest, make_identity
from webfarm.socketio.leaving import Leaving

log = Throttled(logging.getLogger(__name__))

#: Where a client's identity is in its environment while it joins.
IDENTITY = "webfarm.identity"

_MAX_NAMESPACES = 100  # of one connection
_UNREACHABLE_S = 1.0  # before a connection is closed that can't join: its client comes back at once


class Joining:
    """The part of a ``Server`` that lets clients in."""

    def __init__(self, server: ServerCore, handling: Handling, leaving: Leaving, timeout_s: float) -> None:
        self._server = server
        self._manager = server.manager
        self._handling = handling
        self._leaving = leaving
        self._timeout_s = timeout_s  # for Redis to be reachable

    def handle(self, eio_sid: str, namespace: str, data: Any) -> None:
        """Handle a client's CONNECT with its ``data``: the ``auth``, and what recovery needs."""
        server, manager = self._server, self._manager
        connection = server.eio.sockets[eio_sid]
        if connection.closed:
            return
        if refusal := self._find_refusal(eio_sid, namespace):
            self._refuse(eio_sid, namespace, {"message": refusal}, refusal.lower().replace(" ", "_"))
            return
        if not manager.wait_until_joinable(namespace, self._timeout_s):
            server.eio.disconnect(eio_sid)
        if connection.closed:
            return
        connection.hold(namespace)
        replay, is_unreachable = None, False
        try:
            replay = self._join(eio_sid, namespace, data)
        except ClientError as error:
            self._refuse(eio_sid, namespace, _describe(error))
        except Unavailable as error:
            log.warning("closed, it will come back", extra={"connection": eio_sid, "reason": str(error)})
            is_unreachable = True
        except (Exception, gevent.Timeout):
            log.exception("the connect handler failed; connection %s closed", eio_sid)
            server.eio.disconnect(eio_sid)
        finally:
            sid = manager.sid_from_eio_sid(eio_sid, namespace)
            if replay is None and sid is not None:
                manager.recovery.close(sid, eio_sid)
                manager.disconnect(sid, namespace, ignore_queue=True)
            connection.release(replay)
        if eio_sid in server.environ:
            server.environ[eio_sid].pop(IDENTITY, None)
            server.environ.pack(eio_sid)
        if is_unreachable:
            gevent.sleep(_UNREACHABLE_S)
            server.eio.disconnect(eio_sid)

    def _find_refusal(self, eio_sid: str, namespace: str) -> str:
        """Return why no client could join now; an empty text if one can."""
        server, manager = self._server, self._manager
        if not (
            server.namespaces == "*"
            or namespace in server.namespaces
            or namespace in server.handlers
            or namespace in server.namespace_handlers
        ):
            return "Invalid namespace"
        if manager.sid_from_eio_sid(eio_sid, namespace):
            return "Already connected"
        return "Too many namespaces" if len(manager.get_namespaces_of(eio_sid)) >= _MAX_NAMESPACES else ""

    def _join(self, eio_sid: str, namespace: str, data: Any) -> Replay | None:
        """Let a client in; return what it is sent first, ``None`` if it was refused."""
        server, manager = self._server, self._manager
        recovery, environ = manager.recovery, server.environ[eio_sid]
        auth, pid, offset = recovery.split_auth(data)
        try:
            identity = environ[IDENTITY] = self._identify(namespace, environ, auth)
        except exceptions.ConnectionRefusedError as error:
            self._refuse(eio_sid, namespace, error.error_args)
            return None
        sid, replay, why_not = self._resume(eio_sid, namespace, identity.user, pid, offset)
        refusal = None
        try:
            self._apply(identity, namespace, sid)
            if server.always_connect and self._is_still_of(eio_sid, namespace, sid):
                replay = self._accept(eio_sid, namespace, sid, replay)
                server.eio.sockets[eio_sid].release(replay)
            if self._is_still_of(eio_sid, namespace, sid):
                refusal = self._ask_handler(namespace, sid, environ, auth)
        except Exception as error:
            if self._is_still_of(eio_sid, namespace, sid):
                raise
            log.info("the connect handler of %s, whose session was taken: %r", sid, error)
        if not self._is_still_of(eio_sid, namespace, sid):
            return None  # another connection has taken its session meanwhile
        if refusal is not None:
            recovery.disconnect(sid, eio_sid)
            self._refuse(eio_sid, namespace, refusal)
            return None
        try:
            if not server.always_connect:
                replay = self._accept(eio_sid, namespace, sid, replay)
            if replay is not None:
                log_connect(server, eio_sid, namespace, sid, why_not)
            return replay
        except BaseException:  # the handler believes that the client is there
            recovery.close(sid, eio_sid)
            self._leaving.finish(eio_sid, namespace, sid, CloseReason.SERVER_DISCONNECT)
            raise

    def _is_still_of(self, eio_sid: str, namespace: str, sid: str) -> bool:
        """Return whether the client has not been evicted while something waited."""
        return self._manager.sid_from_eio_sid(eio_sid, namespace) == sid

    def _identify(self, namespace: str, environ: dict[str, Any], auth: Any) -> Identity:
        handler = self._server.namespace_handlers.get(namespace)
        identify = getattr(handler, "identify", self._server.hooks.identify)
        return make_identity(identify(environ, auth), getattr(identify, "__qualname__", "identify"))

    def _apply(self, identity: Identity, namespace: str, sid: str) -> None:
        """Have the client's session end with its identity; put a new client into its user's room."""
        recovery = self._manager.recovery
        if identity.expires_at is not None:
            recovery.expire(sid, identity.expires_at)
        if has_user_rooms(self._server, namespace) and not recovery.is_recovered(sid):
            recovery.enter_inbox(sid, namespace, get_user_room(self._manager.get_user(sid) or ""))

    def _resume(
        self, eio_sid: str, namespace: str, user: str | None, pid: Any, offset: Any
    ) -> tuple[str, Replay | None, str]:
        """Return the sid of a client, what it missed, and why it is a new one although it has shown a session."""
        recovery, owner, why_not = self._manager.recovery, user or "", ""
        if pid:
            try:
                sid, replay = recovery.resume(eio_sid, namespace, owner, pid, offset)
            except NotResumable as error:
                why_not = str(error)
                counters.sessions_not_resumed[why_not] += 1
                if connection := self._server.eio.sockets.get(eio_sid):
                    connection.hold(namespace)  # the next session gets nothing of that one
            else:
                counters.sessions_resumed += 1
                return sid, replay, ""
        if user is None and has_user_rooms(self._server, namespace):
            user = create_guest()
        return recovery.begin(eio_sid, namespace, owner, user or ""), None, why_not

    def _accept(self, eio_sid: str, namespace: str, sid: str, replay: Replay | None) -> Replay | None:
        """Answer the client's CONNECT, and return what it is sent next; ``None`` if it was evicted meanwhile."""
        server, recovery = self._server, self._manager.recovery
        replay = replay or recovery.write(sid)
        if not self._is_still_of(eio_sid, namespace, sid):
            return None
        server.send_packet(eio_sid, server.packet_class(packet.CONNECT, recovery.describe(sid), namespace=namespace))
        self._manager.connect(sid, namespace)
        return replay

    def _ask_handler(self, namespace: str, sid: str, environ: dict[str, Any], auth: Any) -> Any:
        """Call the connect handler; return the refusal's ``{message, data}``, ``None`` if there is none."""
        try:
            success = self._handling.trigger("connect", namespace, sid, environ, auth)
        except exceptions.ConnectionRefusedError as error:
            return error.error_args
        except ClientError as error:
            return _describe(error)
        except ConnectionRefusedError:
            return {"message": "Connection refused by server"}
        return exceptions.ConnectionRefusedError().error_args if success is False else None

    def _refuse(self, eio_sid: str, namespace: str, why: dict[str, Any], code: str = "refused") -> None:
        server, data = self._server, why.get("data")
        code = data.get("code", code) if isinstance(data, dict) else code
        sid = self._manager.sid_from_eio_sid(eio_sid, namespace)
        user = server.get_user(sid, namespace) if sid is not None else None
        fields = {"user": user} if user is not None else {}
        log_refusal(code, server.environ[eio_sid], connection=eio_sid, reason=why["message"], **fields)
        kind = packet.DISCONNECT if server.always_connect else packet.CONNECT_ERROR
        server.send_packet(eio_sid, server.packet_class(kind, data=why, namespace=namespace))


def _describe(error: ClientError) -> dict[str, Any]:
    """Return a refusal as its client sees it."""
    return {"message": str(error), "data": error.to_dict()}
