"""What a client that joins is sent of the log: no message that skips it, and of an emit to several rooms one copy."""

from collections.abc import Iterable

from chat.realtime.entry import Body, Entry, decode_body, encode_offset, make_messages
from chat.realtime.message import Message
from chat.realtime.session import Session


def select_messages(session: Session, entries: Iterable[Entry], epoch: str | None, shown: int = 0) -> list[Message]:
    """Return those of the messages that a client is to be sent.

    Args:
        session: the client's.
        entries: of its rooms, ordered by id.
        epoch: of their offsets; ``None``: they have none.
        shown: the id up to which the client has shown that it has everything.
    """
    messages: list[Message] = []
    for entry in entries:
        body = decode_body(entry.body)
        if session.sid not in body.skip and not _has_copy(session, entry, body, shown):
            offset = encode_offset(epoch, entry.id) if epoch is not None else None
            messages += make_messages(body, entry.id, offset)
    return messages


def _has_copy(session: Session, entry: Entry, body: Body, shown: int) -> bool:
    """Return whether a client gets, or has got, a copy of an emit to several rooms in one that was listed before.

    The copies were stored together, so their ids follow each other.
    """
    first = entry.id - len(body.elsewhere)
    floors = session.floors
    return first <= shown < entry.id or any(
        room in floors and floors[room] < first + number for number, room in enumerate(body.elsewhere)
    )
