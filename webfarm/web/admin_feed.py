"""The feed of the Admin UI: the nodes' figures, and all clients of the farm with their rooms.

While an admin is connected to this worker, the feed reads them from Redis and the nodes every two seconds. It tells
each page the changes since the last time, never more than the page can take at a time.
"""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from time import time
from typing import Any, NamedTuple

import gevent
import redis
from gevent.event import Event

from webfarm.errors import Unavailable
from webfarm.nodes.directory import Directory
from webfarm.web.admin_auth import USER
from webfarm.web.figures import Figures

log = logging.getLogger(__name__)

#: The feed tells a page of at most so many clients.
MAX_CLIENTS = 10_000

_EVERY_S = 2.0
_GATHER_S = 0.25  # for an admin's action to end, and for more actions
_IN_A_ROW = 100  # clients; then other greenlets get their turn

# The page's histograms, and the counts whose growth each shows.
_TOTALS = {
    "rawConnection": "connections_opened",
    "rawDisconnection": "connections_closed",
    "bytesIn": "received_bytes",
    "bytesOut": "sent_bytes",
}

Sent = tuple[str, tuple[Any, ...]]  # an event and its arguments
Send = Callable[[str, tuple[Any, ...], list[str]], None]  # given the sids of pages, too


class Client(NamedTuple):
    """A client, as a page was told of it."""

    namespace: str
    transport: str
    rooms: frozenset[str]  # its own included


class Page:
    """The clients that one admin's page knows.

    Args:
        max_bytes: about so many bytes are sent to it at a time.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._known: dict[str, Client] | None = None

    def update(self, clients: dict[str, dict[str, Any]], now: str) -> Iterator[Sent]:
        """Yield the events for the page: at first a list, then changes; of very many changes, some.

        Args:
            clients: all, by sid, as ``Directory.iterate_clients`` has them, each with its ``server``.
            now: the time, as ISO 8601 has it.
        """
        if self._known is None:
            self._known = {}
            yield "all_sockets", (self._list_first(self._known, clients),)
            return
        size = 0
        for changes in self._find_changes(self._known, clients, now):
            yield from changes
            size += _measure(changes)
            if size >= self._max_bytes:
                return

    def _list_first(self, known: dict[str, Client], clients: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        listed, size = [], 0
        for sid, client in clients.items():
            listed.append(_serialize(client))
            known[sid] = _describe(client)
            size += _measure(listed[-1])
            if size >= self._max_bytes:
                break
        return listed

    def _find_changes(
        self, known: dict[str, Client], clients: dict[str, dict[str, Any]], now: str
    ) -> Iterator[list[Sent]]:
        """Yield the changes of one client after the other; once they are taken, the page knows them."""
        for sid in known.keys() - clients.keys():
            gone = known.pop(sid)
            left: list[Sent] = [("room_left", (gone.namespace, room, sid, now)) for room in gone.rooms]
            yield [*left, ("socket_disconnected", (gone.namespace, sid, "", now))]
        for sid, client in clients.items():
            before, current = known.get(sid), _describe(client)
            if before == current:
                continue
            known[sid] = current
            if before is None:
                yield [("socket_connected", (_serialize(client), now))]
                continue
            yield list(_compare(sid, before, current, now))


class Feed:
    """Sends the pages of this worker's admins what they show.

    Args:
        send: sends an event to some of them, without waiting.
        is_here: says whether a page is connected, or about to be.
        directory: lists the farm's clients.
        figures: of the nodes.
        max_bytes: about so many bytes are sent to a page at a time.
    """

    def __init__(
        self, send: Send, is_here: Callable[[str], bool], directory: Directory, figures: Figures, max_bytes: int
    ) -> None:
        self._send = send
        self._is_here = is_here
        self._max_bytes = max_bytes
        self._directory = directory
        self._figures = figures
        self._pages: dict[str, Page] = {}
        self._told: dict[str, dict[str, Any]] = {}  # the figures of each node
        self._is_due = Event()
        self._is_running = False

    def add(self, sid: str) -> None:
        """Feed an admin's page from now on, beginning at once, until it disconnects."""
        self._pages[sid] = Page(self._max_bytes)
        self.refresh()
        if not self._is_running:
            self._is_running = True
            gevent.spawn(self._run)

    def refresh(self) -> None:
        """Read again now, because an admin has changed something."""
        self._is_due.set()

    def _run(self) -> None:
        while self._pages:
            self._is_due.clear()
            try:
                self._tell()
            except (Unavailable, redis.RedisError) as error:
                log.debug("admins are told nothing: %s", error)
            except (Exception, gevent.Timeout):
                log.exception("admins could not be told")
            self._is_due.wait(_EVERY_S)
            gevent.sleep(_GATHER_S)
            self._pages = {sid: page for sid, page in self._pages.items() if self._is_here(sid)}
        self._told = {}
        self._is_running = False

    def _tell(self) -> None:
        nodes = self._figures.fetch()
        before, self._told = self._told, {one["node"]: one["figures"] for one in nodes if one["figures"]}
        for node in nodes:
            if node["figures"]:
                stats = _describe_server(node, before.get(node["node"], node["figures"]))
                self._send("server_stats", (stats,), list(self._pages))
        servers = {one["node"]: one["server"] or one["address"] for one in nodes}
        found = islice(self._directory.iterate_clients(namespace=None), MAX_CLIENTS)
        clients = {client["sid"]: client | {"server": servers.get(client["node"], "")} for client in found}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for sid, page in list(self._pages.items()):
            for count, (event, arguments) in enumerate(page.update(clients, now)):
                self._send(event, arguments, [sid])
                if count % _IN_A_ROW == _IN_A_ROW - 1:
                    gevent.sleep(0)


def _describe_server(node: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return a node as the page wants it; ``before`` are the figures that the page was told last."""
    figures = node["figures"]
    host, second = node["address"].rpartition(":")[0], int(time()) * 1000
    return {
        "serverId": node["node"],
        "hostname": f"{host} ({node['server']})" if node["server"] else host,
        "pid": figures["pid"],
        "uptime": int(time() - node["since"] / 1000),
        "clientsCount": sum(figures["clients"].values()),
        "pollingClientsCount": figures["clients"]["polling"],
        "namespaces": [{"name": one, "socketsCount": count} for one, count in figures["namespaces"].items()],
        "aggregatedEvents": [
            {"type": kind, "timestamp": second, "count": figures[total] - before[total]}
            for kind, total in _TOTALS.items()
            if figures[total] > before[total]
        ],
    }


def _measure(value: Any) -> int:
    """Return about how many bytes it takes to send that."""
    return len(json.dumps(value, default=list))


def _describe(client: dict[str, Any]) -> Client:
    return Client(client["namespace"], client["transport"], frozenset((client["sid"], *client["rooms"])))


def _compare(sid: str, before: Client, current: Client, now: str) -> Iterator[Sent]:
    if before.transport != current.transport:
        yield "socket_updated", ({"id": sid, "nsp": current.namespace, "transport": current.transport},)
    for room in current.rooms - before.rooms:
        yield "room_joined", (current.namespace, room, sid, now)
    for room in before.rooms - current.rooms:
        yield "room_left", (current.namespace, room, sid, now)


def _serialize(client: dict[str, Any]) -> dict[str, Any]:
    """Return a client as the page wants it.

    Its address is not known to the registry: there the page shows who it is, and where.
    """
    sid, user, since = client["sid"], client["userId"], client["since"]
    return {
        "id": sid,
        "clientId": sid,
        "transport": client["transport"],
        "nsp": client["namespace"],
        "data": {key: client[key] for key in ("userId", "server", "node")},
        "handshake": {
            "address": f"{user if user is not None else USER}, {client['server']}",
            "headers": {},
            "query": {} if user is None else {"userId": user},
            "issued": since,
            "time": datetime.fromtimestamp(since / 1000, UTC).isoformat(timespec="seconds"),
            "url": "/socket.io/",
            "secure": False,
            "xdomain": False,
        },
        "rooms": [sid, *client["rooms"]],
    }
