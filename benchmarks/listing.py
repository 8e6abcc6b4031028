"""Who is connected, on all workers: what does the answer cost?

20,000 clients, spread evenly over four workers. webfarm, the whole chat, is asked by ``webfarm clients --json``, which
reads Redis; then the first 300 clients of the listing are read alone. Node is asked by ``io.fetchSockets()`` on one
worker, which asks all others; it has no pages, and stock python-socketio has no such call. A listing that is not
complete, or has a client twice, is a fault.
"""

import json
import os
import subprocess
from itertools import islice

import redis

from benchmarks.harness import BIN, Farm, Metric
from benchmarks.processes import ROOT
from webfarm.nodes.directory import Directory
from webfarm.redis.blocking import list_shards

CLIENTS, PAGE = 20_000, 300
LOADS = 2  # a process can't have 20,000 sockets everywhere
FARM = {"size": 4, "is_chat": True}
ABLE = ("node", "webfarm")

METRICS = (
    Metric("workers", f"listing {CLIENTS:,} clients: the workers' CPU", "ms"),
    Metric("redis", f"listing {CLIENTS:,} clients: Redis' CPU", "ms"),
    Metric("page", f"the first {PAGE} alone: CPU of workers and Redis", "ms"),
)


def run(farm: Farm, quick: bool) -> dict[str, float]:
    clients = CLIENTS // 10 if quick else CLIENTS
    loads = [farm.add_load() for _ in range(LOADS)]
    for load in loads:
        load.call("connect", ports=farm.ports, count=clients // LOADS)
    farm.settle()
    with farm.measure() as usage:
        number = loads[0].call("list_clients") if farm.peer == "node" else _list(farm)
    if number != clients:
        raise RuntimeError(f"{number} of {clients} clients were listed")
    figures = {"workers": 1000 * usage.workers, "redis": 1000 * usage.redis, "load_share": usage.load_share}
    if farm.peer == "webfarm":
        with farm.measure() as usage:
            _read_page(farm)
        figures["page"] = 1000 * (usage.workers + usage.redis)
    return figures


def _list(farm: Farm) -> int:
    """Return how many clients ``webfarm clients --json`` knows."""
    environ = {**os.environ, "REDIS_URL": farm.store.url}
    done = subprocess.run(
        [BIN / "webfarm", "clients", "--json"], cwd=ROOT, env=environ, capture_output=True, check=True
    )
    clients = json.loads(done.stdout)
    if not all("common" in client["rooms"] for client in clients):
        raise RuntimeError("a client's rooms are missing")
    if len({client["node"] for client in clients}) != farm.size:
        raise RuntimeError("a node is missing")
    return len({client["sid"] for client in clients})


def _read_page(farm: Farm) -> None:
    with redis.Redis.from_url(farm.store.url) as client:
        directory = Directory(list_shards(client, "webfarm"))
        if len(list(islice(directory.iterate_clients(), PAGE))) != PAGE:
            raise RuntimeError("a page is missing")
