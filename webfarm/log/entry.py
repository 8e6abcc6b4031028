"""Entries of the log: a message's Socket.IO packets as they are sent, and the clients that do not get it.

A body is a line of JSON (it may be empty), then the packet's text, then its attachments.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from webfarm.protocol.engine_packet import MESSAGE, EnginePacket
from webfarm.protocol.packet import MESSAGE_ID

#: The start of a message on a room's channel that is not in the log.
VOLATILE = b"volatile "

_MESSAGE_ID = MESSAGE_ID.encode()


class Entry(NamedTuple):
    """One message of a room in the log."""

    id: int
    prev: int  # the id of the room's message before it, 0 for none
    room: str  # the key of its stream
    body: bytes


#: A room of another shard whose members got their copy there, and that copy's id.
Copy = tuple[str | None, int]


class Body(NamedTuple):
    """The body of an entry, taken apart."""

    text: str  # of the Socket.IO packet
    attachments: list[bytes] = []
    skip: Sequence[str] = ()  # sids that do not get it
    elsewhere: Sequence[str | None] = ()  # rooms of the same shard whose members got their copy there, just before it
    copies: Sequence[Copy] = ()


def encode_body(
    parts: Sequence[str | bytes],
    skip: Sequence[str] = (),
    elsewhere: Sequence[str | None] = (),
    copies: Sequence[Copy] = (),
) -> tuple[bytes, bytes]:
    """Return a body in two halves, with the id in between; the second half is empty if the body has no id.

    Args:
        parts: a Socket.IO packet's text and attachments.
        skip: sids that do not get the message.
        elsewhere: rooms of the same shard whose members get their copy there, stored just before this one.
        copies: rooms of other shards whose members got their copy there.
    """
    head: dict[str, Any] = {}
    if len(parts) > 1:
        head["sizes"] = [len(part) for part in parts[1:]]
    if skip:
        head["skip"] = list(skip)
    if elsewhere:
        head["elsewhere"] = list(elsewhere)
    if copies:
        head["copies"] = list(copies)
    encoded = [part.encode() if isinstance(part, str) else bytes(part) for part in parts]
    first, found, second = b"".join([orjson.dumps(head) if head else b"", b"\n", *encoded]).partition(_MESSAGE_ID)
    return first, second if found else b""


def decode_body(body: bytes) -> Body:
    """Take a body apart. Raises ``ValueError`` if it is not valid."""
    line, _, rest = body.partition(b"\n")
    if not line:
        return Body(rest.decode())
    head = orjson.loads(line)
    attachments: list[bytes] = []
    for size in reversed(head.get("sizes", ())):
        attachments.insert(0, rest[-size:] if size else b"")
        rest = rest[: len(rest) - size]
    kinds = (head.get(name, ()) for name in ("skip", "elsewhere", "copies"))
    return Body(rest.decode(), attachments, *kinds)


def make_messages(body: Body, shard: int, id: int, offset: str | None) -> list[EnginePacket]:
    """Return the packets for clients: the event with its offset as one more argument, and its attachments."""
    text = body.text if offset is None else f'{body.text[:-1]},"{offset}"]'
    messages = [EnginePacket(MESSAGE + text), *map(EnginePacket, body.attachments)]
    for message in messages:
        message.shard, message.id = shard, id
    return messages


def put_offset(message: EnginePacket, offset: str) -> EnginePacket:
    """Return a message of ``make_messages`` with another offset; an attachment has none."""
    if isinstance(message.packet, bytes):
        return message
    changed = EnginePacket(f'{message.packet.rpartition(",")[0]},"{offset}"]')
    changed.shard, changed.id = message.shard, message.id
    return changed
