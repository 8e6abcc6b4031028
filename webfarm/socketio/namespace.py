"""A class-based namespace: it refuses bad events by name, and has the hooks of a ``Server`` as methods."""

from collections.abc import Callable, Iterable
from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol

import socketio

from webfarm.errors import BadRequest
from webfarm.manager.local_manager import LocalManager
from webfarm.manager.redis_manager import RedisManager
from webfarm.socketio.external_events import get_user_room
from webfarm.socketio.identity import Identified
from webfarm.socketio.signatures import takes

if TYPE_CHECKING:
    from webfarm.socketio.server import Server

_HOOK_EVENTS = frozenset(("presence",))  # ``on_presence`` is a hook: no client may call it


class Farm(Protocol):
    """What a namespace may use of the ``webfarm.Farm`` that serves it."""

    @property
    def server(self) -> "Server": ...

    @property
    def manager(self) -> LocalManager | RedisManager: ...

    @property
    def settings(self) -> Any: ...

    def get_user(self, sid: str) -> str | None:
        """Return the user of a client of this worker."""

    def run_once(self, function: Callable[[], object]) -> Any:
        """Have one worker of the farm run ``function``."""


class Namespace(socketio.Namespace):
    """``on_<event>`` handles an event; an unknown event or a wrong number of arguments is refused (``bad_request``).

    The hooks below decide about the clients of this namespace; override them. Each does by default what the ``Server``
    was told for all namespaces. ``farm`` is the ``Farm`` that serves the namespace, set before its first client comes.
    """

    server: "Server"
    farm: Farm
    #: Whether clients are put into their user's room; ``None``: as the server was told.
    has_user_rooms: bool | None = None

    def identify(self, environ: dict[str, Any], auth: Any) -> Identified:
        """Return who a connecting client is: a user's name or number, ``None`` for a guest, or an ``Identity``.

        Only the same user can resume the client's session; anybody who knows its ``pid`` can resume a guest's.

        Args:
            environ: the WSGI environment of the connection's first request.
            auth: what the client sent as ``auth``, usually ``{"token": ...}`` or ``None``.

        Raises:
            ClientError: the client is refused; it sees ``connect_error`` with the error's ``code`` and message.
        """
        return self.server.hooks.identify(environ, auth)

    def get_user(self, sid: str) -> str | None:
        """Return the user of a client of this worker: for the log, the registry, and limits by user."""
        return self.server.hooks.get_user(sid)

    def select_rooms(self, sid: str, environ: dict[str, Any], rooms: list[str]) -> Iterable[str]:
        """Return those of its former ``rooms`` in which a resumed client may still be."""
        return self.server.hooks.select_rooms(sid, environ, rooms)

    def on_presence(self, room: str, user: str, is_online: bool, watchers: list[str]) -> None:
        """A user has entered a room that ``watchers`` watch (``RedisManager.watch``), or left it some seconds ago.

        ``watchers`` are sids of this worker. This is a hook: a client's event ``presence`` is refused.
        """
        self.server.hooks.on_presence(self.namespace, room, user, is_online, watchers)

    def is_server_room(self, room: str) -> bool:
        """Return whether the server gives ``room``, so that no admin puts a client in or out.

        These are the rooms of users, and each client's own. Override it to name more, such as a room of everybody.
        """
        manager = self.server.manager
        if room.startswith(get_user_room("")) or manager.is_sid_room(self.namespace, room):
            return True
        return isinstance(manager, RedisManager) and (manager.has_client(room) or manager.history.had_client(room))

    def trigger_event(self, event: str, *args: Any) -> Any:
        handler = None if event in _HOOK_EVENTS else getattr(self, f"on_{event}", None)
        if handler is None and event in ("connect", "disconnect"):
            return None
        if handler is None:
            raise BadRequest(f"There is no event {event[:50]!r}.")
        if not takes(handler, len(args)):
            expected = len(signature(handler).parameters) - 1
            raise BadRequest(f"The event {event!r} takes {expected} argument{'' if expected == 1 else 's'}.")
        return handler(*args)
