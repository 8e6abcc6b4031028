"""The chat's own handlers: the file to edit.

``on_<event>`` handles an event from a client; what it returns is the acknowledgement. To refuse an event, raise
a ``ClientError`` of ``chat.errors``. An event of one's own takes a method::

    def on_shout(self, sid: str, text: Any) -> dict[str, Any]:
        if not isinstance(text, str):
            raise BadRequest("Shout a text.")
        self.emit("message", (text.upper(), self._meta(sid)), room=COMMON_ROOM)
        return {"ok": True}
"""

import inspect
import logging
import os
import time
import uuid
from typing import Any

import socketio

from chat.auth import MAX_NAME_LENGTH, authenticate, is_name
from chat.errors import BadRequest, ClientError, Forbidden, NoRecipient, NotInRoom, TooManyRooms, Unavailable
from chat.realtime import RedisManager, Throttled
from chat.settings import Settings

log = logging.getLogger(__name__)
refusals = Throttled(log)

COMMON_ROOM = "common"
EVERYBODY = "*"


def get_user_room(user: str) -> str:
    """Return the room of all sockets of ``user``."""
    return f"user:{user}"


class ChatNamespace(socketio.Namespace):
    """Rooms, private messages and broadcasts."""

    def __init__(self, settings: Settings, manager: RedisManager) -> None:
        super().__init__("/")
        self._settings = settings
        self._manager = manager
        self._registry = manager.registry
        self._users: dict[str, str] = {}  # of this worker's clients, by sid

    def on_connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        try:
            user = authenticate(environ, auth, self._settings.secret)
        except ClientError as error:
            refusals.info(
                "connect refused sid=%s node=%s pid=%d reason=%s",
                sid,
                self._registry.node,
                os.getpid(),
                error,
            )
            raise socketio.exceptions.ConnectionRefusedError(str(error), error.to_dict()) from None
        self._users[sid] = user
        try:
            self._registry.add(sid, get_user_room(user))
        except Unavailable:
            del self._users[sid]
            raise
        for room in (COMMON_ROOM, get_user_room(user), EVERYBODY):
            self.enter_room(sid, room)
        log.info("connect sid=%s user=%r node=%s pid=%d", sid, user, self._registry.node, os.getpid())

    def on_disconnect(self, sid: str, reason: str) -> None:
        user = self._users[sid]
        node = self._registry.node
        log.info("disconnect sid=%s user=%r node=%s pid=%d reason=%r", sid, user, node, os.getpid(), reason)
        self._registry.remove(sid, get_user_room(user))
        del self._users[sid]

    def on_message(self, sid: str, data: Any) -> dict[str, Any]:
        """To the room that ``data`` names, or to ``common``; the sender included."""
        room = _get_room(data) if isinstance(data, dict) and "room" in data else COMMON_ROOM
        if not self._is_in_room(sid, room):
            raise NotInRoom(f"Join the room {room!r} first.")
        meta = self._meta(sid) | {"room": room}
        self.emit("message", (data, meta), room=room)
        return {"ok": True, "id": meta["id"]}

    def on_privateMessage(self, sid: str, data: Any) -> dict[str, Any]:  # noqa: N802 - the event's name
        """To one socket (``to``: its sid) or to all sockets of a user (``toUser``)."""
        room = _get_recipient(data)
        nodes = self._registry.count_nodes(room)
        if not nodes:
            raise NoRecipient("Nobody by that id is connected.")
        meta = self._meta(sid)
        self.emit("privateMessage", (data, meta), room=room)
        return {"ok": True, "id": meta["id"], "nodes": nodes}

    def on_broadcast(self, sid: str, data: Any) -> dict[str, Any]:
        """To everybody."""
        meta = self._meta(sid)
        self.emit("broadcast", (data, meta), room=EVERYBODY)
        return {"ok": True, "id": meta["id"]}

    def on_join(self, sid: str, data: Any) -> dict[str, Any]:
        room = _get_room(data)
        if not self._is_in_room(sid, room):
            self._check_room_limit(sid)
            self.enter_room(sid, room)
        return {"ok": True, "room": room}

    def on_leave(self, sid: str, data: Any) -> dict[str, Any]:
        room = _get_room(data)
        if self._is_server_room(room):
            raise Forbidden("The server gave this room; it can't be left.")
        self.leave_room(sid, room)
        return {"ok": True, "room": room}

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Call the event's handler; refuse an event that has none, or that has another number of arguments."""
        handler = getattr(self, f"on_{event}", None)
        if handler is None:
            raise BadRequest(f"There is no event {event[:50]!r}.")
        try:
            inspect.signature(handler).bind(*args)
        except TypeError:
            expected = len(inspect.signature(handler).parameters) - 1
            raise BadRequest(f"The event {event!r} takes {expected} argument{'' if expected == 1 else 's'}.") from None
        return handler(*args)

    def get_user(self, sid: str) -> str | None:
        """Return the user of a client of this worker."""
        return self._users.get(sid)

    def _meta(self, sid: str) -> dict[str, Any]:
        """Return the server's own word on a message; ``at`` in milliseconds since 1970."""
        return {
            "from": self._users[sid],
            "sid": sid,
            "at": time.time_ns() // 1_000_000,
            "id": uuid.uuid4().hex,
        }

    def _is_in_room(self, sid: str, room: str) -> bool:
        """Whether ``sid`` is in ``room``; raises ``Forbidden`` if the server gives that room to others."""
        if room == EVERYBODY:
            raise Forbidden("That is the room of everybody; broadcast reaches it.")
        if self._manager.is_in_room(sid, self.namespace, room):
            return True
        if self._is_server_room(room):
            raise Forbidden("This room belongs to somebody else.")
        return False

    def _is_server_room(self, room: str) -> bool:
        """Whether the server gives this room: a socket's own, a user's, everybody's."""
        return room == EVERYBODY or room.startswith(get_user_room("")) or self._registry.count_nodes(room) > 0

    def _check_room_limit(self, sid: str) -> None:
        given = {sid, get_user_room(self._users[sid]), EVERYBODY, COMMON_ROOM}
        if len(set(self.rooms(sid)) - given) >= self._settings.max_rooms_per_client:
            raise TooManyRooms(f"A client may be in {self._settings.max_rooms_per_client} rooms; leave one first.")


def _get_room(data: Any) -> str:
    if not isinstance(data, dict) or not is_name(data.get("room")):
        raise BadRequest(
            f"An object with a room is needed: a text of 1 to {MAX_NAME_LENGTH} characters, no control characters."
        )
    return str(data["room"])


def _get_recipient(data: Any) -> str:
    """Return the room of the one whom a private message is for."""
    if not isinstance(data, dict) or ("to" in data) == ("toUser" in data):
        raise BadRequest("An object with either to (a socket's id) or toUser (a user's id) is needed.")
    key = "to" if "to" in data else "toUser"
    if not is_name(data[key]):
        raise BadRequest(f"The {key} must be a text of 1 to {MAX_NAME_LENGTH} characters, no control characters.")
    if key == "toUser":
        return get_user_room(data[key])
    if data[key].startswith(get_user_room("")):
        raise NoRecipient("That is no socket's id.")
    return str(data[key])
