"""Processes and ports of a test: what is started ends with it, and whatever is waited for has a name."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests


def wait_until(
    condition: Callable[[], Any], what: str, timeout_s: float = 20.0, *, about: "Process | None" = None
) -> Any:
    """Return the condition's first true value.

    After ``timeout_s`` the test fails, and says ``what`` was waited for, and what the process ``about`` has said.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:g} s in vain for {what}" + (f"\n{about.output}" if about else ""))
        time.sleep(0.02)


#: How many parts the log of the workers has.
SHARDS = int(os.environ.get("TEST_SHARDS", "1"))

_SETTINGS = ("WEBFARM_", "REDIS_URL", "PORT", "WEB_CONCURRENCY", "GUNICORN_")
# Below those that the kernel gives to clients; some for each of the processes that the tests run in.
_first_port, _last_port = map(int, os.environ.get("TEST_PORTS", "20000-31999").split("-"))
_PORTS = (_last_port + 1 - _first_port) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
_last_port = _first_port + _PORTS * (1 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))
_next_port = _last_port - _PORTS + os.getpid() % 10 * (_PORTS // 20)


def get_free_ports(count: int = 1) -> int:
    """Return the first of ``count`` consecutive free ports.

    No port is given twice: the caller may not have opened it yet.
    """
    global _next_port
    while _next_port + count <= _last_port:
        first, _next_port = _next_port, _next_port + count
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    pytest.fail("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def get_children(pid: int) -> list[int]:
    """Return the processes that ``pid`` started and that still live."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def is_alive(pid: int) -> bool:
    """Return whether a process lives, by Linux' /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Process:
    """A child process whose output is kept in ``lines``; ended, with all of its children, on ``close``."""

    def __init__(self, *argv: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
        environ |= {"WEBFARM_SHARDS": str(SHARDS)} if SHARDS > 1 else {}
        self.argv = argv
        self.popen = subprocess.Popen(
            argv, env=environ | (env or {}), cwd=cwd, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.pid = self.popen.pid
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.popen.stdout or ():
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        """What it has said so far."""
        return "\n".join(self.lines)

    def wait_for_line(self, text: str, timeout_s: float = 20.0) -> str:
        """Wait until it has said ``text``; return the line."""

        def find() -> str | None:
            return next((line for line in self.lines if text in line), None)

        line: str = wait_until(find, f"the line {text!r}", timeout_s, about=self)
        return line

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait for its end and all of its output; return the exit code."""
        code = self.popen.wait(timeout_s)
        self._reader.join(5)
        return code

    def kill(self, signum: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.popen.send_signal(signum)

    def close(self) -> None:
        """End it; fail if it does not end within 20 seconds."""
        if self.popen.poll() is None:
            self.kill()
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.popen.wait(5)
                pytest.fail(f"did not stop within 20 s: {shlex.join(self.argv)}\n{self.output}")
        self._reader.join(5)
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream:
                stream.close()


@contextlib.contextmanager
def starting_processes(kind: type[Process] = Process) -> Iterator[Callable[..., Any]]:
    """Yield what starts processes, which end with the block; fail if one of them leaves a child behind."""
    started: list[Process] = []
    with contextlib.ExitStack() as stack:

        def start_process(*args: Any, **kwargs: Any) -> Process:
            started.append(process := kind(*args, **kwargs))
            stack.callback(wait_until, lambda: not _group_lives(process.pid), f"the end of what {process.pid} started")
            stack.callback(process.close)
            return process

        yield start_process
        for process in started:  # none waits for another one's end
            if process.popen.poll() is None:
                process.kill()


def _group_lives(group: int) -> bool:
    return bool(subprocess.run(["pgrep", "-g", str(group), "-r", "R,S,D"], capture_output=True, check=False).stdout)


def get_listening_ports(pid: int) -> set[int]:
    """Return the ports that ``pid`` listens on, by Linux' /proc."""
    inodes, rows = set(), []
    with contextlib.suppress(FileNotFoundError):  # it has ended
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(entry))
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def get_status(url: str) -> int | None:
    """Return the status of a GET, ``None`` where nobody answers."""
    try:
        return requests.get(url, timeout=3).status_code
    except requests.RequestException:
        return None
