"""Batches: what a shard of the log stores at once, and in what rounds all of them are stored.

A call of the store script takes the batches of all shards that are in one Redis. What is emitted while it is under way
is stored by the next. Of a cluster's primaries, each is called once in a round, so that the answers come together: each
turn of the loop with something to do costs much more than one message more in it.
"""

from collections.abc import Sequence
from functools import partial
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
_ROUND_S = 0.02  # then nobody is waited for any more


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


class Rounds:
    """Stores what all writers of a worker have, in the hub."""

    def __init__(self) -> None:
        self._due: dict[Pipeline, dict[Writer, None]] = {}
        self._called: set[Pipeline] = set()  # and have not answered
        self._awaited: set[Pipeline] = set()  # those of this round
        self._is_beginning = False
        self._timer: Any = None

    def add(self, commands: "Pipeline", writer: "Writer") -> None:
        """Take a batch of ``writer`` along in the next round; ``commands`` is the connection to the Redis it is for."""
        self._due.setdefault(commands, {})[writer] = None
        self._begin_soon()

    def _begin_soon(self) -> None:
        if not self._awaited and not self._is_beginning:
            self._is_beginning = True
            gevent.get_hub().loop.run_callback(self._begin)

    def _begin(self) -> None:
        self._is_beginning = False
        for commands in self._due.keys() - self._called:
            self._call(commands, self._due.pop(commands))
        if len(self._awaited) > 1:
            self._timer = gevent.get_hub().loop.timer(_ROUND_S)
            self._timer.start(self._end)

    def _end(self) -> None:
        """Begin the next round, whoever has not answered."""
        self._awaited.clear()
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self._due.keys() - self._called:
            self._begin_soon()

    def _call(self, commands: "Pipeline", writers: "dict[Writer, None]") -> None:
        batches = _take(writers)
        if writers:  # more than one call takes
            self._due[commands] = writers
        if not batches:
            return
        command = commands.describe_script("store", (), join_batches([batch.arguments for batch in batches]))
        replicas = max(batch.replicas for batch in batches)
        on_answer = partial(self._on_answer, commands, batches)
        self._called.add(commands)
        self._awaited.add(commands)
        if replicas:
            commands.ask_written(command, replicas, on_answer)
        else:
            commands.ask(command, lambda answer: on_answer(answer, 0))

    def _on_answer(self, commands: "Pipeline", batches: list[Batch], answer: Any, reached: Any) -> None:
        if isinstance(reached, redis.RedisError):
            answer = reached
        if isinstance(answer, redis.RedisError):
            answer = [answer] * len(batches)
        for batch, one in zip(batches, answer, strict=True):
            batch.on_answer(one, reached)
        self._called.discard(commands)
        self._awaited.discard(commands)
        if not self._awaited:
            self._end()


def _take(writers: "dict[Writer, None]") -> list[Batch]:
    """Take a batch of each, as long as one call can have more."""
    batches: list[Batch] = []
    messages, size = MESSAGES, BYTES
    while writers and messages > 0 and size > 0:
        writer = next(iter(writers))
        del writers[writer]
        batch = writer.take_batch(messages, size)
        if batch is not None:
            batches.append(batch)
            messages, size = messages - batch.messages, size - batch.bytes
    return batches


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
