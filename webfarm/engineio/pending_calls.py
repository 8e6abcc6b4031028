"""Questions that clients have not answered yet: they fail as soon as the client leaves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from gevent.event import AsyncResult
from socketio.exceptions import DisconnectedError


class _Connection(Protocol):
    @property
    def closed(self) -> object: ...


class PendingCalls:
    """The unanswered questions to a server's clients."""

    def __init__(self) -> None:
        self._answers: dict[_Connection, dict[AsyncResult[Any], str]] = {}  # with the namespace of each

    @contextmanager
    def adding(self, connection: _Connection, answer: "AsyncResult[Any]", namespace: str) -> Iterator[None]:
        """Have ``answer`` fail with a ``DisconnectedError`` if the client leaves ``namespace`` within the block."""
        answers = self._answers.setdefault(connection, {})
        answers[answer] = namespace
        try:
            if connection.closed:
                self.fail(connection)
            yield
        finally:
            answers.pop(answer, None)
            if not answers:
                self._answers.pop(connection, None)

    def fail(self, connection: _Connection, namespace: str | None = None) -> None:
        """Fail what waits for an answer of a client, in ``namespace`` or in all."""
        for answer, name in self._answers.get(connection, {}).items():
            if namespace in (None, name):
                answer.set_exception(DisconnectedError("the client is gone"))
