"""Socket.IO packets, with the bounds that python-socketio's parser lacks.

Overridden of ``socketio.packet.Packet``: ``decode`` and ``add_attachment``. A binary packet has 1 to 10 attachments
(Node's bound), each named by exactly one placeholder; stock lets one attachment of a megabyte be named 30,000
times, and one text packet then becomes gigabytes.
"""

from collections.abc import Iterator
from typing import Any

from socketio import packet

MAX_ATTACHMENTS = 10
MAX_DEPTH = 200


class Packet(packet.Packet):
    """A packet that is what its type says, or no packet at all (``ValueError``)."""

    def decode(self, encoded_packet: str) -> int:
        """Parse the text of a packet; return how many attachments follow it."""
        if not isinstance(encoded_packet, str):
            raise ValueError("an attachment that no packet announced")
        count: int = super().decode(encoded_packet)
        if self.packet_type in (packet.BINARY_EVENT, packet.BINARY_ACK):
            if not 1 <= count <= MAX_ATTACHMENTS or sorted(_get_placeholders(self.data)) != list(range(count)):
                raise ValueError(f"a binary packet has 1 to {MAX_ATTACHMENTS} attachments, each with one placeholder")
        elif count:
            raise ValueError("only binary packets have attachments")
        return count

    def add_attachment(self, attachment: bytes) -> bool:
        """Take the next attachment; return whether it was the last."""
        if not isinstance(attachment, bytes | bytearray):
            raise ValueError("a text came where an attachment was announced")
        return bool(super().add_attachment(attachment))


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
    if isinstance(value, dict) and value.get("_placeholder") is True:
        number = value.get("num")
        yield number if type(number) is int else -1
    else:
        for child in _get_children(value):
            yield from _get_placeholders(child)
