"""What is sent to a client while it joins a namespace: it waits for the answer to CONNECT."""

from operator import itemgetter
from typing import NamedTuple

from chat.realtime.message import Message


class Replay(NamedTuple):
    """What a client is sent as soon as it has joined, before everything else."""

    messages: list[Message] = []
    newest: int = 0  #: what is in the log up to here is among them, or the client has it; more may be among them
    is_whole: bool = False  #: of all its rooms; else of its inboxes


class Held:
    """The messages of one namespace that a client is not sent yet."""

    __slots__ = ("messages", "namespace", "unsent")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.messages: list[Message] = []
        self.unsent = 0  # bytes

    def add(self, message: Message) -> None:
        """Keep ``message``."""
        self.messages.append(message)
        self.unsent += len(message.payload)

    def merge(self, replay: Replay) -> list[Message]:
        """Return all there is to be sent, by the log's ids: what is replayed, and what came live meanwhile.

        What is not in the log stays behind what it came after.
        """
        if not replay.newest:
            return self.messages
        replayed = {message.id for message in replay.messages}
        newest = replay.newest if replay.is_whole else 0
        ordered = [(message.id, message) for message in replay.messages]
        before = 0
        for message in self.messages:
            if not message.id or (message.id > newest and message.id not in replayed):
                before = max(before, message.id)
                ordered.append((before, message))
        ordered.sort(key=itemgetter(0))
        return [message for _, message in ordered]
