"""The URLs of a single Redis, of Redis by Sentinel and of a Redis Cluster."""

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from webfarm.addresses import join_address
from webfarm.defaults import SHARDS, SHARDS_OF_CLUSTER, WAIT_REPLICAS, WAIT_REPLICAS_OF_MANY

URL_RULE = (
    "a URL like redis://localhost:6379/0 (redis://, rediss://, unix://, redis+sentinel://host:port/name/db, or"
    " redis+cluster://host:port[,host:port], which has no database)"
)

#: Host and port.
Address = tuple[str, int]

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel")
_CLUSTER_SCHEMES = ("redis+cluster://", "rediss+cluster://")
_ADDRESS = re.compile(r"([^\s/?#\[\]:]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


def check_redis_url(url: str) -> None:
    """Raise ``ValueError``, which has a sentence about ``url``, unless ``url`` follows ``URL_RULE``."""
    try:
        _check(url)
    except ValueError:
        raise ValueError(f"{without_password(url)!r} names no Redis: expected {URL_RULE}.") from None


def _check(url: str) -> None:
    if is_cluster_url(url):
        split_cluster_url(url)
        return
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError
    if not _is_database(_get_named_database(parts.query)):
        raise ValueError
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError
    elif parts.scheme == "redis+sentinel":
        _split_addresses(parts.netloc.rpartition("@")[2])
        split_sentinel_path(parts.path)
    elif not parts.hostname or parts.port == 0 or not _is_database(parts.path.strip("/")):
        raise ValueError


def is_cluster_url(url: str) -> bool:
    """Return whether a URL names a Redis Cluster."""
    return url.startswith(_CLUSTER_SCHEMES)


def split_cluster_url(url: str) -> tuple[list[Address], dict[str, Any]]:
    """Return the addresses of a Redis Cluster's URL, and redis-py's options for its nodes.

    ``redis+cluster://[user:password@]host:port[,host:port]``, or ``rediss+cluster://`` for TLS. Raises ``ValueError``.
    """
    scheme, _, rest = url.partition("://")
    credentials, _, addresses = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    options = {"username": unquote(user), "password": unquote(password), "ssl": scheme == "rediss+cluster"}
    return _split_addresses(addresses.removesuffix("/")), {name: value for name, value in options.items() if value}


def _split_addresses(text: str) -> list[tuple[str, int]]:
    addresses = []
    for address in text.split(","):
        found = _ADDRESS.fullmatch(address)
        if not found or not 0 < int(found[2]) < 65536:
            raise ValueError
        addresses.append((found[1].strip("[]"), int(found[2])))
    return addresses


def split_sentinel_path(path: str) -> tuple[str, int]:
    """Return the primary's name and the database at the end of a ``redis+sentinel://`` URL.

    ``/name/db``, ``/name``, or, as python-socketio writes it, ``/db/name``. Raises ``ValueError``.
    """
    first, _, second = path.strip("/").partition("/")
    name, database = (second, first) if second and not second.isdecimal() else (first, second)
    if not name or "/" in name or not _is_database(database):
        raise ValueError
    return name, int(database or 0)


def _is_database(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit())


def _get_named_database(query: str) -> str:
    """Return the database that a URL's query names; redis-py lets it win over the path."""
    return parse_qs(query).get("db", [""])[0]


def get_database(url: str) -> int:
    """Return the number of the database that a URL names, 0 if it names none; a cluster has only 0.

    Raises ``ValueError`` unless the URL follows ``URL_RULE``.
    """
    check_redis_url(url)
    if is_cluster_url(url):
        return 0
    parts = urlsplit(url)
    if parts.scheme == "redis+sentinel":
        return split_sentinel_path(parts.path)[1]
    named = _get_named_database(parts.query)
    path = "" if parts.scheme == "unix" else parts.path.strip("/")
    return int(named or path or 0)


def get_default_shards(url: str) -> int:
    """Return into how many shards a farm divides its log by default at the Redis at ``url``."""
    return SHARDS_OF_CLUSTER if is_cluster_url(url) else SHARDS


def get_default_wait_replicas(url: str) -> int:
    """Return how many replicas must have a message by default at the Redis at ``url``."""
    return WAIT_REPLICAS_OF_MANY if is_cluster_url(url) or url.startswith("redis+sentinel:") else WAIT_REPLICAS


def get_node_url(url: str, host: str, port: int) -> str:
    """Return the URL of one node of the cluster at ``url``, with the cluster's credentials."""
    scheme, _, rest = url.partition("+cluster://")
    credentials, at, _ = rest.rpartition("@")
    return f"{scheme}://{credentials}{at}{join_address(host, port)}/0"


def without_password(url: str) -> str:
    """Return ``url`` as it may be shown, also if it is invalid: a password may make it invalid."""
    url = re.sub(r"(?s)^([a-z+]*://)?.*@", r"\1", url)
    return re.sub(r"\b(password|username)=[^&]*", r"\1=...", url)
