"""The connection to Redis: a client that fails fast, and what its failures mean to a handler."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel
from socketio.redis_manager import parse_redis_sentinel_url

from chat.errors import Unavailable
from chat.realtime.scripts import get_source
from chat.settings import split_sentinel_path

_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 3.0
_SENTINEL_S = 0.5  # in which those that live have answered
_MAX_CONNECTIONS = 32  # of one worker; who finds all of them busy waits for one


def connect(url: str) -> redis.Redis:
    """Return a client for ``url`` that fails within seconds and never repeats a command by itself.

    Nothing is sent yet. ``url`` is ``redis://``, ``rediss://``, ``unix://`` or
    ``redis+sentinel://host:port[,host:port]/name/db``.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_timeout": _ANSWER_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # answers in order, and nothing pushed in between
    }
    if not url.startswith("redis+sentinel:"):
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=_MAX_CONNECTIONS, timeout=_ANSWER_TIMEOUT_S, **options
        )
        return redis.Redis.from_pool(pool)
    parts = urlsplit(url)
    name, database = split_sentinel_path(parts.path)
    sentinels, _, credentials = parse_redis_sentinel_url(parts._replace(path="").geturl())
    sentinel: Any = _Sentinels(sentinels, sentinel_kwargs=options, db=database, **options, **credentials)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(name)
    return client


class _Sentinels(Sentinel):
    """All sentinels at once, of which the one is believed that knows of the latest failover.

    Stock believes the first that answers; one that is cut off from the others names a primary that they have replaced.
    """

    def discover_master(self, service_name: str) -> tuple[str, int]:
        pool = ThreadPoolExecutor(len(self.sentinels))
        asked = [pool.submit(self._ask, sentinel, service_name) for sentinel in self.sentinels]
        pool.shutdown(wait=False)
        states = _collect(wait(asked, _SENTINEL_S).done) or _collect(asked)
        is_alive: Any = partial(self.check_master_state, service_name=service_name)
        newest = max(states, key=lambda state: (state["config-epoch"], is_alive(state)), default=None)
        if newest is None or not is_alive(newest):
            raise MasterNotFoundError(f"no sentinel that answers knows of a primary {service_name!r} that lives")
        return newest["ip"], newest["port"]

    @staticmethod
    def _ask(sentinel: Any, service_name: str) -> Any:
        """Return what a sentinel knows of a primary; ``None`` if it does not answer."""
        try:
            return sentinel.sentinel_masters().get(service_name)
        except redis.RedisError:
            return None


def _collect(asked: Iterable["Future[Any]"]) -> list[dict[str, Any]]:
    return [state for future in asked if (state := future.result()) is not None]


def run_script(client: redis.Redis, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
    """Run the script ``name`` over a plain client, as ``Commands.run`` does over a worker's connection."""
    return client.eval(get_source(name), len(keys), *keys, *arguments)


@contextmanager
def redis_errors_as_unavailable() -> Iterator[None]:
    """Turn any ``redis.RedisError`` into ``Unavailable``: the event is not acknowledged."""
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable(f"Redis does not answer: {error}") from error
