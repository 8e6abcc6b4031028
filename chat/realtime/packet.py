"""Socket.IO packets, read as the protocol has them and with bounds.

https://github.com/socketio/socket.io-protocol (revision 5)

Overridden of ``socketio.packet.Packet`` (5.18), as stock lets much through that is no packet: ``__init__``, ``decode``
and ``add_attachment``. A binary packet has 1 to 10 attachments (Node's bound), each named by exactly one placeholder;
else one attachment of a megabyte, named 30,000 times, becomes gigabytes.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from socketio import packet
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, DISCONNECT, EVENT

MAX_ATTACHMENTS = 10
MAX_DEPTH = 200
_MAX_NAMESPACE = 256

_RESERVED_EVENTS = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)  # which a client's library fires itself
_ATTACHMENTS = re.compile("([1-9][0-9]?)-", re.ASCII)
_HEAD = re.compile("(?:(/[^,]*)(?:,|$))?([0-9]{1,16})?", re.ASCII | re.DOTALL)


class Packet(packet.Packet):
    """A packet that is what its type says, or no packet at all (``ValueError``, ``RecursionError``)."""

    def __init__(self, *args: Any, encoded_packet: str | bytes | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if encoded_packet is not None:
            self.attachment_count = self.decode(encoded_packet)

    def decode(self, encoded_packet: str | bytes) -> int:
        """Read the text of a client's packet; return how many attachments follow it."""
        if not isinstance(encoded_packet, str):
            raise ValueError("an attachment that no packet announced")
        if encoded_packet[:1] not in _TYPES:
            raise ValueError("an unknown type")
        self.packet_type = int(encoded_packet[0])
        start, count = 1, 0
        if self.packet_type in (BINARY_EVENT, BINARY_ACK):
            announced = _ATTACHMENTS.match(encoded_packet, 1)
            if announced is None or int(announced[1]) > MAX_ATTACHMENTS:
                raise ValueError(f"a binary packet has 1 to {MAX_ATTACHMENTS} attachments")
            start, count = announced.end(), int(announced[1])
        head = _HEAD.match(encoded_packet, start)
        assert head is not None  # it matches nothing as well
        self.namespace = head[1].partition("?")[0] if head[1] else None
        if len(self.namespace or "") > _MAX_NAMESPACE:
            raise ValueError("the namespace's name is too long")
        self.id = int(head[2]) if head[2] else None
        self.data = self.json.loads(encoded_packet[head.end() :]) if head.end() < len(encoded_packet) else None
        self._check(count)
        return count

    def add_attachment(self, attachment: str | bytes) -> bool:
        """Take the next attachment; return whether it was the last."""
        if not isinstance(attachment, bytes | bytearray):
            raise ValueError("a text came where an attachment was announced")
        return bool(super().add_attachment(attachment))

    def _check(self, count: int) -> None:
        """Raise ``ValueError`` if the packet's parts don't belong together."""
        data = self.data
        if self.packet_type in (EVENT, BINARY_EVENT):
            if not isinstance(data, list) or not data or not isinstance(data[0], str) or data[0] in _RESERVED_EVENTS:
                raise ValueError("an event is an array that begins with a name of its own")
        elif self.packet_type in (ACK, BINARY_ACK):
            if not isinstance(data, list) or self.id is None:
                raise ValueError("an acknowledgement is a number and an array")
        elif self.id is not None or not (data is None or (self.packet_type == CONNECT and isinstance(data, dict))):
            raise ValueError("a CONNECT has an object or nothing, a DISCONNECT nothing")
        if count and sorted(islice(_get_placeholders(data), count + 1)) != list(range(count)):
            raise ValueError("each attachment has one placeholder")


_TYPES = tuple(str(kind) for kind in (CONNECT, DISCONNECT, EVENT, ACK, BINARY_EVENT, BINARY_ACK))


def is_too_deep(value: Any) -> bool:
    """Return whether ``value`` has arrays and objects nested in more than ``MAX_DEPTH`` levels.

    Beyond that, a message that was read could not be written, or not by every worker.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _get_children(item) if isinstance(child, list | dict)]
        if not level:
            return False
    return True


def _get_children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _get_placeholders(value: Any) -> Iterator[int]:
    """Yield the numbers of all placeholders in ``value``; -1 for one whose number is none."""
    if isinstance(value, dict) and value.get("_placeholder") and "num" in value:  # as python-socketio replaces them
        number = value["num"]
        yield number if value["_placeholder"] is True and type(number) is int else -1
    else:
        for child in _get_children(value):
            yield from _get_placeholders(child)
