"""Batches: the messages that a shard of the log stores at once, as the store script takes them."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from webfarm.errors import NoRecipient, Unavailable
from webfarm.log.retention import Retention
from webfarm.log.shard_log import Stored
from webfarm.redis.keys import Keys

MESSAGES, BYTES = 200, 1_000_000  #: that one call of the script takes


class Outgoing(NamedTuple):
    """A message to be stored."""

    namespace: str
    room: str | None
    body: tuple[bytes, bytes]  # of encode_body
    once: str = ""  # the name under which it is stored once within known_s
    known_s: float = 0.0
    recipient: str = ""  # a sid whose session must exist

    @property
    def size(self) -> int:
        """How many bytes the body has."""
        return len(self.body[0]) + len(self.body[1])


class Waiting(NamedTuple):
    """A message in the queue of its shard."""

    message: Outgoing
    waiter: Any  # gevent's ``Waiter`` of its sender
    deadline: float  # of ``time.monotonic``: then the attempt to store it ends


class Batch(NamedTuple):
    """Some messages of a shard that are being stored."""

    number: int
    waiting: Sequence[Waiting]
    bytes: int
    arguments: list[Any]  # of describe_batch
    replicas: int  # that must have it


def describe_batch(
    keys: Keys, retention: Retention, clock: Sequence[Any], name: str, number: int, messages: Sequence[Outgoing]
) -> list[Any]:
    """Return the arguments of the store script for a batch.

    Args:
        keys: of its shard.
        retention: of each room.
        clock: the shard's ``clock_arguments``.
        name: the key of its node's last batch.
        number: higher than that of the node's batch before it; the same as before if it is repeated.
        messages: all are the shard's.
    """
    arguments: list[Any] = [len(messages), keys.absent, keys.clock, name, *clock, number]
    arguments += (retention.length, retention.bytes, int(retention.ttl_s * 1000), keys.users_sids)
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
    """Return the arguments of the store script for some batches of ``describe_batch``; it answers in their order."""
    return [len(batches), *chain.from_iterable(batches)]


def decode_answer(id: bytes, nodes: Any) -> Stored | Exception:
    """Return the meaning of the store script's answer to one message."""
    if id:
        return Stored(int(id), nodes)
    if nodes == b"recipient":
        return NoRecipient("Nobody by that id is connected.")
    return Unavailable(f"Redis could not store it: {nodes.decode()}")
