"""A machine with a systemd that has really been booted, and this machine's files (``boot-systemd.sh``).

It shares the network: its services are on 127.0.0.1 here, and find Redis there. Its files are its own.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.paths import TESTS
from webfarm.testing import Process, get_children, starting_processes, wait_until

_NEEDED = ("unshare", "nsenter", "systemctl", "journalctl", "/lib/systemd/systemd")


class Machine:
    """Runs commands on the machine whose boot is ``process``."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._enter = ["nsenter", "--all", "--target", str(wait_until(self._find_first_process, "the machine"))]

    def _find_first_process(self) -> int | None:
        self._skip_if_ended()
        found = [inner for outer in get_children(self._process.pid) for inner in get_children(outer)]
        return next(iter(found), None)

    def _skip_if_ended(self) -> None:
        if self._process.popen.poll() is not None:
            pytest.skip(f"no systemd can be booted here: {self._process.output}")

    def run(self, *argv: str, code: int | None = 0, **env: str) -> str:
        """Return what a command says, stderr included; it must end with ``code``, unless that is ``None``."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 110, "cwd": "/"}
        done = subprocess.run([*self._enter, "--", *argv], env=os.environ | env, check=False, **options)  # type: ignore[call-overload]
        assert code in (done.returncode, None), f"{argv} ended with {done.returncode}:\n{done.stdout}"
        return str(done.stdout).strip()

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1"', "write", path, text)

    def get(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit)

    def get_journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output", "cat", "--unit", unit)

    def is_up(self) -> bool:
        self._skip_if_ended()
        return self.run("systemctl", "is-system-running", code=None) == "running"

    def get_workers(self, unit: str) -> list[str]:
        """Return the process ids, on the machine, of a unit's workers."""
        return self.run("pgrep", "-P", self.get(unit, "MainPID"), code=None).split()


@contextlib.contextmanager
def booting() -> Iterator[Machine]:
    """Boot a machine for the block's time; skip the test where that is impossible."""
    if os.geteuid() != 0:
        pytest.skip("only root can boot a machine")
    if missing := [name for name in _NEEDED if not shutil.which(name)]:
        pytest.skip(f"{', '.join(missing)} not found (apt install systemd)")
    if (
        not Path("/usr/bin/python3").exists()
        or subprocess.run(
            ["/usr/bin/python3", "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"], check=False
        ).returncode
    ):
        pytest.skip("/usr/bin/python3 is missing, older than 3.11 or has no venv (apt install python3-venv)")
    with tempfile.TemporaryDirectory(prefix="webfarm-machine-") as folder, starting_processes() as start:
        machine = Machine(start("unshare", "--mount", "sh", str(TESTS / "kit" / "boot-systemd.sh"), folder))
        wait_until(machine.is_up, "systemd")
        yield machine
