"""The directory: who is where in the cluster, read from Redis; no node is asked, and none is waited for."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from chat.realtime.keys import Keys, name_room, split_name
from chat.realtime.scripts import Run

_PAGE = 300


class Directory:
    """What the registries of all living nodes have written.

    Args:
        run: runs a script: ``Commands.run``, or ``chat.realtime.redis_client.run_script`` with a client of one's own.
        keys: how things are called there.

    All methods raise ``redis.RedisError`` if Redis does not answer.
    """

    def __init__(self, run: Run, keys: Keys) -> None:
        self._run = run
        self._keys = keys

    def get_nodes(self, *, node: str | None = None) -> list[dict[str, Any]]:
        """Return ``{node, server, address, clients, version, since, draining}`` of each, ordered by address.

        ``server`` is HAProxy's name of it, ``None`` as long as no request has told; ``since`` is in milliseconds.

        Args:
            node: only the one with this name, server or address.
        """
        keys = self._keys
        found = self._run("nodes", [keys.nodes], [keys.leases, keys.clients])
        nodes = [
            {"node": name.decode(), **orjson.loads(description), "clients": clients}
            for name, description, clients in found
        ]
        if node is not None:
            nodes = [one for one in nodes if node in (one["node"], one["server"], one["address"])]
        return sorted(nodes, key=lambda one: (one["address"], one["since"]))

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
        keys = self._keys
        for name in self._get_names(node):
            pages = self._page("clients", keys.of_node(name)[:2], name, keys.sessions)
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
        keys = self._keys
        for name in self._get_names(node):
            lease, _, own = keys.of_node(name)
            pages = self._page("rooms", (lease, own), keys.streams, keys.rooms)
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
        keys = self._keys
        arguments = [name_room(namespace, room), keys.leases, keys.members, most, int(is_watched)]
        found = self._run("users", [keys.nodes, keys.present + name_room(namespace, room)], arguments)
        return {found[i].decode(): found[i + 1] for i in range(0, len(found), 2)}

    def _get_names(self, node: str | None) -> list[str]:
        return [one["node"] for one in self.get_nodes(node=node)]

    def _page(self, script: str, keys: Sequence[str], *arguments: str) -> Iterator[Any]:
        cursor: Any = 0
        while True:
            cursor, found = self._run(script, keys, [cursor, _PAGE, *arguments])
            yield from found
            if cursor == b"0":
                return
