"""What an app has Redis remember for a while, for all nodes: names, about its users or as whose they are."""

from webfarm.manager.shards import Shards
from webfarm.redis.client import redis_errors_as_unavailable


class Grants:
    """Names that are remembered for a while.

    Args:
        shards: where they are kept: ``RedisManager.shards``.
        ttl_s: for how long.
        most: about one user; with one more, that one goes which has been remembered, or renewed, the longest time ago.
    """

    def __init__(self, shards: Shards, ttl_s: float, most: int = 1_000) -> None:
        self._shards = shards
        self._ttl_ms = int(ttl_s * 1000)
        self._most = most

    def add(self, user: str, name: str) -> None:
        """Remember ``name`` about ``user`` from now on. Raises ``Unavailable``."""
        self._note(user, name, is_new=True)

    def renew(self, user: str, name: str) -> bool:
        """Return whether ``name`` is remembered about ``user``; if so, its time begins anew. Raises ``Unavailable``."""
        return self._note(user, name, is_new=False)

    def claim(self, name: str, who: str) -> bool:
        """Remember ``name`` as ``who``'s, unless it is somebody's; return whether it is. Raises ``Unavailable``."""
        shard = self._shards.get(name)
        key = shard.keys.note(name)
        with redis_errors_as_unavailable():
            shard.commands.execute("SET", key, who, "NX", "PX", self._ttl_ms)
            return bool(shard.commands.execute("GET", key) == who.encode())

    def _note(self, user: str, name: str, *, is_new: bool) -> bool:
        shard = self._shards.get(user)
        with redis_errors_as_unavailable():
            arguments = [name, self._ttl_ms, int(is_new), self._most]
            return bool(shard.commands.run("grant", [shard.keys.notes(user)], arguments))
