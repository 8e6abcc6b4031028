"""The connection to Redis: a client that fails fast, and what its failures mean."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import parse_cluster_slots
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError
from redis.retry import Retry
from socketio.redis_manager import parse_redis_sentinel_url

from webfarm.errors import Unavailable
from webfarm.redis.keys import Keys
from webfarm.redis.scripts import get_source
from webfarm.redis.sentinel import Sentinels
from webfarm.redis.url import is_cluster_url, split_cluster_url, split_sentinel_path

_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 3.0
_MAX_CONNECTIONS = 32  # of one worker; who finds all of them busy waits for one
_MOVES = 3  # of a slot, until it is given up

Address = tuple[str, int]

#: For one of several nodes to answer.
NODE_S = 1.0

#: By these Redis says that it has executed nothing, and will later on, here or elsewhere.
REFUSALS = (AskError, TryAgainError, ClusterDownError, redis.ReadOnlyError)


def connect(url: str) -> redis.Redis:
    """Return a client for ``url`` that fails within seconds and never repeats a command by itself.

    Nothing is sent yet. ``url`` is ``redis://``, ``rediss://``, ``unix://`` or
    ``redis+sentinel://host:port[,host:port]/name/db``.

    For ``redis+cluster://host:port[,host:port]`` (with TLS ``rediss+cluster://``) it is a ``Cluster``, which asks at
    once where everything is. Raises ``redis.RedisError``.
    """
    if is_cluster_url(url):
        cluster: Any = Cluster(url)
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


class SlotRange(NamedTuple):
    """Some slots of a cluster, and who has them."""

    first: int
    last: int
    primary: Address
    replicas: list[Address]  # that work


def parse_slots(rows: Any, host: str = "") -> list[SlotRange]:
    """Return what ``CLUSTER SLOTS`` says; ``host`` is that of the node that was asked, which may not know its own."""
    found = parse_cluster_slots(rows, current_host=host)
    return [SlotRange(*slots, one["primary"], one["replicas"]) for slots, one in found.items()]


def find_range(ranges: Iterable[SlotRange], slot: int) -> SlotRange | None:
    """Return the first range in which ``slot`` is."""
    return next((one for one in ranges if one.first <= slot <= one.last), None)


class Cluster:
    """Which primary has what of the cluster at ``url``, as some node says that answers. Raises ``redis.RedisError``.

    redis-py's own client can't be had while the first of all primaries is away.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._nodes = split_cluster_url(url)[0]
        self._ranges: list[SlotRange] = []
        self.look_again()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to be given up: each ``BlockingCommands`` has a connection of its own."""

    def look_again(self) -> None:
        """Ask one node after the other, until one answers."""
        errors: list[redis.RedisError] = []
        for address in list(self._nodes):
            try:
                with connect_node(self._url, address, NODE_S) as client:
                    self._ranges = parse_slots(client.execute_command("CLUSTER SLOTS"), address[0])
            except redis.RedisError as error:
                errors.append(error)
                self._nodes = [*(one for one in self._nodes if one != address), address]  # the last to be asked again
            else:
                told = [node for one in self._ranges for node in (one.primary, *one.replicas)]
                self._nodes = list(dict.fromkeys((address, *told, *self._nodes)))
                return
        raise errors[0]

    def move(self, slot: int, address: Address) -> None:
        """A node has said where a slot is."""
        self._ranges.insert(0, SlotRange(slot, slot, address, []))

    def open(self, slot: int) -> redis.Redis:
        """Return a connection to the primary of a slot."""
        found = find_range(self._ranges, slot)
        if found is None:
            raise redis.ConnectionError(f"no node of the cluster says who has slot {slot}")
        return connect_node(self._url, found.primary, single_connection_client=True)


class BlockingCommands:
    """Commands and scripts for one shard, of a process that has no worker: one after the other, over one connection.

    Args:
        client: what ``connect`` returns.
        keys: the shard's.

    All of it raises ``redis.RedisError``.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client
        self._keys = keys
        self._is_cluster = isinstance(client, Cluster)
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
                host = error.host or self._connection.get_connection_kwargs()["host"]
                self.close()
                self._client.move(error.slot_id, (host, error.port))
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
        found = find_range(parse_slots(self.execute("CLUSTER", "SLOTS")), self._keys.slot)
        return 0 if found is None else len(found.replicas)

    def close(self) -> None:
        """Give the connection up; the client stays as it is."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Any:
        if self._connection is None:
            self._connection = self._client.open(self._keys.slot) if self._is_cluster else self._client.client()
        return self._connection

    def _look_again(self) -> None:
        self.close()
        if self._is_cluster:
            with suppress(redis.RedisError):
                self._client.look_again()


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
