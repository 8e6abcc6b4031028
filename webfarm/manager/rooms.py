"""Who is in which room of this process.

Overridden of ``socketio.base_manager.BaseManager`` (5.18), and why: stock looks through every room when a client
leaves or asks for its rooms, makes every client a room of its own, keeps clients that are connecting in lists which are
searched, copies a room at every emit, and keeps a counter for whoever was asked once. Here all of that costs in
proportion to the client's own rooms, a socket's own room is no more than its entry among the clients, an emit walks
over the room itself and passes over who is leaving, and one counter numbers all callbacks.

``rooms[namespace][None]`` is every client of a namespace, Engine.IO sids by sid (``inverse`` the other way round, as in
stock); ``rooms[namespace][room]`` is a dict of the same.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from typing import Any

from socketio import packet
from socketio.base_manager import BaseManager

from webfarm.monitoring.counters import counters
from webfarm.protocol.engine_packet import EnginePacket
from webfarm.protocol.packet import Packet, list_arguments

_MANY = 16  # recipients of this process, from which on sending in fewer calls is worth a few milliseconds
_NOBODY: dict[str, str] = {}


class _Clients(dict[str, str]):
    """The clients of a namespace: Engine.IO sids by sid, and ``inverse``."""

    __slots__ = ("inverse",)

    def __init__(self) -> None:
        super().__init__()
        self.inverse: dict[str, str] = {}


class Rooms(BaseManager):
    """The bookkeeping of rooms, to be mixed into a manager, in front of python-socketio's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rooms_of: dict[str, dict[str, list[str]]] = {}  # by namespace and sid, but for the socket's own
        self._namespaces_of: dict[str, tuple[str, ...]] = {}  # by Engine.IO sid
        self._users: dict[str, str] = {}  # by sid
        self._callback_ids = count(1)

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        if self.sid_from_eio_sid(eio_sid, namespace):
            return None
        sid: str = self.server.eio.generate_id()
        self.add_client(sid, eio_sid, namespace)
        return sid

    def add_client(self, sid: str, eio_sid: str, namespace: str, user: str = "") -> None:
        """Register a client that is about to join ``namespace``; ``user`` is its user's name, empty if it has none."""
        clients = self.rooms.setdefault(namespace, {}).setdefault(None, _Clients())
        if not clients:
            self.on_room_opened(namespace, None)
        if user:
            self._users[sid] = user
        clients[sid] = eio_sid
        clients.inverse[eio_sid] = sid
        self.on_room_opened(namespace, sid)
        self._namespaces_of[eio_sid] = (*self.get_namespaces_of(eio_sid), namespace)
        self.pending_connect.setdefault(namespace, set()).add(sid)

    def connect(self, sid: str, namespace: str) -> str:
        _discard(self.pending_connect, namespace, sid)
        return sid

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        return sid in self.pending_connect.get(namespace, ())

    def is_connected(self, sid: str | None, namespace: str) -> bool:
        return (
            sid is not None
            and self.is_sid_room(namespace, sid)
            and sid not in self.pending_connect.get(namespace, ())
            and sid not in self.pending_disconnect.get(namespace, ())
        )

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        self.pending_disconnect.setdefault(namespace, set()).add(sid)
        return self.eio_sid_from_sid(sid, namespace)

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        clients = self.rooms.get(namespace, {}).get(None)
        sid: str | None = clients.inverse.get(eio_sid) if clients is not None else None
        return sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        eio_sid: str | None = self._get_clients(namespace).get(sid)
        return eio_sid

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        return room in self._get_clients(namespace)

    def basic_enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        clients = self._get_clients(namespace)
        if sid not in clients:
            raise ValueError("sid is not connected to requested namespace")
        if room == sid:
            return
        if room in clients:
            raise ValueError("cannot enter a sid room")
        if room not in self.rooms[namespace]:
            self.rooms[namespace][room] = {}
            self.on_room_opened(namespace, room)
        members = self.rooms[namespace][room]
        if sid not in members:
            members[sid] = clients[sid]
            self._rooms_of.setdefault(namespace, {}).setdefault(sid, []).append(room)

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        rooms = self.rooms.get(namespace, {})
        if room is None or sid not in rooms.get(room, ()):
            return
        del rooms[room][sid]
        if not rooms[room]:
            del rooms[room]
            self.on_room_closed(namespace, room)
        own = self._rooms_of[namespace]
        own[sid].remove(room)
        if not own[sid]:
            del own[sid]
        if not own:
            del self._rooms_of[namespace]

    def basic_close_room(self, room: str, namespace: str) -> None:
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot close a sid room")
        for sid in list(self._get_members(namespace, room)):
            self.basic_leave_room(sid, namespace, room)

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        for room in list(self._rooms_of.get(namespace, {}).get(sid, ())):
            self.basic_leave_room(sid, namespace, room)
        clients = self._get_clients(namespace)
        eio_sid = clients.pop(sid, None)
        if eio_sid is not None:
            del clients.inverse[eio_sid]
            self._leave_namespace(eio_sid, namespace)
            self.on_room_closed(namespace, sid)
        self._users.pop(sid, None)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            _discard(pending, namespace, sid)
        if namespace in self.rooms and not self._get_clients(namespace):
            del self.rooms[namespace]
            self.on_room_closed(namespace, None)

    def on_room_opened(self, namespace: str, room: str | None) -> None:
        """A room has its first member in this process; a socket's own counters, and that of all clients (``None``)."""

    def on_room_closed(self, namespace: str, room: str | None) -> None:
        """A room has no member in this process any more."""

    def _leave_namespace(self, eio_sid: str, namespace: str) -> None:
        others = tuple(name for name in self._namespaces_of[eio_sid] if name != namespace)
        if others:
            self._namespaces_of[eio_sid] = others
        else:
            del self._namespaces_of[eio_sid]

    def get_namespaces_of(self, eio_sid: str) -> tuple[str, ...]:
        """Return the namespaces that a connection has joined, is joining or is leaving."""
        return self._namespaces_of.get(eio_sid, ())

    def get_sids_of(self, eio_sid: str) -> list[str]:
        """Return the clients that a connection is, in its namespaces."""
        return [sid for one in self.get_namespaces_of(eio_sid) if (sid := self.sid_from_eio_sid(eio_sid, one))]

    def get_user(self, sid: str) -> str | None:
        """Return the user of a client of this process, or ``None`` if it has no user or has left."""
        return self._users.get(sid)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        if not self.is_sid_room(namespace, sid):
            return []
        return [sid, *self._rooms_of.get(namespace, {}).get(sid, ())]

    def is_in_room(self, sid: str, namespace: str, room: str) -> bool:
        """Return whether ``sid``, a client of this process, is in ``room``."""
        return sid in self._get_members(namespace, room)

    def has_callback(self, sid: str | None, id: int | None) -> bool:
        """Return whether ``sid`` is to acknowledge an emit under ``id``."""
        return id in self.callbacks.get(sid, ())

    def trigger_callback(self, sid: str, id: int, data: Any) -> None:
        callback = self.drop_callback(sid, id)
        if callback is not None:
            callback(*data)

    def drop_callback(self, sid: str, id: int) -> Callable[..., object] | None:
        """Return what waits for an acknowledgement, if anything does; it waits no longer."""
        callbacks = self.callbacks.get(sid, {})
        callback: Callable[..., object] | None = callbacks.pop(id, None)
        if not callbacks:
            self.callbacks.pop(sid, None)
        return callback

    def forget_callback(self, sid: str, callback: Callable[..., object]) -> None:
        """``callback`` waits for an acknowledgement by ``sid`` no longer."""
        for id in [id for id, waiting in self.callbacks.get(sid, {}).items() if waiting is callback]:
            self.drop_callback(sid, id)

    def _generate_ack_id(self, sid: str, callback: Callable[..., object]) -> int:
        id = next(self._callback_ids)
        self.callbacks.setdefault(sid, {})[id] = callback
        return id

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        yield from list(self._get_recipients(namespace, room).items())

    def deliver(self, event: str, data: Any, namespace: str, room: Any, skip_sid: Any = None) -> None:
        """Send an event to the members of ``room`` that this process has: encoded once, in order, without waiting.

        Args:
            event: its name.
            data: its argument; a tuple of several; ``None`` for none.
            namespace: whose clients.
            room: a room, a list of rooms (who is in several gets one copy), or ``None`` for all.
            skip_sid: who gets none: a sid, a list of sids, or ``None``.
        """
        recipients = self._get_recipients(namespace, room)
        if not recipients:
            return
        messages = self.server.encode(self.make_event(event, data, namespace))
        self.send_to(recipients, namespace, messages, set(list_sids(skip_sid)))

    def make_event(self, event: str, data: Any, namespace: str) -> Packet:
        """Return the packet of an event, whose ``data`` is one argument, a tuple of several, or ``None`` for none."""
        pkt: Packet = self.server.packet_class(packet.EVENT, [event, *list_arguments(data)], namespace)
        return pkt

    def send_to(
        self, recipients: dict[str, str], namespace: str, messages: Sequence[EnginePacket], skipped: set[str]
    ) -> None:
        """Send ``messages`` to ``recipients`` (Engine.IO sids by sid) but for those ``skipped`` and those who leave."""
        connections = self.server.eio.sockets
        skipped |= self.pending_disconnect.get(namespace, set())
        eio_sids: Collection[str] = recipients.values()
        if skipped:
            eio_sids = [eio_sid for sid, eio_sid in recipients.items() if sid not in skipped]
        counters.events_emitted += 1
        counters.deliveries += len(eio_sids)
        is_paced = len(recipients) >= _MANY
        for eio_sid in eio_sids:  # nothing here waits, so the room stays as it is
            connection = connections.get(eio_sid)
            if connection is not None:
                for message in messages:
                    connection.send(message, is_paced=is_paced, namespace=namespace)

    def _get_clients(self, namespace: str) -> Any:
        clients = self.rooms.get(namespace, {}).get(None)
        return clients if clients is not None else _NOBODY

    def _get_members(self, namespace: str, room: str | None) -> dict[str, str]:
        """Return the members of one room by sid; the dict is the room itself."""
        members = self.rooms.get(namespace, {}).get(room)
        if members is None:
            eio_sid = self._get_clients(namespace).get(room)
            return _NOBODY if eio_sid is None or room is None else {room: eio_sid}
        return members  # type: ignore[no-any-return]

    def _get_recipients(self, namespace: str, room: Any) -> dict[str, str]:
        if isinstance(room, str) or not hasattr(room, "__len__"):
            return self._get_members(namespace, room)
        merged: dict[str, str] = {}
        for one in room:
            merged.update(self._get_members(namespace, one))
        return merged


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
    """Raise ``TypeError`` or ``ValueError`` if ``room`` is no name that Redis can have for a room."""
    if not isinstance(room, str):
        raise TypeError(f"a room's name is a text, not {room!r}")
    if not room.isascii():
        room.encode()  # a lone surrogate can't be
