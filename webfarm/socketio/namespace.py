"""A class-based namespace that says what is wrong with an event."""

import inspect
from typing import Any

import socketio

from webfarm.errors import BadRequest


class Namespace(socketio.Namespace):
    """``on_<event>`` handles an event; one without a handler is refused, and so is another number of arguments."""

    def trigger_event(self, event: str, *args: Any) -> Any:
        handler = getattr(self, f"on_{event}", None)
        if handler is None and event in ("connect", "disconnect"):
            return None
        if handler is None:
            raise BadRequest(f"There is no event {event[:50]!r}.")
        try:
            inspect.signature(handler).bind(*args)
        except TypeError:
            expected = len(inspect.signature(handler).parameters) - 1
            raise BadRequest(f"The event {event!r} takes {expected} argument{'' if expected == 1 else 's'}.") from None
        return handler(*args)
