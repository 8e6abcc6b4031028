"""The manager: what ties the workers together through Redis.

Overridden of ``socketio.RedisManager`` (5.18), and why:

- ``__init__``: one client, which never repeats a command by itself (stock makes a new one, from two greenlets,
  whenever anything fails).
- ``emit``: an event is stored in the log, and delivered when it comes back from there, on its own worker too: all
  workers see one order, and only those that have members in its room do any work.
- ``enter_room``, ``leave_room``: also written to the client's session.
- ``connect`` and what else concerns the registry (``chat.realtime.registering``).
- what concerns the channel of python-socketio's own (``chat.realtime.channel``).
"""

from typing import Any

from chat.realtime.channel import Channel
from chat.realtime.connection import Connection
from chat.realtime.connections import open_connections
from chat.realtime.directory import Directory
from chat.realtime.entry import Entry, decode_body, encode_body, encode_offset, make_messages
from chat.realtime.follower import Follower
from chat.realtime.inboxes import Inboxes
from chat.realtime.keys import Keys
from chat.realtime.lease import Lease
from chat.realtime.log import Limits, Log, Stored
from chat.realtime.peers import Peers
from chat.realtime.presence import Presence
from chat.realtime.readiness import Readiness
from chat.realtime.reading import Reading
from chat.realtime.recovery import Recovery
from chat.realtime.registering import Registering
from chat.realtime.registry import Registry
from chat.realtime.rooms import check_room, list_rooms, list_sids
from chat.realtime.session import Taken
from chat.realtime.sessions import Sessions
from chat.realtime.writer import Outgoing, Writer


class RedisManager(Registering, Reading, Readiness, Channel):
    """Delivers what the log has, and keeps the clients' sessions.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://host:port[,…]/name/db``.
        channel: the channel of stock ``socketio.RedisManager(write_only=True)``, of callbacks and remote changes.
        prefix: what every key in Redis begins with.
        recovery_window_s: how long a lost connection can be resumed at least; 0: never.
        history: what is kept of each room.
        wait_replicas: how many replicas of Redis must have a message before an emit returns.
    """

    def __init__(
        self,
        url: str,
        channel: str = "socketio",
        prefix: str = "chat",
        *,
        recovery_window_s: float = 120.0,
        history: Limits | None = None,
        wait_replicas: int = 0,
    ) -> None:
        super().__init__(url, channel=channel)
        self.connections = open_connections(url, has_writing=wait_replicas > 0)
        self.keys = Keys(prefix)
        self.commands = self.connections.get_commands(self.keys)
        self.log = Log(self.commands, self.keys, history or Limits(), self._on_new_epoch)
        self.sessions = Sessions(self.commands, self.log, recovery_window_s)
        subscription = self.connections.create_subscription(self.keys)
        self.follower = Follower(subscription, self.commands, self.log, channel, self)
        self.writer = Writer(self.connections.get_writing(self.keys), self.log, self.follower, wait_replicas)
        self.lease = Lease(self.commands, self.keys, self.describe_node, self.on_return)
        self.registry = Registry(self.commands, self.keys, self.lease)
        self.directory = Directory(self.commands.run, self.keys)
        self.presence = Presence(self.commands, self.keys, self.lease, self.follower, self.tell_watchers)
        self.inboxes = Inboxes(self.commands, self.keys, self.log.limits.ttl_s)
        self.peers = Peers(self.commands, self.keys)
        self.recovery = Recovery(self)
        self.has_recovery = recovery_window_s > 0

    def start(self, node: str) -> None:
        """Connect to Redis and stay connected; ``node`` names this worker in the cluster."""
        self.address = node
        self.lease.hold(node)
        self.connections.start()
        for part in (self.writer, self.sessions, self.peers, self.follower):
            part.start(self.node)
        self.initialize()
        for one in (self.inboxes, self.recovery, self.presence):
            one.start()

    @property
    def node(self) -> str:
        """The name of this worker in the cluster."""
        return self.lease.node

    # Emits

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        namespace, room = namespace or "/", to or room
        if kwargs.get("ignore_queue") and callback is None:
            self.deliver(event, self.without_offset(data), namespace, room, skip_sid)
        elif callback is not None:
            super().emit(event, data, namespace, room, skip_sid, callback, **kwargs)
        elif kwargs.get("volatile"):
            self.publish_volatile(event, data, namespace, room, skip_sid)
        else:
            self.store(event, data, namespace, room, skip_sid)

    def store(
        self,
        event: str,
        data: Any,
        namespace: str = "/",
        room: Any = None,
        skip_sid: Any = None,
        *,
        once: str = "",
        known_s: float = 0.0,
        recipient: str = "",
    ) -> Stored:
        """Store an event in the log, from where it is delivered; return its id and the nodes that it reached.

        Args:
            event: its name.
            data: its argument; a tuple of several; ``None`` for none. ``MESSAGE_ID`` in it becomes the id.
            namespace: whose clients.
            room: a room, a list of rooms (who is in several gets one copy), or ``None`` for all.
            skip_sid: who gets none: a sid, a list of sids, or ``None``.
            once: a name under which it is stored once within ``known_s`` seconds; of a repeat the first one's id and
                nodes are returned.
            recipient: a sid, if there must be such a client, connected or away.

        Raises:
            Unavailable: Redis could not take it just now.
            NoRecipient: there is no such client.
        """
        parts = self.make_event(event, data, namespace).encode_parts()
        skipped, rooms = list_sids(skip_sid), list_rooms(room)
        messages = [
            Outgoing(namespace, one, encode_body(parts, skipped, rooms[:index]), once, known_s, recipient)
            for index, one in enumerate(rooms)
        ]
        return self.writer.store(messages)[0]

    # Rooms

    def on_room_opened(self, namespace: str, room: str | None) -> None:
        self.follower.follow(self.keys.stream(namespace, room))

    def on_room_closed(self, namespace: str, room: str | None) -> None:
        self.follower.unfollow(self.keys.stream(namespace, room))

    def enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        """Put a client into a room. What is emitted to the room once this has returned reaches it."""
        check_room(room)
        if not self.is_sid_room(namespace, sid):
            if self.has_client(sid):
                self.ask_owner("enter_room", sid, namespace, room)
            return
        eio_sid, session = self.eio_sid_from_sid(sid, namespace), self.sessions.get(sid)
        if self.is_in_room(sid, namespace, room) and (session is None or room in session.floors):
            return
        self.basic_enter_room(sid, namespace, room)
        stream = self.keys.stream(namespace, room)
        try:
            self.follower.wait_until_following(stream)
            if session is not None and session.is_written:
                self.follower.begin_at(stream, self.sessions.join(session, room))
            elif session is not None:
                session.floors.setdefault(room, session.floors[sid])  # as of its beginning
        except Taken as error:
            self.recovery.drop(error.session)
        except BaseException:
            if self.eio_sid_from_sid(sid, namespace) == eio_sid:
                self.basic_leave_room(sid, namespace, room)
            raise

    def leave_room(self, sid: str, namespace: str, room: str) -> None:
        if not self.is_sid_room(namespace, sid):
            if self.has_client(sid):
                self.ask_owner("leave_room", sid, namespace, room)
            return
        if room == sid:
            return  # a client is in its own room as long as it lives
        self.basic_leave_room(sid, namespace, room)
        session = self.sessions.get(sid)
        if session is not None and session.is_written:
            try:
                self.sessions.leave(session, room)
            except Taken as error:
                self.recovery.drop(error.session)
        elif session is not None:
            session.floors.pop(room, None)

    def get_owner(self, sid: str) -> str:
        """Return who owns a client of this node, as ``identify`` had it; an empty text if nobody does, or no more."""
        session = self.sessions.get(sid)
        return session.owner if session is not None else ""

    def has_client(self, sid: str) -> bool:
        """Return whether a client of any node has this sid, connected or away. Raises ``Unavailable``."""
        return self.sessions.exists(sid)

    def on_ping(self, connection: Connection) -> None:
        position = self.follower.position.id
        self.inboxes.on_ping(connection.sid, position)
        self.sessions.on_ping(self.get_sids_of(connection.sid), position)

    def on_pong(self, connection: Connection) -> None:
        self.inboxes.on_pong(connection.sid)
        self.sessions.on_pong(self.get_sids_of(connection.sid))

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        eio_sid = self.eio_sid_from_sid(sid, namespace)
        super().basic_leave_room(sid, namespace, room)
        if eio_sid is not None:
            self.inboxes.remove(eio_sid, self.keys.stream(namespace, room))

    # From the follower

    def on_entry(self, entry: Entry) -> None:
        """Deliver a message of the log to those of its room that this process has."""
        namespace, room = self.keys.get_room(entry.room)
        recipients = self._get_members(namespace, room)
        if recipients:
            offset = encode_offset(self.log.epoch, entry.id) if self.has_recovery else None
            self._send_body(entry.body, namespace, recipients, entry.id, offset)
            self.inboxes.on_delivered(entry.room, entry.id)

    def on_volatile(self, stream: str, body: bytes) -> None:
        """Deliver a message that is not in the log."""
        namespace, room = self.keys.get_room(stream)
        self._send_body(body, namespace, self._get_members(namespace, room), 0, None)

    def on_presence(self, channel: str, data: bytes) -> None:
        """A user came into a room that is watched, or went."""
        self.presence.on_change(channel, data)

    def on_taken(self, sid: str, generation: int) -> None:
        """A session of this node belongs to another connection by now."""
        self.recovery.on_taken(sid, generation)

    def on_probe(self, sid: str, generation: int) -> None:
        """Another connection wants a session that was resumed just now."""
        self.recovery.on_probe(sid, generation)

    def on_return(self) -> None:
        """Redis is back, and nothing has been delivered yet."""
        self.recovery.confirm()
        self.registry.refresh()
        self.lease.renew_soon()

    def on_lost(self, streams: list[str]) -> None:
        """Messages of these rooms are lost to this node."""
        for stream in streams:
            namespace, room = self.keys.get_room(stream)
            for sid in list(self._get_members(namespace, room)):
                session = self.sessions.get(sid)
                if session is not None:
                    self.recovery.abandon(session, "incomplete")

    def _on_new_epoch(self) -> None:
        """What was stored may be gone: no client can show any more that it has everything."""
        for session in self.sessions.get_all():
            self.recovery.abandon(session, "epoch")

    def _send_body(self, body: bytes, namespace: str, recipients: dict[str, str], id: int, offset: str | None) -> None:
        taken_apart = decode_body(body)
        skipped = set(taken_apart.skip)
        for room in taken_apart.elsewhere:
            skipped.update(self._get_members(namespace, room))
        self.send_to(recipients, namespace, make_messages(taken_apart, id, offset), skipped)
