"""The arguments of clients' events, checked before anything is done. All functions raise ``BadRequest``."""

from typing import Any

from webfarm import NAME_RULE, BadRequest, is_name


def get_room(data: Any) -> str:
    """Return the room that an event names."""
    if not isinstance(data, dict) or not is_name(data.get("room")):
        raise BadRequest(f"An object with a room is needed, a text of {NAME_RULE}.")
    return str(data["room"])


def get_recipient(data: Any) -> tuple[str, str]:
    """Return a private message's recipient: ``to`` and a socket's id, or ``toUser`` and a user's."""
    if not isinstance(data, dict) or ("to" in data) == ("toUser" in data):
        raise BadRequest("An object with either to (a socket's id) or toUser (a user's id) is needed.")
    kind = "to" if "to" in data else "toUser"
    if not is_name(data[kind]):
        raise BadRequest(f"The {kind} must be a text of {NAME_RULE}.")
    return kind, str(data[kind])


def get_page(data: dict[str, Any], most: int) -> tuple[int | None, int]:
    """Return ``before`` as an id, or ``None``, and ``limit``, the number of messages, by default ``most``."""
    before, limit = data.get("before"), data.get("limit", most)
    if type(limit) is not int or not 1 <= limit <= most:
        raise BadRequest(f"The limit must be a whole number from 1 to {most}.")
    if before is None:
        return None, limit
    if not isinstance(before, str) or not before.isascii() or not before.isdigit() or len(before) > 16:
        raise BadRequest("before must be a message's id.")
    return int(before), limit
