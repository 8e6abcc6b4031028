"""A farm for a test: a real Redis, real gunicorn workers, each on a free port, a real HAProxy."""

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from webfarm.haproxy import parse_ranges, render
from webfarm.run.programs import find_haproxy, find_redis
from webfarm.testing.processes import (
    Process,
    get_children,
    get_free_ports,
    get_listening_ports,
    get_status,
    is_alive,
    starting_processes,
    wait_until,
)

_prefixes = itertools.count()


@dataclass(frozen=True)
class Host:
    """A machine: its address, and what a command begins with to run there."""

    address: str = "127.0.0.1"
    command: tuple[str, ...] = ()


LOCAL = Host()


class RedisServer:
    """A Redis of the tests' own, with its append-only file in ``data``, that can be stopped and started again."""

    def __init__(self, data: Path, host: Host = LOCAL) -> None:
        self.port = get_free_ports()
        self.url = f"redis://{host.address}:{self.port}/0"
        self._data, self._host = data, host
        self.process: Process | None = None

    def start(self) -> None:
        """Start it, with the data that it had; wait until it answers."""
        options = ["--port", str(self.port), "--bind", self._host.address, "--protected-mode", "no"]
        options += ["--dir", str(self._data), "--appendonly", "yes", "--save", "", "--loglevel", "warning"]
        self.process = Process(*self._host.command, find_redis(), *options)
        wait_until(self._answers, "Redis", about=self.process)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def close(self) -> None:
        """Stop it."""
        if self.process:
            self.process.close()


class Workers(Process):
    """gunicorn's master and its workers, ready: ``urls`` and ``ports``, one per worker.

    Args:
        redis_url: the setting ``REDIS_URL``.
        count: of workers.
        flags: for gunicorn.
        app: ``MODULE:app``; if empty, the app of the folder's ``gunicorn.conf.py``.
        cwd: the app's folder, by default the current one.
        ready: whether to wait until all workers take clients (``/readyz``).
        expects_tracebacks: whether handlers may fail; else a traceback in the log fails the test.
        host: the machine of the workers.
        env: settings.
    """

    expects_tracebacks = False

    def __init__(
        self,
        redis_url: str,
        count: int = 2,
        *flags: str,
        app: str = "",
        cwd: Path | None = None,
        ready: bool = True,
        expects_tracebacks: bool = False,
        host: Host = LOCAL,
        **env: str,
    ) -> None:
        self.expects_tracebacks = expects_tracebacks
        self.ports = list(range(first := get_free_ports(count), first + count))
        self.urls = [f"http://{host.address}:{port}" for port in self.ports]
        env = {
            "WEBFARM_DRAIN_S": "0",
            "WEBFARM_RATE_LIMIT": "0",
            "WEBFARM_RATE_LIMIT_BYTES": "0",
            "WEBFARM_HOST": host.address,
            "REDIS_URL": redis_url,
            "WEBFARM_BASE_PORT": str(first),
            "WEBFARM_WORKERS": str(count),
        } | env
        own = ["-c", "python:webfarm.gunicorn", app] if app else []
        super().__init__(*host.command, sys.executable, "-m", "gunicorn", *flags, *own, env=env, cwd=cwd)
        if ready:
            try:
                self.wait_until_ready()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End it; fail if its log has an unexpected traceback."""
        super().close()
        tracebacks = [i for i, line in enumerate(self.lines) if line.lstrip().startswith("Traceback")]
        if tracebacks and not self.expects_tracebacks:
            pytest.fail("\n".join(["a worker's log has a traceback:", *self.lines[tracebacks[0] - 1 :][:40]]))

    def wait_until_ready(self) -> None:
        """Wait until all workers take clients."""
        for url in self.urls:
            wait_until(partial(_is_ready, url), f"{url}/readyz", about=self)

    def get_worker(self, port: int) -> int:
        """Return the process that serves ``port``: the worker that holds its listener, not the master."""
        found = [pid for pid in get_children(self.pid) if port in get_listening_ports(pid)]
        if len(found) != 1:
            pytest.fail(f"workers on port {port}: {found}")
        return found[0]

    def kill_worker(self, port: int) -> None:
        """Kill the worker that serves ``port`` (SIGKILL); the master starts another one there."""
        worker = self.get_worker(port)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not is_alive(worker), "the worker's end")


def _is_ready(url: str) -> bool:
    return get_status(f"{url}/readyz") == 200


@contextlib.contextmanager
def starting_workers(redis_url: str) -> Iterator[Callable[..., Workers]]:
    """Yield what starts ``Workers`` on a Redis, with a prefix of their own there, which end with the block."""
    with starting_processes(Workers) as start:

        def start_workers(count: int = 2, *flags: str, url: str = redis_url, **env: Any) -> Any:
            return start(url, count, *flags, **{"WEBFARM_PREFIX": f"test{next(_prefixes)}"} | env)

        yield start_workers


class Farm:
    """Workers behind HAProxy, which is at ``url``."""

    def __init__(self, workers: Workers, url: str, haproxy: Process) -> None:
        self.workers, self.url, self.haproxy = workers, url, haproxy


@contextlib.contextmanager
def starting_farm(redis_url: str, folder: Path) -> Iterator[Callable[..., Farm]]:
    """Yield what starts workers and an HAProxy, whose configuration is in ``folder``; they end with the block."""
    with starting_workers(redis_url) as start_workers, starting_processes() as start:

        def start_farm(count: int = 2, **options: Any) -> Farm:
            process = start_workers(count, **options)
            port = get_free_ports()
            config = folder / f"haproxy-{port}.cfg"
            servers = parse_ranges([f"127.0.0.1:{process.ports[0]}-{process.ports[-1]}"])
            config.write_text(render(servers, bind=f"127.0.0.1:{port}", heartbeat_s=45, source_rate=0))
            haproxy = start(find_haproxy(), "-db", "-f", str(config))
            url = f"http://127.0.0.1:{port}"
            wait_until(partial(_is_ready, url), "HAProxy", about=haproxy)
            return Farm(process, url, haproxy)

        yield start_farm
