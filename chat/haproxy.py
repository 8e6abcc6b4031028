"""HAProxy's configuration as text: pure, from the workers' addresses and a few numbers."""

import ipaddress
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chat.errors import SettingsError

DEFAULT_SOURCE_RATE = 1000
_TEMPLATES = Path(__file__).parent.parent / "haproxy"
_RANGE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/]+):(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?")
_BIND = re.compile(r"(?P<host>\*|\[[0-9A-Fa-f:.]+\]|[^\s:/]*):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Server:
    """A worker as HAProxy knows it; ``address`` is ``host:port``."""

    name: str
    address: str

    @property
    def is_here(self) -> bool:
        """Whether it is on HAProxy's own machine, for sure."""
        host = self.address.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def parse_ranges(ranges: Iterable[str]) -> list[Server]:
    """Return the servers of ``ranges`` (each ``HOST:FIRST-LAST`` or ``HOST:PORT``), named ``webserver01`` onwards.

    Raises:
        SettingsError: a range is none, or a server stands in two.
    """
    addresses = [address for text in ranges for address in _parse_range(text)]
    for address in addresses:
        if addresses.count(address) > 1:
            raise SettingsError(f"{address} is named twice; each worker needs an address of its own.")
    return [Server(f"webserver{i:02}", address) for i, address in enumerate(addresses, 1)]


def _parse_range(text: str) -> list[str]:
    match = _RANGE.fullmatch(text)
    first, last = (int(match["first"]), int(match["last"] or match["first"])) if match else (0, 0)
    if not match or not 1 <= first <= last <= 65535:
        raise SettingsError(f"'{text}' is no HOST:FIRST-LAST, like 127.0.0.1:3001-3002.")
    return [f"{match['host']}:{port}" for port in range(first, last + 1)]


def parse_bind(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; the host may be ``*``. Raises ``SettingsError``."""
    match = _BIND.fullmatch(text)
    if not match or not 1 <= int(match["port"]) <= 65535:
        raise SettingsError(f"'{text}' is no HOST:PORT, like 127.0.0.1:3000 or *:3000.")
    return match["host"].strip("[]") or "*", int(match["port"])


def render(
    servers: Iterable[Server],
    *,
    bind: str,
    heartbeat_s: float,
    tls_cert: str | None = None,
    metrics_bind: str | None = None,
    source_rate: int = DEFAULT_SOURCE_RATE,
) -> str:
    """Return the configuration.

    Args:
        servers: the workers, at least one.
        bind: ``HOST:PORT`` of the clients' side.
        heartbeat_s: ping interval + ping timeout; no quiet connection is cut before.
        tls_cert: path of a PEM file with certificate and key; HAProxy then speaks TLS only.
        metrics_bind: ``HOST:PORT`` of HAProxy's Prometheus exporter; ``None`` for none.
        source_rate: new connections a second from one address; ``0`` for no limit.
    """
    parse_bind(bind)
    if metrics_bind:
        parse_bind(metrics_bind)
    if (tls_cert and not tls_cert.isprintable()) or "'" in (tls_cert or ""):
        raise SettingsError(
            f"{tls_cert!r} can't be written into HAProxy's configuration; name the file without quotes."
        )
    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.get_template("haproxy.cfg.j2").render(
        servers=list(servers),
        bind=bind,
        idle_timeout_s=math.ceil(heartbeat_s) + 15,
        tls_cert=tls_cert,
        metrics_bind=metrics_bind,
        source_rate=source_rate,
    )
