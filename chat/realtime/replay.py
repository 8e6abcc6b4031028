"""What a client that joins is sent of the log: no message that skips it, and of an emit to several rooms one copy."""

from collections.abc import Iterable, Sequence

from chat.realtime.entry import Body, Entry, decode_body, make_messages
from chat.realtime.message import Message
from chat.realtime.offset import Ids, encode_offset
from chat.realtime.session import Session

#: An entry and its shard's number.
Found = tuple[Entry, int]


def select_messages(
    session: Session, found: Iterable[Found], epochs: Sequence[str] | None, shown: Ids
) -> list[Message]:
    """Return those of the messages that a client is to be sent, in order; each has its own place as its offset.

    Args:
        session: the client's.
        found: what is stored in its rooms.
        epochs: of their offsets, by shard; ``None``: they have none.
        shown: up to where the client has shown that it has everything.
    """
    messages: list[Message] = []
    ids = list(shown)
    for entry, shard in sorted(found):
        ids[shard] = max(ids[shard], entry.id)
        body = decode_body(entry.body)
        if session.sid not in body.skip and not _has_copy(session, entry, body, shown[shard]):
            offset = encode_offset(epochs, ids) if epochs is not None else None
            messages += make_messages(body, shard, entry.id, offset)
    return messages


def _has_copy(session: Session, entry: Entry, body: Body, shown: int) -> bool:
    """Return whether a client gets, or has got, a copy of an emit to several rooms in one that was listed before.

    The copies of one shard were stored together, so their ids follow each other.
    """
    first = entry.id - len(body.elsewhere)
    copies = [*body.copies, *((room, first + number) for number, room in enumerate(body.elsewhere))]
    floors = session.floors
    return first <= shown < entry.id or any(room in floors and floors[room] < id for room, id in copies)
