"""The Redis of a farm: one, or a cluster. Nothing of it is kept on disk."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis

from benchmarks.processes import Process, get_free_ports, is_listening, wait_until
from webfarm.run.programs import find_redis
from webfarm.run.redis_cluster import create, get_url, prepare

#: How webfarm is compared with itself: each kind of Redis, and what the workers are told of it.
STORES = {
    "single": {},
    "replicated": {},
    "primaries": {"WEBFARM_WAIT_REPLICAS": "0"},
    "cluster": {"WEBFARM_WAIT_REPLICAS": "0"},
    "waiting": {"WEBFARM_WAIT_REPLICAS": "1"},
}

_PRIMARIES = 3  # of a cluster
_OPTIONS = ("--save", "", "--appendonly", "no", "--loglevel", "warning", "--repl-diskless-sync-delay", "0")
_CLUSTER_OPTIONS = ("--cluster-node-timeout", "30000")  # on a busy machine, nobody takes a primary for dead


@dataclass(frozen=True)
class Store:
    """Redis' processes, and the environment that tells the workers of them."""

    url: str
    env: dict[str, str]
    ports: tuple[int, ...]  # of the primaries
    primaries: tuple[Process, ...]
    replicas: tuple[Process, ...] = ()

    def get_memory(self) -> int:
        """Return how many bytes of data the primaries hold."""
        return self._sum("used_memory_dataset")

    def get_traffic(self) -> int:
        """Return how many bytes the primaries have received and sent, without what goes to replicas."""
        sent = self._sum("total_net_output_bytes") - self._sum("total_net_repl_output_bytes")
        return self._sum("total_net_input_bytes") + sent

    def _sum(self, name: str) -> int:
        """Return the sum of a figure of ``INFO`` over all primaries."""
        total = 0
        for port in self.ports:
            with redis.Redis(port=port) as client:
                total += client.info()[name]
        return total


@contextlib.contextmanager
def open_store(peer: str) -> Iterator[Store]:
    """Start the Redis of a farm of ``peer``; a cluster for those of ``STORES`` that are one."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="webfarm-bench-")))
        if peer in ("primaries", "cluster", "waiting"):
            store = _start_cluster(stack, folder, replicas=int(peer != "primaries"))
        else:
            store = _start_single(stack, folder, has_replica=peer == "replicated")
        store.env.update({"REDIS_URL": store.url}, **STORES.get(peer, {}))
        yield store


def _start_single(stack: contextlib.ExitStack, folder: Path, *, has_replica: bool) -> Store:
    processes = []
    port = get_free_ports(1 + has_replica)
    for number, more in enumerate([(), ("--replicaof", f"127.0.0.1 {port}")][: 1 + has_replica]):
        own = folder / str(number)
        own.mkdir()
        argv = (find_redis(), "--port", str(port + number), "--bind", "127.0.0.1", "--dir", str(own), *_OPTIONS, *more)
        processes.append(process := _start(stack, *argv))
        wait_until(partial(is_listening, port + number), "Redis", process)
    if has_replica:
        with redis.Redis(port=port) as client:
            wait_until(lambda: client.wait(1, 100) == 1, "the replica", *processes)
    return Store(f"redis://127.0.0.1:{port}/0", {}, (port,), tuple(processes[:1]), tuple(processes[1:]))


def _start_cluster(stack: contextlib.ExitStack, folder: Path, *, replicas: int) -> Store:
    first_port = get_free_ports(2 * _PRIMARIES * (1 + replicas))
    nodes = prepare(find_redis(), folder, _PRIMARIES, first_port, replicas=replicas)
    processes = [_start(stack, *node.argv, *_OPTIONS, *_CLUSTER_OPTIONS) for node in nodes]
    create(nodes, replicas=replicas)
    ports = tuple(node.port for node in nodes[:_PRIMARIES])
    return Store(get_url(nodes), {}, ports, tuple(processes[:_PRIMARIES]), tuple(processes[_PRIMARIES:]))


def _start(stack: contextlib.ExitStack, *argv: str) -> Process:
    process = Process(*argv, stdout=subprocess.DEVNULL)
    stack.callback(process.kill)
    return process
