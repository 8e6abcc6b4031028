"""The headers of a proxy in front: a request's sender, and the site's scheme as the browser sees it."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from webfarm.addresses import is_loopback, is_this_machine, parse_ip

#: In an environment: all addresses that a request names as its way, comma-separated. A client may have made them up.
ADDRESSES = "webfarm.addresses"

_FOR, _PROTO = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"
# HAProxy passes on these headers as a client sends them, and the browser's own Host.
_OTHERS = ("HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PREFIX", "HTTP_FORWARDED")
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}  # as some proxies write for a websocket
_CACHED = 1024  # addresses


class TrustedProxies:
    """A WSGI application around another, which gets the browser's view in its environment.

    From a trusted address, ``X-Forwarded-For`` and ``-Proto`` replace ``REMOTE_ADDR`` and ``wsgi.url_scheme``. All
    ``Forwarded`` headers are taken out, so that no application believes them. The host is that of ``Host``, which the
    proxy must pass on unchanged.

    Args:
        app: the application.
        networks: addresses or networks that are trusted.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], networks: Sequence[str]) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._is_trusted = lru_cache(_CACHED)(self._find_trust)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        addresses, scheme = environ.pop(_FOR, ""), environ.pop(_PROTO, "")
        environ[ADDRESSES] = ",".join([*filter(None, [addresses]), environ.get("REMOTE_ADDR", "")])
        for name in _OTHERS:
            environ.pop(name, None)
        if self._is_trusted(environ.get("REMOTE_ADDR", "")):
            environ["REMOTE_ADDR"] = self._find_client(environ["REMOTE_ADDR"], addresses)
            scheme = scheme.partition(",")[0].strip().lower()  # of the proxy that the browser talks to
            environ["wsgi.url_scheme"] = _SCHEMES.get(scheme, environ["wsgi.url_scheme"])
        return self._app(environ, start_response)

    def _find_client(self, address: str, forwarded: str) -> str:
        """Return the last address that is no trusted proxy's; a client may have made up those before it."""
        for one in reversed(forwarded.split(",")):
            if not self._is_trusted(address) or not parse_ip(one.strip()):
                break
            address = one.strip()
        return address

    def _find_trust(self, address: str) -> bool:
        parsed = parse_ip(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def is_local_request(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser on this machine sent a request, and named this machine as such.

    The name counts because anybody can make a site's name lead to this machine.
    """
    try:
        host = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname or ""
    except ValueError:
        return False
    return is_this_machine(host) and all(map(is_loopback, environ[ADDRESSES].split(",")))
