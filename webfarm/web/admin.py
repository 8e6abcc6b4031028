"""The namespace ``/admin``: the server's part of Socket.IO's Admin UI, for the whole farm.

https://github.com/socketio/socket.io-admin-ui (``lib/typed-events.ts`` has the events)

python-socketio's own part (``Server.instrument``) lists the clients of one process only. In the mode that lists clients
it also publishes an event for each message that a client receives.
"""

import logging
from functools import partial
from typing import Any

from socketio.exceptions import ConnectionRefusedError

from webfarm.errors import BadRequest, ClientError, Forbidden
from webfarm.manager.redis_manager import RedisManager
from webfarm.names import is_name
from webfarm.socketio.namespace import Namespace
from webfarm.web.admin_auth import USER, AdminAuth
from webfarm.web.admin_feed import Feed
from webfarm.web.figures import Figures

log = logging.getLogger(__name__)

NAMESPACE = "/admin"

#: The beginning of the packet that gives an admin a session.
SECRET = f'2{NAMESPACE},["session"'

_SHARE = 3  # a page is told at a time a third of the bytes that may be unsent

# What the page offers. With ALL_EVENTS it shows clients and rooms; it does not show single packets.
_FEATURES = ("JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT", "AGGREGATED_EVENTS", "ALL_EVENTS")


class AdminNamespace(Namespace):
    """Shows all nodes, clients and rooms, and changes them on any node.

    Args:
        auth: knows the admin.
        manager: this worker's.
        figures: of the nodes.
        max_bytes: unsent bytes at which a client is closed.
    """

    has_user_rooms = False

    def __init__(
        self,
        auth: AdminAuth,
        manager: RedisManager,
        figures: Figures,
        max_bytes: int,
    ) -> None:
        super().__init__(NAMESPACE)
        self._auth = auth
        self._manager = manager
        is_here = partial(manager.is_sid_room, NAMESPACE)
        self._feed = Feed(self._send, is_here, manager.directory, figures, max_bytes // _SHARE)

    def identify(self, environ: dict[str, Any], auth: Any) -> str:
        """Return ``admin`` if the client has the password or a session; refuse it otherwise."""
        given = auth if isinstance(auth, dict) else {}
        if self._auth.is_session(given.get("sessionId")):
            return USER
        try:
            self._auth.check(given.get("username"), given.get("password"), environ.get("REMOTE_ADDR", ""))
        except ClientError as error:
            raise ConnectionRefusedError(str(error), error.to_dict()) from None
        return USER

    def get_user(self, sid: str) -> str | None:
        """An admin is no user: it is neither counted nor listed as one."""
        return None

    def on_connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        if not (isinstance(auth, dict) and self._auth.is_session(auth.get("sessionId"))):
            self._send("session", (self._auth.create_session(),), [sid])
        self._send("config", ({"supportedFeatures": _FEATURES},), [sid])
        self._feed.add(sid)

    def on_join(self, sid: str, namespace: Any, room: Any, members_of: Any = None) -> None:
        """Put a client, the members of a room, or all, into ``room``."""
        target, namespace = _check_target(members_of), _check_namespace(namespace)
        self._check_room(room, namespace)
        _log(sid, "join", namespace, room, target)
        self.server.enter_all(target, room, namespace)
        self._feed.refresh()

    def on_leave(self, sid: str, namespace: Any, room: Any, members_of: Any = None) -> None:
        """Take a client, the members of another room, or all, out of ``room``."""
        namespace = _check_namespace(namespace)
        self._check_room(room, namespace)
        target = _check_target(members_of) or room
        _log(sid, "leave", namespace, room, target)
        self.server.leave_all(target, room, namespace)
        self._feed.refresh()

    def on__disconnect(self, sid: str, namespace: Any, is_closed: Any = False, room: Any = None) -> None:
        """Disconnect a client, the members of a room, or all. A connection without a namespace then soon ends."""
        target, namespace = _check_target(room), _check_namespace(namespace)
        _log(sid, "disconnect", namespace, None, target)
        self.server.disconnect_all(target, namespace)
        self._feed.refresh()

    def _check_room(self, room: Any, namespace: str) -> None:
        if not is_name(room):
            raise BadRequest("A room's name is needed.")
        handlers = self.server.namespace_handlers.get(namespace)
        own = handlers if isinstance(handlers, Namespace) else self
        if own.is_server_room(room):
            raise Forbidden("The server gives this room; nobody is put into it or taken out of it.")

    def _send(self, event: str, arguments: tuple[Any, ...], sids: list[str]) -> None:
        self._manager.deliver(event, arguments, self.namespace, sids)


def _log(sid: str, action: str, namespace: str, room: str | None, target: str | None) -> None:
    """Log an admin's action on all clients of ``target``: a client, a room, or ``None`` for everybody."""
    fields = {"sid": sid, "namespace": namespace, "room": room, "of": target}
    log.info("admin: %s", action, extra={name: value for name, value in fields.items() if value is not None})


def _check_namespace(namespace: Any) -> str:
    if not _is_text(namespace) or not namespace.startswith("/"):
        raise BadRequest("A namespace is needed.")
    return str(namespace)


def _check_target(target: Any) -> str | None:
    if target is not None and not _is_text(target):
        raise BadRequest("The name of a room or a client is a text.")
    return target or None


def _is_text(value: Any) -> bool:
    """Return whether ``value`` is a text that can be encoded: half a surrogate pair can't."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
