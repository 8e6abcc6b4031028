"""The figures of all nodes. A worker asks for them when an admin looks; otherwise they cost nothing."""

import os
import time
from typing import Any

from gevent.lock import BoundedSemaphore

from webfarm.monitoring.counters import counters
from webfarm.monitoring.gauges import gauges
from webfarm.redis.client import redis_errors_as_unavailable
from webfarm.socketio.server import Server

_EVENT = "figures"
_TIMEOUT_S = 1.0  # a stalled node is not waited for
_GOOD_S = 0.8  # in which all admins are shown the same figures


class Figures:
    """The figures of a farm's nodes.

    Args:
        server: this node's; it also answers the other nodes.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._is_asking = BoundedSemaphore()
        self._nodes: list[dict[str, Any]] = []
        self._good_until = 0.0
        server.on_server_event(_EVENT, self._describe)

    def fetch(self) -> list[dict[str, Any]]:
        """Return the nodes as ``Directory.get_nodes`` does, each with its ``figures``, or ``None`` and a ``problem``.

        ``figures`` are those of ``Gauges.snapshot``, and ``at`` (the node's own clock, in seconds), ``pid``,
        ``namespaces`` (the number of clients of each), ``connections_opened`` and ``connections_closed``.

        Raises:
            Unavailable: Redis does not answer.
        """
        with self._is_asking:
            if time.monotonic() >= self._good_until:
                self._nodes = self._ask()
                self._good_until = time.monotonic() + _GOOD_S
        return self._nodes

    def _ask(self) -> list[dict[str, Any]]:
        found = self._server.server_call(_EVENT, timeout=_TIMEOUT_S)
        figures = {**found.by_node, self._server.manager.node: self._describe()}
        with redis_errors_as_unavailable():
            nodes = self._server.manager.directory.get_nodes()
        for one in nodes:
            one["figures"] = figures.get(one["node"])
            one["problem"] = None if one["figures"] else found.missing.get(one["node"], "it is gone")
        return nodes

    def _describe(self) -> dict[str, Any]:
        return {
            **gauges.snapshot(),
            "at": time.monotonic(),
            "pid": os.getpid(),
            "namespaces": {name: len(rooms[None]) for name, rooms in self._server.manager.rooms.items()},
            "connections_opened": counters.connections_opened,
            "connections_closed": counters.connections_closed.total(),
        }
