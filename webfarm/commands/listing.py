"""``webfarm clients``, ``webfarm rooms``, ``webfarm nodes``: what is connected, as a table for people or as JSON."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import redis
from tabulate import tabulate

from webfarm.errors import Error
from webfarm.nodes.directory import Directory
from webfarm.redis.blocking import list_shards
from webfarm.redis.client import connect
from webfarm.redis.url import get_database, without_password
from webfarm.settings import Settings

_NUMBERS = ("clients", "messages", "bytes")

Row = dict[str, Any]


class Filters(NamedTuple):
    """What a listing is narrowed to; ``None`` does not narrow."""

    user: str | None = None
    room: str | None = None
    node: str | None = None  # its name, its address, or HAProxy's name of it
    namespace: str | None = "/"  # of clients and rooms


def list_clients(directory: Directory, filters: Filters) -> list[Row]:
    """Return the clients that the filters leave."""
    return list(directory.iterate_clients(**filters._asdict()))


def list_rooms(directory: Directory, filters: Filters) -> list[Row]:
    """Return the rooms; of a user, those that its clients are in."""
    rooms = directory.get_rooms(node=filters.node, namespace=filters.namespace or "/")
    if filters.room is not None:
        rooms = [row for row in rooms if row["room"] == filters.room]
    if filters.user is not None:
        clients = directory.iterate_clients(**filters._replace(room=None)._asdict())
        names = {room for client in clients for room in client["rooms"]}
        rooms = [row for row in rooms if row["room"] in names]
    return rooms


def list_nodes(directory: Directory, filters: Filters) -> list[Row]:
    """Return the nodes; of a user or a room, those that have such clients."""
    nodes = directory.get_nodes(node=filters.node)
    if filters.user is not None or filters.room is not None:
        names = {client["node"] for client in directory.iterate_clients(**filters._asdict())}
        nodes = [row for row in nodes if row["node"] in names]
    return nodes


def list_others(directory: Directory, filters: Filters) -> list[str]:
    """Return the other namespaces that have clients which the filters leave."""
    if directory.get_namespaces() == [filters.namespace]:
        return []  # so that no client is read twice
    everywhere = directory.iterate_clients(**filters._replace(namespace=None)._asdict())
    return sorted({client["namespace"] for client in everywhere} - {filters.namespace})


_LISTINGS: dict[str, tuple[Callable[[Directory, Filters], list[Row]], Sequence[str]]] = {
    "clients": (list_clients, ("sid", "userId", "node", "transport", "rooms", "since")),
    "rooms": (list_rooms, ("room", "clients", "messages", "bytes")),
    "nodes": (list_nodes, ("node", "server", "address", "clients", "version", "since", "draining")),
}


class Listing(NamedTuple):
    """A listing as text, and the other namespaces that have clients."""

    text: str
    others: list[str]


def render(name: str, settings: Settings, filters: Filters, *, as_json: bool) -> Listing:
    """Return ``clients``, ``rooms`` or ``nodes`` of the farm. Raises ``Error`` if Redis does not answer."""
    listing, columns = _LISTINGS[name]
    with _open_directory(settings) as directory:
        rows = listing(directory, filters)
        others = list_others(directory, filters) if name != "nodes" else []
    return Listing(_render_json(columns, rows) if as_json else _render_table(columns, rows), others)


def _render_json(columns: Sequence[str], rows: list[Row]) -> str:
    return orjson.dumps([{column: row[column] for column in columns} for row in rows]).decode()


def _render_table(columns: Sequence[str], rows: list[Row]) -> str:
    cells = [[_show(column, row[column]) for column in columns] for row in rows]
    alignment = ["right" if column in _NUMBERS else "left" for column in columns]
    return tabulate(cells, columns, tablefmt="simple", disable_numparse=True, colalign=alignment if cells else None)


def _show(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column == "since":
        return datetime.fromtimestamp(value / 1000).isoformat(" ", "seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


@contextmanager
def _open_directory(settings: Settings) -> Iterator[Directory]:
    try:
        with closing(connect(settings.redis_url)) as client:
            shards = list_shards(client, settings.prefix, settings.shards, get_database(settings.redis_url))
            with closing(shards):
                shards.check()
                yield Directory(shards)
    except redis.RedisError as error:
        reason = str(error).rstrip(".")
        raise Error(f"the Redis at {without_password(settings.redis_url)} does not answer: {reason}.") from None
