"""Batches: what a shard of the log stores at once, as the store script is told of it."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from webfarm.errors import NoRecipient, Unavailable
from webfarm.log.shard_log import Retention, Stored
from webfarm.redis.keys import Keys

MESSAGES, BYTES = 200, 1_000_000  #: that one call of the script takes


class Outgoing(NamedTuple):
    """A message to be stored."""

    namespace: str
    room: str | None
    body: tuple[bytes, bytes]  # of encode_body
    once: str = ""  # under this name it is stored once within known_s
    known_s: float = 0.0
    recipient: str = ""  # a sid whose session must exist

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.body[0]) + len(self.body[1])


class Batch(NamedTuple):
    """What a shard stores at once, as the store script is told, and how many replicas must have it then."""

    messages: int
    bytes: int
    arguments: list[Any]
    replicas: int
    #: Called with the script's answer, or with a ``redis.RedisError``, and with how many replicas have it.
    on_answer: Callable[[Any, Any], object]


def describe_batch(
    keys: Keys, limits: Retention, clock: Sequence[Any], name: str, number: int, messages: Sequence[Outgoing]
) -> list[Any]:
    """Return what the store script is told of a batch.

    Args:
        keys: of its shard.
        limits: what is kept of each room.
        clock: the shard's ``clock_arguments``.
        name: the key of its node's last batch.
        number: higher than that of the node's batch before it; the same as before if it is repeated.
        messages: all are the shard's.
    """
    arguments: list[Any] = [len(messages), keys.absent, keys.clock, name, *clock, number]
    arguments += (limits.length, limits.bytes, int(limits.ttl_s * 1000), keys.users_sids)
    for namespace, room, body, once, known_s, recipient in messages:
        arguments += (
            stream := keys.stream(namespace, room),
            keys.room_of(stream),
            keys.once(stream, once) if once else keys.clock,
            keys.session(recipient) if recipient else keys.clock,
            int(known_s * 1000) if once else 0,
            1 if recipient else 0,
            *body,
        )
    return arguments


def join_batches(batches: Sequence[list[Any]]) -> list[Any]:
    """Return the arguments of the store script for some batches of ``describe_batch``, which it answers in order."""
    return [len(batches), *chain.from_iterable(batches)]


def decode_answer(id: bytes, nodes: Any) -> Stored | Exception:
    """Return what the store script's answer to one message means."""
    if id:
        return Stored(int(id), nodes)
    if nodes == b"recipient":
        return NoRecipient("Nobody by that id is connected.")
    return Unavailable(f"Redis could not store it: {nodes.decode()}")
