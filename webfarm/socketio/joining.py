"""How a client joins a namespace: its CONNECT, the connect handler, the answer.

Overridden of ``socketio.Server`` (5.18): ``_handle_connect``, and why:

- A client waits while Redis is away, and is then closed, not refused: the stock client never comes back from a refusal.
- An unknown namespace is refused in the protocol's words.
- A client that comes back to its session has its id and rooms again (``webfarm.manager.recovery``).
- A handler may refuse a client by a ``ClientError``; so is one refused whose user has too many connections.
- The session is written before the client is answered; what the handler emits, and what the client's rooms emit
  meanwhile, comes after the answer.
"""

import logging
from collections.abc import Callable
from typing import Any

import gevent
import socketio
from socketio import exceptions, packet

from webfarm.engineio.server import EngineServer
from webfarm.errors import ClientError, Unavailable
from webfarm.http.environ import Environs
from webfarm.manager.local_manager import LocalManager
from webfarm.manager.redis_manager import RedisManager
from webfarm.monitoring.counters import counters
from webfarm.monitoring.refusals import log_refusal
from webfarm.monitoring.throttle import Throttled
from webfarm.sessions.replay import Replay
from webfarm.sessions.session import NotResumable
from webfarm.socketio.client_log import log_connect
from webfarm.socketio.external_events import get_user_room
from webfarm.socketio.hooks import Hooks
from webfarm.socketio.identity import Identity, create_guest, make_identity

log = Throttled(logging.getLogger(__name__))

#: Where a client's identity is in its environment while it joins.
IDENTITY = "webfarm.identity"

_MAX_NAMESPACES = 100  # of one connection
_AWAY_S = 1.0  # that a client waits which can't join as Redis is away: it comes back at once when it is closed


class Joining(socketio.Server):
    """The half of a ``Server`` that lets clients in."""

    manager: LocalManager | RedisManager
    eio: EngineServer
    environ: Environs
    _connect_timeout_s: float
    hooks: Hooks
    get_user: Callable[..., str | None]
    _end: Callable[[str, str, str, str], None]

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        namespace = namespace or "/"
        connection = self.eio.sockets[eio_sid]
        if connection.closed:
            return
        if refusal := self._find_refusal(eio_sid, namespace):
            self._refuse(eio_sid, namespace, {"message": refusal}, refusal.lower().replace(" ", "_"))
            return
        if not self.manager.wait_until_joinable(namespace, self._connect_timeout_s):
            self.eio.disconnect(eio_sid)
        if connection.closed:
            return
        connection.hold(namespace)
        replay, is_away = None, False
        try:
            replay = self._join(eio_sid, namespace, data)
        except ClientError as error:
            self._refuse(eio_sid, namespace, _describe(error))
        except Unavailable as error:
            log.warning("closed, it will come back", extra={"connection": eio_sid, "reason": str(error)})
            is_away = True
        except (Exception, gevent.Timeout):
            log.exception("the connect handler failed; connection %s closed", eio_sid)
            self.eio.disconnect(eio_sid)
        finally:
            sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
            if replay is None and sid is not None:
                self.manager.recovery.close(sid, eio_sid)
                self.manager.disconnect(sid, namespace, ignore_queue=True)
            connection.release(replay)
        if eio_sid in self.environ:
            self.environ[eio_sid].pop(IDENTITY, None)
            self.environ.pack(eio_sid)
        if is_away:
            gevent.sleep(_AWAY_S)
            self.eio.disconnect(eio_sid)

    def _find_refusal(self, eio_sid: str, namespace: str) -> str:
        """Return why the client can't join, whoever it is; an empty text if it can."""
        if not (
            self.namespaces == "*"
            or namespace in self.namespaces
            or namespace in self.handlers
            or namespace in self.namespace_handlers
        ):
            return "Invalid namespace"
        if self.manager.sid_from_eio_sid(eio_sid, namespace):
            return "Already connected"
        return "Too many namespaces" if len(self.manager.get_namespaces_of(eio_sid)) >= _MAX_NAMESPACES else ""

    def _join(self, eio_sid: str, namespace: str, data: Any) -> Replay | None:
        """Let a client in; return what it is to be sent first, ``None`` if it was refused."""
        recovery, environ = self.manager.recovery, self.environ[eio_sid]
        auth, pid, offset = recovery.split_auth(data)
        try:
            identity = environ[IDENTITY] = self._identify(namespace, environ, auth)
        except exceptions.ConnectionRefusedError as error:
            self._refuse(eio_sid, namespace, error.error_args)
            return None
        sid, replay, why_not = self._resume(eio_sid, namespace, identity.user, pid, offset)
        if self.always_connect:
            replay = self._accept(eio_sid, namespace, sid, replay)
            self.eio.sockets[eio_sid].release(replay)
        refusal = None
        try:
            self._apply(identity, namespace, sid)
            refusal = self._ask_handler(namespace, sid, environ, auth)
        except Exception as error:
            if self.manager.sid_from_eio_sid(eio_sid, namespace) == sid:
                raise
            log.info("the connect handler of %s, which has gone: %r", sid, error)
        if self.manager.sid_from_eio_sid(eio_sid, namespace) != sid:
            return None  # somebody else has taken its session meanwhile
        if refusal is not None:
            recovery.end(sid, eio_sid)
            self._refuse(eio_sid, namespace, refusal)
            return None
        try:
            if not self.always_connect:
                replay = self._accept(eio_sid, namespace, sid, replay)
            log_connect(self, eio_sid, namespace, sid, why_not)
            return replay
        except BaseException:  # the handler believes that the client is there
            recovery.close(sid, eio_sid)
            self._end(eio_sid, namespace, sid, self.reason.SERVER_DISCONNECT)
            raise

    def _identify(self, namespace: str, environ: dict[str, Any], auth: Any) -> Identity:
        identify = getattr(self.namespace_handlers.get(namespace), "identify", self.hooks.identify)
        return make_identity(identify(environ, auth))

    def _has_user_rooms(self, namespace: str) -> bool:
        of_namespace = getattr(self.namespace_handlers.get(namespace), "has_user_rooms", None)
        return self.hooks.has_user_rooms if of_namespace is None else bool(of_namespace)

    def _apply(self, identity: Identity, namespace: str, sid: str) -> None:
        """Have the client's session end with its identity; put a new client into its user's room."""
        recovery = self.manager.recovery
        if identity.expires_at is not None:
            recovery.expire(sid, identity.expires_at)
        if self._has_user_rooms(namespace) and not recovery.is_recovered(sid):
            recovery.enter_inbox(sid, namespace, get_user_room(self.manager.get_user(sid) or ""))

    def _resume(
        self, eio_sid: str, namespace: str, user: str | None, pid: Any, offset: Any
    ) -> tuple[str, Replay | None, str]:
        """Return the sid of a client, what it missed, and why it begins anew although it has shown a session."""
        recovery, owner, why_not = self.manager.recovery, user or "", ""
        if pid:
            try:
                sid, replay = recovery.resume(eio_sid, namespace, owner, pid, offset)
            except NotResumable as error:
                why_not = str(error)
                counters.sessions_not_resumed[why_not] += 1
                if connection := self.eio.sockets.get(eio_sid):
                    connection.hold(namespace)  # what came to that session is not for the next one
            else:
                counters.sessions_resumed += 1
                return sid, replay, ""
        if user is None and self._has_user_rooms(namespace):
            user = create_guest()
        return recovery.begin(eio_sid, namespace, owner, user or ""), None, why_not

    def _accept(self, eio_sid: str, namespace: str, sid: str, replay: Replay | None) -> Replay:
        """Answer the client's CONNECT; what it is sent first comes behind."""
        recovery = self.manager.recovery
        replay = replay or recovery.write(sid)
        self._send_packet(eio_sid, self.packet_class(packet.CONNECT, recovery.describe(sid), namespace=namespace))
        self.manager.connect(sid, namespace)
        return replay

    def _ask_handler(self, namespace: str, sid: str, environ: dict[str, Any], auth: Any) -> Any:
        """Call the connect handler; return what the client is told if it is refused, else ``None``."""
        try:
            success = self._trigger_event("connect", namespace, sid, environ, auth)
        except exceptions.ConnectionRefusedError as error:
            return error.error_args
        except ClientError as error:
            return _describe(error)
        except ConnectionRefusedError:
            return {"message": "Connection refused by server"}
        return exceptions.ConnectionRefusedError().error_args if success is False else None

    def _refuse(self, eio_sid: str, namespace: str, why: dict[str, Any], code: str = "refused") -> None:
        data = why.get("data")
        code = data.get("code", code) if isinstance(data, dict) else code
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        who = {"user": user} if sid is not None and (user := self.get_user(sid, namespace)) is not None else {}
        log_refusal(code, self.environ[eio_sid], connection=eio_sid, reason=why["message"], **who)
        kind = packet.DISCONNECT if self.always_connect else packet.CONNECT_ERROR
        self._send_packet(eio_sid, self.packet_class(kind, data=why, namespace=namespace))


def _describe(error: ClientError) -> dict[str, Any]:
    """Return what a client is told that is refused."""
    return {"message": str(error), "data": error.to_dict()}
