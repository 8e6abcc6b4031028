"""The half of a manager that keeps the registry and the watchers up to date."""

from time import monotonic
from typing import Any

from chat.realtime.connection import Connection
from chat.realtime.directory import Directory
from chat.realtime.presence import Presence
from chat.realtime.redis_client import redis_errors_as_unavailable
from chat.realtime.registry import Registry
from chat.realtime.rooms import Rooms
from chat.realtime.vitals import VERSION

_SHARE = 10  # who is in a room is read in a tenth of the time at most, however often and large


class Registering(Rooms):
    """Rooms whose clients stand in the registry, from when they are let in until they have gone."""

    registry: Registry
    directory: Directory
    presence: Presence
    address = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._users: dict[tuple[str, str], tuple[dict[str, int], float]] = {}  # as read, and until when that is good

    def connect(self, sid: str, namespace: str) -> str:
        super().connect(sid, namespace)
        user, rooms = self.server.get_user(sid), self._rooms_of.get(namespace, {}).get(sid, ())
        self.registry.add(sid, namespace, user, self.server.transport(sid, namespace), rooms)
        return sid

    def basic_enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        was_in_room = self.is_in_room(sid, namespace, room)
        super().basic_enter_room(sid, namespace, room, eio_sid)
        if not was_in_room and room != sid and sid in self.registry:
            self.registry.enter(sid, room)

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        if room is not None and room != sid and self.is_in_room(sid, namespace, room):
            self.presence.unwatch(sid, namespace, room)
            if sid in self.registry:
                self.registry.leave(sid, room)
        super().basic_leave_room(sid, namespace, room)

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        super().basic_disconnect(sid, namespace, **kwargs)
        self.presence.unwatch(sid, namespace, sid)  # its own room is not left
        self.registry.remove(sid)

    def on_upgraded(self, connection: Connection) -> None:
        """A connection has become a websocket."""
        for sid in self.get_sids_of(connection.sid):
            self.registry.set_transport(sid, "websocket")

    def get_users(self, room: str, namespace: str = "/") -> dict[str, int]:
        """Return the users in ``room`` on all nodes, each with the number of its clients there.

        Raises ``Unavailable``.
        """
        users, good_until = self._users.get((namespace, room), ({}, 0.0))
        start = monotonic()
        if start < good_until:
            return users
        self.registry.write()
        with redis_errors_as_unavailable():
            users = self.directory.get_users(room, namespace=namespace)
        end = monotonic()
        self._users = {key: kept for key, kept in self._users.items() if kept[1] > end}
        self._users[namespace, room] = users, end + _SHARE * (end - start)
        return users

    def watch(self, sid: str, room: str, namespace: str = "/") -> None:
        """Tell of a client of this node who comes to ``room`` and who goes (``Server``'s ``on_presence``).

        It ends when the client leaves the room, or ``unwatch`` is called. Raises ``Unavailable``.
        """
        self.presence.watch(sid, namespace, room)
        if not self.is_in_room(sid, namespace, room):  # it has left meanwhile
            self.presence.unwatch(sid, namespace, room)

    def unwatch(self, sid: str, room: str, namespace: str = "/") -> None:
        """Tell of it no more."""
        self.presence.unwatch(sid, namespace, room)

    def tell_watchers(self, namespace: str, room: str, user: str, is_online: bool, watchers: list[str]) -> None:
        """A user came into a room or went."""
        self.server.on_presence(namespace, room, user, is_online, watchers)

    def describe_node(self) -> dict[str, Any]:
        """Return what others may know of this node."""
        return {
            "server": self.server.name or None,
            "address": self.address,
            "version": VERSION,
            "draining": self.server.eio.is_draining,
        }
