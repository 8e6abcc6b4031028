"""The manager: what ties the workers together through Redis.

Overridden of ``socketio.RedisManager`` (5.18), and why:

- ``__init__``: one client, which never repeats a command by itself (stock makes a new one, from two greenlets,
  whenever anything fails).
- ``emit``: an event is stored in the log, and delivered when it comes back from there, on its own worker too: all
  workers see one order, and only those that have members in its room do any work.
- ``enter_room``, ``leave_room``: also written to the client's session.
- ``connect`` and what else concerns the registry (``webfarm.manager.membership``).
- what concerns the channel of python-socketio's own (``webfarm.manager.stock_channel``).
"""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent

from webfarm.engineio.connection import Connection
from webfarm.log.batch import Outgoing
from webfarm.log.entry import Copy, Entry, decode_body, encode_body, make_messages
from webfarm.log.offset import Vector
from webfarm.log.shard_log import Retention, Stored
from webfarm.log.store_scheduler import StoreScheduler
from webfarm.loop.ticker import Ticker
from webfarm.manager.history import Reading
from webfarm.manager.membership import Registering
from webfarm.manager.readiness import Readiness
from webfarm.manager.recovery import Recovery
from webfarm.manager.rooms import check_room, list_rooms, list_sids
from webfarm.manager.shard import Options, Shard
from webfarm.manager.shards import Shards
from webfarm.manager.stock_channel import Channel
from webfarm.nodes.directory import Directory
from webfarm.nodes.peers import Peers
from webfarm.redis.connections import open_connections
from webfarm.redis.keys import Keys, get_stock_channel
from webfarm.redis.preflight import log_faults
from webfarm.redis.url import get_database
from webfarm.sessions.session import Session, Taken


class RedisManager(Registering, Reading, Readiness, Channel):
    """Delivers what the log has, and keeps the clients' sessions.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://host:port[,…]/name/db`` or
            ``redis+cluster://host:port[,…]``.
        channel: the channel of stock ``socketio.RedisManager(write_only=True)``, of callbacks and remote changes.
        prefix: what every key in Redis begins with.
        recovery_window_s: how long a lost connection can be resumed at least; 0: never.
        history: what is kept of each room.
        wait_replicas: how many replicas of Redis must have a message before an emit returns; of a cluster's primary
            that has fewer, all.
        shards: parts of the log, each on one primary; the same number for a farm's life.
    """

    def __init__(
        self,
        url: str,
        channel: str | None = None,
        prefix: str = "webfarm",
        *,
        recovery_window_s: float = 120.0,
        history: Retention | None = None,
        wait_replicas: int = 0,
        shards: int = 1,
    ) -> None:
        database = get_database(url)
        channel = channel or get_stock_channel(prefix, database)
        super().__init__(url, channel=channel)
        self.address = self.node = ""
        self.has_recovery = recovery_window_s > 0
        #: If set, it is called in the hub with the id of each message of the log that is delivered here.
        self.on_delivery: Callable[[int], None] | None = None
        self._connections = open_connections(url, has_writing=wait_replicas > 0)
        self._log_faults = partial(log_faults, url, prefix, shards=shards, wait_replicas=wait_replicas)
        self.recovery = Recovery(self)
        self._beat = Ticker()
        options = Options(channel, recovery_window_s, history or Retention(), wait_replicas)
        rounds, delivered = StoreScheduler(), Vector([""] * shards, [0] * shards)
        all_keys = [Keys(prefix, number, shards, database) for number in range(shards)]
        common = (self._connections, self._beat, rounds, delivered, options, self)
        self.shards = Shards([Shard(keys, *common) for keys in all_keys], delivered)
        self.directory = Directory(self.shards)
        self.peers = Peers(self.shards)

    def start(self, node: str) -> None:
        """Connect to Redis and stay connected; ``node`` names this worker in the cluster."""
        self.address = node
        self.node = f"{node}#{uuid.uuid4().hex[:8]}"  # each start is a node of its own: the one before is dead
        self._connections.start()
        gevent.spawn(self._log_faults)
        self.peers.start(self.node)
        for shard in self.shards:
            shard.start(self.node)
        self._beat.start()
        self.initialize()

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
        skipped, stored = list_sids(skip_sid), []
        copies: list[Copy] = []
        for shard, rooms in self.shards.group(namespace, list_rooms(room)).items():
            messages = [
                Outgoing(namespace, one, encode_body(parts, skipped, rooms[:index], copies), once, known_s, recipient)
                for index, one in enumerate(rooms)
            ]
            found = shard.writer.store(messages)
            copies = [*copies, *((one, message.id) for one, message in zip(rooms, found, strict=True))]
            stored += found
        return stored[0]

    def locate(self, room: str) -> tuple[int, str]:
        """Return the number of a room's shard, and its primary's ``host:port``, an empty text without a cluster."""
        shard = self.shards.get_of_room("/", room)
        return shard.number, self._connections.get_address(shard.keys)

    # Rooms

    def on_room_opened(self, namespace: str, room: str | None) -> None:
        shard = self.shards.get_of_room(namespace, room)
        shard.follower.follow(shard.keys.stream(namespace, room))

    def on_room_closed(self, namespace: str, room: str | None) -> None:
        shard = self.shards.get_of_room(namespace, room)
        shard.follower.unfollow(shard.keys.stream(namespace, room))

    def get_session(self, sid: str) -> Session | None:
        """Return the session of a client of this node."""
        return self.shards.get(sid).sessions.get(sid)

    def enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        """Put a client into a room. What is emitted to the room once this has returned reaches it."""
        check_room(room)
        if not self.is_sid_room(namespace, sid):
            if self.has_client(sid):
                self.ask_owner("enter_room", sid, namespace, room)
            return
        eio_sid, session = self.eio_sid_from_sid(sid, namespace), self.get_session(sid)
        if self.is_in_room(sid, namespace, room) and (session is None or room in session.floors):
            return
        self.basic_enter_room(sid, namespace, room)
        shard, sessions = self.shards.get_of_room(namespace, room), self.shards.get(sid).sessions
        stream = shard.keys.stream(namespace, room)
        try:
            shard.follower.wait_until_following(stream)
            if session is not None and session.is_written:
                shard.follower.begin_at(stream, sessions.join(session, room, shard.log))
            elif session is not None:
                session.floors.setdefault(room, session.began[shard.number])
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
        session = self.get_session(sid)
        if session is not None and session.is_written:
            try:
                self.shards.get(sid).sessions.leave(session, room)
            except Taken as error:
                self.recovery.drop(error.session)
        elif session is not None:
            session.floors.pop(room, None)

    def get_owner(self, sid: str) -> str:
        """Return who owns a client of this node, as ``identify`` had it; an empty text if nobody does, or no more."""
        session = self.get_session(sid)
        return session.owner if session is not None else ""

    def has_client(self, sid: str) -> bool:
        """Return whether a client of any node has this sid, connected or away. Raises ``Unavailable``."""
        return self.shards.get(sid).sessions.exists(sid)

    def on_ping(self, connection: Connection) -> None:
        positions = self.shards.positions
        for shard in self.shards:
            shard.inboxes.on_ping(connection.sid, positions[shard.number])
        for session in filter(None, map(self.get_session, self.get_sids_of(connection.sid))):
            session.on_ping(positions)

    def on_pong(self, connection: Connection) -> None:
        for shard in self.shards:
            shard.inboxes.on_pong(connection.sid)
        for session in filter(None, map(self.get_session, self.get_sids_of(connection.sid))):
            session.on_pong()

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        eio_sid = self.eio_sid_from_sid(sid, namespace)
        super().basic_leave_room(sid, namespace, room)
        if eio_sid is not None:
            shard = self.shards.get_of_room(namespace, room)
            shard.inboxes.remove(eio_sid, shard.keys.stream(namespace, room))

    # From the shards

    def deliver_entry(self, shard: Shard, namespace: str, room: str | None, entry: Entry) -> bool:
        """Deliver a message of the log to those of its room that this process has; return whether there are any."""
        recipients = self._get_members(namespace, room)
        if recipients:
            if self.on_delivery is not None:
                self.on_delivery(entry.id)
            offset = self.shards.encode_offset(shard, entry.id) if self.has_recovery else None
            self._send_body(entry.body, namespace, recipients, shard.number, entry.id, offset)
        return bool(recipients)

    def deliver_volatile(self, namespace: str, room: str | None, body: bytes) -> None:
        """Deliver a message that is not in the log."""
        self._send_body(body, namespace, self._get_members(namespace, room), 0, 0, None)

    def on_lost(self, namespace: str, room: str | None) -> None:
        """Messages of a room are lost to this node."""
        for session in filter(None, map(self.get_session, list(self._get_members(namespace, room)))):
            self.recovery.abandon(session, "incomplete")

    def on_new_epoch(self, shard: Shard) -> None:
        """What was stored in a shard may be gone: who has a room there can't show any more that nothing is missing."""
        for other in self.shards:  # whatever has happened there has mostly happened to all: nobody is to be told twice
            other.follower.position.request_marker()
        for sessions in (one.sessions for one in self.shards):
            for session in sessions.get_all():
                is_older = session.epochs[shard.number] != shard.log.epoch  # else another node has known before
                if is_older and shard in self.shards.group(session.namespace, session.floors):
                    self.recovery.abandon(session, "epoch")

    def _joined_before(self, sid: str, room: str | None, id: int) -> bool:
        session = self.get_session(sid)
        return session is not None and room in session.floors and session.floors[room] < id

    def _send_body(
        self, body: bytes, namespace: str, recipients: dict[str, str], shard: int, id: int, offset: str | None
    ) -> None:
        taken_apart = decode_body(body)
        skipped = set(taken_apart.skip)
        for room in taken_apart.elsewhere:
            skipped.update(self._get_members(namespace, room))
        for room, copy in taken_apart.copies:  # some time ago, and who was no member then got none
            skipped.update(sid for sid in self._get_members(namespace, room) if self._joined_before(sid, room, copy))
        self.send_to(recipients, namespace, make_messages(taken_apart, shard, id, offset), skipped)
