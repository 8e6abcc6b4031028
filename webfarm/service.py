"""Services: parts that start and stop with their gunicorn worker."""

import weakref
from collections.abc import Collection
from typing import Any, ClassVar


class Service:
    """A part of the engine that the worker starts before the first client comes, and stops before it ends."""

    _created: ClassVar[list["weakref.ref[Service]"]] = []

    #: The connections that it has taken over from HTTP.
    open: Collection[Any] = ()

    def register(self) -> None:
        """Have the worker of this process start and stop this service. Called when the service is made."""
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
        """Begin to work; ``node`` names this worker in the farm. It may not block for long."""

    def list_warnings(self) -> list[str]:
        """Return sentences about the set-up, which the first worker logs at its start."""
        return []

    def get_unready_reason(self) -> str | None:
        """Return in a word why this service can't work just now, ``None`` while it can."""
        return None

    def stop(self, *, at_once: bool = False) -> None:
        """Close the connections of this service, spread over some time or ``at_once``. It may block."""
