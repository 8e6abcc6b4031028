"""The polling half of a session: what waits to be polled, and the request that waits for it."""

import base64
import binascii
from collections.abc import Iterator

from gevent.event import Event

from webfarm.protocol.engine_packet import CLOSE, EnginePacket

_SEPARATOR = "\x1e"  # between the packets of a payload


class PollingError(Exception):
    """The client polls in a way that no client does; its session ends."""


class Polling:
    """What waits to be polled."""

    __slots__ = ("_allowed", "_poll", "is_posted", "messages", "unsent")

    def __init__(self) -> None:
        self.messages: list[EnginePacket] = []
        self.unsent = 0  # bytes, as they will be on the wire
        self.is_posted = False  # while a POST is being read
        self._allowed = 0
        self._poll: Event | None = None

    @property
    def is_polled(self) -> bool:
        """Whether a request waits for messages."""
        return self._poll is not None

    def allow(self, size: int) -> None:
        """Let ``size`` bytes more wait until all has been polled."""
        self._allowed += size

    def has_room(self, max_bytes: int) -> bool:
        """Return whether more may wait."""
        return self.unsent < max_bytes + self._allowed

    def add(self, message: EnginePacket) -> None:
        """Hand ``message`` to the request that waits, or keep it for the next one."""
        self.messages.append(message)
        self.unsent += len(message.payload)
        self.release()

    def release(self) -> None:
        """Answer the request that waits, if there is one."""
        if self._poll is not None:
            self._poll.set()

    def take(self) -> list[EnginePacket]:
        """Return what waits, which waits no longer.

        A close is left for the next poll: the stock client, which looks at messages a moment later, would take those
        that come with it for messages of its next connection, and not know that it has them.
        """
        messages, self.messages = self.messages, []
        if len(messages) > 1 and messages[-1].packet == CLOSE:
            self.messages = [messages.pop()]
        self.unsent = self._allowed = 0
        return messages

    def put_back(self, messages: list[EnginePacket]) -> None:
        """Let ``messages``, which were taken, wait again, before all others."""
        self.messages = messages + self.messages
        self.unsent += sum(len(message.payload) for message in messages)

    def poll(self, timeout_s: float) -> list[EnginePacket]:
        """Wait for messages; return none after ``timeout_s``. Raises ``PollingError`` if another request waits."""
        if self._poll is not None:
            raise PollingError("two polls at once")
        if not self.messages:
            self._poll = Event()
            try:
                self._poll.wait(timeout_s)
            finally:
                self._poll = None
        return self.take()


def encode_payload(messages: list[EnginePacket]) -> bytes:
    """Return what a poll is answered with."""
    return _SEPARATOR.encode().join([message.payload for message in messages])


def decode_payload(body: bytes) -> Iterator[str | bytes]:
    """Yield the packets of what was posted. Raises ``ValueError`` where it is no payload."""
    yield from map(_decode_packet, str(body, "utf-8").split(_SEPARATOR))


def _decode_packet(text: str) -> str | bytes:
    if not text.startswith("b"):
        return text
    try:
        return base64.b64decode(text[1:], validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None
