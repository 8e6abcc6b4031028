"""Keys, offsets and epochs, as a test reads them in Redis."""

from typing import Any

import redis

from webfarm.log.offset import Ids, decode_offset
from webfarm.redis.keys import Keys, find_shard
from webfarm.testing import SHARDS


def get_keys(prefix: str, name: str | None = None, shards: int = SHARDS) -> Keys:
    """Return the keys of the shard that a room, a socket's own included, or a user is in; ``None``: of the first one."""
    return Keys(prefix, 0 if name is None else find_shard(name, shards), shards)


def read_offset(server: redis.Redis, prefix: str, offset: str, shards: int = SHARDS) -> Ids:
    """Return the ids that an offset shows, by shard."""
    return decode_offset(offset, get_epochs(server, prefix, shards))


def get_epochs(server: redis.Redis, prefix: str, shards: int = SHARDS) -> list[str]:
    """Return the epoch of each shard."""
    clocks: Any = [server.hget(Keys(prefix, number, shards).clock, "epoch") for number in range(shards)]
    return [epoch.decode() for epoch in clocks]
