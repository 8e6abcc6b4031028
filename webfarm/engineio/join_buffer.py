"""Messages to a client that joins a namespace: they wait for the answer to CONNECT."""

from typing import Protocol

from webfarm.protocol.engine_packet import EnginePacket


class Replay(Protocol):
    """The messages that a client gets as soon as it has joined, before all others."""

    def merge(self, held: list[EnginePacket]) -> list[EnginePacket]:
        """Return the replayed messages and those that were ``held`` meanwhile, in the order of sending."""


class JoinBuffer:
    """The messages of one namespace that a client is not sent yet."""

    __slots__ = ("messages", "namespace", "unsent")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.messages: list[EnginePacket] = []
        self.unsent = 0  # bytes

    def add(self, message: EnginePacket) -> None:
        """Keep ``message``."""
        self.messages.append(message)
        self.unsent += len(message.payload)
