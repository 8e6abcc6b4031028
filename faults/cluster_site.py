"""A farm whose Redis is a cluster: three primaries, each with a replica, and a pair of nodes that can join them."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.harness import get_free_ports, wait_until
from faults.processes import is_alive
from faults.site import Site
from webfarm.redis.keys import Keys, find_shard
from webfarm.run.programs import find_redis
from webfarm.run.redis_cluster import HOST, Node, create, get_url, prepare

SHARDS = 8
_SIZE = 3
_FAILOVER_S = 60.0
_KEYS_AT_ONCE = 10


class ClusterSite(Site):
    """A ``Site`` on a Redis Cluster; a shard is given by its number."""

    kind = "cluster"

    def __init__(self, peer: str, folder: Path, **options: Any) -> None:
        nodes = prepare(find_redis(), folder / "redis", _SIZE + 1, get_free_ports(4 * (_SIZE + 1)))
        self.nodes, self._spare = nodes[: 2 * _SIZE], nodes[2 * _SIZE :]
        super().__init__(peer, folder, **{"REDIS_URL": get_url(self.nodes)} | options)

    def start_redis(self) -> None:
        """Start the nodes that do not run; return when the cluster is whole."""
        for node in self.nodes:
            self._start_node(node)
        create(self.nodes, _FAILOVER_S)

    def _start_node(self, node: Node) -> None:
        name = f"redis-{node.port}"
        if name not in self._processes or not is_alive(self._processes[name].pid):
            node.folder.mkdir(exist_ok=True)
            self._start(name, *node.argv)

    # What the cluster says

    def ask(self, node: Node, *command: Any) -> Any:
        once = Retry(NoBackoff(), 0)
        with Redis(port=node.port, socket_timeout=5, decode_responses=True, retry=once) as client:
            return client.execute_command(*command)

    def _ask_others(self, node: Node | None, *command: Any) -> Any:
        """Return what the first one answers that is not ``node``, and not stopped."""
        for one in self.nodes:
            if one is not node:
                with contextlib.suppress(RedisError):
                    return self.ask(one, *command)
        raise RuntimeError("no node of the cluster answers")

    def _get_ranges(self, but: Node | None = None) -> list[tuple[int, int, Node]]:
        by_port = {node.port: node for node in (*self.nodes, *self._spare)}
        slots = self._ask_others(but, "CLUSTER", "SLOTS")
        return [(first, last, by_port[primary[1]]) for first, last, primary, *_ in slots]

    def get_primaries(self, but: Node | None = None) -> list[Node]:
        """Return those that have slots, as another node than ``but`` sees it."""
        return list(dict.fromkeys(node for _, _, node in self._get_ranges(but)))

    def get_primary(self, shard: int) -> Node:
        """Return the primary that has a shard."""
        slot = self.get_slot(shard)
        return next(node for first, last, node in self._get_ranges() if first <= slot <= last)

    def get_slot(self, shard: int) -> int:
        return Keys(self._env.get("WEBFARM_PREFIX", "webfarm"), shard, SHARDS).slot

    def get_shards_of(self, node: Node) -> list[int]:
        """Return the shards that a primary has."""
        ranges = [(first, last) for first, last, primary in self._get_ranges() if primary is node]
        return [
            shard for shard in range(SHARDS) if any(first <= self.get_slot(shard) <= last for first, last in ranges)
        ]

    @property
    def primaries(self) -> list[Redis]:
        ports = [node.port for node in self.get_primaries()]
        return [Redis(port=port, socket_timeout=5, decode_responses=True) for port in ports]

    # What happens to it

    def set_redis_read_only(self, is_read_only: bool) -> None:
        for primary in self.primaries:
            primary.config_set("min-replicas-to-write", 2 * _SIZE if is_read_only else 0)

    def signal_node(self, node: Node, signum: int) -> None:
        os.kill(self._processes[f"redis-{node.port}"].pid, signum)

    def kill_node(self, node: Node) -> None:
        self._processes[f"redis-{node.port}"].kill()

    def kill_replicas(self) -> None:
        primaries = self.get_primaries()
        for node in self.nodes:
            if node not in primaries:
                self.kill_node(node)

    def shut_redis_down(self) -> None:
        """SIGTERM of all nodes; return when they have ended."""
        self.signal_redis(signal.SIGTERM)
        wait_until(lambda: not any(is_alive(process.pid) for process in self._redises), "the end of all nodes")
        self.kill_redis()  # which is over, but not waited for

    def wait_for_takeover(self, old: Node) -> None:
        """Wait until a replica has what ``old`` had."""
        wait_until(lambda: old not in self.get_primaries(old), f"a takeover of {old.port}", timeout_s=_FAILOVER_S)

    def hand_over(self, node: Node) -> None:
        """Have a replica take over from a primary that works."""
        own = self.ask(node, "CLUSTER", "MYID")
        rows = [row.split() for row in self.ask(node, "CLUSTER", "REPLICAS", own)]
        port = int(rows[0][1].partition("@")[0].rpartition(":")[2])
        replica = next(one for one in self.nodes if one.port == port)
        self.ask(replica, "CLUSTER", "FAILOVER")
        self.wait_for_takeover(node)

    @contextlib.contextmanager
    def without_takeover(self) -> Iterator[None]:
        """No replica takes over for the block's time, at whose end all nodes are to run."""
        self._allow_takeover(False)
        try:
            yield
            create(self.nodes, _FAILOVER_S)  # while one is taken for dead, its replica would take over at once
        finally:
            self._allow_takeover(True)

    def _allow_takeover(self, is_allowed: bool) -> None:
        for node in self.nodes:
            self.ask(node, "CONFIG", "SET", "cluster-replica-no-failover", "no" if is_allowed else "yes")

    def add_pair(self, shard: int, move: Callable[["ClusterSite", int, Node], None]) -> None:
        """Add a primary, which is given a shard, and then its replica."""
        new, _ = self._spare
        self._start_node(new)
        wait_until(lambda: self._is_met(new), f"all to know {new.port}", timeout_s=_FAILOVER_S)
        move(self, shard, new)
        self.nodes, self._spare = [*self.nodes, *self._spare], []
        self.start_redis()

    def _is_met(self, new: Node) -> bool:
        with contextlib.suppress(RedisError):
            own = self.ask(new, "CLUSTER", "MYID")
            if all(own in self.ask(node, "CLUSTER", "NODES") for node in self.nodes):
                return "cluster_state:ok" in self.ask(new, "CLUSTER", "INFO")
            self.ask(self.nodes[0], "CLUSTER", "MEET", HOST, new.port, new.bus_port)
        return False

    def get_shard(self, room: str) -> int:
        """Return the shard of a room."""
        return find_shard(room, SHARDS)


def move_by_keys(site: ClusterSite, shard: int, target: Node) -> None:
    """Move a shard's slot to another primary, some keys at a time (CLUSTER SETSLOT, MIGRATE)."""
    slot, source = site.get_slot(shard), site.get_primary(shard)
    own, new = site.ask(source, "CLUSTER", "MYID"), site.ask(target, "CLUSTER", "MYID")
    site.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", own)
    site.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", new)
    while keys := site.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, _KEYS_AT_ONCE):
        site.ask(source, "MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
    for node in dict.fromkeys((target, source, *site.get_primaries())):
        site.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", new)


def move_at_once(site: ClusterSite, shard: int, target: Node) -> None:
    """Move a shard's slot to another primary as Valkey 9 does it (CLUSTER MIGRATESLOTS)."""
    slot, source = site.get_slot(shard), site.get_primary(shard)
    new = site.ask(target, "CLUSTER", "MYID")
    site.ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", new)
    wait_until(lambda: site.get_primary(shard) is target, f"slot {slot} to be moved", timeout_s=_FAILOVER_S)
    time.sleep(0.1)  # until the others have heard of it, too
