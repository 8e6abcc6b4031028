"""The connection to Redis: a client that fails fast, and what its failures mean to a handler."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel
from socketio.redis_manager import parse_redis_sentinel_url

from chat.errors import Unavailable
from chat.realtime.scripts import get_source
from chat.settings import split_sentinel_path

_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 3.0
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
    sentinel: Any = Sentinel(sentinels, sentinel_kwargs=options, db=database, **options, **credentials)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(name)
    return client


def run_script(client: redis.Redis, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
    """Run the script ``name`` over a plain client, as ``Commands.run`` does over a worker's connection."""
    return client.eval(get_source(name), len(keys), *keys, *arguments)


@contextmanager
def redis_errors_as_unavailable() -> Iterator[None]:
    """Turn any ``redis.RedisError`` into ``Unavailable``: the event is not acknowledged."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable(f"Redis does not answer: {error}") from error
    except redis.RedisError as error:
        raise Unavailable(f"Redis refused it: {error}") from error
