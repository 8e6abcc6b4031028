"""The Redis of a farm: one, or a cluster. Nothing of it is kept on disk."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks.processes import Process, get_free_ports, is_listening, wait_until
from chat.embedded_cluster import create, get_url, prepare
from chat.programs import find_redis

#: How webfarm is compared with itself: each kind of Redis, and what the workers are told of it.
STORES = {
    "single": {},
    "cluster": {"CHAT_WAIT_REPLICAS": "0"},
    "waiting": {"CHAT_WAIT_REPLICAS": "1"},
}

_PRIMARIES = 3  # of a cluster, with a replica each
_OPTIONS = ("--save", "", "--appendonly", "no", "--loglevel", "warning")
_CLUSTER_OPTIONS = ("--cluster-node-timeout", "30000")  # on a busy machine, nobody takes a primary for dead


@dataclass(frozen=True)
class Store:
    """Redis' processes, and the environment that tells the workers of them."""

    url: str
    env: dict[str, str]
    ports: tuple[int, ...]  # of the primaries
    primaries: tuple[Process, ...]
    replicas: tuple[Process, ...] = ()

    def count(self, *names: str) -> int:
        """Return the sum of some figures of ``INFO`` over all primaries."""
        total = 0
        for port in self.ports:
            with redis.Redis(port=port) as client:
                info = client.info()
                total += sum(info[name] for name in names)
        return total

    def get_memory(self) -> int:
        """Return how many bytes the primaries hold, without what they keep for replicas."""
        return self.count("used_memory_dataset")

    def get_traffic(self) -> int:
        """Return how many bytes the primaries have received and sent, without what they keep in step with replicas."""
        return self.count("total_net_input_bytes", "total_net_output_bytes")


@contextlib.contextmanager
def open_store(peer: str) -> Iterator[Store]:
    """Start the Redis of a farm of ``peer``; a cluster for those of ``STORES`` that are one."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="webfarm-bench-")))
        is_cluster = peer in STORES and peer != "single"
        store = _start_cluster(stack, folder) if is_cluster else _start_single(stack, folder)
        store.env.update({"REDIS_URL": store.url}, **STORES.get(peer, {}))
        yield store


def _start_single(stack: contextlib.ExitStack, folder: Path) -> Store:
    port = get_free_ports(1)
    process = _start(stack, find_redis(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *_OPTIONS)
    wait_until(lambda: is_listening(port), "Redis", process)
    return Store(f"redis://127.0.0.1:{port}/0", {}, (port,), (process,))


def _start_cluster(stack: contextlib.ExitStack, folder: Path) -> Store:
    nodes = prepare(find_redis(), folder, _PRIMARIES, get_free_ports(4 * _PRIMARIES))
    processes = [_start(stack, *node.argv, *_OPTIONS, *_CLUSTER_OPTIONS) for node in nodes]
    create(nodes)
    ports = tuple(node.port for node in nodes[:_PRIMARIES])
    return Store(get_url(nodes), {}, ports, tuple(processes[:_PRIMARIES]), tuple(processes[_PRIMARIES:]))


def _start(stack: contextlib.ExitStack, *argv: str) -> Process:
    process = Process(*argv, stdout=subprocess.DEVNULL)
    stack.callback(process.kill)
    return process
