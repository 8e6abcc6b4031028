"""The stock JavaScript client."""

import json
from collections.abc import Callable
from typing import Any

from tests.kit.paths import NODE, TESTS
from webfarm.testing import LOCAL, Host, Process, wait_until


class NodeClient:
    """The stock JavaScript client, in a Node process of its own (``client.mjs``)."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._number = 0

    def _messages(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self._process.lines) if line.startswith("{")]

    def _send(self, **command: Any) -> int:
        self._number += 1
        assert self._process.popen.stdin
        self._process.popen.stdin.write(json.dumps({"number": self._number, **command}) + "\n")
        self._process.popen.stdin.flush()
        return self._number

    def open(self, name: str, url: str, **options: Any) -> None:
        self._send(do="open", name=name, url=url, options=options)

    def connect(self, name: str, url: str, **options: Any) -> dict[str, Any]:
        """Open a socket; return ``{sid, engine, transport}`` once it is connected."""
        self.open(name, url, **options)
        return self.wait_for(name, "connect")[-1]

    def emit(self, name: str, event: str, *args: Any, binary: bool = False) -> None:
        """Emit without an acknowledgement. ``binary`` turns ``{"hex": ...}`` in ``args`` into Buffers."""
        self._send(do="emit", name=name, event=event, args=list(args), binary=binary)

    def call(self, name: str, event: str, *args: Any, binary: bool = False, timeout_s: float = 5.0) -> Any:
        """Emit and return the acknowledgement's first argument; ``None`` if none came in ``timeout_s``."""
        number = self._send(do="call", name=name, event=event, args=list(args), binary=binary, timeout=timeout_s * 1000)

        def find() -> list[Any] | None:
            return next(([m.get("answer")] for m in self._messages() if m.get("number") == number), None)

        return wait_until(find, f"the acknowledgement of {event}", timeout_s + 5)[0]

    def cut(self, name: str) -> None:
        """End the client's transport without a word."""
        self._send(do="cut", name=name)

    def close(self, name: str) -> None:
        self._send(do="close", name=name)

    def get(self, name: str, event: str) -> list[Any]:
        """Return what ``name`` has received under ``event``, each the list of its arguments."""
        return [m["args"] for m in self._messages() if m.get("name") == name and m.get("event") == event]

    def wait_for(self, name: str, event: str, count: int = 1, timeout_s: float = 20.0) -> list[Any]:
        """Wait until ``name`` has received ``event`` ``count`` times; return the arguments, single ones bare."""
        what = f"{count} x {event} at {name}"
        found = wait_until(lambda: len(self.get(name, event)) >= count and self.get(name, event), what, timeout_s)
        return [args[0] if len(args) == 1 else args for args in found]


def start_node(start: Callable[..., Process], host: Host = LOCAL) -> NodeClient:
    process = start(*host.command, NODE, str(TESTS / "kit" / "client.mjs"))
    process.wait_for_line('{"ready":')
    return NodeClient(process)
