"""The connection to Redis: a client that fails fast, and what its failures mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisClusterException, TryAgainError
from redis.retry import Retry
from socketio.redis_manager import parse_redis_sentinel_url

from chat.errors import Unavailable
from chat.realtime.keys import Keys
from chat.realtime.scripts import get_source
from chat.realtime.sentinels import Sentinels
from chat.redis_url import get_node_url, is_cluster_url, split_cluster_url, split_sentinel_path

_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 3.0
_MAX_CONNECTIONS = 32  # of one worker; who finds all of them busy waits for one
_MOVES = 3  # of a slot, until it is given up

Address = tuple[str, int]

#: By these Redis says that it has executed nothing, and will later on, here or elsewhere.
REFUSALS = (AskError, TryAgainError, ClusterDownError, redis.ReadOnlyError)


def connect(url: str) -> redis.Redis:
    """Return a client for ``url`` that fails within seconds and never repeats a command by itself.

    Nothing is sent yet. ``url`` is ``redis://``, ``rediss://``, ``unix://`` or
    ``redis+sentinel://host:port[,host:port]/name/db``.

    For ``redis+cluster://host:port[,host:port]`` (with TLS ``rediss+cluster://``) it is a ``RedisCluster``, which asks
    at once where everything is. Raises ``redis.RedisError``.
    """
    if is_cluster_url(url):
        cluster: Any = _connect_cluster(url)
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


def connect_node(url: str, address: Address, timeout_s: float = _CONNECT_TIMEOUT_S) -> redis.Redis:
    """Return a client for one node of the cluster at ``url``; nothing is sent yet."""
    return redis.Redis.from_url(get_node_url(url, *address), **_get_options(timeout_s))


def _connect_cluster(url: str) -> Any:
    first, *others = split_cluster_url(url)[0]
    options = _get_options() | {"require_full_coverage": False}
    try:
        nodes = [ClusterNode(*address) for address in others]  # type: ignore[no-untyped-call]
        return RedisCluster.from_url(get_node_url(url, *first), startup_nodes=nodes, **options)
    except (RedisClusterException, LookupError, OSError) as error:  # those are no errors of Redis to redis-py
        if isinstance(error.__cause__, redis.RedisError):
            raise error.__cause__ from None
        raise redis.ConnectionError(str(error)) from error


def _get_options(timeout_s: float = _CONNECT_TIMEOUT_S) -> dict[str, Any]:
    return {
        "socket_connect_timeout": timeout_s,
        "socket_timeout": min(timeout_s * 1.5, _ANSWER_TIMEOUT_S),
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # answers in order, and nothing pushed in between
    }


class PlainCommands:
    """Commands and scripts for one shard, of a process that has no worker: one after the other, over one connection.

    Args:
        client: what ``connect`` returns.
        keys: the shard's.

    All of it raises ``redis.RedisError``.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client
        self._keys = keys
        self._is_cluster = isinstance(client, RedisCluster)
        self._connection: Any = None

    def run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """Run the script ``name``; return its answer."""
        source = get_source(name, is_cluster=self._is_cluster)
        names = [*keys, self._keys.absent] if self._is_cluster else keys
        return self.execute("EVAL", source, len(names), *names, *arguments)

    def execute(self, *command: Any) -> Any:
        """Execute a command where the shard is, over the same connection as the one before; return its answer."""
        for _ in range(_MOVES):
            try:
                return self._connect().execute_command(*command)
            except MovedError as error:
                self.close()
                self._client.nodes_manager.move_slot(error)
            except redis.RedisError as error:
                if isinstance(error, (redis.ConnectionError, redis.TimeoutError, *REFUSALS)):
                    self._look_again()
                raise translate(error) from error
        raise redis.ConnectionError("the shard is being moved")

    def execute_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Execute commands in one go; return their answers."""
        pipeline = self._connect().pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = pipeline.execute()
        return answers

    def publish(self, channel: str, data: str | bytes) -> int:
        """Publish on a channel; return how many heard it."""
        is_sharded = self._is_cluster and channel.startswith(self._keys.tag)
        heard: int = self.execute("SPUBLISH" if is_sharded else "PUBLISH", channel, data)
        return heard

    def count_replicas(self) -> int | None:
        """Return how many replicas of the shard's primary work; ``None``: only Redis knows."""
        if not self._is_cluster:
            return None
        rows, slot = self.execute("CLUSTER", "SLOTS"), self._keys.slot
        return next((len(replicas) for first, last, _, *replicas in rows if first <= slot <= last), 0)

    def close(self) -> None:
        """Give the connection up; the client stays as it is."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Any:
        if self._connection is None:
            self._connection = self._connect_to_primary() if self._is_cluster else self._client.client()
        return self._connection

    def _connect_to_primary(self) -> Any:
        """Return a client with a pool of its own: those of a ``RedisCluster`` reconnect whenever it looks around."""
        try:
            node = self._client.get_node_from_key(self._keys.tag)
            pool = self._client.get_redis_connection(node).connection_pool
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error
        own = redis.ConnectionPool(pool.connection_class, **pool.connection_kwargs)
        connection = redis.Redis(connection_pool=own, single_connection_client=True)
        connection.auto_close_connection_pool = True
        return connection

    def _look_again(self) -> None:
        self.close()
        if self._is_cluster:
            with suppress(RedisClusterException, redis.RedisError, LookupError, OSError):
                self._client.nodes_manager.initialize()


def translate(error: redis.RedisError) -> redis.RedisError:
    """Return ``error``, or a ``redis.ConnectionError`` if it says that nothing was executed."""
    if isinstance(error, REFUSALS):
        return redis.ConnectionError(f"{error.status_code} {error}")
    return error


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
