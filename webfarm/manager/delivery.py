"""Delivery: events are sent to those of their clients that this process has."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from socketio import packet

from webfarm.log.entry import Entry, decode_body, make_messages
from webfarm.log.offset import Vector
from webfarm.manager.rooms import Rooms, list_sids
from webfarm.manager.shard import Shard
from webfarm.monitoring.counters import counters
from webfarm.protocol.engine_packet import EnginePacket
from webfarm.protocol.packet import Packet, list_arguments
from webfarm.sessions.session import Session

_MANY = 16  # recipients of this process, from which on sending in fewer calls is worth a few milliseconds


def make_event(event: str, data: Any, namespace: str) -> Packet:
    """Return the packet of an event, whose ``data`` is one argument, a tuple of several, or ``None`` for none."""
    return Packet(packet.EVENT, [event, *list_arguments(data)], namespace)


class Delivery:
    """Sends events to members of rooms.

    Args:
        rooms: of this process.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._server: Any = None
        self._connections: Any = {}

    def attach(self, server: Any) -> None:
        """Send over the connections of ``server``."""
        self._server, self._connections = server, server.eio.sockets

    def deliver(self, event: str, data: Any, namespace: str, room: Any, skip_sid: Any = None) -> None:
        """Send an event to the members of ``room``: encoded once, in order, without waiting."""
        recipients = self._rooms.get_recipients(namespace, room)
        if recipients:
            messages = self._server.encode(make_event(event, data, namespace))
            self.send_to(recipients, namespace, messages, set(list_sids(skip_sid)))

    def send_to(
        self, recipients: dict[str, str], namespace: str, messages: Sequence[EnginePacket], skipped: set[str]
    ) -> None:
        """Send ``messages`` to ``recipients`` (Engine.IO sids by sid) but for those ``skipped`` and those who leave."""
        connections = self._connections
        leaving = self._rooms.pending_disconnect.get(namespace)
        if leaving:
            skipped = skipped | leaving
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


class SessionFinder(Protocol):
    """The part of a manager that has the clients' sessions."""

    def get_session(self, sid: str) -> Session | None:
        """Return the session of a client of this node."""


class LogDelivery(Delivery):
    """Sends what comes from the log as well.

    Args:
        rooms: of this process.
        sessions: of its clients.
        delivered: the positions of all shards, which messages show as their offset; ``None``: messages have no offset.
    """

    def __init__(self, rooms: Rooms, sessions: SessionFinder, delivered: Vector | None) -> None:
        super().__init__(rooms)
        self._sessions = sessions
        self._delivered = delivered
        #: If set, it is called in the hub with the id of each message of the log that is delivered here.
        self.on_delivery: Callable[[int], None] | None = None

    def deliver_entry(self, shard: Shard, namespace: str, room: str | None, entry: Entry) -> bool:
        """Deliver a message of the log to the members of its room; return whether there are any here."""
        recipients = self._rooms.get_members(namespace, room)
        if not recipients:
            return False
        if self.on_delivery is not None:
            self.on_delivery(entry.id)
        offset = None
        if (delivered := self._delivered) is not None:  # until all recipients have been sent it, nobody has a turn
            delivered.show(shard.number, shard.log.epoch, entry.id)
            offset = delivered.encode()
        self._send_body(entry.body, namespace, recipients, shard.number, entry.id, offset)
        return True

    def deliver_volatile(self, namespace: str, room: str | None, body: bytes) -> None:
        """Deliver a message that is not in the log."""
        self._send_body(body, namespace, self._rooms.get_members(namespace, room), 0, 0, None)

    def _send_body(
        self, body: bytes, namespace: str, recipients: dict[str, str], shard: int, id: int, offset: str | None
    ) -> None:
        taken_apart = decode_body(body)
        skipped = set(taken_apart.skip)
        for room in taken_apart.elsewhere:
            skipped.update(self._rooms.get_members(namespace, room))
        for room, copy in taken_apart.copies:  # some time ago, and who was no member then got none
            members = self._rooms.get_members(namespace, room)
            skipped.update(sid for sid in members if self._joined_before(sid, room, copy))
        self.send_to(recipients, namespace, make_messages(taken_apart, shard, id, offset), skipped)

    def _joined_before(self, sid: str, room: str | None, id: int) -> bool:
        session = self._sessions.get_session(sid)
        return session is not None and room in session.floors and session.floors[room] < id
