"""Machines made of network namespaces: an address each, on one switch that can cut each of them off."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from webfarm.testing import Host

# One that nobody else has on this machine just now; 198.18.0.0/15 is kept for tests of networks.
_NUMBER = next(n for n in (os.getpid() % 250, *range(250)) if not Path(f"/sys/class/net/wf{n}").exists())
_SUBNET = f"198.18.{_NUMBER}"
_SWITCH = f"wf{_NUMBER}"


class Hosts:
    """A context manager; ``hosts["a"]`` is one of its machines. This one, too, reaches them all."""

    def __init__(self, names: str) -> None:
        if not shutil.which("ip"):
            pytest.skip("network namespaces want iproute2 (Debian: apt install iproute2)")
        if os.geteuid() != 0:
            pytest.skip("network namespaces want root")
        self._names = names
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            _ip(f"link add {_SWITCH} type bridge")
            stack.callback(_ip, f"link del {_SWITCH}")
            _ip(f"addr add {_SUBNET}.254/24 dev {_SWITCH}")
            _ip(f"link set {_SWITCH} up")
            for name in self._names:
                self._add(name, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Host:
        return Host(f"{_SUBNET}.{self._names.index(name) + 1}", ("ip", "netns", "exec", f"{_SWITCH}{name}"))

    def _add(self, name: str, stack: contextlib.ExitStack) -> None:
        space, cable = f"{_SWITCH}{name}", f"{_SWITCH}-{name}"
        _ip(f"netns add {space}")
        stack.callback(_ip, f"netns del {space}")
        _ip(f"link add {cable} type veth peer name eth0 netns {space}")
        _ip(f"link set {cable} master {_SWITCH} up")
        _ip(f"-n {space} addr add {self[name].address}/24 dev eth0")
        for device in ("eth0", "lo"):
            _ip(f"-n {space} link set {device} up")

    @contextlib.contextmanager
    def cut_off(self, name: str) -> Iterator[None]:
        """Nothing goes to a machine or comes from it for the block's time, and nobody is told."""
        self._set_port(name, "disabled")
        try:
            yield
        finally:
            self._set_port(name, "forwarding")

    def _set_port(self, name: str, state: str) -> None:
        subprocess.run(["bridge", "link", "set", "dev", f"{_SWITCH}-{name}", "state", state], check=True)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)
