"""Shards, as a process that is no worker sees them: over a plain connection each."""

from typing import NamedTuple

import redis

from chat.errors import Error
from chat.realtime.keys import Keys, explain_format, find_shard
from chat.realtime.redis_client import PlainCommands


class PlainShard(NamedTuple):
    """A shard, over a connection of its own."""

    keys: Keys
    commands: PlainCommands


class PlainShards(tuple[PlainShard, ...]):
    """All shards of a farm, in order."""

    __slots__ = ()

    @property
    def home(self) -> PlainShard:
        """Where is what concerns the farm as a whole."""
        return self[0]

    def check(self) -> None:
        """Raise ``Error`` if they are those of another farm, of another version or number of shards."""
        keys = self.home.keys
        found = self.home.commands.execute("HGET", keys.clock, "format")
        if found is not None and found.decode() != keys.format:
            raise Error(explain_format(found.decode()))

    def get(self, name: str) -> PlainShard:
        """Return the shard that something is in by its name: a client's sid, a user."""
        return self[find_shard(name, len(self))]

    def get_of_room(self, namespace: str, room: str | None) -> PlainShard:
        """Return the shard of a room, or of all clients of ``namespace``."""
        return self.get(namespace if room is None else room)

    def close(self) -> None:
        """Give the connections up."""
        for shard in self:
            shard.commands.close()


def list_shards(client: redis.Redis, prefix: str, shards: int = 1) -> PlainShards:
    """Return the ``shards`` shards of the farm whose keys begin with ``prefix``, as seen over ``client``."""
    all_keys = [Keys(prefix, number, shards) for number in range(shards)]
    return PlainShards(PlainShard(keys, PlainCommands(client, keys)) for keys in all_keys)
