"""HAProxy as a test's own process."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from webfarm.haproxy import parse_ranges, render
from webfarm.run.programs import find_haproxy
from webfarm.testing import Process, get_children, get_free_ports, get_listening_ports, wait_until


class Front(Process):
    """An HAProxy with our configuration, run as Debian runs it: a master that can be told to reload.

    Args:
        folder: for its configuration.
        ranges: the workers, as ``--server`` takes them.
        edit: what a test changes of the configuration's text.
        options: of ``render``.
    """

    def __init__(
        self, folder: Path, ranges: list[str], edit: Callable[[str], str] = lambda text: text, **options: Any
    ) -> None:
        self.port = get_free_ports()
        self._config = folder / f"haproxy-{self.port}.cfg"
        self._edit, self.options = edit, options
        self._configure(ranges)
        super().__init__(find_haproxy(), "-W", "-db", "-f", str(self._config))
        wait_until(self.find_listening, "HAProxy")

    def _configure(self, ranges: list[str]) -> None:
        text = render(parse_ranges(ranges), bind=f"127.0.0.1:{self.port}", heartbeat_s=45, **self.options)
        self._config.write_text(self._edit(text))

    def find_listening(self) -> set[int]:
        """Return the processes that take new connections."""
        return {pid for pid in get_children(self.pid) if self.port in get_listening_ports(pid)}

    def reload(self, ranges: list[str]) -> None:
        """Go over to a new configuration without closing a connection."""
        old = self.find_listening()
        self._configure(ranges)
        self.kill(signal.SIGUSR2)
        wait_until(lambda: (new := self.find_listening()) and not new & old, "HAProxy's reload")

    @property
    def url(self) -> str:
        return f"{'https' if self.options.get('tls_cert') else 'http'}://127.0.0.1:{self.port}"
