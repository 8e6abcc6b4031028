"""The users: two processes of ``clients.mjs``, each with half of them, and what they tell."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.harness import find_node
from benchmarks.processes import Process, wait_until
from faults.oracle import Event

CONNECT_S = 30.0
_SETTLE_S = 60.0
_QUIET_S = 1.5
_PROCESSES = 2


@dataclass(frozen=True)
class Users:
    """The users and their messages; a third is on websocket alone, on polling alone, on polling with upgrade."""

    count: int = 30
    first: int = 0  # their ids count up from here
    rate: float = 2.0  # messages a second of each
    rooms: tuple[str, ...] = ("red", "blue")  # that each joins, beside the common one
    retries: int = 20
    ackTimeout: int = 2000  # noqa: N815 - the client's name for it, in ms
    delays: tuple[int, int] = (100, 500)  # before they come back, the first time and at most, in ms
    ids: bool = True
    times: int = 1  # each message is sent so often
    pad: int = 0  # bytes
    privates: bool = True  # each fifth message goes to another user
    visitors: int = 3  # of each process, at a time, once they are told to come
    is_loyal: bool = False  # each says everything in one of the rooms
    fresh: bool = False  # each message goes to a room that was joined just before


class Crowd:
    """A context manager; ``events`` is what was told so far."""

    def __init__(self, users: Users, urls: list[str], log: Path) -> None:
        self.users = users
        self.names = [str(users.first + number) for number in range(users.count)]
        self.events: list[Event] = []
        self._urls, self._log = urls, log
        self._processes: list[Process] = []
        #: Each client's connection, ``None`` if it has none now.
        self.connections: dict[str, Event | None] = dict.fromkeys(self.names)
        self._waiting = [0] * _PROCESSES
        self._newest = time.monotonic()  # when something was received last

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._end)
            for number in range(_PROCESSES):
                self._start(number)
            self.wait_until_connected()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
        with self._log.open("w") as file:
            file.writelines(json.dumps(event) + "\n" for event in self.events)

    def _start(self, number: int) -> None:
        config = asdict(self.users) | {"urls": self._urls, "users": self.names[number::_PROCESSES]}
        argv = [find_node(), str(Path(__file__).parent / "clients.mjs"), json.dumps(config)]
        process = Process(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        threading.Thread(target=self._read, args=(number, process), daemon=True).start()

    def _read(self, number: int, process: Process) -> None:
        with contextlib.suppress(ValueError):  # closed
            for line in process.stdout or ():
                event = json.loads(line)
                if event["event"] == "waiting":
                    self._waiting[number] = event["count"]
                    continue
                self.events.append(event | {"at": time.time()})
                self._newest = time.monotonic()
                if event["event"] in ("connect", "disconnect"):
                    self.connections[event["client"]] = event if event["event"] == "connect" else None

    def tell(self, do: str, **arguments: Any) -> None:
        """Give a command of ``clients.mjs``."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
            process.stdin.flush()

    @contextlib.contextmanager
    def visited(self) -> Iterator[None]:
        """Others come and go for the block's time, and ask for the page on connections that are kept."""
        self.tell("visit")
        self.wait_for("visit", 1)
        yield
        self.tell("leave")

    @contextlib.contextmanager
    def half_stopped(self) -> Iterator[None]:
        """Half of the users read nothing for the block's time."""
        pid = self._processes[-1].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def get(self, event: str) -> list[Event]:
        return [one for one in self.events[:] if one["event"] == event]

    def get_users_of(self, server: str) -> list[str]:
        """Return who is connected to a worker."""
        return [name for name, event in self.connections.items() if event and event["server"] == server]

    def wait_until_connected(self) -> None:
        wait_until(
            lambda: all(self.connections[name] for name in self.names),
            "all users to be connected",
            *self._processes,
            timeout_s=CONNECT_S,
        )

    def wait_for(self, event: str, count: int) -> None:
        """Wait until there were ``count`` such events more than now."""
        wanted = len(self.get(event)) + count
        wait_until(lambda: len(self.get(event)) >= wanted, f"{count} x {event}", *self._processes, timeout_s=CONNECT_S)

    def finish(self) -> list[Event]:
        """Stop sending; have everybody say a last word when all is quiet; return all events."""
        self.tell("stop")
        self._wait_until_quiet()
        self.tell("last")
        self._wait_until_quiet()
        self.tell("quit")
        names = {event["client"] for event in self.events if "client" in event}
        wait_until(lambda: len(self.get("end")) >= len(names), "the clients' end")
        return self.events

    def _wait_until_quiet(self) -> None:
        """Wait until no answer is missing and nothing has come for a while."""
        time.sleep(0.5)  # the clients say five times a second how many answers are missing
        deadline = time.monotonic() + _SETTLE_S
        while sum(self._waiting) or time.monotonic() - self._newest < _QUIET_S:
            if time.monotonic() > deadline:
                return  # what is missing is the oracle's
            time.sleep(0.1)
