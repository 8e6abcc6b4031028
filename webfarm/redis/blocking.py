"""Shards, as a process that is no worker sees them: over a plain connection each."""

from contextlib import suppress
from typing import Any, NamedTuple

import redis

from webfarm.errors import Error
from webfarm.redis.client import BlockingCommands
from webfarm.redis.keys import Keys, explain_format, find_shard


class BlockingShard(NamedTuple):
    """A shard, over a connection of its own."""

    keys: Keys
    commands: BlockingCommands


class BlockingShards(tuple[BlockingShard, ...]):
    """All shards of a farm, in order."""

    __slots__ = ()

    @property
    def home(self) -> BlockingShard:
        """Where is what concerns the farm as a whole."""
        return self[0]

    def check(self) -> None:
        """Raise ``Error`` if they are those of another farm, of another version or number of shards.

        The first one says it; while that is away, any other that has begun. Raises ``redis.RedisError`` if none does.
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
        """Return the shard that something is in by its name: a client's sid, a user."""
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
