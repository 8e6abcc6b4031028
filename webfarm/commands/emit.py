"""``webfarm emit``: an event is stored in a farm's Redis, and delivered by its workers."""

import os
import sys
from typing import NamedTuple

from webfarm.emitter import open_emitter
from webfarm.errors import TooLarge
from webfarm.settings import Settings
from webfarm.socketio.external_events import create_message, get_target_room, parse_json


class Emitted(NamedTuple):
    """An event that was stored: its id, and the number of nodes that it reached."""

    id: str
    nodes: int


def emit(
    settings: Settings,
    event: str,
    data: str,
    *,
    room: str | None = None,
    user: str | None = None,
    everybody: bool,
    namespace: str = "/",
) -> Emitted:
    """Store an event for a room, a user, or everybody.

    Args:
        settings: of the farm.
        event: the event's name.
        data: its argument as JSON; ``-`` reads it from standard input.
        room: all clients in this room.
        user: all clients of this user.
        everybody: all clients.
        namespace: the clients' namespace.

    Raises:
        ClientError: the event is none, too large, or has not exactly one target.
        Error: Redis does not answer.
    """
    target = get_target_room(room=room, user=user, everybody=everybody)
    text = sys.stdin.buffer.read(settings.max_message_bytes + 1) if data == "-" else os.fsencode(data)
    if len(text) > settings.max_message_bytes:
        raise TooLarge(f"A message has at most {settings.max_message_bytes} bytes (WEBFARM_MAX_MESSAGE_BYTES).")
    name, arguments = create_message(event, parse_json(text), room)
    with open_emitter(settings) as emitter:
        stored = emitter.store(name, arguments, target, namespace)
    return Emitted(str(stored.id), stored.nodes)
