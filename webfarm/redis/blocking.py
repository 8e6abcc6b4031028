"""Shards, as a process without a worker asks them: one command after the other, over one connection a shard."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import redis
from redis.exceptions import MovedError

from webfarm.errors import Error
from webfarm.redis.client import REFUSALS, ClusterClient, translate
from webfarm.redis.keys import Keys, explain_format, find_shard
from webfarm.redis.scripts import get_source
from webfarm.redis.slot_map import SlotMap

_MOVES = 3  # of a slot, until it is given up


class BlockingCommands:
    """Commands and scripts for one shard, in a process without a worker: one after the other, over one connection.

    Args:
        client: what ``connect`` returns.
        keys: the shard's.

    All methods raise ``redis.RedisError``.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client
        self._keys = keys
        self._is_cluster = isinstance(client, ClusterClient)
        self._connection: Any = None

    def run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """Run a script (``webfarm.redis.scripts``); return its answer."""
        source = get_source(name, is_cluster=self._is_cluster)
        names = [*keys, self._keys.absent] if self._is_cluster else keys
        return self.execute("EVAL", source, len(names), *names, *arguments)

    def execute(self, *command: Any) -> Any:
        """Execute a command at the shard's primary, over the same connection as the last one; return its answer."""
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
        """Publish on a channel; return the number of listeners."""
        is_sharded = self._is_cluster and channel.startswith(self._keys.tag)
        heard: int = self.execute("SPUBLISH" if is_sharded else "PUBLISH", channel, data)
        return heard

    def count_replicas(self) -> int | None:
        """Return how many replicas of the shard's primary work; ``None``: only Redis knows."""
        if not self._is_cluster:
            return None
        return SlotMap(self.execute("CLUSTER", "SLOTS")).count_replicas(self._keys.slot)

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


class BlockingShard(NamedTuple):
    """A shard, over a connection of its own."""

    keys: Keys
    commands: BlockingCommands


class BlockingShards(tuple[BlockingShard, ...]):
    """All shards of a farm, in order."""

    __slots__ = ()

    @property
    def home(self) -> BlockingShard:
        """The first shard, which has what concerns the farm as a whole."""
        return self[0]

    def check(self) -> None:
        """Raise ``Error`` if they are those of another farm, of another version or number of shards.

        The first one says it; while it is unreachable, any other that has begun. Raises ``redis.RedisError`` if none
        does.
        """
        try:
            found = self.home.commands.execute("HGET", self.home.keys.clock, "format")
        except (redis.ConnectionError, redis.TimeoutError):
            found = self._find_format()
            if found is None:
                raise
        if found is not None and found.decode() != self.home.keys.format:
            raise Error(explain_format(found.decode()))

    def _find_format(self) -> Any:
        for keys, commands in self[1:]:
            with suppress(redis.ConnectionError, redis.TimeoutError):
                if found := commands.execute("HGET", keys.clock, "format"):
                    return found
        return None

    def get(self, name: str) -> BlockingShard:
        """Return the shard of a name: a client's sid, a user."""
        return self[find_shard(name, len(self))]

    def get_of_room(self, namespace: str, room: str | None) -> BlockingShard:
        """Return the shard of a room, or of all clients of ``namespace``."""
        return self.get(namespace if room is None else room)

    def close(self) -> None:
        """Give the connections up."""
        for shard in self:
            shard.commands.close()


def list_shards(client: redis.Redis, prefix: str, shards: int = 1, database: int = 0) -> BlockingShards:
    """Return the shards of a farm, as seen over ``client``.

    Args:
        client: what ``connect`` returns.
        prefix: what every key of the farm begins with.
        shards: how many shards the farm has.
        database: the number of Redis' database (``get_database``).
    """
    all_keys = [Keys(prefix, number, shards, database) for number in range(shards)]
    return BlockingShards(BlockingShard(keys, BlockingCommands(client, keys)) for keys in all_keys)
