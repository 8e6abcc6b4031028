"""Socket.IO packets, read as the protocol has them and with bounds.

https://github.com/socketio/socket.io-protocol (revision 5)

Overridden of ``socketio.packet.Packet`` (5.18), as stock accepts much that is no packet: ``__init__``, ``decode`` and
``add_attachment``. A binary packet has 1 to 10 attachments (Node's bound), each named by exactly one placeholder.
Without that, one attachment of a megabyte, named 30,000 times, becomes gigabytes. A packet has a bounded number of
values: a megabyte of ``[],[],…`` would hold up all clients for a third of a second. ``data_is_binary`` and
``deconstruct_binary`` call nothing for each value.
"""

import re
import uuid
from collections.abc import Iterator
from itertools import islice
from types import NoneType
from typing import Any

from socketio import packet
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, DISCONNECT, EVENT

from webfarm.protocol import strict_json

#: Stands in an event's arguments for the id that the log gives to the message.
MESSAGE_ID = uuid.uuid4().hex  # nobody else writes it while the process lives

MAX_ATTACHMENTS = 10
MAX_DEPTH = 200
MAX_VALUES = 65_536  # keys count as values, an array or object as two more
_MAX_NAMESPACE = 256

_RESERVED_EVENTS = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)  # a client's library fires them itself
_ATTACHMENTS = re.compile("([1-9][0-9]?)-", re.ASCII)
_STRING = re.compile(r'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)  # linear, also where it never ends
_PLAIN = frozenset((str, int, float, bool, NoneType))  # they contain no other value
_HEAD = re.compile("(?:(/[^,]*)(?:,|$))?([0-9]{1,16})?", re.ASCII | re.DOTALL)


class Packet(packet.Packet):
    """A packet that is what its type says, or no packet at all (``ValueError``, ``RecursionError``)."""

    json = strict_json

    def __init__(self, *args: Any, encoded_packet: str | bytes | None = None, **kwargs: Any) -> None:
        self.size = len(encoded_packet or "")  # characters and bytes, as it came
        self._places: list[tuple[Any, Any, int]] = []  # of the placeholders, as ``_get_places`` has them
        if encoded_packet is None:
            super().__init__(*args, **kwargs)
        else:
            super().__init__(binary=False)
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
        assert head is not None  # it also matches an empty text
        self.namespace = head[1].partition("?")[0] if head[1] else None
        if len(self.namespace or "") > _MAX_NAMESPACE:
            raise ValueError("the namespace's name is too long")
        self.id = int(head[2]) if head[2] else None
        text = encoded_packet[head.end() :]
        if _has_too_many_values(text):
            raise ValueError(f"more than {MAX_VALUES} values")
        self.data = self.json.loads(text) if text else None
        self._check(count)
        return count

    def encode_parts(self) -> list[str | bytes]:
        """Return the packet's text, then its attachments."""
        encoded: Any = self.encode()
        return encoded if isinstance(encoded, list) else [encoded]

    def add_attachment(self, attachment: str | bytes) -> bool:
        """Take the next attachment; return whether it was the last."""
        if not isinstance(attachment, bytes | bytearray):
            raise ValueError("a text came where an attachment was announced")
        self.attachments.append(attachment)
        self.size += len(attachment)
        if len(self.attachments) < self.attachment_count:
            return False
        for container, key, number in self._places:
            container[key] = self.attachments[number]
        return True

    @classmethod
    def data_is_binary(cls, data: Any) -> bool:
        if _is_shallow(data):
            return False
        return any(isinstance(item, bytes | bytearray) for level in _get_levels(data) for item in level)

    @classmethod
    def deconstruct_binary(cls, data: Any) -> tuple[Any, list[bytes | bytearray]]:
        attachments: list[bytes | bytearray] = []
        return _take_out(data, attachments), attachments

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
        if count:
            self._places = list(islice(_get_places(data), count + 1))
            if sorted(number for _, _, number in self._places) != list(range(count)):
                raise ValueError("each attachment has one placeholder")


_TYPES = tuple(str(kind) for kind in (CONNECT, DISCONNECT, EVENT, ACK, BINARY_EVENT, BINARY_ACK))


def list_arguments(data: Any) -> list[Any]:
    """Return the arguments of an emit or an acknowledgement: a tuple is several, ``None`` none."""
    return list(data) if isinstance(data, tuple) else [] if data is None else [data]


def check_event(event: Any, data: Any) -> None:
    """Raise ``ValueError`` if a client, or the history of a room, could not take this event.

    Args:
        event: its name.
        data: its argument; a tuple of several; ``None`` for none.
    """
    if not isinstance(event, str) or not event or event in _RESERVED_EVENTS:
        raise ValueError("An event's name is a text that is not empty and none of Socket.IO's own events'.")
    arguments = [event, *list_arguments(data)]
    if is_too_deep(arguments):
        raise ValueError("The data is nested too deeply.")
    if _has_too_many_values(strict_json.dumps(arguments)):
        raise ValueError(f"The data has more than {MAX_VALUES} values.")


def is_too_deep(value: Any) -> bool:
    """Return whether ``value`` has arrays and objects nested in more than ``MAX_DEPTH`` levels.

    Some worker could not write a deeper message again after it was read.
    """
    if _is_shallow(value):
        return False
    for depth, level in enumerate(_get_levels(value)):
        if depth == MAX_DEPTH:
            return any(isinstance(item, list | dict) for item in level)
    return False


def _is_shallow(value: Any) -> bool:
    """Return whether ``value`` is an array of plain values and of arrays and objects of such, as most events are."""
    if type(value) is not list:
        return False
    for child in value:
        kind = type(child)
        if kind not in _PLAIN:
            children = child.values() if kind is dict else child if kind is list else (child,)
            if not _PLAIN.issuperset(map(type, children)):
                return False
    return True


def _get_levels(value: Any) -> Iterator[list[Any]]:
    """Yield ``value``, then its items, then their items, and so on: all but texts, numbers and constants."""
    level = [value]
    while level:
        yield level
        level = [
            child
            for item in level
            if isinstance(item, list | dict)
            for child in (item.values() if isinstance(item, dict) else item)
            if type(child) not in _PLAIN
        ]


def _get_places(value: Any) -> Iterator[tuple[Any, Any, int]]:
    """Yield where in ``value`` placeholders are: container, key, number (-1 if it has no proper one)."""
    containers = [value]
    while containers:
        container = containers.pop()
        pairs = container.items() if isinstance(container, dict) else enumerate(container)
        for key, child in [pair for pair in pairs if type(pair[1]) not in _PLAIN]:
            if isinstance(child, dict) and child.get("_placeholder") and "num" in child:  # as python-socketio has them
                number = child["num"]
                yield container, key, number if child["_placeholder"] is True and type(number) is int else -1
            else:
                containers.append(child)


def _take_out(value: Any, attachments: list[bytes | bytearray]) -> Any:
    """Return ``value`` with placeholders for all bytes in it, which are appended to ``attachments``."""
    if isinstance(value, bytes | bytearray):
        attachments.append(value)
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, list):
        return [child if type(child) in _PLAIN else _take_out(child, attachments) for child in value]
    if isinstance(value, dict):
        return {key: child if type(child) in _PLAIN else _take_out(child, attachments) for key, child in value.items()}
    return value


def _has_too_many_values(text: str) -> bool:
    """Return whether ``text``, a JSON text, has more than ``MAX_VALUES`` values. Nothing is parsed for it."""
    if _count_values(text) <= MAX_VALUES:
        return False
    text, strings = _STRING.subn("", text, MAX_VALUES + 1)  # commas and brackets in strings are none
    return strings > MAX_VALUES or _count_values(text) > MAX_VALUES


def _count_values(text: str) -> int:
    return text.count(",") + text.count(":") + 2 * (text.count("[") + text.count("{"))
