"""Processes that a benchmark starts, their ports and their CPU time. Linux only."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

_START_TIMEOUT_S = 60.0
_ports = iter(range(12_000 + os.getpid() % 100 * 100, 32_000))  # below those that the kernel gives to clients
_OWN_SETTINGS = ("WEBFARM_", "REDIS_URL", "PORT", "WEB_CONCURRENCY", "GUNICORN_")


class Process:
    """A child in a session of its own, so that Ctrl-C reaches only the harness, which then ends it."""

    def __init__(self, *argv: str, env: dict[str, str] | None = None, **options: Any) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_SETTINGS)}
        self._name = argv[0]
        self._popen = subprocess.Popen(argv, cwd=ROOT, env=environ | (env or {}), start_new_session=True, **options)
        self.pid = self._popen.pid
        self.stdin, self.stdout = self._popen.stdin, self._popen.stdout

    def get_children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def check(self) -> None:
        """Raise if it has ended by itself."""
        if self._popen.poll() is not None:
            raise RuntimeError(f"{self._name} ended with code {self._popen.returncode}")

    def kill(self) -> None:
        """End it and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        for pipe in (self.stdin, self.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def get_cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, all its threads, to the nanosecond (``clock_getcpuclockid``)."""
    return time.clock_gettime((~pid << 3) | 2)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_ready(port: int) -> bool:
    """Return whether a worker of webfarm takes clients."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
            return True
    except OSError:
        return False


def get_free_ports(count: int) -> int:
    """Return the first of ``count`` consecutive free ports; none is given twice: clients may linger there."""
    while True:
        ports = [next(_ports) for _ in range(count)]
        if not any(map(is_listening, ports)):
            return ports[0]


def wait_until(
    condition: Callable[[], bool], what: str, *processes: Process, timeout_s: float = _START_TIMEOUT_S
) -> None:
    """Wait until ``condition`` holds; raise if it takes too long or one of ``processes`` ends."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.05)
