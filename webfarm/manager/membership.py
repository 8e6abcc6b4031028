"""The half of a manager that keeps the registry and the watchers up to date."""

from time import monotonic
from typing import Any, NamedTuple

import gevent
from gevent.event import AsyncResult

from webfarm.engineio.connection import Connection
from webfarm.manager.rooms import Rooms
from webfarm.manager.shards import Shards
from webfarm.monitoring.gauges import VERSION
from webfarm.nodes.directory import Directory
from webfarm.redis.client import redis_errors_as_unavailable

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

    shards: Shards
    directory: Directory
    address: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._readings: dict[_Asked, AsyncResult[dict[str, int]]] = {}  # those that have not begun
        self._not_before: dict[_Asked, float] = {}

    def connect(self, sid: str, namespace: str) -> str:
        super().connect(sid, namespace)
        registry = self.shards.get(sid).registry
        registry.add(sid, namespace, self.server.get_user(sid, namespace), self.server.transport(sid, namespace))
        for room in self._rooms_of.get(namespace, {}).get(sid, ()):
            self.shards.get_of_room(namespace, room).registry.enter(namespace, room, registry.get_user(sid))
        return sid

    def basic_enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        was_in_room = self.is_in_room(sid, namespace, room)
        super().basic_enter_room(sid, namespace, room, eio_sid)
        registry = self.shards.get(sid).registry
        if not was_in_room and room != sid and sid in registry:
            self.shards.get_of_room(namespace, room).registry.enter(namespace, room, registry.get_user(sid))

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        if room is not None and room != sid and self.is_in_room(sid, namespace, room):
            shard = self.shards.get_of_room(namespace, room)
            shard.presence.unwatch(sid, namespace, room)
            registry = self.shards.get(sid).registry
            if sid in registry:
                shard.registry.leave(namespace, room, registry.get_user(sid))
        super().basic_leave_room(sid, namespace, room)

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        super().basic_disconnect(sid, namespace, **kwargs)
        shard = self.shards.get(sid)
        shard.presence.unwatch(sid, namespace, sid)  # its own room is not left
        shard.registry.remove(sid)

    def on_upgraded(self, connection: Connection) -> None:
        """A connection has become a websocket."""
        for sid in self.get_sids_of(connection.sid):
            self.shards.get(sid).registry.set_transport(sid, "websocket")

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
            self.shards.get_of_room(asked.namespace, asked.room).registry.write()
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
        self.shards.get_of_room(namespace, room).presence.watch(sid, namespace, room)
        if not self.is_in_room(sid, namespace, room):  # it has left meanwhile
            self.unwatch(sid, room, namespace)

    def unwatch(self, sid: str, room: str, namespace: str = "/") -> None:
        """Tell of it no more."""
        self.shards.get_of_room(namespace, room).presence.unwatch(sid, namespace, room)

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
