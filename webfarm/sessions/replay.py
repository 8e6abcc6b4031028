"""What a client that joins is sent of the log: no message that skips it, and of an emit to several rooms one copy."""

from collections.abc import Iterable

from webfarm.log.entry import Body, Entry, decode_body, make_messages
from webfarm.log.offset import Ids
from webfarm.protocol.engine_packet import EnginePacket
from webfarm.sessions.session import Session

#: An entry and its shard's number.
Found = tuple[Entry, int]


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
