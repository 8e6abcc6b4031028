"""A manager's rooms: ``Rooms`` and ``Callbacks`` under the names that python-socketio calls.

Overridden of ``socketio.base_manager.BaseManager`` (5.18): all methods but ``initialize`` and ``get_namespaces``. Most
are the parts' own methods, bound to stock's names, so that a call of them costs one call and not two.
"""

from typing import Any

from socketio.base_manager import BaseManager

from webfarm.manager.callbacks import Callbacks
from webfarm.manager.delivery import Delivery
from webfarm.manager.rooms import Rooms


class RoomManager(BaseManager):
    """What ``LocalManager`` and ``RedisManager`` have in common: the clients of this process, in front of stock's."""

    delivery: Delivery  #: what sends to them

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rooms, callbacks = Rooms(), Callbacks()
        self.clients = rooms  #: the clients of this process and their rooms
        self.rooms, self.callbacks = rooms.rooms, callbacks.waiting
        self.pending_connect, self.pending_disconnect = rooms.pending_connect, rooms.pending_disconnect
        self.connect, self.pre_disconnect = rooms.connect, rooms.pre_disconnect
        self.is_connected, self.is_pre_connected = rooms.is_connected, rooms.is_pre_connected
        self.sid_from_eio_sid, self.eio_sid_from_sid = rooms.sid_from_eio_sid, rooms.eio_sid_from_sid
        self.basic_enter_room, self.basic_leave_room = rooms.enter, rooms.leave
        self.basic_close_room, self.is_sid_room = rooms.close_room, rooms.is_sid_room
        self.get_rooms, self.get_participants = rooms.get_rooms, rooms.get_participants
        self.get_namespaces_of, self.get_sids_of = rooms.get_namespaces_of, rooms.get_sids_of
        self._generate_ack_id, self.trigger_callback = callbacks.add, callbacks.trigger
        self.has_callback, self.forget_callback = callbacks.has, callbacks.remove

    def set_server(self, server: Any) -> None:
        super().set_server(server)
        self.delivery.attach(server)

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        if self.sid_from_eio_sid(eio_sid, namespace):
            return None
        sid: str = self.server.eio.generate_id()
        self.clients.add_client(sid, eio_sid, namespace)
        return sid

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        self.clients.remove_client(sid, namespace)
        self.callbacks.pop(sid, None)

    def is_in_room(self, sid: str, namespace: str, room: str) -> bool:
        """Return whether ``sid``, a client of this process, is in ``room``."""
        return self.clients.is_in_room(sid, namespace, room)

    def get_user(self, sid: str) -> str | None:
        """Return the user of a client of this process, or ``None`` if it has no user or has left."""
        return self.clients.users.get(sid)

    def deliver(self, event: str, data: Any, namespace: str, room: Any, skip_sid: Any = None) -> None:
        """Send an event to the members of ``room`` that this process has: encoded once, in order, without waiting.

        The arguments are as for ``emit``: ``room`` may be a list, or ``None`` for all; so may ``skip_sid``.
        """
        self.delivery.deliver(event, data, namespace, room, skip_sid)
