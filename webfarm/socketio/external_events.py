"""Events from outside, over HTTP or from the command line: their target, and the server's word on them.

A client gets such an event as ``(data, meta)``. ``meta`` is the server's own word, as in the events of clients; its
``from`` and ``sid`` are ``None``.
"""

import time
from typing import Any

from webfarm.errors import BadRequest
from webfarm.names import NAME_RULE, is_name
from webfarm.protocol.packet import MESSAGE_ID, check_event
from webfarm.protocol.strict_json import loads


def get_user_room(user: str) -> str:
    """Return the room of all clients of ``user`` (``Server(has_user_rooms=True)``)."""
    return f"user:{user}"


def get_target_room(*, room: Any = None, user: Any = None, everybody: bool = False) -> str | None:
    """Return the room of the one given target; ``None`` stands for all clients. Raises ``BadRequest``."""
    if (room is not None) + (user is not None) + everybody != 1:
        raise BadRequest("Exactly one of room, user and all is needed.")
    if everybody:
        return None
    if not is_name(room if user is None else user):
        raise BadRequest(f"A room or a user is a text of {NAME_RULE}.")
    return str(room) if user is None else get_user_room(user)


def create_message(event: Any, data: Any, room: str | None = None) -> tuple[str, tuple[Any, dict[str, Any]]]:
    """Return an event's name and its arguments: the data and ``meta``, ``{from, sid, at, id}`` (``at`` in ms).

    Args:
        event: its name; none of Socket.IO's own.
        data: any JSON value.
        room: for a ``message``, its room, which becomes part of ``meta``.

    Raises:
        BadRequest: no client could take it.
    """
    meta = {"from": None, "sid": None, "at": time.time_ns() // 1_000_000, "id": MESSAGE_ID}
    if event == "message" and room is not None:
        meta["room"] = room
    try:
        check_event(event, (data, meta))
    except (ValueError, TypeError) as error:
        raise BadRequest(str(error)) from None
    return event, (data, meta)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ``BadRequest`` for any other text, such as ``NaN``."""
    try:
        return loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("That is no JSON, or too deep.") from None
