"""What is sent to a client while it joins a namespace: it waits for the answer to CONNECT."""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from webfarm.log.entry import put_offset
from webfarm.log.offset import Ids, Vector
from webfarm.protocol.engine_packet import EnginePacket


class Replay(NamedTuple):
    """What a client is sent as soon as it has joined, before everything else."""

    messages: list[EnginePacket] = []
    #: By shard: what is in the log up to here is among them, or the client has it; more may be among them.
    read_to: Ids = ()  # of none but the client's inboxes
    shown: Ids = ()  # up to where the client has shown that it has everything, by shard
    epochs: Sequence[str] | None = None  # of offsets, by shard; None: messages have none

    def number(self, messages: Iterable[EnginePacket]) -> Iterator[EnginePacket]:
        """Yield ``messages``, in the order in which they are sent, each with the client's own position as its offset.

        The node's, which a message has that came live, may be behind what is replayed, or before what is sent later.
        """
        if self.epochs is None:
            yield from messages
            return
        ids, vector = list(self.shown), Vector(self.epochs, self.shown)
        for message in messages:
            if message.id:
                shard = message.shard
                ids[shard] = max(ids[shard], message.id)
                vector.show(shard, self.epochs[shard], ids[shard])
                yield put_offset(message, vector.encode())
            else:
                yield message


class JoinBuffer:
    """The messages of one namespace that a client is not sent yet."""

    __slots__ = ("messages", "namespace", "unsent")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.messages: list[EnginePacket] = []
        self.unsent = 0  # bytes

    def add(self, message: EnginePacket) -> None:
        """Keep ``message``."""
        self.messages.append(message)
        self.unsent += len(message.payload)

    def merge(self, replay: Replay) -> list[EnginePacket]:
        """Return all there is to be sent, by the log's ids: what is replayed, and what came live meanwhile.

        What is not in the log stays behind all that it came after.
        """
        if not replay.messages and not replay.read_to:
            return self.messages
        replayed = {(message.shard, message.id) for message in replay.messages}
        read_to = replay.read_to
        ordered = [(message.id, message) for message in replay.messages]
        before = 0
        for message in self.messages:
            is_known = (message.shard, message.id) in replayed or (read_to and message.id <= read_to[message.shard])
            if not message.id or not is_known:
                before = max(before, message.id)
                ordered.append((message.id or before, message))
        ordered.sort(key=itemgetter(0))
        return list(replay.number(message for _, message in ordered))
