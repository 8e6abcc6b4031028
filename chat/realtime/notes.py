"""What an app has Redis remember for a while, for all nodes: that something was said, or who said it first."""

from chat.realtime.commands import Commands
from chat.realtime.keys import Keys
from chat.realtime.redis_client import redis_errors_as_unavailable


class Notes:
    """Names that are remembered for a while.

    Args:
        commands: the connection to where they are kept: ``RedisManager.commands``.
        keys: how they are called there: ``RedisManager.keys``.
        ttl_s: for how long.
    """

    def __init__(self, commands: Commands, keys: Keys, ttl_s: float) -> None:
        self._commands = commands
        self._keys = keys
        self._ttl_ms = int(ttl_s * 1000)

    def add(self, name: str) -> None:
        """Remember ``name`` from now on. Raises ``Unavailable``."""
        with redis_errors_as_unavailable():
            self._commands.execute("SET", self._keys.note(name), "1", "PX", self._ttl_ms)

    def claim(self, name: str, who: str) -> bool:
        """Remember ``name`` as ``who``'s, unless it is somebody's; return whether it is. Raises ``Unavailable``."""
        key = self._keys.note(name)
        with redis_errors_as_unavailable():
            self._commands.execute("SET", key, who, "NX", "PX", self._ttl_ms)
            return bool(self._commands.execute("GET", key) == who.encode())

    def renew(self, name: str) -> bool:
        """Return whether ``name`` is remembered; if so, its time begins anew. Raises ``Unavailable``."""
        with redis_errors_as_unavailable():
            return bool(self._commands.execute("PEXPIRE", self._keys.note(name), self._ttl_ms))
