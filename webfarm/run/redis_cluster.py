"""A Redis Cluster of its own on this machine: how its nodes are started, and what makes them one cluster.

The cluster is made by commands, as the bundled Valkey comes without ``valkey-cli``. All data is in one folder: the
same nodes, started there again, are the same cluster.
"""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as _SLOTS

from webfarm.errors import Error
from webfarm.redis.client import connect
from webfarm.run.programs import make_folder

HOST = "127.0.0.1"
FIRST_PORT = 6401

_OLDEST = 7
_CREATE_S = 30.0
_POLL_S = 0.1
_OPTIONS = {
    "appendonly": "yes",
    "save": "",
    "loglevel": "warning",
    "cluster-enabled": "yes",
    "cluster-config-file": "nodes.conf",
    "cluster-node-timeout": "2000",
    "cluster-require-full-coverage": "no",  # what is lost with one primary is not lost with all
    "repl-diskless-sync-delay": "0",
}


@dataclass(frozen=True)
class Node:
    """One Redis of the cluster: its port, that of the cluster's own bus, its data, and how it is started."""

    port: int
    bus_port: int
    folder: Path
    argv: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where it is met as a single Redis."""
        return f"redis://{HOST}:{self.port}/0"


def prepare(program: str, folder: Path, size: int, first_port: int = FIRST_PORT, *, replicas: int = 1) -> list[Node]:
    """Return the nodes of a cluster of ``size`` primaries with ``replicas`` each, the primaries first.

    Args:
        program: ``redis-server`` or ``valkey-server``.
        folder: of the data; each node gets a folder in it.
        size: at least 3.
        first_port: of twice as many ports as there are nodes: their own, then those of their bus.
        replicas: of each primary.

    Raises:
        Error: the program is too old.
    """
    _check_version(program)
    nodes = []
    count = size * (1 + replicas)
    for port in range(first_port, first_port + count):
        data, bus_port = folder / str(port), port + count
        make_folder(data)
        own = {"port": str(port), "bind": HOST, "cluster-port": str(bus_port), "dir": str(data)}
        options = [part for name, value in (own | _OPTIONS).items() for part in (f"--{name}", value)]
        nodes.append(Node(port, bus_port, data, (program, *options)))
    return nodes


def _check_version(program: str) -> None:
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r" v=((\d+)\.\S+)", text)
    if found and int(found[2]) < _OLDEST:
        raise Error(f"{program} is version {found[1]}, and a cluster needs {_OLDEST}.0 or later.")


def get_url(nodes: Sequence[Node]) -> str:
    """Return the cluster's ``REDIS_URL``."""
    return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in nodes)


def create(nodes: Sequence[Node], timeout_s: float = _CREATE_S, *, replicas: int = 1) -> None:
    """Make ``nodes``, which are being started, one cluster, unless they are; return when it is whole.

    ``replicas`` as for ``prepare``.

    Raises:
        Error: it is not whole within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not advance(nodes, replicas):
        if time.monotonic() > deadline:
            raise Error(f"the cluster of {get_url(nodes)} is not whole within {timeout_s:g} s.")
        time.sleep(_POLL_S)


def advance(nodes: Sequence[Node], replicas: int = 1) -> bool:
    """Do what can be done now for ``nodes`` to be one whole cluster; return whether it is.

    Whole: each node knows all others, all slots are served, and each primary has its ``replicas``, in step with it.
    Nothing is done twice, so a start that was cut short is taken up where it ended.
    """
    size = len(nodes) // (1 + replicas)
    with ExitStack() as stack:
        try:
            views = [_View(node, stack.enter_context(connect(node.url))) for node in nodes]
            if all(view.is_alone for view in views):
                _assign_slots(views[:size])
            if strangers := [node for node in nodes if node.port not in views[0].ports]:
                views[0].meet(strangers)
            elif all(view.ports == views[0].ports for view in views):
                _assign_replicas(views)
        except redis.RedisError:  # one starts, loads its data, or has not heard of another yet
            return False
    return all(view.is_whole(len(nodes), len(nodes) - size) for view in views)


class _View:
    """The cluster as one of its nodes sees it."""

    def __init__(self, node: Node, client: redis.Redis) -> None:
        self._client: Any = client
        self._info: dict[str, str] = self._client.cluster("info")
        self._replication: dict[str, Any] = self._client.info("replication")
        known: dict[str, Any] = self._client.cluster("nodes")
        present = {
            int(address.rpartition(":")[2]): one
            for address, one in known.items()
            if not {"handshake", "fail"} & set(one["flags"].split(","))
        }
        self.ports = set(present)
        self.replicas = sum(one["master_id"] != "-" for one in present.values())
        own = present[node.port]
        self.id, self.primary, self.slots = own["node_id"], own["master_id"], own["slots"]

    @property
    def is_alone(self) -> bool:
        return self._info["cluster_known_nodes"] == "1"

    @property
    def is_idle(self) -> bool:
        """Whether it is a primary that has nothing to serve."""
        return self.primary == "-" and not self.slots

    def is_whole(self, nodes: int, replicas: int) -> bool:
        served = self._info["cluster_state"] == "ok" and int(self._info["cluster_slots_ok"]) == _SLOTS
        in_step = self._replication["role"] == "master" or self._replication["master_link_status"] == "up"
        return served and in_step and (len(self.ports), self.replicas) == (nodes, replicas)

    def take(self, epoch: int, first: int, last: int) -> None:
        """Serve the slots from ``first`` to ``last``, unless it does."""
        if self._info["cluster_my_epoch"] == "0":
            self._client.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
        if not self.slots:
            self._client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)

    def meet(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self._client.execute_command("CLUSTER MEET", HOST, node.port, node.bus_port)

    def replicate(self, primary: "_View") -> None:
        self._client.execute_command("CLUSTER REPLICATE", primary.id)


def _assign_slots(primaries: Sequence[_View]) -> None:
    bounds = [_SLOTS * i // len(primaries) for i in range(len(primaries) + 1)]
    for epoch, (view, (first, end)) in enumerate(zip(primaries, pairwise(bounds), strict=True), start=1):
        view.take(epoch, first, end - 1)


def _assign_replicas(views: Sequence[_View]) -> None:
    """Make those that have nothing to serve replicas of the primaries with the fewest."""
    replicas = Counter(view.primary for view in views)
    primaries = sorted((view for view in views if view.slots), key=lambda view: replicas[view.id])
    for idle, primary in zip([view for view in views if view.is_idle], primaries, strict=False):
        idle.replicate(primary)


def describe(nodes: Sequence[Node]) -> str:
    """Return the ports of the primaries, and those of the replicas."""
    ports: dict[str, list[str]] = {"master": [], "slave": []}
    for node in nodes:
        with connect(node.url) as client:
            ports[client.role()[0].decode()].append(str(node.port))
    return f"primaries on ports {', '.join(ports['master'])}, replicas on {', '.join(ports['slave'])}"
