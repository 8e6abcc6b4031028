"""A shard as anybody may see it, a worker or not: what things are called there, and where to ask."""

from collections.abc import Sequence
from typing import Any, Protocol

from webfarm.redis.keys import Keys


class Asking(Protocol):
    """What asks the Redis that a shard is in. All of it raises ``redis.RedisError``."""

    def run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """Run the script ``name`` (``webfarm.redis.scripts``); return its answer."""

    def execute(self, *command: Any) -> Any:
        """Execute a command; return its answer, texts as bytes."""

    def publish(self, channel: str, data: str | bytes) -> int:
        """Publish on a shard's channel; return how many listen."""


class AnyShard(Protocol):
    """A shard: a ``Shard`` of a worker, or a ``BlockingShard``."""

    @property
    def keys(self) -> Keys:
        """What things are called there."""

    @property
    def commands(self) -> Asking:
        """Where to ask."""
