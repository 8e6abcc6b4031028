"""The chat's own handlers: the file to edit.

``on_<event>`` handles an event from a client; its return value is the acknowledgement. To refuse an event, raise
a ``ClientError``. To add an event, add a method::

    def on_shout(self, sid: str, text: Any) -> dict[str, Any]:
        if not isinstance(text, str):
            raise BadRequest("Shout a text.")
        stored = self._store("message", sid, text.upper(), COMMON_ROOM)
        return {"ok": True, "id": str(stored.id)}
"""

import time
from functools import cached_property
from typing import Any, Protocol

from chat.event_arguments import get_page, get_recipient, get_room
from chat.members import Members
from chat.messages import COMMON_ROOM, EVERYBODY, create_meta, get_once
from chat.private_rooms import PRIVATE, PrivateRooms
from webfarm import (
    BadRequest,
    Buckets,
    ClientError,
    Farm,
    Forbidden,
    Namespace,
    NoRecipient,
    RedisManager,
    Settings,
    Stored,
    get_user_room,
    is_name,
)

_KNOWN_S = 120.0  # at least, for a message's own id
_TYPING_S, _ROOM_TYPING_S = 1.0, 0.1  # between two ``typing`` events: of one user, in one room
_MAX_HISTORY, _MAX_HISTORY_BYTES, _MAX_USERS = 100, 250_000, 1_000  # of one answer


class Observer(Protocol):
    """An object that is told of each stored message: the demo."""

    def on_stored(self, stored: Stored, room: str, handled_at_ns: int) -> None:
        """A message is stored in ``room``; its handling began at ``handled_at_ns`` (since 1970)."""


class ChatNamespace(Namespace):
    """Rooms, private messages and broadcasts.

    Args:
        settings: for how long an invitation and a message's own id are remembered, and the limits.
    """

    farm: Farm
    #: The demo's, if there is one.
    observer: Observer | None = None

    def __init__(self, settings: Settings) -> None:
        super().__init__("/")
        self._is_open_mode = settings.secret is None
        self._max_rooms = settings.max_rooms_per_client
        self._invited_s = settings.history_ttl_s
        self._known_s = max(settings.recovery_window_s, _KNOWN_S)
        self._typing, self._room_typing = Buckets(1 / _TYPING_S, 0), Buckets(1 / _ROOM_TYPING_S, 0)

    @cached_property
    def _manager(self) -> RedisManager:
        return self.farm.manager

    @cached_property
    def _private(self) -> PrivateRooms:
        return PrivateRooms(self._manager, self._invited_s)

    @cached_property
    def _members(self) -> Members:
        return Members(self, self._manager, self._max_rooms)

    def may(self, sid: str, action: str, room: str) -> bool:
        """Decide whether a client may do ``action`` in ``room``; edit this for rights of your own.

        A client asks for ``join`` when it enters a room or comes back to it. Members of the room ask for ``message``
        (for ``typing`` as well), ``history``, ``who`` and ``invite``.
        """
        if not room.startswith(PRIVATE) or action != "join":
            return True
        user = self.get_user(sid) or ""
        if room in self.get_session(sid).get("rooms", ()) or self._private.is_invited(room, user):
            return True
        return self._is_open_mode and self._private.open(room, user)  # no token can name a room there

    def on_connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        """A client is new, or is back: then it has its rooms and its session already."""
        if not self.server.is_recovered(sid):
            if rooms := environ["webfarm.identity"].rooms:
                self.save_session(sid, {"rooms": rooms})
            for room in (COMMON_ROOM, EVERYBODY):
                self.enter_room(sid, room)
        else:
            self._members.watch_again(sid)

    def select_rooms(self, sid: str, environ: dict[str, Any], rooms: list[str]) -> list[str]:
        """Return those of a resumed client's ``rooms`` in which its token of today still lets it be."""
        session, named = self.get_session(sid), environ["webfarm.identity"].rooms
        if tuple(named) != tuple(session.get("rooms", ())):
            self.save_session(sid, session | {"rooms": named})
        return [room for room in rooms if room in (COMMON_ROOM, EVERYBODY) or self.may(sid, "join", room)]

    def on_message(self, sid: str, data: Any) -> dict[str, Any]:
        """To the room that ``data`` names, or to ``common``; the sender included."""
        room = get_room(data) if isinstance(data, dict) and "room" in data else COMMON_ROOM
        try:
            self._members.check(sid, "message", room)
        except ClientError:
            once = get_once(self.get_user(sid), data)  # a client repeats before it has joined its rooms again
            stored = self._manager.history.find(room, once) if once else None
            if stored is None:
                raise
        else:
            stored = self._store("message", sid, data, room, room)
        return {"ok": True, "id": str(stored.id)}

    def on_privateMessage(self, sid: str, data: Any) -> dict[str, Any]:  # noqa: N802 - the event's name
        """To one client (``to``: its sid) or to all clients of a user (``toUser``); an absent user gets it later."""
        kind, name = get_recipient(data)
        if kind == "to" and name.startswith(get_user_room("")):
            raise NoRecipient("That is no socket's id.")
        room, recipient = (name, name) if kind == "to" else (get_user_room(name), "")
        stored = self._store("privateMessage", sid, data, room, recipient=recipient)
        return {"ok": True, "id": str(stored.id), "nodes": stored.nodes}

    def on_broadcast(self, sid: str, data: Any) -> dict[str, Any]:
        """To everybody."""
        return {"ok": True, "id": str(self._store("broadcast", sid, data, EVERYBODY).id)}

    def on_history(self, sid: str, data: Any) -> dict[str, Any]:
        """Return a room's messages, oldest first: the last ``limit``, or the last before the id ``before``."""
        room = get_room(data)
        before, limit = get_page(data, _MAX_HISTORY)
        self._members.check(sid, "history", room)
        events = self._manager.history.read(room, before=before, most=limit, most_bytes=_MAX_HISTORY_BYTES)
        keys = ("id", "event", "data", "meta")
        return {"ok": True, "messages": [dict(zip(keys, (str(id), *event), strict=False)) for id, event in events]}

    def on_join(self, sid: str, data: Any) -> dict[str, Any]:
        room = get_room(data)
        if not self._members.is_in(sid, room):
            self._members.check_limit(sid)
            if not self.may(sid, "join", room):
                raise Forbidden(f"The room {room!r} needs an invitation.")
            self.enter_room(sid, room)
        return {"ok": True, "room": room}

    def on_leave(self, sid: str, data: Any) -> dict[str, Any]:
        room = get_room(data)
        if self.is_server_room(room):
            raise Forbidden("The server gave this room; it can't be left.")
        self._members.set_watched(sid, room, False)
        self.leave_room(sid, room)
        return {"ok": True, "room": room}

    def on_invite(self, sid: str, data: Any) -> dict[str, Any]:
        """Let a user join a private room; the client must be in it."""
        room = get_room(data)
        if not is_name(data.get("userId")) or not room.startswith(PRIVATE):
            raise BadRequest(f"An object with a userId and a room is needed, whose name begins with {PRIVATE!r}.")
        self._members.check(sid, "invite", room)
        self._private.invite(room, data["userId"])
        return {"ok": True, "room": room}

    def on_who(self, sid: str, data: Any) -> dict[str, Any]:
        """List a room's users, on all workers; with ``watch: true`` the client gets ``presence`` from now on.

        Of more than a thousand users it lists a thousand, and says that there are ``more``.
        """
        if not isinstance(data, dict) or not isinstance(data.get("watch", False), bool):
            raise BadRequest("An object is needed; it may name a room, and have watch: true or false.")
        room = get_room(data) if "room" in data else COMMON_ROOM
        self._members.check(sid, "who", room)
        if "watch" in data:
            self._members.set_watched(sid, room, data["watch"])
        users = self._manager.get_users(room, most=_MAX_USERS + 1, is_watched=data.get("watch", False))
        listed = [{"userId": user, "clients": users[user]} for user in sorted(users)[:_MAX_USERS]]
        return {"ok": True, "users": listed} | ({"more": True} if len(users) > _MAX_USERS else {})

    def on_typing(self, sid: str, data: Any) -> dict[str, Any]:
        """Tell a room's other clients, or one user, that this user is writing: best effort, about once a second."""
        user = self.get_user(sid) or ""
        if isinstance(data, dict) and "toUser" in data:
            room, told = get_user_room(get_recipient(data)[1]), {"userId": user, "toUser": data["toUser"]}
        else:
            room = get_room(data)
            self._members.check(sid, "message", room)
            told = {"userId": user, "room": room}
        if self._typing.take(user, 0) and self._room_typing.take(room, 0):
            self.server.emit("typing", told, room=room, skip_sid=sid, volatile=True)
        return {"ok": True}

    def on_presence(self, room: str, user: str, is_online: bool, watchers: list[str]) -> None:
        """A user has entered a room that these clients watch, or has left it."""
        presence = {"userId": user, "online": is_online, "room": room}
        self._manager.deliver("presence", presence, self.namespace, watchers)

    def _store(
        self, event: str, sid: str, data: Any, room: str, posted_to: str | None = None, recipient: str = ""
    ) -> Stored:
        """Store and deliver a message with its ``meta``, which names the room only if it was ``posted_to`` one."""
        at_ns, user = time.time_ns(), self.get_user(sid)
        meta, once = create_meta(user, sid, at_ns, posted_to), get_once(user, data)
        stored = self._manager.store(
            event, (data, meta), room=room, once=once, known_s=self._known_s, recipient=recipient
        )
        if self.observer is not None:
            self.observer.on_stored(stored, room, at_ns)
        return stored

    def is_server_room(self, room: str) -> bool:
        """Return whether the server gives this room: a client's own, a user's, or everybody's."""
        return room == EVERYBODY or super().is_server_room(room)
