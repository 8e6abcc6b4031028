"""A real cluster: three primaries ``a``, ``b``, ``c``, each with a replica ``ra``, ``rb``, ``rc``."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from webfarm.run import redis_cluster as embedded_cluster
from webfarm.run.programs import find_redis
from webfarm.run.redis_cluster import create, prepare
from webfarm.testing import Process, get_free_ports, wait_until

_OPTIONS = ("--cluster-require-full-coverage", "yes", "--cluster-allow-replica-migration", "no")


@dataclass
class Node:
    """One node, and the client that the tests ask it with."""

    name: str
    own: embedded_cluster.Node
    process: Process | None = None

    def __post_init__(self) -> None:
        self.port, self.bus_port = self.own.port, self.own.bus_port
        self.client: Any = None
        self.connect()
        self.id = ""

    def connect(self, password: str | None = None) -> None:
        if self.client:
            self.client.close()
        self.client = redis.Redis(port=self.port, socket_timeout=5, protocol=2, password=password)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def start(self) -> None:
        self.process = Process(*self.own.argv, *_OPTIONS)
        wait_until(self._answers, f"the node {self.name}")
        self.id = self.ask("CLUSTER", "MYID").decode()

    def ask(self, *command: Any) -> Any:
        return self.client.execute_command(*command)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        self.process.kill(signum)
        if signum == signal.SIGKILL:
            self.process.close()

    def is_replica_of(self, node: "Node") -> bool:
        return self.client.info("replication").get("master_port") == node.port

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


class RedisCluster:
    """A context manager; ``cluster["a"]`` is one of its nodes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> "RedisCluster":
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_all)
            nodes = prepare(find_redis(), self._folder, 3, get_free_ports(12))
            for name, own in zip(("a", "b", "c", "ra", "rb", "rc"), nodes, strict=True):
                self._start_node(name, own)
            create(nodes, 40)
            wait_until(self._is_well, "the cluster", 40)
            stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop_all()

    def _stop_all(self) -> None:
        for node in self.nodes.values():
            self._stop(node)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def url(self) -> str:
        return self.get_url(*"abc")

    def get_url(self, *names: str) -> str:
        """Return a URL that names some of its nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{self[name].port}" for name in names)

    @property
    def primaries(self) -> list[Node]:
        """The present primaries: a replica that a test, or a busy machine, has made one stays one."""
        ports = {primary[1] for _, _, primary, *_ in self._ask_anyone("CLUSTER", "SLOTS")}
        return [node for node in self.nodes.values() if node.port in ports]

    def get_owner(self, slot: int) -> Node:
        """Return the primary of ``slot``."""
        ports = [
            primary[1] for first, last, primary, *_ in self._ask_anyone("CLUSTER", "SLOTS") if first <= slot <= last
        ]
        return next(node for node in self.nodes.values() if [node.port] == ports)

    def get_others(self, node: Node) -> list[Node]:
        """Return the primaries but ``node``."""
        return [one for one in self.primaries if one is not node]

    def heal(self) -> None:
        """Start what was killed, let go on what stands still, and wait until all is well."""
        for node in self.nodes.values():
            if node.process.popen.poll() is not None:
                node.start()
            else:
                node.kill(signal.SIGCONT)
        wait_until(self._is_well, "the cluster", 40)

    def add_node(self, name: str) -> Node:
        """Add a primary without slots."""
        node = self._start_node(name, prepare(find_redis(), self._folder / name, 1, get_free_ports(4))[0])
        node.ask("CLUSTER", "MEET", *self["a"].address, self["a"].bus_port)
        wait_until(lambda: all(node.id in _list_nodes(one) for one in self.nodes.values()), f"all to know {name}")
        wait_until(lambda: node.ask("CLUSTER INFO")["cluster_state"] == "ok", f"{name} to take part")
        return node

    def remove_node(self, name: str) -> None:
        """Stop a node that has no slots, and have the others forget it."""
        node = self.nodes.pop(name)
        self._stop(node)
        for one in self.nodes.values():
            with contextlib.suppress(redis.ResponseError):  # it has heard of it
                one.ask("CLUSTER", "FORGET", node.id)

    @contextlib.contextmanager
    def guarded(self, password: str) -> Iterator[None]:
        """All nodes want a password for the block's time, the replicas' included."""
        for node in self.nodes.values():
            node.client.config_set("masterauth", password)
            node.client.config_set("requirepass", password)
            node.connect(password)
        try:
            yield
        finally:
            for node in self.nodes.values():
                node.client.config_set("requirepass", "")
                node.client.config_set("masterauth", "")
                node.connect()

    def move_slot(self, slot: int, to: Node) -> None:
        """Move a slot, key by key."""
        with self.moving_slot(slot, to):
            pass

    @contextlib.contextmanager
    def moving_slot(self, slot: int, to: Node) -> Iterator[Any]:
        """Move a slot: gives what moves so many keys of it; what is left is moved at the end of the block."""
        source = self.get_owner(slot)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)

        def move_keys(count: int) -> int:
            keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, count)
            if keys:
                source.ask("MIGRATE", *to.address, "", 0, 5000, "KEYS", *keys)
            return len(keys)

        yield move_keys
        while move_keys(100):
            pass
        for node in (to, source, *self.get_others(source)):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", to.id)

    def _start_node(self, name: str, own: embedded_cluster.Node) -> Node:
        node = self.nodes[name] = Node(name, own)
        node.start()
        return node

    def _stop(self, node: Node) -> None:
        node.client.close()
        if node.process.popen.poll() is None:
            node.kill(signal.SIGCONT)
        node.process.close()

    def _is_well(self) -> bool:
        """Whether every node sees all slots with a primary and a replica, which has all that the primary has."""
        try:
            for node in self.nodes.values():
                shards = {(primary[1], len(replicas)) for _, _, primary, *replicas in node.ask("CLUSTER", "SLOTS")}
                info = node.client.info("replication")
                is_linked = info["role"] == "master" or info["master_link_status"] == "up"
                if (
                    node.ask("CLUSTER INFO")["cluster_state"] != "ok"
                    or not is_linked
                    or {count for _, count in shards} != {1}
                ):
                    return False
        except redis.RedisError:
            return False
        return len({tuple(sorted(_list_primaries(node))) for node in self.nodes.values()}) == 1

    def _ask_anyone(self, *command: str) -> Any:
        for node in self.nodes.values():
            with contextlib.suppress(redis.RedisError):
                return node.ask(*command)
        raise AssertionError("no node of the cluster answers")


def _list_nodes(node: Node) -> list[str]:
    lines = node.ask("CLUSTER", "NODES").decode().splitlines()
    return [line.split()[0] for line in lines if "handshake" not in line]


def _list_primaries(node: Node) -> set[tuple[int, int]]:
    return {(first, primary[1]) for first, _, primary, *_ in node.ask("CLUSTER", "SLOTS")}
