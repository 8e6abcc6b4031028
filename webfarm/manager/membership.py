"""Membership: the registry and the watchers follow the rooms of this node.

A client stands in the registry from when it is let in until it has left.
"""

from itertools import islice
from time import monotonic
from typing import Any, NamedTuple, Protocol

import gevent
from gevent.event import AsyncResult

from webfarm.engineio.connection import Connection
from webfarm.manager.rooms import Rooms
from webfarm.manager.shards import Shards
from webfarm.monitoring.gauges import VERSION
from webfarm.nodes.directory import Directory
from webfarm.redis.client import redis_errors_as_unavailable

_SHARE = 10  # a room's users are read in a tenth of the time at most, however often and large
_MAX_PAUSE_S = 1.0  # a reading that took longer has waited for Redis
_MOST_NAMESPACES = 1000  # are told of; where clients may join any, they name them
_FEW = 10  # so many users are read at any time


class MembershipOwner(Protocol):
    """The manager, as its membership sees it."""

    server: Any
    clients: Rooms
    shards: Shards
    directory: Directory
    address: str


class _Question(NamedTuple):
    """A question for a room's users."""

    namespace: str
    room: str
    most: int
    is_watched: bool


class Membership:
    """The observer of a manager's rooms: the other nodes know who is where, and the log is followed for the rooms.

    Args:
        owner: the manager.
    """

    def __init__(self, owner: MembershipOwner) -> None:
        self._owner = owner
        self._readings: dict[_Question, AsyncResult[dict[str, int]]] = {}  # those that have not begun
        self._not_before: dict[_Question, float] = {}

    # From the rooms

    def on_opened(self, namespace: str, room: str | None) -> None:
        shard = self._owner.shards.get_of_room(namespace, room)
        shard.follower.follow(shard.keys.stream(namespace, room))

    def on_closed(self, namespace: str, room: str | None) -> None:
        shard = self._owner.shards.get_of_room(namespace, room)
        shard.follower.unfollow(shard.keys.stream(namespace, room))

    def on_connected(self, sid: str, namespace: str) -> None:
        server, shards = self._owner.server, self._owner.shards
        registry = shards.get(sid).registry
        registry.add(sid, namespace, server.get_user(sid, namespace), server.transport(sid, namespace))
        for room in self._owner.clients.get_rooms(sid, namespace):
            if room != sid:
                shards.get_of_room(namespace, room).registry.enter(namespace, room, registry.get_user(sid))

    def on_entered(self, sid: str, namespace: str, room: str) -> None:
        registry = self._owner.shards.get(sid).registry
        if sid in registry:
            self._owner.shards.get_of_room(namespace, room).registry.enter(namespace, room, registry.get_user(sid))

    def on_left(self, sid: str, eio_sid: str, namespace: str, room: str) -> None:
        shard = self._owner.shards.get_of_room(namespace, room)
        shard.presence.unwatch(sid, namespace, room)
        shard.inboxes.remove(eio_sid, shard.keys.stream(namespace, room))
        registry = self._owner.shards.get(sid).registry
        if sid in registry:
            shard.registry.leave(namespace, room, registry.get_user(sid))

    def on_removed(self, sid: str, namespace: str) -> None:
        shard = self._owner.shards.get(sid)
        shard.presence.unwatch(sid, namespace, sid)  # its own room is not left
        shard.registry.remove(sid)

    def on_upgraded(self, connection: Connection) -> None:
        """A connection has become a websocket."""
        for sid in self._owner.clients.get_sids_of(connection.sid):
            self._owner.shards.get(sid).registry.set_transport(sid, "websocket")

    # Users

    def get_users(self, room: str, namespace: str, *, most: int, is_watched: bool) -> dict[str, int]:
        """Return a room's users, as ``RedisManager.get_users`` says."""
        question = _Question(namespace, room, most, is_watched)
        reading = self._readings.get(question)
        if reading is None:
            reading = self._readings[question] = AsyncResult()
            gevent.spawn(self._read_users, question, reading)
        users: Any = reading.get()
        return dict(users)

    def _read_users(self, question: _Question, reading: "AsyncResult[dict[str, int]]") -> None:
        """Read for all callers that have asked by the time at which the reading begins."""
        gevent.sleep(max(0.0, self._not_before.get(question, 0.0) - monotonic()))
        del self._readings[question]
        start = monotonic()
        namespace, room, most, is_watched = question
        try:
            self._owner.shards.get_of_room(namespace, room).registry.write()
            with redis_errors_as_unavailable():
                get_users = self._owner.directory.get_users
                reading.set(get_users(room, namespace=namespace, most=most, is_watched=is_watched))
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001 - each caller gets it
            reading.set_exception(error)
            return
        end = monotonic()
        self._not_before = {key: time for key, time in self._not_before.items() if time > end}
        if not 0 < most <= _FEW:
            self._not_before[question] = end + min(_SHARE * (end - start), _MAX_PAUSE_S)

    # Watchers

    def watch(self, sid: str, room: str, namespace: str) -> None:
        """Tell a client of this node who comes into a room and who leaves. Raises ``Unavailable``."""
        presence = self._owner.shards.get_of_room(namespace, room).presence
        presence.watch(sid, namespace, room)
        if not self._owner.clients.is_in_room(sid, namespace, room):  # it has left meanwhile
            presence.unwatch(sid, namespace, room)

    def unwatch(self, sid: str, room: str, namespace: str) -> None:
        """Tell a client no more of a room."""
        self._owner.shards.get_of_room(namespace, room).presence.unwatch(sid, namespace, room)

    def tell_watchers(self, namespace: str, room: str, user: str, is_online: bool, watchers: list[str]) -> None:
        """A user came into a room or left it."""
        self._owner.server.on_presence(namespace, room, user, is_online, watchers)

    def describe_node(self) -> dict[str, Any]:
        """Return what others may know of this node."""
        server, clients = self._owner.server, self._owner.clients
        given = () if server.namespaces == "*" else server.namespaces
        namespaces = {*given, *server.handlers, *server.namespace_handlers, *islice(clients.rooms, _MOST_NAMESPACES)}
        return {
            "namespaces": sorted(namespaces - {"*"}),
            "server": server.name or None,
            "address": self._owner.address,
            "version": VERSION,
            "draining": server.eio.is_draining,
        }
