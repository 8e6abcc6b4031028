"""What a client that joins is sent of the log: no message that skips it, and of an emit to several rooms one copy."""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from webfarm.log.entry import Body, Entry, decode_body, make_messages, put_offset
from webfarm.log.offset import Ids, Vector
from webfarm.protocol.engine_packet import EnginePacket
from webfarm.sessions.session import Session

#: An entry and its shard's number.
Found = tuple[Entry, int]


class Replay(NamedTuple):
    """What a client is sent as soon as it has joined, before everything else."""

    messages: list[EnginePacket] = []
    #: By shard: what is in the log up to here is among them, or the client has it; more may be among them.
    read_to: Ids = ()  # of none but the client's inboxes
    shown: Ids = ()  # up to where the client has shown that it has everything, by shard
    epochs: Sequence[str] | None = None  # of offsets, by shard; None: messages have none

    def merge(self, held: list[EnginePacket]) -> list[EnginePacket]:
        """Return all there is to be sent, by the log's ids: what is replayed, and what came live meanwhile.

        What is not in the log stays behind all that it came after.
        """
        if not self.messages and not self.read_to:
            return held
        replayed = {(message.shard, message.id) for message in self.messages}
        read_to = self.read_to
        ordered = [(message.id, message) for message in self.messages]
        before = 0
        for message in held:
            is_known = (message.shard, message.id) in replayed or (read_to and message.id <= read_to[message.shard])
            if not message.id or not is_known:
                before = max(before, message.id)
                ordered.append((message.id or before, message))
        ordered.sort(key=itemgetter(0))
        return list(self.number(message for _, message in ordered))

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


def select_messages(session: Session, found: Iterable[Found], shown: Ids, *, has_offset: bool) -> list[EnginePacket]:
    """Return those of the messages that a client is to be sent, in order.

    Args:
        session: the client's.
        found: what is stored in its rooms.
        shown: up to where the client has shown that it has everything.
        has_offset: whether they get an offset; which one is seen when they are sent (``Replay.number``).
    """
    messages: list[EnginePacket] = []
    for entry, shard in sorted(found):
        body = decode_body(entry.body)
        if session.sid not in body.skip and not _has_copy(session, entry, body, shown[shard]):
            messages += make_messages(body, shard, entry.id, "" if has_offset else None)
    return messages


def _has_copy(session: Session, entry: Entry, body: Body, shown: int) -> bool:
    """Return whether a client gets, or has got, a copy of an emit to several rooms in one that was listed before.

    The copies of one shard were stored together, so their ids follow each other.
    """
    first = entry.id - len(body.elsewhere)
    copies = [*body.copies, *((room, first + number) for number, room in enumerate(body.elsewhere))]
    floors = session.floors
    return first <= shown < entry.id or any(room in floors and floors[room] < id for room, id in copies)
