"""The registry: the clients of this node, written to Redis for all nodes and the command line.

A change is marked, and written a moment later as it is by then. So an entry may be written twice, and in any order. No
caller waits for it. An entry that could not be written is marked again, until Redis answers.
"""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from time import time
from typing import Any, TypeVar

import gevent
import orjson
import redis

from webfarm.defaults import GRACE_S
from webfarm.nodes.lease import Lease
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys, name_room

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_ONCE = 300  # of each kind
_GATHER_S = 0.01  # many changes in one command cost half
_RETRY_S = 0.5


class _Client:
    __slots__ = ("namespace", "since", "transport", "user")

    def __init__(self, namespace: str, user: str | None, transport: str) -> None:
        self.namespace = namespace
        self.user = user
        self.transport = transport
        self.since = int(time() * 1000)

    def describe(self) -> bytes:
        names = {"userId": self.user, "transport": self.transport}
        return orjson.dumps({**names, "since": self.since, "namespace": self.namespace})


class _Room:
    __slots__ = ("clients", "users")

    def __init__(self) -> None:
        self.clients = 0
        self.users: dict[str, int] = {}  # their clients


_EMPTY = _Room()


class Registry:
    """The clients of this node, and the rooms that they are in, as far as they are in one shard.

    A socket's own room is none.

    Args:
        commands: the connection to the Redis that they are written to.
        keys: the names of the keys there.
        lease: this node's; without it nothing is written.
    """

    def __init__(self, commands: Commands, keys: Keys, lease: Lease) -> None:
        self._commands = commands
        self._keys = keys
        self._lease = lease
        self._clients: dict[str, _Client] = {}
        self._rooms: dict[str, _Room] = {}  # by the name that Redis has for them
        self._marked_clients: dict[str, None] = {}
        self._marked_rooms: dict[str, None] = {}
        self._marked_members: dict[tuple[str, str], None] = {}  # room and user
        self._timer: Any = None

    def __contains__(self, sid: object) -> bool:
        return sid in self._clients

    def add(self, sid: str, namespace: str, user: str | None, transport: str) -> None:
        """A client is connected."""
        if user is not None:
            user = user.encode(errors="replace").decode()  # half a surrogate pair can't be written
        self._clients[sid] = _Client(namespace, user, transport)
        self._mark(sid)

    def get_user(self, sid: str) -> str | None:
        """Return the user of a connected client, as Redis has it."""
        return self._clients[sid].user

    def remove(self, sid: str) -> None:
        """A client has left."""
        if self._clients.pop(sid, None) is not None:
            self._mark(sid)

    def set_transport(self, sid: str, transport: str) -> None:
        """A client's transport has changed."""
        client = self._clients.get(sid)
        if client is not None and client.transport != transport:
            client.transport = transport
            self._mark(sid)

    def enter(self, namespace: str, room: str, user: str | None) -> None:
        """A client of ``user`` (``get_user``) has entered a room."""
        self._count(name_room(namespace, room), user, 1)

    def leave(self, namespace: str, room: str, user: str | None) -> None:
        """A client of ``user`` has left a room that it was in."""
        self._count(name_room(namespace, room), user, -1)

    def release(self, node: str, namespace: str, rooms: Iterable[str], user: str) -> None:
        """A client has moved here from a dead node: take out the dead node's entries of it."""
        keys = self._keys
        names = [keys.of_node(node)[2], keys.leaving]
        members, rooms = keys.members_of(node).removesuffix(":"), (name_room(namespace, room) for room in rooms)
        arguments = [user, int(GRACE_S * 1_000_000), members, keys.present, *rooms]
        self._commands.ask_script("nodes/release", names, arguments, lambda answer: None)  # else it will be buried

    def refresh(self) -> None:
        """Write everything again: Redis may have lost some of it, and kept entries of clients that have left."""
        self._marked_clients.update(dict.fromkeys(self._clients))
        for name, room in self._rooms.items():
            self._marked_rooms[name] = None
            self._marked_members.update(((name, user), None) for user in room.users)
        self._write_soon()
        gevent.spawn(self._mark_what_is_written)

    def write(self) -> None:
        """Write the marked entries now: a later reading over the same connection finds them."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        clients, members = _take(self._marked_clients), _take(self._marked_members)
        rooms = dict.fromkeys(name for name, _ in members) | _take(self._marked_rooms)
        if clients or rooms:
            self._write_these(tuple(clients), tuple(members), tuple(rooms))
        if self._marked_clients or self._marked_members or self._marked_rooms:
            self._write_soon()

    def _write_these(self, clients: Sequence[str], members: Sequence[tuple[str, str]], rooms: Sequence[str]) -> None:
        """Write some clients, members of rooms, and rooms; those of the members must be among them."""
        keys, node = self._keys, self._lease.node
        start = keys.members_of(node)
        names: list[str] = [*keys.of_node(node), keys.leaving]
        arguments: list[Any] = [int(GRACE_S * 1_000_000), start, len(clients)]
        for sid in clients:
            client = self._clients.get(sid)
            arguments += (sid, client.describe() if client is not None else b"")
        for name, user in members:
            names += (start + name, keys.present + name)
            arguments += (name, user, self._rooms.get(name, _EMPTY).users.get(user, 0))
        for name in rooms:
            arguments += (name, self._rooms.get(name, _EMPTY).clients)
        self._commands.ask_script("nodes/register", names, arguments, partial(self._on_answer, clients, members, rooms))

    def _count(self, name: str, user: str | None, change: int) -> None:
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = _Room()
        room.clients += change
        if room.clients <= 0:
            del self._rooms[name]
        if user is not None:
            clients = room.users[user] = room.users.get(user, 0) + change
            if clients <= 0:
                del room.users[user]
            self._marked_members[name, user] = None
        self._marked_rooms[name] = None
        self._write_soon()

    def _mark(self, sid: str) -> None:
        self._marked_clients[sid] = None
        self._write_soon()

    def _write_soon(self, delay_s: float = _GATHER_S) -> None:
        if self._timer is None:
            self._timer = gevent.get_hub().loop.timer(delay_s)
            self._timer.start(self.write)

    def _on_answer(
        self, clients: Sequence[str], members: Sequence[tuple[str, str]], rooms: Sequence[str], answer: Any
    ) -> None:
        if answer == 1:
            return
        if isinstance(answer, redis.DataError):  # one of them can't be sent
            self._write_one_by_one(clients, members, rooms, answer)
            return
        self._marked_clients.update(dict.fromkeys(clients))
        self._marked_rooms.update(dict.fromkeys(rooms))
        self._marked_members.update(dict.fromkeys(members))
        log.debug("clients not registered: %s", answer or "the lease has ended")
        if answer == 0:
            self._lease.renew_soon()
        self._write_soon(_RETRY_S)

    def _write_one_by_one(
        self, clients: Sequence[str], members: Sequence[tuple[str, str]], rooms: Sequence[str], error: redis.DataError
    ) -> None:
        """Write the entries that can be sent, and log the others."""
        if len(clients) + max(len(members), len(rooms)) == 1:
            log.error("%r can't be registered: %s", (*clients, *members, *rooms)[0], error)
            return
        for sid in clients:
            self._write_these([sid], [], [])
        for member in members:
            self._write_these([], [member], [member[0]])
        for name in rooms:
            self._write_these([], [], [name])

    def _mark_what_is_written(self) -> None:
        """Mark what Redis has of this node, as some of its clients may have left."""
        keys, node = self._keys, self._lease.node
        _, clients, rooms = keys.of_node(node)
        try:
            self._marked_clients.update((sid.decode(), None) for sid in self._commands.execute("HKEYS", clients))
            for key in self._commands.execute("HKEYS", rooms):
                name = key.decode()
                users = self._commands.execute("HKEYS", keys.members_of(node) + name)
                self._marked_rooms[name] = None
                self._marked_members.update(((name, user.decode()), None) for user in users)
        except redis.RedisError as error:  # then there will be another return
            log.debug("what is registered could not be read: %s", error)
        self._write_soon()


def _take(marked: dict[T, None]) -> dict[T, None]:
    """Take out some of what is marked."""
    taken = dict.fromkeys(islice(marked, _AT_ONCE))
    for item in taken:
        del marked[item]
    return taken
