"""Clients for Redis that fail fast, and the meaning of their failures."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, TryAgainError
from redis.retry import Retry
from socketio.redis_manager import parse_redis_sentinel_url

from webfarm.errors import Unavailable
from webfarm.redis.sentinel import Sentinels
from webfarm.redis.slot_map import SlotMap
from webfarm.redis.url import Address, is_cluster_url, split_cluster_url, split_sentinel_path

_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 3.0
_MAX_CONNECTIONS = 32  # of one worker; a greenlet that finds all of them busy waits for one

#: For one of several nodes to answer.
NODE_S = 1.0

#: By these Redis says that it has executed nothing, and will later on, here or elsewhere.
REFUSALS = (AskError, TryAgainError, ClusterDownError, redis.ReadOnlyError)


def connect(url: str) -> redis.Redis:
    """Return a client for ``url`` that fails within seconds and never repeats a command by itself.

    Nothing is sent yet. ``url`` is ``redis://``, ``rediss://``, ``unix://`` or
    ``redis+sentinel://host:port[,host:port]/name/db``.

    For ``redis+cluster://host:port[,host:port]`` (with TLS ``rediss+cluster://``) it is a ``ClusterClient``. That one
    asks for the slots at once. Raises ``redis.RedisError``.
    """
    if is_cluster_url(url):
        cluster: Any = ClusterClient(url)
        return cluster  # type: ignore[no-any-return]
    options = _get_options()
    if not url.startswith("redis+sentinel:"):
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=_MAX_CONNECTIONS, timeout=_ANSWER_TIMEOUT_S, **options
        )
        return redis.Redis.from_pool(pool)
    parts = urlsplit(url)
    name, database = split_sentinel_path(parts.path)
    sentinels, _, credentials = parse_redis_sentinel_url(parts._replace(path="").geturl())
    sentinel: Any = Sentinels(sentinels, sentinel_kwargs=options, db=database, **options, **credentials)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(name)
    return client


def connect_node(url: str, address: Address, timeout_s: float = _CONNECT_TIMEOUT_S, **options: Any) -> redis.Redis:
    """Return a client for one node of the cluster at ``url``; nothing is sent yet."""
    options = split_cluster_url(url)[1] | _get_options(timeout_s) | options
    return redis.Redis(host=address[0], port=address[1], **options)


def _get_options(timeout_s: float = _CONNECT_TIMEOUT_S) -> dict[str, Any]:
    return {
        "socket_connect_timeout": timeout_s,
        "socket_timeout": min(timeout_s * 1.5, _ANSWER_TIMEOUT_S),
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # answers in order, and nothing pushed in between
    }


class ClusterClient:
    """Opens connections to the primaries of the cluster at ``url``, by the word of any node that answers.

    redis-py's own client fails while the first of all primaries is unreachable. Raises ``redis.RedisError``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._nodes = split_cluster_url(url)[0]
        self._slots = SlotMap()
        self.look_again()

    def __enter__(self) -> "ClusterClient":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: each ``BlockingCommands`` has a connection of its own."""

    def look_again(self) -> None:
        """Ask one node after the other, until one answers."""
        errors: list[redis.RedisError] = []
        for address in list(self._nodes):
            try:
                with connect_node(self._url, address, NODE_S) as client:
                    self._slots = SlotMap(client.execute_command("CLUSTER SLOTS"), address[0])
            except redis.RedisError as error:
                errors.append(error)
                self._nodes = [*(one for one in self._nodes if one != address), address]  # the last to be asked again
            else:
                self._nodes = list(dict.fromkeys((address, *self._slots.nodes, *self._nodes)))
                return
        raise errors[0]

    def move(self, slot: int, address: Address) -> None:
        """A node has said that ``slot`` is at ``address``."""
        self._slots.move(slot, address)

    def open(self, slot: int) -> redis.Redis:
        """Return a connection to the primary of a slot."""
        return connect_node(self._url, self._slots.require_primary(slot), single_connection_client=True)


def translate(error: redis.RedisError) -> redis.RedisError:
    """Return ``error``, or a ``redis.ConnectionError`` if it says that nothing was executed."""
    if isinstance(error, REFUSALS):
        return redis.ConnectionError(f"{error.status_code} {error}")
    return error


@contextmanager
def redis_errors_as_unavailable() -> Iterator[None]:
    """Turn any ``redis.RedisError`` into ``Unavailable``: the event is not acknowledged."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable(f"Redis does not answer: {error}") from error
    except redis.RedisError as error:
        raise Unavailable(f"Redis refused it: {error}") from error
