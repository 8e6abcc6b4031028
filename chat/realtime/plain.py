"""Shards, as a process that is no worker sees them: over one plain connection."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from chat.errors import Error
from chat.realtime.keys import Keys, explain_format, find_shard
from chat.realtime.redis_client import run_script


class PlainCommands:
    """What asks a Redis over redis-py's client, as ``Commands`` does over a worker's connection."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client
        self._keys = keys

    def run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """Run the script ``name``; return its answer. Raises ``redis.RedisError``."""
        return run_script(self._client, name, keys, arguments)

    def execute(self, *command: Any) -> Any:
        """Execute a command; return its answer. Raises ``redis.RedisError``."""
        return self._client.execute_command(*command)

    def publish(self, channel: str, data: str | bytes) -> int:
        """Publish on a shard's channel; return how many listen. Raises ``redis.RedisError``."""
        reached: int = self.execute("PUBLISH", channel, data)
        return reached


class PlainPart(NamedTuple):
    """A shard, as a ``Directory`` wants to have it."""

    keys: Keys
    commands: PlainCommands


class PlainParts(tuple[PlainPart, ...]):
    """All shards of a farm, in order."""

    __slots__ = ()

    @property
    def home(self) -> PlainPart:
        """Where is what concerns the farm as a whole."""
        return self[0]

    def check(self) -> None:
        """Raise ``Error`` if they are those of another farm, of another version or number of shards."""
        keys = self.home.keys
        found = self.home.commands.execute("HGET", keys.clock, "format")
        if found is not None and found.decode() != keys.format:
            raise Error(explain_format(found.decode()))

    def get(self, name: str) -> PlainPart:
        """Return the shard that something is in by its name: a client's sid, a user."""
        return self[find_shard(name, len(self))]

    def get_of_room(self, namespace: str, room: str | None) -> PlainPart:
        """Return the shard of a room, or of all clients of ``namespace``."""
        return self.get(namespace if room is None else room)


def list_parts(client: redis.Redis, prefix: str, shards: int = 1) -> PlainParts:
    """Return the ``shards`` shards of the farm whose keys begin with ``prefix``, as seen over ``client``."""
    all_keys = [Keys(prefix, number, shards) for number in range(shards)]
    return PlainParts(PlainPart(keys, PlainCommands(client, keys)) for keys in all_keys)
