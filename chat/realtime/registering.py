"""The half of a manager that keeps the registry and the watchers up to date."""

from time import monotonic
from typing import Any, NamedTuple

import gevent
from gevent.event import AsyncResult

from chat.realtime.connection import Connection
from chat.realtime.directory import Directory
from chat.realtime.presence import Presence
from chat.realtime.redis_client import redis_errors_as_unavailable
from chat.realtime.registry import Registry
from chat.realtime.rooms import Rooms
from chat.realtime.vitals import VERSION

_SHARE = 10  # who is in a room is read in a tenth of the time at most, however often and large
_MAX_PAUSE_S = 1.0  # what took longer has waited for Redis
_FEW = 10  # so many are read at any time


class _Asked(NamedTuple):
    """Whose users are asked for, and which."""

    namespace: str
    room: str
    most: int
    is_watched: bool


class Registering(Rooms):
    """Rooms whose clients stand in the registry, from when they are let in until they have gone."""

    registry: Registry
    directory: Directory
    presence: Presence
    address = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._readings: dict[_Asked, AsyncResult[dict[str, int]]] = {}  # those that have not begun
        self._not_before: dict[_Asked, float] = {}

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

    def get_users(self, room: str, namespace: str = "/", *, most: int = 0, is_watched: bool = False) -> dict[str, int]:
        """Return the users in ``room`` on all nodes, each with the number of its clients there.

        Nothing of it was read before the call. It raises ``Unavailable``.

        Args:
            room: its name.
            namespace: of the room.
            most: above 0, how many are enough, whichever they are.
            is_watched: also those whose last client has gone, with 0 clients, as long as that is not announced: if they
                come back by then, nothing will be.
        """
        asked = _Asked(namespace, room, most, is_watched)
        reading = self._readings.get(asked)
        if reading is None:
            reading = self._readings[asked] = AsyncResult()
            gevent.spawn(self._read_users, asked, reading)
        users: Any = reading.get()
        return dict(users)

    def _read_users(self, asked: "_Asked", reading: "AsyncResult[dict[str, int]]") -> None:
        """Read for all who have asked by the time at which it begins."""
        gevent.sleep(max(0.0, self._not_before.get(asked, 0.0) - monotonic()))
        del self._readings[asked]
        start = monotonic()
        try:
            self.registry.write()
            with redis_errors_as_unavailable():
                room, namespace, most = asked.room, asked.namespace, asked.most
                users = self.directory.get_users(room, namespace=namespace, most=most, is_watched=asked.is_watched)
            reading.set(users)
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001 - it is raised at each who asked
            reading.set_exception(error)
            return
        end = monotonic()
        self._not_before = {key: time for key, time in self._not_before.items() if time > end}
        if not 0 < asked.most <= _FEW:
            self._not_before[asked] = end + min(_SHARE * (end - start), _MAX_PAUSE_S)

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
