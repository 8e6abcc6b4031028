"""What every script stands on: the servers with their Redis, the load generators, CPU time and memory.

A *farm* is one kind of server (a *peer*) as processes on ports of their own, mostly two, with a Redis of its own.
Everything is on 127.0.0.1; everything that a farm starts ends with it. Linux only: the figures come from its clocks and
``/proc``.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.processes import Process, get_cpu_seconds, get_free_ports, is_listening, is_ready, wait_until
from benchmarks.store import STORES, open_store

BIN = Path(sys.executable).parent
WORKERS = 2
PEERS = ("node", "stock", "flask", "webfarm")


@dataclass(frozen=True)
class Metric:
    """One row of the table: the key that a script's figures have, and what it says."""

    key: str
    label: str
    unit: str
    is_higher_better: bool = False


def cpu_metrics(thing: str) -> tuple[Metric, ...]:
    """Return the rows for what ``Usage.per`` says of each ``thing``."""
    return (
        Metric("cpu", f"CPU per {thing}", "µs"),
        Metric("redis", f"Redis' CPU per {thing}", "µs"),
        Metric("replicas", f"its replicas' CPU per {thing}", "µs"),
    )


def latency_metrics(name: str = "latency") -> tuple[Metric, ...]:
    """Return the rows for a load generator's ``get_latencies``."""
    return Metric("p50", f"{name}, median", "ms"), Metric("p99", f"{name}, 99 %", "ms")


def rate_metric(things: str) -> Metric:
    """Return the row for how many ``things`` there were each second."""
    return Metric("rate", f"{things} per second", "1/s", is_higher_better=True)


@dataclass
class Usage:
    """CPU seconds spent while something was measured, and how long it took."""

    workers: float = 0.0
    primaries: tuple[float, ...] = ()
    replicas: tuple[float, ...] = ()
    load: float = 0.0
    seconds: float = 0.0

    @property
    def redis(self) -> float:
        """What Redis spent: all primaries of a cluster."""
        return sum(self.primaries)

    @property
    def busiest(self) -> float:
        """What the busiest primary spent, to the mean of all."""
        return max(self.primaries) / (self.redis / len(self.primaries))

    @property
    def load_share(self) -> float:
        """The generators' percentage of all CPU time."""
        return 100 * self.load / (self.workers + self.redis + sum(self.replicas) + self.load)

    def per(self, count: float) -> dict[str, float]:
        """Return the figures of ``cpu_metrics`` for ``count`` things, and ``load_share``."""
        replicas = {"replicas": sum(self.replicas) / count * 1e6} if self.replicas else {}
        return {
            "cpu": self.workers / count * 1e6,
            "redis": self.redis / count * 1e6,
            **replicas,
            "load_share": self.load_share,
        }


class Load(Process):
    """A load generator's process; ``call`` gives a command of its module's class and waits for its result."""

    def __init__(self, module: str) -> None:
        super().__init__(
            sys.executable, "-m", f"benchmarks.{module}", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, command: str, **arguments: Any) -> Any:
        assert self.stdin
        assert self.stdout
        self.stdin.write(json.dumps({"command": command} | arguments) + "\n")
        self.stdin.flush()
        answer = json.loads(self.stdout.readline() or '{"error": "the load generator ended"}')
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer["result"]

    def count_settled(self) -> dict[str, int]:
        """Wait until nothing arrives any more (half a second without change); return ``count`` then."""
        counted: dict[str, int] = self.call("count")
        while True:
            time.sleep(0.5)
            before, counted = counted, self.call("count")
            if counted == before:
                return counted


class Farm:
    """Processes of ``peer``, each on a port of its own, and their Redis; a context manager.

    Args:
        peer: one of ``PEERS``, or webfarm with a Redis of a kind of ``STORES``.
        size: how many processes.
        is_chat: webfarm is the whole chat, in open mode; else an app on ``webfarm`` alone.
    """

    def __init__(self, peer: str, size: int = WORKERS, *, is_chat: bool = False) -> None:
        self.peer = peer
        self.size = size
        self._app = "wsgi:app" if is_chat else "benchmarks.servers.webfarm:app"
        self._is_webfarm = peer in ("webfarm", *STORES)
        self._loads: list[Load] = []
        self._removed_load_s = 0.0  # CPU time
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        self.store = stack.enter_context(open_store(self.peer))
        first = get_free_ports(self.size)
        self.ports = [first + number for number in range(self.size)]
        self._servers: list[Process] = []
        for argv, more in self._get_commands():
            self._servers.append(Process(*argv, env=self.store.env | more))
            stack.callback(self._servers[-1].kill)
        is_up = is_ready if self._is_webfarm else is_listening
        wait_until(lambda: all(map(is_up, self.ports)), self.peer, *self._servers)
        wait_until(lambda: len(self._find_workers()) == self.size, f"the workers of {self.peer}", *self._servers)
        self.workers = self._find_workers()

    def _get_commands(self) -> Iterator[tuple[list[str], dict[str, str]]]:
        gunicorn = [str(BIN / "gunicorn"), "-c"]
        if self._is_webfarm:
            env = {
                "WEBFARM_BASE_PORT": str(self.ports[0]),
                "WEBFARM_WORKERS": str(self.size),
                "WEBFARM_LOG_LEVEL": "error",
            }
            yield [*gunicorn, "gunicorn.conf.py", self._app], env
            return
        for port in self.ports:
            if self.peer == "node":
                yield [find_node(), "benchmarks/servers/node.mjs"], {"PORT": str(port), "NODE_ENV": "production"}
            else:
                app = {"APP": "benchmarks.servers.flask_socketio_app:app"} if self.peer == "flask" else {}
                yield [*gunicorn, "benchmarks/servers/stock_gunicorn.py"], {"PORT": str(port)} | app

    def _find_workers(self) -> list[int]:
        if self.peer == "node":
            return [server.pid for server in self._servers]
        return [pid for server in self._servers for pid in server.get_children()]

    def add_load(self, module: str = "load") -> Load:
        """Start a load generator: ``load.Swarm``, or ``receivers.Receivers``."""
        load = Load(module)
        self._stack.callback(load.kill)
        self._loads.append(load)
        return load

    def remove_load(self, load: Load) -> None:
        """End a load generator at once: all its connections are cut."""
        self._removed_load_s += get_cpu_seconds(load.pid)
        load.kill()
        self._loads.remove(load)

    @contextlib.contextmanager
    def measure(self) -> Iterator[Usage]:
        """Fill in the yielded ``Usage`` at the end of the block."""
        usage, before, start = Usage(), self._get_usage(), time.monotonic()
        yield usage
        after = self._get_usage()
        usage.seconds = time.monotonic() - start
        for name in ("workers", "load"):
            setattr(usage, name, getattr(after, name) - getattr(before, name))
        for name in ("primaries", "replicas"):
            pairs = zip(getattr(before, name), getattr(after, name), strict=True)
            setattr(usage, name, tuple(end - begin for begin, end in pairs))

    def _get_usage(self) -> Usage:
        return Usage(
            workers=self.get_worker_seconds(),
            primaries=tuple(get_cpu_seconds(one.pid) for one in self.store.primaries),
            replicas=tuple(get_cpu_seconds(one.pid) for one in self.store.replicas),
            load=self._removed_load_s + sum(get_cpu_seconds(load.pid) for load in self._loads),
        )

    def get_worker_seconds(self) -> float:
        """Return the CPU time of the workers."""
        return sum(map(get_cpu_seconds, self.workers))

    def get_memory(self) -> dict[str, int]:
        """Return what the workers occupy together, in bytes: RSS, PSS, and what is theirs alone (USS)."""
        total = {"Rss": 0, "Pss": 0, "Uss": 0}
        for pid in self.workers:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, size = line.split()[:2]
                key = "Uss" if name.startswith("Private_") else name.rstrip(":")
                if key in total:
                    total[key] += int(size) * 1024
        return total

    def settle(self, at_least_s: float = 2.0, at_most_s: float = 30.0) -> None:
        """Wait until the workers have been quiet for two seconds: below 2 % of a core each second."""
        start, quiet = time.monotonic(), 0
        while (quiet < 2 or time.monotonic() - start < at_least_s) and time.monotonic() - start < at_most_s:
            before = self.get_worker_seconds()
            time.sleep(1)
            quiet = quiet + 1 if self.get_worker_seconds() - before < 0.02 * self.size else 0


def find_node() -> str:
    return shutil.which("node") or str(BIN / "node")
