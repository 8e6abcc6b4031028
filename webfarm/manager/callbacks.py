"""Callbacks: who waits for a client's acknowledgement of an emit.

python-socketio keeps a counter for each client that was asked once; here one counter numbers all callbacks.
"""

from collections.abc import Callable
from itertools import count
from typing import Any

Callback = Callable[..., object]


class Callbacks:
    """The callbacks of the emits that are not acknowledged yet, by sid and number."""

    def __init__(self) -> None:
        self.waiting: dict[str | None, dict[int, Callback]] = {}
        self._numbers = count(1)

    def add(self, sid: str, callback: Callback) -> int:
        """Keep ``callback`` until ``sid`` acknowledges; return the number of the acknowledgement."""
        number = next(self._numbers)
        self.waiting.setdefault(sid, {})[number] = callback
        return number

    def has(self, sid: str | None, number: int | None) -> bool:
        """Return whether ``sid`` is to acknowledge an emit under ``number``."""
        return number in self.waiting.get(sid, ())

    def trigger(self, sid: str, number: int, data: Any) -> None:
        """Call the callback that waits for this acknowledgement, if there is one, with the acknowledgement's data."""
        callbacks = self.waiting.get(sid, {})
        callback = callbacks.pop(number, None)
        if not callbacks:
            self.waiting.pop(sid, None)
        if callback is not None:
            callback(*data)

    def remove(self, sid: str, callback: Callback) -> None:
        """Keep ``callback`` no longer."""
        callbacks = self.waiting.get(sid, {})
        for number in [number for number, waiting in callbacks.items() if waiting is callback]:
            del callbacks[number]
        if not callbacks:
            self.waiting.pop(sid, None)
