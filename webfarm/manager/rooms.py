"""Rooms: the clients of this process, and the rooms that each client is in.

The methods with python-socketio's names do the work of its ``BaseManager`` (5.18), at a lower cost. Stock walks through
every room when a client leaves, and makes each client a room of its own. It searches lists of clients that connect, and
copies a room at every emit. Here each step costs in proportion to the client's own rooms, and an emit copies nothing.

``rooms[namespace][None]`` holds every client of a namespace: Engine.IO sids by sid, and ``inverse`` the other way
round. ``rooms[namespace][room]`` is a dict of the same. A client's own room is just its entry among the clients.
"""

from collections.abc import Iterator
from typing import Any, Protocol

_NOBODY: dict[str, str] = {}


class RoomsObserver(Protocol):
    """The part of a manager that hears of every change of the rooms. Nothing of it may wait."""

    def on_opened(self, namespace: str, room: str | None) -> None:
        """A room has its first member here: a named room, a client's own, or that of all clients (``None``)."""

    def on_closed(self, namespace: str, room: str | None) -> None:
        """A room has lost its last member here."""

    def on_connected(self, sid: str, namespace: str) -> None:
        """A client was let in; it may be in rooms already."""

    def on_entered(self, sid: str, namespace: str, room: str) -> None:
        """A client entered a named room."""

    def on_left(self, sid: str, eio_sid: str, namespace: str, room: str) -> None:
        """A client left a named room."""

    def on_removed(self, sid: str, namespace: str) -> None:
        """A client is gone from this process, and was in no named room any more."""


class _Clients(dict[str, str]):
    """The clients of a namespace: Engine.IO sids by sid, and ``inverse``."""

    __slots__ = ("inverse",)

    def __init__(self) -> None:
        super().__init__()
        self.inverse: dict[str, str] = {}


class Rooms:
    """The bookkeeping of clients and rooms. It does no I/O."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str | None, dict[str, str]]] = {}
        self.users: dict[str, str] = {}  # by sid, of the clients that have a user
        self.pending_connect: dict[str, set[str]] = {}
        self.pending_disconnect: dict[str, set[str]] = {}
        self._rooms_of: dict[str, dict[str, list[str]]] = {}  # by namespace and sid, but for the client's own
        self._namespaces_of: dict[str, tuple[str, ...]] = {}  # by Engine.IO sid
        self._observers: list[RoomsObserver] = []

    def add_observer(self, observer: RoomsObserver) -> None:
        """Tell ``observer`` of every change from now on."""
        self._observers.append(observer)

    # Clients

    def add_client(self, sid: str, eio_sid: str, namespace: str, user: str = "") -> None:
        """Add a client that is about to join ``namespace``; ``user`` is empty if it has none."""
        clients: Any = self.rooms.setdefault(namespace, {}).setdefault(None, _Clients())
        if not clients:
            self._tell_opened(namespace, None)
        if user:
            self.users[sid] = user
        clients[sid] = eio_sid
        clients.inverse[eio_sid] = sid
        self._tell_opened(namespace, sid)
        self._namespaces_of[eio_sid] = (*self.get_namespaces_of(eio_sid), namespace)
        self.pending_connect.setdefault(namespace, set()).add(sid)

    def connect(self, sid: str, namespace: str) -> str:
        """Let a client in that was added; return its sid."""
        _discard(self.pending_connect, namespace, sid)
        for observer in self._observers:
            observer.on_connected(sid, namespace)
        return sid

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Send a client nothing more; return its Engine.IO sid."""
        self.pending_disconnect.setdefault(namespace, set()).add(sid)
        return self.eio_sid_from_sid(sid, namespace)

    def remove_client(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Take a client out of its rooms and out of ``namespace``."""
        for room in list(self._rooms_of.get(namespace, {}).get(sid, ())):
            self.leave(sid, namespace, room)
        clients = self._get_clients(namespace)
        eio_sid = clients.pop(sid, None)
        if eio_sid is not None:
            del clients.inverse[eio_sid]
            self._leave_namespace(eio_sid, namespace)
            self._tell_closed(namespace, sid)
        self.users.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            _discard(pending, namespace, sid)
        if namespace in self.rooms and not clients:
            del self.rooms[namespace]
            self._tell_closed(namespace, None)
        for observer in self._observers:
            observer.on_removed(sid, namespace)

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        """Return whether a client is about to join."""
        return sid in self.pending_connect.get(namespace, ())

    def is_connected(self, sid: str | None, namespace: str) -> bool:
        """Return whether a client of this process has joined, and is not leaving."""
        rooms = self.rooms.get(namespace)
        return (
            rooms is not None
            and sid in rooms[None]
            and sid not in self.pending_connect.get(namespace, ())
            and sid not in self.pending_disconnect.get(namespace, ())
        )

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """Return the sid of a connection in ``namespace``."""
        rooms: Any = self.rooms.get(namespace)
        sid: str | None = rooms[None].inverse.get(eio_sid) if rooms is not None else None
        return sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """Return the connection of a client."""
        rooms = self.rooms.get(namespace)
        return rooms[None].get(sid) if rooms is not None else None

    def get_namespaces_of(self, eio_sid: str) -> tuple[str, ...]:
        """Return the namespaces that a connection has joined, is joining or is leaving."""
        return self._namespaces_of.get(eio_sid, ())

    def get_sids_of(self, eio_sid: str) -> list[str]:
        """Return the sids of a connection, one for each of its namespaces."""
        return [sid for one in self.get_namespaces_of(eio_sid) if (sid := self.sid_from_eio_sid(eio_sid, one))]

    # Rooms

    def enter(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        """Put a client into a room. Raises ``ValueError`` if it is not here, or if the room is another client's own."""
        clients = self._get_clients(namespace)
        if sid not in clients:
            raise ValueError("sid is not connected to requested namespace")
        if room == sid:
            return
        if room in clients:
            raise ValueError("cannot enter a sid room")
        if room not in self.rooms[namespace]:
            self.rooms[namespace][room] = {}
            self._tell_opened(namespace, room)
        members = self.rooms[namespace][room]
        if sid not in members:
            members[sid] = clients[sid]
            self._rooms_of.setdefault(namespace, {}).setdefault(sid, []).append(room)
            for observer in self._observers:
                observer.on_entered(sid, namespace, room)

    def leave(self, sid: str, namespace: str, room: str) -> None:
        """Take a client out of a named room."""
        rooms = self.rooms.get(namespace, {})
        if room is None or sid not in rooms.get(room, ()):
            return
        eio_sid = rooms[room].pop(sid)
        if not rooms[room]:
            del rooms[room]
            self._tell_closed(namespace, room)
        own = self._rooms_of[namespace]
        own[sid].remove(room)
        if not own[sid]:
            del own[sid]
        if not own:
            del self._rooms_of[namespace]
        for observer in self._observers:
            observer.on_left(sid, eio_sid, namespace, room)

    def close_room(self, room: str, namespace: str) -> None:
        """Take all clients of this process out of a named room."""
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot close a sid room")
        for sid in list(self.get_members(namespace, room)):
            self.leave(sid, namespace, room)

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        """Return whether ``room`` is a client's own: the sid of a client of this process."""
        rooms = self.rooms.get(namespace)
        return rooms is not None and room in rooms[None]

    def is_in_room(self, sid: str, namespace: str, room: str) -> bool:
        """Return whether a client of this process is in ``room``."""
        rooms = self.rooms.get(namespace)
        return rooms is not None and (sid in rooms.get(room, _NOBODY) or (sid == room and sid in rooms[None]))

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """Return the rooms of a client, its own first."""
        if not self.is_sid_room(namespace, sid):
            return []
        return [sid, *self._rooms_of.get(namespace, {}).get(sid, ())]

    def get_members(self, namespace: str, room: str | None) -> dict[str, str]:
        """Return the members of one room that this process has, by sid; the dict is the room itself."""
        rooms = self.rooms.get(namespace)
        if rooms is None:
            return _NOBODY
        members = rooms.get(room)
        if members is not None:
            return members
        eio_sid = rooms[None].get(room)  # type: ignore[arg-type]
        return _NOBODY if eio_sid is None or room is None else {room: eio_sid}

    def get_recipients(self, namespace: str, room: Any) -> dict[str, str]:
        """Return the members of a room, of several, or of all (``None``): Engine.IO sids by sid."""
        if isinstance(room, str) or not hasattr(room, "__len__"):
            return self.get_members(namespace, room)
        merged: dict[str, str] = {}
        for one in room:
            merged.update(self.get_members(namespace, one))
        return merged

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Yield sid and Engine.IO sid of each member of a room, of several, or of all (``None``)."""
        yield from list(self.get_recipients(namespace, room).items())

    def _get_clients(self, namespace: str) -> Any:
        rooms = self.rooms.get(namespace)
        return rooms[None] if rooms is not None else _NOBODY

    def _leave_namespace(self, eio_sid: str, namespace: str) -> None:
        others = tuple(name for name in self._namespaces_of[eio_sid] if name != namespace)
        if others:
            self._namespaces_of[eio_sid] = others
        else:
            del self._namespaces_of[eio_sid]

    def _tell_opened(self, namespace: str, room: str | None) -> None:
        for observer in self._observers:
            observer.on_opened(namespace, room)

    def _tell_closed(self, namespace: str, room: str | None) -> None:
        for observer in self._observers:
            observer.on_closed(namespace, room)


def _discard(pending: dict[str, set[str]], namespace: str, sid: str) -> None:
    """Take ``sid`` out; keep no namespace's name for nobody."""
    sids = pending.get(namespace)
    if sids is not None:
        sids.discard(sid)
        if not sids:
            del pending[namespace]


def list_sids(skip_sid: Any) -> list[str]:
    """Return the clients that an emit skips: a sid, several, or ``None``."""
    return [skip_sid] if isinstance(skip_sid, str) else list(skip_sid or ())


def list_rooms(room: Any) -> list[str | None]:
    """Return the rooms that an emit is for; ``None`` stands for all clients. Raises ``TypeError``, ``ValueError``."""
    rooms = [room] if room is None or isinstance(room, str) else list(room)
    for one in rooms:
        if one is not None:
            check_room(one)
    return rooms


def check_room(room: Any) -> None:
    """Raise ``TypeError`` or ``ValueError`` if Redis can have no room of this name."""
    if not isinstance(room, str):
        raise TypeError(f"a room's name is a text, not {room!r}")
    if not room.isascii():
        room.encode()  # a lone surrogate can't be
