"""Who is in which room: the checks before an event of a room's member, and the rooms that clients watch."""

from typing import Any, Protocol

from chat.messages import COMMON_ROOM, EVERYBODY
from webfarm import Forbidden, NotInRoom, RedisManager, TooManyRooms, get_user_room


class Handlers(Protocol):
    """The chat's handlers, which know rights and sessions."""

    namespace: str

    def may(self, sid: str, action: str, room: str) -> bool: ...

    def is_server_room(self, room: str) -> bool: ...

    def get_user(self, sid: str) -> str | None: ...

    def rooms(self, sid: str) -> Any: ...

    def get_session(self, sid: str) -> Any: ...

    def save_session(self, sid: str, session: Any) -> Any: ...


class Members:
    """The members of rooms.

    Args:
        handlers: the chat's.
        manager: of this worker.
        max_rooms: that a client may join, beside those that the server gives.
    """

    def __init__(self, handlers: Handlers, manager: RedisManager, max_rooms: int) -> None:
        self._handlers, self._manager = handlers, manager
        self._max_rooms = max_rooms

    def check(self, sid: str, action: str, room: str) -> None:
        """Raise ``NotInRoom`` or ``Forbidden`` unless a client is in ``room`` and may do ``action`` there."""
        if not self.is_in(sid, room):
            raise NotInRoom(f"Join the room {room!r} first.")
        if not self._handlers.may(sid, action, room):
            raise Forbidden(f"You may not do that in the room {room!r}.")

    def is_in(self, sid: str, room: str) -> bool:
        """Return whether ``sid`` is in ``room``. Raises ``Forbidden`` if the server gives the room to others."""
        if room == EVERYBODY:
            raise Forbidden("That is the room of everybody; broadcast reaches it.")
        if self._manager.is_in_room(sid, self._handlers.namespace, room):
            return True
        if self._handlers.is_server_room(room):
            raise Forbidden("This room belongs to somebody else.")
        return False

    def check_limit(self, sid: str) -> None:
        """Raise ``TooManyRooms`` if a client can join no more rooms."""
        given = {sid, get_user_room(self._handlers.get_user(sid) or ""), EVERYBODY, COMMON_ROOM}
        if len(set(self._handlers.rooms(sid)) - given) >= self._max_rooms:
            raise TooManyRooms(f"A client may be in {self._max_rooms} rooms; leave one first.")

    def set_watched(self, sid: str, room: str, is_watched: bool) -> None:
        """Begin or stop to send a client the ``presence`` of ``room``; a resumed client goes on as before."""
        session = self._handlers.get_session(sid)
        before = session.get("watched", [])
        watched = [one for one in before if one != room]
        if is_watched:
            self._manager.watch(sid, room)
            watched.append(room)
        else:
            self._manager.unwatch(sid, room)
        if set(watched) != set(before):
            self._handlers.save_session(sid, {**session, "watched": watched})

    def watch_again(self, sid: str) -> None:
        """Watch the rooms that a resumed client watched before."""
        for room in self._handlers.get_session(sid).get("watched", ()):
            self._manager.watch(sid, room)
