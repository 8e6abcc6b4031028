"""What starts and stops with its gunicorn worker."""

import weakref
from collections.abc import Collection
from typing import Any, ClassVar


class Service:
    """A part of the engine that the worker starts before the first client comes, and stops before it ends."""

    _created: ClassVar[list["weakref.ref[Service]"]] = []

    #: Connections that it has taken out of HTTP's hands.
    open: Collection[Any] = ()

    def register(self) -> None:
        """Have the worker of this process start and stop this service. Called when it is made."""
        Service._created.append(weakref.ref(self))

    @classmethod
    def get_all(cls) -> list["Service"]:
        """Return the services of this process in the order in which they were made: parts before wholes."""
        return [service for reference in cls._created if (service := reference()) is not None]

    @classmethod
    def count_open(cls) -> int:
        """Return the connections of all services of this process."""
        return sum(len(service.open) for service in cls.get_all())

    def start(self, node: str) -> None:
        """Begin to work; ``node`` names this worker in the cluster. It may not block for long."""

    def get_unready_reason(self) -> str | None:
        """Return why this can't do its work just now, in a word, or ``None`` while it can."""
        return None

    def stop(self, *, at_once: bool = False) -> None:
        """Send the clients away, if this has any of its own: spread over some time, or ``at_once``. It may block."""
