"""A Redis Cluster of the tests' own."""

import signal
from pathlib import Path
from typing import Any

import redis

from webfarm.run.programs import find_redis
from webfarm.run.redis_cluster import Node, create, get_url, prepare
from webfarm.testing import Process, get_free_ports


class OwnCluster:
    """Nodes that are started, killed and started again; what is given for one is its place in the list."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        self.nodes: list[Node] = prepare(find_redis(), folder, size, get_free_ports(4 * size))
        self.url = get_url(self.nodes)
        self._processes: dict[int, Process] = {}

    def start(self) -> None:
        """Start those that do not run; return when the cluster is whole."""
        for number in range(len(self.nodes)):
            if number not in self._processes:
                self.start_node(number)
        create(self.nodes)

    def start_node(self, number: int) -> None:
        self._processes[number] = Process(*self.nodes[number].argv)

    def kill(self, number: int) -> None:
        process = self._processes.pop(number)
        process.kill(signal.SIGKILL)
        process.wait()
        process.close()

    def signal(self, number: int, signum: int) -> None:
        self._processes[number].kill(signum)

    def ask(self, number: int, *command: Any) -> Any:
        with redis.Redis.from_url(self.nodes[number].url, decode_responses=True) as client:
            return client.execute_command(*command)

    def answers(self, number: int) -> bool:
        try:
            return bool(self.ask(number, "PING"))
        except redis.RedisError:
            return False

    def get_role(self, number: int) -> str:
        return str(self.ask(number, "ROLE")[0])

    def open(self) -> redis.RedisCluster:
        first = self.nodes[0]
        return redis.RedisCluster.from_url(first.url, decode_responses=True)

    def close(self) -> None:
        for number in sorted(self._processes, reverse=True):
            self._processes.pop(number).close()
