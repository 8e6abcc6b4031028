"""A farm that faults happen to: Redis with its append-only file, workers, HAProxy; real processes.

webfarm's workers are gunicorn's; those of the other peers are a process (Node) or a gunicorn (stock) each.

All are on 127.0.0.1; each ends with the site, by its process id. What they say is kept in the site's folder.
"""

import contextlib
import os
import re
import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from redis import Redis, RedisError, ResponseError

from benchmarks.harness import find_node
from benchmarks.processes import Process, get_free_ports, wait_until
from faults.processes import get_children, get_listening_ports, get_ports_to, is_alive
from webfarm.haproxy import parse_ranges, render
from webfarm.run.programs import find_haproxy, find_redis

WORKERS = 3
READY_S = 60.0
_HEARTBEAT_S = 45.0
_NOT_RESUMED = re.compile(r'^webfarm_sessions_not_resumed_total{reason="(\w+)"} (\S+)$', re.MULTILINE)


class Site:
    """A context manager; the workers are numbered from 0.

    Args:
        peer: one of ``harness.PEERS``.
        folder: for logs and Redis' data; emptied first.
        app: webfarm's; else the chat.
        has_masters: each worker has a gunicorn of its own, as systemd's units have.
        env: settings of the workers.
    """

    kind = ""  #: of Redis, if it is not a single one

    def __init__(
        self, peer: str, folder: Path, *, app: str = "wsgi:app", has_masters: bool = False, **env: str
    ) -> None:
        self.peer, self._folder, self._app = peer, folder, app
        self._has_masters = has_masters or peer != "webfarm"
        first = get_free_ports(2 + WORKERS)
        self._redis_port, haproxy_port = first, first + 1
        self.ports = [first + 2 + number for number in range(WORKERS)]
        self.url = f"http://127.0.0.1:{haproxy_port}"
        self._env = {
            "REDIS_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "WEBFARM_BASE_PORT": str(self.ports[0]),
            "WEBFARM_WORKERS": str(WORKERS),
            "WEBFARM_DRAIN_S": "3",
        } | env
        self._processes: dict[str, Process] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)
        (self._folder / "redis").mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            stack.callback(self._end)
            self.start_redis()
            self._start_workers()
            self.start_haproxy()
            self.wait_until_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        for process in reversed(self._processes.values()):
            process.kill()

    def _start_workers(self) -> None:
        """Start those that are not running."""
        gunicorn = [sys.executable, "-m", "gunicorn"]
        stock = [*gunicorn, "-c", "benchmarks/servers/stock_gunicorn.py", "faults.stock:app"]
        own, node = [*gunicorn, self._app], [find_node(), "faults/node.mjs"]
        argv = {"webfarm": own, "node": node, "stock": stock}[self.peer]
        for number, port in enumerate(self.ports if self._has_masters else [0]):
            if (name := f"workers-{number}") not in self._masters or not is_alive(self._masters[name].pid):
                self._start(name, *argv, **self._env, **({"PORT": str(port)} if port else {}))

    @property
    def _masters(self) -> dict[str, Process]:
        """The processes that started the workers, or are one."""
        return {name: process for name, process in self._processes.items() if name.startswith("workers")}

    def _get_workers(self) -> list[int]:
        masters = self._masters.values()
        return [pid for master in masters for pid in (get_children(master.pid) or [master.pid])]

    def _start(self, name: str, *argv: str, **env: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = Process(*argv, env=env, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        """What the workers have said."""
        return "".join(path.read_text(errors="replace") for path in self._folder.glob("workers-*.log"))

    def wait_until_ready(self) -> None:
        """Wait until each worker takes new clients, and HAProxy too."""
        for url in [self.url, *(f"http://127.0.0.1:{port}" for port in self.ports)]:
            wait_until(partial(_is_ready, url), f"{url}/readyz", *self._masters.values(), timeout_s=READY_S)

    def get_reasons(self) -> dict[str, int]:
        """Return why clients were not recovered, by the counters of webfarm's workers that live now."""
        reasons = Counter[str]()
        for port in self.ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=3) as answer:
                for reason, count in _NOT_RESUMED.findall(answer.read().decode()):
                    reasons[reason] += int(float(count))
        return dict(+reasons)

    # Workers

    def get_worker(self, number: int) -> int:
        """Return the process id of a worker."""
        port = self.ports[number]
        found = [pid for pid in self._get_workers() if port in get_listening_ports(pid)]
        if not found:
            raise RuntimeError(f"no worker on port {port}")
        return found[-1]

    def get_server(self, number: int) -> str:
        """Return a worker's name at HAProxy."""
        return f"webserver{number + 1:02}"

    def signal_worker(self, number: int, signum: int) -> None:
        os.kill(self.get_worker(number), signum)

    def replace_worker(self, number: int, signum: int) -> None:
        """End a worker, and wait until another one is ready in its place."""
        pid = self.get_worker(number)
        os.kill(pid, signum)
        wait_until(lambda: not is_alive(pid), f"the end of worker {number}", timeout_s=READY_S)
        self._start_workers()
        self.wait_until_ready()

    def restart_worker(self, number: int) -> None:
        """End a worker that has a master of its own, and start it again once it has ended, as systemd does."""
        master = self._masters[f"workers-{number}"].pid
        os.kill(master, signal.SIGTERM)
        wait_until(lambda: not is_alive(master), f"the end of worker {number}", timeout_s=READY_S)
        self._start_workers()
        self.wait_until_ready()

    def kill_all_workers(self) -> None:
        """End all workers at once, and wait until others are ready in their place."""
        old = self._get_workers()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, old)), "the end of all workers")
        self._start_workers()
        self.wait_until_ready()

    def reload_workers(self) -> None:
        """HUP: new workers take over, the old ones leave."""
        old = self._get_workers()
        for master in self._masters.values():
            os.kill(master.pid, signal.SIGHUP)
        wait_until(lambda: not any(map(is_alive, old)), "the end of the old workers", timeout_s=READY_S)
        self.wait_until_ready()

    @contextlib.contextmanager
    def stopped(self, number: int) -> Iterator[None]:
        """A worker that does nothing for the block's time."""
        pid = self.get_worker(number)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    # Redis

    @property
    def redis(self) -> Redis:
        """A client, for one command."""
        return Redis(port=self._redis_port, socket_timeout=5, decode_responses=True)

    @property
    def primaries(self) -> Sequence[Redis]:
        """A client of each Redis that takes writes."""
        return [self.redis]

    @property
    def _redises(self) -> list[Process]:
        return [process for name, process in self._processes.items() if name.startswith("redis")]

    def start_redis(self) -> None:
        options = ["--port", str(self._redis_port), "--bind", "127.0.0.1", "--dir", str(self._folder / "redis")]
        options += ["--appendonly", "yes", "--save", "", "--loglevel", "warning"]
        self._start("redis", find_redis(), *options)
        wait_until(self._redis_answers, "Redis", self._processes["redis"])

    def _redis_answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    def get_stored(self) -> set[str]:
        """Return the ids of all messages in webfarm's log."""
        stored = set()
        for primary in self.primaries:
            with contextlib.closing(primary) as client:
                for key in client.scan_iter("*:log:*", _type="stream"):
                    stored |= {str(entry[0]).partition("-")[0] for entry in client.xrange(key) or ()}
        return stored

    def kill_redis(self) -> None:
        for process in self._redises:
            process.kill()

    def signal_redis(self, signum: int) -> None:
        for process in self._redises:
            os.kill(process.pid, signum)

    def cut_aof_tail(self, size: int) -> None:
        """Take the last ``size`` bytes off the append-only file of a Redis that was killed."""
        for folder in (self._folder / "redis").rglob("appendonlydir"):
            path = max(folder.glob("*.incr.aof"), key=os.path.getmtime)
            os.truncate(path, max(path.stat().st_size - size, 0))

    def flush_redis(self) -> None:
        for primary in self.primaries:
            primary.flushall()

    def set_redis_full(self, is_full: bool) -> None:
        for primary in self.primaries:
            primary.config_set("maxmemory", int(is_full))

    def set_redis_read_only(self, is_read_only: bool) -> None:
        self.redis.replicaof(*(("127.0.0.1", "1") if is_read_only else ("NO", "ONE")))

    def cut_redis_connections(self, worker: int | None = None) -> None:
        """Close the connections of one worker, or of all, at Redis' end."""
        pid = self.get_worker(worker) if worker is not None else 0
        for primary in self.primaries:
            with contextlib.closing(primary) as client:
                ports = get_ports_to(client.get_connection_kwargs()["port"], pid) if pid else set()
                for row in client.client_list():
                    if row["cmd"] != "client|list" and (not pid or int(row["addr"].rpartition(":")[2]) in ports):
                        with contextlib.suppress(ResponseError):  # it has gone by itself
                            client.client_kill(row["addr"])

    # HAProxy

    def start_haproxy(self) -> None:
        config = self._folder / "haproxy.cfg"
        servers = parse_ranges([f"127.0.0.1:{self.ports[0]}-{self.ports[-1]}"])
        bind = self.url.removeprefix("http://")
        config.write_text(render(servers, bind=bind, heartbeat_s=_HEARTBEAT_S, source_rate=0))
        self._start("haproxy", find_haproxy(), "-W", "-db", "-f", str(config))

    def reload_haproxy(self) -> None:
        """USR2: wait until a new process listens, and none of the old ones does."""
        master, port = self._processes["haproxy"].pid, int(self.url.rpartition(":")[2])
        old = get_children(master)
        os.kill(master, signal.SIGUSR2)

        def is_done() -> bool:
            listening = [pid for pid in get_children(master) if port in get_listening_ports(pid)]
            return bool(listening) and not set(listening) & set(old)

        wait_until(is_done, "the reload of HAProxy", self._processes["haproxy"])

    def kill_haproxy(self) -> None:
        self._processes["haproxy"].kill()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=3) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
