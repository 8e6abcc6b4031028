"""The names of the rooms that the chat gives, and ``meta``, the server's own word on each message."""

import hashlib
from typing import Any

from webfarm import MESSAGE_ID

COMMON_ROOM = "common"
EVERYBODY = "*"


def create_meta(user: str | None, sid: str, at_ns: int, room: str | None = None) -> dict[str, Any]:
    """Return the ``meta`` of a client's message: ``{from, sid, at, id}``, and ``room`` if one is given.

    Args:
        user: the sender.
        sid: the sender's client.
        at_ns: the time, in nanoseconds since 1970; ``at`` has milliseconds.
        room: the room that a ``message`` was posted to.
    """
    meta = {"from": user, "sid": sid, "at": at_ns // 1_000_000, "id": MESSAGE_ID}
    return meta if room is None else meta | {"room": room}


def get_once(user: str | None, data: Any) -> str:
    """Return the key under which a message is stored once, of its user and its own ``id``; empty without an id."""
    if not isinstance(data, dict) or not isinstance(data.get("id"), str):
        return ""
    key = f"{user}\n{data['id']}".encode(errors="surrogatepass")
    return hashlib.blake2b(key, digest_size=16).hexdigest()
