"""A farm whose Redis is three, a primary and two replicas, watched by three sentinels; and what happens to it."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis

from benchmarks.processes import get_free_ports, wait_until
from faults.crowd import Crowd
from faults.oracle import Event
from faults.site import Site
from webfarm.run.programs import find_redis

_NAME = "farm"
_NODES = 3
_DOWN_MS = 3000  # of silence, until a sentinel takes a node for dead; at 1 s a busy machine is taken for it
_PAUSE_MS = 15_000  # longer than an old primary takes writes
_FAILOVER_S = 60.0


class SentinelSite(Site):
    """A ``Site`` whose workers ask sentinels for Redis."""

    def __init__(self, peer: str, folder: Path, **options: Any) -> None:
        first = get_free_ports(2 * _NODES)
        self._nodes = [first + number for number in range(_NODES)]
        self._sentinels = [first + _NODES + number for number in range(_NODES)]
        addresses = ",".join(f"127.0.0.1:{port}" for port in self._sentinels)
        super().__init__(peer, folder, **{"REDIS_URL": f"redis+sentinel://{addresses}/{_NAME}/0"} | options)

    def start_redis(self) -> None:
        primary, *_ = self._nodes
        for port in self._nodes:
            self.start_node(port, primary if port != primary else None)
        wait_until(self._is_replicated, "the replicas")  # sentinels look only every 10 s
        for port in self._sentinels:
            config = self._folder / f"sentinel-{port}.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self._folder}\n"
                f"sentinel monitor {_NAME} 127.0.0.1 {primary} 2\n"
                f"sentinel down-after-milliseconds {_NAME} {_DOWN_MS}\nsentinel failover-timeout {_NAME} 10000\n"
            )
            self._start(f"sentinel-{port}", find_redis(), str(config), "--sentinel")
        wait_until(self._is_watched, "the sentinels", timeout_s=_FAILOVER_S)

    def start_node(self, port: int, primary: int | None) -> None:
        """Start a data node, as a replica of ``primary`` if there is one."""
        folder = self._folder / f"redis/{port}"
        folder.mkdir(exist_ok=True)
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--loglevel", "warning"]
        options += ["--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"]
        options += ["--replicaof", f"127.0.0.1 {primary}"] if primary else []
        self._start(f"redis-{port}", find_redis(), *options)

    def ask(self, command: str) -> Any:
        """Return what a sentinel answers to ``SENTINEL command farm``."""
        with contextlib.closing(
            redis.Redis(port=self._sentinels[0], socket_timeout=5, decode_responses=True)
        ) as client:
            return client.execute_command("SENTINEL", *command.split(), _NAME)

    @property
    def primary(self) -> int:
        """The port of the primary, by the sentinels."""
        return int(self.ask("GET-MASTER-ADDR-BY-NAME")[1])

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis(port=self.primary, socket_timeout=5, decode_responses=True)

    def _is_replicated(self) -> bool:
        with contextlib.closing(redis.Redis(port=self._nodes[0], socket_timeout=5)) as client:
            try:
                return bool(client.execute_command("WAIT", _NODES - 1, 100) == _NODES - 1)
            except redis.RedisError:
                return False

    def _is_watched(self) -> bool:
        """Whether the sentinels know the replicas and each other."""
        try:
            return bool(self.ask("CKQUORUM")) and len(self.ask("REPLICAS")) == _NODES - 1
        except redis.RedisError:
            return False

    def wait_for_another_primary(self, old: int) -> None:
        wait_until(lambda: self.primary != old, "another primary", timeout_s=_FAILOVER_S)

    def kill_primary(self, cut_off_s: float = 0.0) -> None:
        """`kill -9` of the primary, ``cut_off_s`` after its replicas were cut off; it comes back as a replica."""
        old = self.primary
        with self._replicas_cut_off(old) if cut_off_s else contextlib.nullcontext():
            time.sleep(cut_off_s)
            self._processes[f"redis-{old}"].kill()
        self.wait_for_another_primary(old)
        self.start_node(old, self.primary)

    @contextlib.contextmanager
    def _replicas_cut_off(self, primary: int) -> Iterator[None]:
        """What the primary takes in the block's time reaches no replica, as if its machine were cut off."""
        replicas = [self._processes[f"redis-{port}"].pid for port in self._nodes if port != primary]
        for pid in replicas:
            os.kill(pid, signal.SIGSTOP)
        with contextlib.closing(redis.Redis(port=primary, socket_timeout=5)) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        try:
            yield
        finally:
            for pid in replicas:
                os.kill(pid, signal.SIGCONT)

    def failover(self, *, paused: bool = False) -> None:
        """Have the sentinels make another node the primary; ``paused``: the old one takes no writes any more."""
        old = self.primary
        if paused:
            with contextlib.closing(self.redis) as client:
                client.execute_command("CLIENT", "PAUSE", _PAUSE_MS, "WRITE")
        self.ask("FAILOVER")
        self.wait_for_another_primary(old)


def sentinel_kill(site: SentinelSite, crowd: Crowd) -> None:
    """`kill -9` of Redis' primary under Sentinel, with `WAIT 1`."""
    site.kill_primary()
    _settle(site)


def sentinel_cut_off(site: SentinelSite, crowd: Crowd) -> None:
    """Redis' primary cut off from its replicas for half a second, then `kill -9`, with `WAIT 1`."""
    site.kill_primary(cut_off_s=0.5)
    _settle(site)


def sentinel_cut_off_without_wait(site: SentinelSite, crowd: Crowd) -> None:
    """Redis' primary cut off from its replicas for half a second, then `kill -9`, without `WAIT`."""
    sentinel_cut_off(site, crowd)


def sentinel_failover(site: SentinelSite, crowd: Crowd) -> None:
    """`SENTINEL FAILOVER`, with `WAIT 1`."""
    site.failover()
    _settle(site)


def sentinel_failover_without_wait(site: SentinelSite, crowd: Crowd) -> None:
    """`SENTINEL FAILOVER`, without `WAIT`."""
    sentinel_failover(site, crowd)


def sentinel_failover_wait_2(site: SentinelSite, crowd: Crowd) -> None:
    """`SENTINEL FAILOVER`, with `WAIT 2`, of two replicas."""
    sentinel_failover(site, crowd)


def sentinel_failover_paused(site: SentinelSite, crowd: Crowd) -> None:
    """`SENTINEL FAILOVER` behind `CLIENT PAUSE`, with `WAIT 1`."""
    site.failover(paused=True)
    _settle(site)


def _settle(site: SentinelSite) -> None:
    """Wait until the workers are ready again, and have been for a while."""
    site.wait_until_ready()
    time.sleep(2)


def count_lost(site: Site, events: list[Event]) -> str:
    """Return how long nothing was acknowledged, and how much of what was is in Redis no more."""
    times = [event["at"] for event in events if event["event"] == "acknowledged"]
    away_s = max((later - one for one, later in pairwise(times)), default=0.0)
    missing = {event["id"] for event in events if event["event"] == "acknowledged"} - site.get_stored()
    return f"nothing acknowledged for {away_s:.1f} s, {len(missing)} acknowledged are not in Redis any more"
