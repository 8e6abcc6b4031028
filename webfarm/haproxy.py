"""HAProxy's configuration as text: pure, from the workers' addresses and a few numbers."""

import hashlib
import math
import re
import ssl
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from webfarm.addresses import get_host, is_this_machine
from webfarm.errors import SettingsError

_HTTP_PORT, _HTTPS_PORT = 80, 443
DEFAULT_SOURCE_RATE = 1000
DEFAULT_SOURCE_CONNECTIONS = 10_000
# Of Mozilla's guidelines 6.0, "intermediate", for TLS 1.2.
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
_TEMPLATES = Path(__file__).parent
_RANGE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/]+):(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_BIND = re.compile(r"(?P<host>\*|\[[0-9A-Fa-f:.]+\]|[^\s:/]*):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Server:
    """A worker as HAProxy knows it; ``address`` is ``host:port``."""

    name: str
    address: str

    @property
    def is_here(self) -> bool:
        """Whether it is on HAProxy's own machine, for sure."""
        return is_this_machine(get_host(self.address))


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


def choose_http_bind(bind: str, tls_cert: str | None, http_bind: str | None) -> str | None:
    """Return where HTTP is sent on to HTTPS: as told, else port 80 beside HTTPS' own port; ``none`` turns it off."""
    if http_bind is None and tls_cert and parse_bind(bind)[1] == _HTTPS_PORT:
        return f"{bind.rpartition(':')[0]}:{_HTTP_PORT}"
    return None if http_bind == "none" else http_bind


def check_certificate(path: str) -> None:
    """Raise ``SettingsError``, saying what to do, unless ``path`` is a PEM file with a certificate and its key."""
    if not path.isprintable() or "'" in path:
        raise SettingsError(f"{path!r} can't be written into HAProxy's configuration; name the file without quotes.")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, password=_refuse_password)
    except ssl.SSLError:
        hint = "join certificate, chain and key: cat fullchain.pem privkey.pem > site.pem"
        raise SettingsError(f"{path} is no PEM file with a certificate and its unencrypted key; {hint}.") from None
    except OSError as error:
        raise SettingsError(f"the certificate {path} can't be read: {error.strerror}.") from None


def _refuse_password() -> str:
    """Answer OpenSSL's question for a key's password, so that it doesn't ask on the terminal."""
    return ""


def render(
    servers: Iterable[Server],
    *,
    bind: str,
    heartbeat_s: float,
    tls_cert: str | None = None,
    http_bind: str | None = None,
    metrics_bind: str | None = None,
    source_rate: int = DEFAULT_SOURCE_RATE,
    source_connections: int = DEFAULT_SOURCE_CONNECTIONS,
    user: str | None = None,
    admin_password: str | None = None,
) -> str:
    """Return the configuration.

    Args:
        servers: the workers, at least one.
        bind: ``HOST:PORT`` of the clients' side.
        heartbeat_s: ping interval + ping timeout; no quiet connection is cut before.
        tls_cert: path of a PEM file with certificate and key; ``bind`` then speaks TLS only.
        http_bind: ``HOST:PORT`` that sends browsers on to HTTPS; needs ``tls_cert``.
        metrics_bind: ``HOST:PORT`` of HAProxy's Prometheus exporter; ``None`` for none.
        source_rate: new connections a second from one address; ``0`` for no limit.
        source_connections: open connections from one address; ``0`` for no limit.
        user: whose rights HAProxy takes on when root starts it, and the group's name too.
        admin_password: shows the statistics to user ``admin`` from anywhere, not only on this machine.

    Raises:
        SettingsError: an address, the certificate or the user can't be used.
    """
    if http_bind and not tls_cert:
        raise SettingsError("--http-bind sends browsers on to HTTPS, so it needs --tls-cert.")
    binds = [parse_bind(text) for text in (bind, http_bind, metrics_bind) if text]
    if len(set(binds)) < len(binds):
        raise SettingsError("--bind, --http-bind and --metrics-bind need an address each.")
    if tls_cert:
        check_certificate(tls_cert)
    if user is not None and not _USER.fullmatch(user):
        raise SettingsError(f"'{user}' is no name of a system user.")
    port = binds[0][1]
    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(
        loader=loader,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    return environment.get_template("haproxy.cfg.j2").render(
        servers=list(servers),
        bind=bind,
        idle_timeout_s=math.ceil(heartbeat_s) + 15,
        tls_cert=tls_cert,
        ciphers=_CIPHERS,
        http_bind=http_bind,
        port_in_url="" if port == _HTTPS_PORT else f":{port}",
        metrics_bind=metrics_bind,
        source_rate=source_rate,
        source_connections=source_connections,
        user=user,
        admin_digest=_digest(admin_password) if admin_password else None,
    )


def _digest(password: str) -> str:
    """Return the hash of the header that a browser sends for the admin: the password itself stays out of the file."""
    credentials = b64encode(f"admin:{password}".encode()).decode()
    return hashlib.sha256(f"Basic {credentials}".encode()).hexdigest().upper()
