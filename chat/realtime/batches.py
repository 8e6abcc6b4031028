"""Batches: what a shard of the log stores at once.

All shards that are in one Redis share its connection, and one call of the store script at a time: what is emitted
while it is under way is stored by the next. So a message costs as much as if there were one shard.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
import redis

from chat.errors import NoRecipient, Unavailable
from chat.realtime.keys import Keys
from chat.realtime.log import Limits, Stored

if TYPE_CHECKING:
    from chat.realtime.pipeline import Pipeline
    from chat.realtime.writer import Writer

MESSAGES, BYTES = 200, 1_000_000  #: of one call


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
    on_answer: Any  # called with the script's answer, and with how many replicas have it; or a ``redis.RedisError``


class Batches:
    """Stores what the writers of one Redis have, in the hub.

    Args:
        commands: the connection to it.
    """

    def __init__(self, commands: "Pipeline") -> None:
        self._commands = commands
        self._due: dict[Writer, None] = {}
        self._is_calling = False  # or about to

    def add(self, writer: "Writer") -> None:
        """Take a batch of ``writer`` along with the next call."""
        self._due[writer] = None
        if not self._is_calling:
            self._is_calling = True
            gevent.get_hub().loop.run_callback(self._call)

    def _call(self) -> None:
        batches = self._take()
        if not batches:
            self._is_calling = False
            return
        command = self._commands.describe_script("store", (), join_batches([batch.arguments for batch in batches]))
        replicas = max(batch.replicas for batch in batches)

        def on_answer(answer: Any, reached: Any) -> None:
            self._on_answer(batches, answer, reached)

        if replicas:
            self._commands.ask_written(command, replicas, on_answer)
        else:
            self._commands.ask(command, lambda answer: on_answer(answer, 0))

    def _take(self) -> list[Batch]:
        batches: list[Batch] = []
        messages, size = MESSAGES, BYTES
        while self._due and messages > 0 and size > 0:
            writer = next(iter(self._due))
            del self._due[writer]
            batch = writer.take_batch(messages, size)
            if batch is not None:
                batches.append(batch)
                messages, size = messages - batch.messages, size - batch.bytes
        return batches

    def _on_answer(self, batches: list[Batch], answer: Any, reached: Any) -> None:
        if isinstance(reached, redis.RedisError):
            answer = reached
        if isinstance(answer, redis.RedisError):
            answer = [answer] * len(batches)
        for batch, one in zip(batches, answer, strict=True):
            batch.on_answer(one, reached)
        self._is_calling = bool(self._due)
        if self._due:
            gevent.get_hub().loop.run_callback(self._call)


def describe_batch(
    keys: Keys, limits: Limits, clock: Sequence[Any], name: str, number: int, messages: Sequence[Outgoing]
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
