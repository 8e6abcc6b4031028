"""Grants: what an app allows its users for a while, remembered in Redis for all nodes."""

from typing import Protocol

from webfarm.redis.client import redis_errors_as_unavailable
from webfarm.redis.commands import AnyShard


class NamedShards(Protocol):
    """The shards of a farm, found by name: ``RedisManager.shards``, or ``BlockingShards``."""

    def get(self, name: str) -> AnyShard:
        """Return the shard of a user, of a client's sid, or of any other name."""


class Grants:
    """Names that Redis remembers for a while: about a user, or as a user's own.

    Args:
        shards: the shards that keep the names: ``RedisManager.shards``.
        ttl_s: how long Redis remembers a name, in seconds.
        most: how many names Redis remembers about one user. One name more drops the name that was added or renewed
            the longest time ago.
    """

    def __init__(self, shards: NamedShards, ttl_s: float, most: int = 1_000) -> None:
        self._shards = shards
        self._ttl_ms = int(ttl_s * 1000)
        self._most = most

    def add(self, user: str, name: str) -> None:
        """Remember ``name`` about ``user`` from now on. Raises ``Unavailable``."""
        self._note(user, name, is_new=True)

    def renew(self, user: str, name: str) -> bool:
        """Return whether ``name`` is remembered about ``user``; if so, extend its time. Raises ``Unavailable``."""
        return self._note(user, name, is_new=False)

    def claim(self, name: str, user: str) -> bool:
        """Give ``name`` to ``user`` unless another user has it; return whether ``user`` has it now.

        Raises ``Unavailable``.
        """
        shard = self._shards.get(name)
        key = shard.keys.note(name)
        with redis_errors_as_unavailable():
            shard.commands.execute("SET", key, user, "NX", "PX", self._ttl_ms)
            return bool(shard.commands.execute("GET", key) == user.encode())

    def _note(self, user: str, name: str, *, is_new: bool) -> bool:
        shard = self._shards.get(user)
        with redis_errors_as_unavailable():
            arguments = [name, self._ttl_ms, int(is_new), self._most]
            return bool(shard.commands.run("nodes/grant", [shard.keys.notes(user)], arguments))
