"""Whom a follower of the log tells what it hears."""

from typing import Protocol

from webfarm.log.entry import Entry


class Receiver(Protocol):
    """Whom a follower tells what it hears."""

    def on_entry(self, entry: Entry) -> None:
        """A message, in the log's order."""

    def on_volatile(self, stream: str, body: bytes) -> None:
        """A message that is not in the log."""

    def on_presence(self, channel: str, data: bytes) -> None:
        """What came over a channel that is listened to (``Follower.subscription``)."""

    def on_taken(self, sid: str, generation: int) -> None:
        """A session of this node was taken by another connection."""

    def on_probe(self, sid: str, generation: int) -> None:
        """Another connection wants a session of this node: is its own one alive?"""

    def on_request(self, data: bytes) -> None:
        """A node, this one too, or another process asks all nodes."""

    def on_answer(self, data: bytes) -> None:
        """A node has answered this one."""

    def on_return(self) -> None:
        """Redis is back, nothing has been delivered yet. Raises ``redis.RedisError``."""

    def on_lost(self, streams: list[str]) -> None:
        """Messages of these rooms are lost to this node."""
