"""The chat's own handlers: the file to edit.

``on_<event>`` handles an event from a client; what it returns is the acknowledgement. To refuse an event, raise
a ``ClientError`` of ``webfarm.errors``. An event of one's own takes a method::

    def on_shout(self, sid: str, text: Any) -> dict[str, Any]:
        if not isinstance(text, str):
            raise BadRequest("Shout a text.")
        stored = self._store("message", sid, text.upper(), COMMON_ROOM)
        return {"ok": True, "id": str(stored.id)}
"""

import hashlib
import time
from typing import Any

import socketio

from chat.event_arguments import get_page, get_recipient, get_room
from chat.messages import COMMON_ROOM, EVERYBODY
from chat.private_rooms import PRIVATE, PrivateRooms
from webfarm import MESSAGE_ID, RedisManager, Stored
from webfarm.auth import Identity, authenticate, create_guest
from webfarm.errors import BadRequest, ClientError, Forbidden, NoRecipient, NotInRoom, TooManyRooms
from webfarm.names import is_name
from webfarm.rate_limits import Buckets
from webfarm.settings import Settings
from webfarm.socketio.external_events import get_user_room
from webfarm.socketio.namespace import Namespace

_IDENTITY = "chat.identity"  # in an environment: who the client is
_KNOWN_S = 120.0  # at least, for a message's own id
_TYPING_S, _ROOM_TYPING_S = 1.0, 0.1  # between two words of who types: of one user, in one room
_MAX_HISTORY, _MAX_HISTORY_BYTES, _MAX_USERS = 100, 250_000, 1_000  # of one answer


class ChatNamespace(Namespace):
    """Rooms, private messages and broadcasts."""

    def __init__(self, settings: Settings, manager: RedisManager) -> None:
        super().__init__("/")
        self._settings = settings
        self._manager = manager
        self._private = PrivateRooms(manager, settings.history_ttl_s)
        self._known_s = max(settings.recovery_window_s, _KNOWN_S)
        self._typing, self._room_typing = Buckets(1 / _TYPING_S, 0), Buckets(1 / _ROOM_TYPING_S, 0)

    def may(self, sid: str, action: str, room: str) -> bool:
        """Decide who may do what in a room; edit this for rights of your own.

        It is asked about whoever is to ``join`` a room, a client that comes back to it included, and about the room's
        members for ``message`` (for ``typing`` as well), ``history``, ``who`` and ``invite``.
        """
        if not room.startswith(PRIVATE) or action != "join":
            return True
        session = self.get_session(sid)
        if room in session.get("rooms", ()) or self._private.is_invited(room, session["user"]):
            return True
        is_open_mode = self._settings.secret is None  # no token can name a room: who comes first opens it
        return is_open_mode and self._private.open(room, session["user"])

    def identify(self, environ: dict[str, Any], auth: Any) -> str | None:
        """Return the user who owns the connection, and its session; ``None`` for a guest."""
        try:
            identity = environ[_IDENTITY] = authenticate(environ, auth, self._settings.secret)
        except ClientError as error:
            raise socketio.exceptions.ConnectionRefusedError(str(error), error.to_dict()) from None
        return identity.user

    def on_connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        """A client is new, or is back: then it is in its rooms already, and its session has its user."""
        identity: Identity = environ.pop(_IDENTITY)
        if identity.expires_at is not None:
            self.server.expire_session(sid, identity.expires_at)
        if not self.server.is_recovered(sid):
            user = self._manager.get_owner(sid) or create_guest()
            self.save_session(sid, {"user": user, "rooms": identity.rooms} if identity.rooms else {"user": user})
            self.server.enter_inbox(sid, get_user_room(user))
            for room in (COMMON_ROOM, EVERYBODY):
                self.enter_room(sid, room)
        for room in self.get_session(sid).get("watched", ()):  # of one that is back
            self._manager.watch(sid, room)

    def select_rooms(self, sid: str, environ: dict[str, Any], rooms: list[str]) -> list[str]:
        """A client is back, with the token that it has now: return those of its rooms where it may still be."""
        session, named = self.get_session(sid), environ[_IDENTITY].rooms
        if named != tuple(session.get("rooms", ())):
            self.save_session(sid, session | {"rooms": named})
        return [room for room in rooms if room in (COMMON_ROOM, EVERYBODY) or self.may(sid, "join", room)]

    def on_disconnect(self, sid: str, reason: str) -> None:
        """A client has left, or its connection was lost: then it may be back soon, on another worker."""

    def on_message(self, sid: str, data: Any) -> dict[str, Any]:
        """To the room that ``data`` names, or to ``common``; the sender included."""
        room = get_room(data) if isinstance(data, dict) and "room" in data else COMMON_ROOM
        try:
            self._check_member(sid, "message", room)
        except ClientError:
            stored = self._find_repeat(sid, data, room)  # a client repeats before it has joined its rooms again
            if stored is None:
                raise
        else:
            stored = self._store("message", sid, data, room, meta={"room": room})
        return {"ok": True, "id": str(stored.id)}

    def on_privateMessage(self, sid: str, data: Any) -> dict[str, Any]:  # noqa: N802 - the event's name
        """To one socket (``to``: its sid) or to all sockets of a user (``toUser``), who gets it later if away."""
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
        """What was said in a room, oldest first: ``limit`` messages, those before the id ``before`` if one is given."""
        room = get_room(data)
        before, limit = get_page(data, _MAX_HISTORY)
        self._check_member(sid, "history", room)
        events = self._manager.read_history(room, before=before, most=limit, most_bytes=_MAX_HISTORY_BYTES)
        keys = ("id", "event", "data", "meta")
        return {"ok": True, "messages": [dict(zip(keys, (str(id), *event), strict=False)) for id, event in events]}

    def on_join(self, sid: str, data: Any) -> dict[str, Any]:
        room = get_room(data)
        if not self._is_in_room(sid, room):
            self._check_room_limit(sid)
            if not self.may(sid, "join", room):
                raise Forbidden(f"The room {room!r} needs an invitation.")
            self.enter_room(sid, room)
        return {"ok": True, "room": room}

    def on_leave(self, sid: str, data: Any) -> dict[str, Any]:
        room = get_room(data)
        if self.is_server_room(room):
            raise Forbidden("The server gave this room; it can't be left.")
        self._set_watched(sid, room, False)
        self.leave_room(sid, room)
        return {"ok": True, "room": room}

    def on_invite(self, sid: str, data: Any) -> dict[str, Any]:
        """Let a user join a private room, if one is in there oneself."""
        room = get_room(data)
        if not is_name(data.get("userId")) or not room.startswith(PRIVATE):
            raise BadRequest(f"An object with a userId and a room is needed, whose name begins with {PRIVATE!r}.")
        self._check_member(sid, "invite", room)
        self._private.invite(room, data["userId"])
        return {"ok": True, "room": room}

    def on_who(self, sid: str, data: Any) -> dict[str, Any]:
        """Who is in a room, on all workers; with ``watch: true`` also who comes and goes from now on.

        Of very many users some are told, and that there are ``more``.
        """
        if not isinstance(data, dict) or not isinstance(data.get("watch", False), bool):
            raise BadRequest("An object is needed; it may name a room, and have watch: true or false.")
        room = get_room(data) if "room" in data else COMMON_ROOM
        self._check_member(sid, "who", room)
        if "watch" in data:
            self._set_watched(sid, room, data["watch"])
        users = self._manager.get_users(room, most=_MAX_USERS + 1, is_watched=data.get("watch", False))
        listed = [{"userId": user, "clients": users[user]} for user in sorted(users)[:_MAX_USERS]]
        return {"ok": True, "users": listed} | ({"more": True} if len(users) > _MAX_USERS else {})

    def on_typing(self, sid: str, data: Any) -> dict[str, Any]:
        """Tell the others of a room, or one user, that somebody is writing: best effort, no more often than helps."""
        user = self.get_user(sid) or ""
        if isinstance(data, dict) and "toUser" in data:
            room, told = get_user_room(get_recipient(data)[1]), {"userId": user, "toUser": data["toUser"]}
        else:
            room = get_room(data)
            self._check_member(sid, "message", room)
            told = {"userId": user, "room": room}
        if self._typing.take(user, 0) and self._room_typing.take(room, 0):
            self.server.emit("typing", told, room=room, skip_sid=sid, volatile=True)
        return {"ok": True}

    def tell_watchers(self, namespace: str, room: str, user: str, is_online: bool, watchers: list[str]) -> None:
        """A user came into a room that these clients watch, or has gone."""
        presence = {"userId": user, "online": is_online, "room": room}
        self._manager.deliver("presence", presence, namespace, watchers)

    def get_user(self, sid: str) -> str | None:
        """Return the user of a client of this worker."""
        try:
            user: str | None = self.get_session(sid).get("user")
        except KeyError:
            return None
        return user

    def _store(
        self, event: str, sid: str, data: Any, room: str, *, meta: dict[str, Any] | None = None, recipient: str = ""
    ) -> Stored:
        """Store and deliver a message with the server's own word on it; ``at`` in milliseconds since 1970."""
        meta = {"from": self.get_user(sid), "sid": sid, "at": time.time_ns() // 1_000_000, "id": MESSAGE_ID} | (
            meta or {}
        )
        once = self._get_once(sid, data)
        return self._manager.store(
            event, (data, meta), room=room, once=once, known_s=self._known_s, recipient=recipient
        )

    def _find_repeat(self, sid: str, data: Any, room: str) -> Stored | None:
        once = self._get_once(sid, data)
        return self._manager.find(room, once) if once else None

    def _get_once(self, sid: str, data: Any) -> str:
        """Return the key under which a message is stored once: its user's and its own id's; empty if it has none."""
        if not isinstance(data, dict) or not isinstance(data.get("id"), str):
            return ""
        key = f"{self.get_user(sid)}\n{data['id']}".encode(errors="surrogatepass")
        return hashlib.blake2b(key, digest_size=16).hexdigest()

    def _check_member(self, sid: str, action: str, room: str) -> None:
        """Raise ``NotInRoom`` or ``Forbidden`` if ``sid`` may not do in ``room`` what only members may."""
        if not self._is_in_room(sid, room):
            raise NotInRoom(f"Join the room {room!r} first.")
        if not self.may(sid, action, room):
            raise Forbidden(f"You may not do that in the room {room!r}.")

    def _is_in_room(self, sid: str, room: str) -> bool:
        """Whether ``sid`` is in ``room``; raises ``Forbidden`` if the server gives that room to others."""
        if room == EVERYBODY:
            raise Forbidden("That is the room of everybody; broadcast reaches it.")
        if self._manager.is_in_room(sid, self.namespace, room):
            return True
        if self.is_server_room(room):
            raise Forbidden("This room belongs to somebody else.")
        return False

    def is_server_room(self, room: str) -> bool:
        """Whether the server gives this room: a socket's own, a user's, everybody's."""
        if room == EVERYBODY or room.startswith(get_user_room("")):
            return True
        return self._manager.has_client(room) or self._manager.had_client(room)

    def _set_watched(self, sid: str, room: str, is_watched: bool) -> None:
        """Tell the client who comes to ``room`` and goes, or no longer; also after a lost connection."""
        session = self.get_session(sid)
        before = session.get("watched", [])
        watched = [one for one in before if one != room]
        if is_watched:
            self._manager.watch(sid, room)
            watched.append(room)
        else:
            self._manager.unwatch(sid, room)
        if set(watched) != set(before):
            self.save_session(sid, {**session, "watched": watched})

    def _check_room_limit(self, sid: str) -> None:
        given = {sid, get_user_room(self.get_user(sid) or ""), EVERYBODY, COMMON_ROOM}
        if len(set(self.rooms(sid)) - given) >= self._settings.max_rooms_per_client:
            raise TooManyRooms(f"A client may be in {self._settings.max_rooms_per_client} rooms; leave one first.")
