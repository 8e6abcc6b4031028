"""Polling: the messages that wait to be polled, and the request that waits for messages."""

from gevent.event import Event

from webfarm.monitoring.close_reasons import CloseReason
from webfarm.protocol.engine_packet import CLOSE, NOOP, EnginePacket

_NOOP, _CLOSE = EnginePacket(NOOP), EnginePacket(CLOSE)


class PollingError(Exception):
    """The client polls in a way that no client does; its session ends."""


class Polling:
    """The polling side of a session."""

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

        A close is left for the next poll. The stock client looks at messages a moment later: it would take messages
        that come with a close for messages of its next connection.
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

    def close(self, reason: CloseReason) -> None:
        """Answer the request that waits; without one, only a close by the server leaves a packet for the next."""
        if reason == CloseReason.SERVER_DISCONNECT:
            self.messages.append(_CLOSE)
        elif not self.is_polled:
            self.messages = []
        else:
            self.messages = [_NOOP if reason == CloseReason.CLIENT_DISCONNECT else _CLOSE]
        self.release()
