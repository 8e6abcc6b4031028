"""The directory: who is where in the cluster, read from Redis; no node is asked, and none is waited for."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import orjson

from webfarm.redis.commands import AnyShard
from webfarm.redis.keys import find_shard, name_room, split_name

_PAGE = 300


class Directory:
    """Reads what the registries of all living nodes have written.

    Args:
        shards: all: ``RedisManager.shards``, or ``webfarm.redis.blocking.list_shards`` with your own client.

    All methods raise ``redis.RedisError`` if Redis does not answer.
    """

    def __init__(self, shards: Iterable[AnyShard]) -> None:
        self._shards = tuple(shards)

    def get_nodes(self, *, node: str | None = None) -> list[dict[str, Any]]:
        """Return ``{node, server, address, clients, version, since, draining}`` of each, ordered by address.

        ``server`` is HAProxy's name of it, ``None`` as long as no request has told; ``since`` is in milliseconds.

        Args:
            node: only the one with this name, server or address.
        """
        nodes: dict[str, dict[str, Any]] = {}
        for name, description, clients in self._iterate_nodes():
            one = nodes.setdefault(name, {"node": name, **description, "clients": 0})
            one["clients"] += clients
        found = [one for one in nodes.values() if node in (None, one["node"], one["server"], one["address"])]
        for one in found:
            one.pop("namespaces", None)
        return sorted(found, key=lambda one: (one["address"], one["since"]))

    def get_namespaces(self) -> list[str]:
        """Return the namespaces that the nodes serve. One that only a client has named comes some seconds later."""
        namespaces = {"/"}
        for _, description, _ in self._iterate_nodes():
            namespaces.update(description.get("namespaces", ()))
        return sorted(namespaces)

    def iterate_clients(
        self, *, user: str | None = None, room: str | None = None, node: str | None = None, namespace: str | None = "/"
    ) -> Iterator[dict[str, Any]]:
        """Yield ``{sid, userId, namespace, node, transport, rooms, since}`` of each client, once; ``since`` is in ms.

        They are read page by page as they are asked for.

        Args:
            user: only clients of this user.
            room: only those in this room.
            node: only those of the node with this name, server or address.
            namespace: only those of this one; ``None``: of all.
        """
        seen: set[bytes] = set()
        for name, shard in product(self._get_names(node), self._shards):
            pages = _page(shard, "nodes/clients", shard.keys.of_node(name)[:2], name, shard.keys.sessions)
            for sid, encoded, in_rooms in pages:
                description = orjson.loads(encoded)
                if sid in seen or namespace not in (None, description["namespace"]):
                    continue
                if user is not None and description["userId"] != user:
                    continue
                rooms = sorted(one.decode() for one in in_rooms if one != sid)
                if room is None or room in rooms:
                    seen.add(sid)
                    yield {"sid": sid.decode(), **description, "node": name, "rooms": rooms}

    def get_rooms(self, *, node: str | None = None, namespace: str = "/") -> list[dict[str, Any]]:
        """Return ``{room, clients, messages, bytes}`` of each room with a client, ordered by name.

        ``messages`` and ``bytes`` are what is stored of it.

        Args:
            node: count only clients of the node with this name, server or address.
            namespace: only rooms of this one.
        """
        rooms: dict[str, dict[str, Any]] = {}
        for name, shard in product(self._get_names(node), self._shards):
            lease, _, own = shard.keys.of_node(name)
            pages = _page(shard, "nodes/rooms", (lease, own), shard.keys.streams, shard.keys.rooms)
            found = {room: state for room, *state in pages}  # a page may repeat what an earlier one had
            for key, (clients, messages, size) in found.items():
                its_namespace, room = split_name(key.decode())
                if its_namespace != namespace or room is None:
                    continue
                entry = rooms.setdefault(room, {"room": room, "clients": 0})
                entry.update(clients=entry["clients"] + clients, messages=messages, bytes=size)
        return [rooms[room] for room in sorted(rooms)]

    def get_users(self, room: str, *, namespace: str = "/", most: int = 0, is_watched: bool = False) -> dict[str, int]:
        """Return the users in ``room``, or any ``most`` of them, each with the number of its clients there.

        With ``is_watched`` also those, with 0, whose going is not announced yet.
        """
        shard = self._shards[find_shard(room, len(self._shards))]
        keys = shard.keys
        arguments = [name_room(namespace, room), keys.leases, keys.members, most, int(is_watched)]
        found = shard.commands.run("nodes/users", [keys.nodes, keys.present + name_room(namespace, room)], arguments)
        return {found[i].decode(): found[i + 1] for i in range(0, len(found), 2)}

    def _iterate_nodes(self) -> Iterator[tuple[str, dict[str, Any], int]]:
        """Yield name, description and clients of each node, for each shard."""
        for shard in self._shards:
            keys = shard.keys
            found = shard.commands.run("nodes/nodes", [keys.nodes], [keys.leases, keys.clients])
            for name, description, clients in found:
                yield name.decode(), orjson.loads(description), clients

    def _get_names(self, node: str | None) -> list[str]:
        return [one["node"] for one in self.get_nodes(node=node)]


def _page(shard: AnyShard, script: str, keys: Sequence[str], *arguments: str) -> Iterator[Any]:
    cursor: Any = 0
    while True:
        cursor, found = shard.commands.run(script, keys, [cursor, _PAGE, *arguments])
        yield from found
        if cursor == b"0":
            return
