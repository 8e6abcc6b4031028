"""What Linux' /proc tells of processes: whose children they are, whether they live, which ports they have."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def get_children(pid: int) -> list[int]:
    """Return the processes that ``pid`` started and that still live."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def is_alive(pid: int) -> bool:
    """Return whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def get_listening_ports(pid: int) -> set[int]:
    """Return the ports that a process listens on."""
    return {local for local, _, state in _get_sockets(pid) if state == "0A"}


def get_ports_to(port: int, pid: int) -> set[int]:
    """Return the local ports of a process's connections to ``port``."""
    return {local for local, remote, _ in _get_sockets(pid) if remote == port}


def _get_sockets(pid: int) -> Iterator[tuple[int, int, str]]:
    """Yield local port, remote port and state of a process's TCP sockets."""
    inodes = set()
    with contextlib.suppress(FileNotFoundError):  # it has ended
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(entry))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        row = line.split()
        if f"socket:[{row[9]}]" in inodes:
            yield int(row[1].split(":")[1], 16), int(row[2].split(":")[1], 16), row[3]
