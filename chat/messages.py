"""What comes from outside, over HTTP or from the command line: to whom it goes, and the server's word on it."""

import time
from typing import Any

from chat.events import EVERYBODY, get_user_room
from webfarm import MESSAGE_ID, check_event
from webfarm.auth import NAME_RULE, is_name
from webfarm.errors import BadRequest
from webfarm.protocol.strict_json import loads


def get_room(*, room: Any = None, user: Any = None, everybody: bool = False) -> str:
    """Return the room of the one target that is given. Raises ``BadRequest``."""
    if (room is not None) + (user is not None) + everybody != 1:
        raise BadRequest("Exactly one of room, user and all is needed.")
    if everybody:
        return EVERYBODY
    if not is_name(room if user is None else user):
        raise BadRequest(f"A room or a user is a text of {NAME_RULE}.")
    return str(room) if user is None else get_user_room(user)


def create_message(event: Any, data: Any, room: str | None = None) -> tuple[str, tuple[Any, dict[str, Any]]]:
    """Return an event's name and its arguments: the data and the server's own word on it.

    Args:
        event: its name; none of Socket.IO's own.
        data: what JSON has words for.
        room: for a ``message``, the room that it is posted to.

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
    """Return the value of a JSON text. Raises ``BadRequest`` if it is none, as with ``NaN``."""
    try:
        return loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("That is no JSON, or too deep.") from None
