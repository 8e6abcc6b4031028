"""One shard: a part of the log, and what is kept beside it, as this node has to do with it.

Each shard is complete in itself. A room's messages, members and watchers are in the shard of the room. A client's
session and entry are in the shard of its sid. A node holds a lease in each shard. So an unreachable part of Redis takes
no other part with it.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import gevent
import redis

from webfarm.defaults import RECOVERY_WINDOW_S
from webfarm.log.entry import Entry
from webfarm.log.follower import Follower
from webfarm.log.inboxes import Inboxes
from webfarm.log.offset import Vector
from webfarm.log.position import Position
from webfarm.log.retention import Retention
from webfarm.log.shard_log import ShardLog
from webfarm.log.store_scheduler import StoreScheduler
from webfarm.log.writer import Writer
from webfarm.loop.repeating import Repeating
from webfarm.loop.ticker import Ticker
from webfarm.nodes.lease import RENEW_S, Lease
from webfarm.nodes.presence import Presence, PresenceOwner
from webfarm.nodes.registry import Registry
from webfarm.redis.connections import Connections
from webfarm.redis.keys import Keys
from webfarm.sessions.renewal import Renewal
from webfarm.sessions.session import Session
from webfarm.sessions.store import SessionStore

log = logging.getLogger(__name__)

_LOOK_S = 1.0


class Options(NamedTuple):
    """The settings that all shards share."""

    channel: str  # of stock emitters
    recovery_window_s: float = RECOVERY_WINDOW_S
    history: Retention = Retention()
    wait_replicas: int = 0


class Common(NamedTuple):
    """The parts of a manager that all its shards use."""

    connections: Connections
    ticker: Ticker
    scheduler: StoreScheduler
    delivered: Vector  # the positions of all shards


class EntryReceiver(Protocol):
    """The part of a manager that delivers messages."""

    def deliver_entry(self, shard: "Shard", namespace: str, room: str | None, entry: Entry) -> bool:
        """Deliver a message of the log; return whether its room has members here."""

    def deliver_volatile(self, namespace: str, room: str | None, body: bytes) -> None:
        """Deliver a message that is not in the log."""


class SessionOwner(Protocol):
    """The part of a manager that has the clients' sessions."""

    def evict(self, session: Session) -> None:
        """The session belongs to another connection, or was ended by others: forget its client."""

    def on_expired(self, session: Session) -> None:
        """The session's time is over."""

    def on_taken(self, sid: str, generation: int) -> None:
        """Another connection has taken a session."""

    def on_probe(self, sid: str, generation: int) -> None:
        """Another connection wants a session that was resumed just now."""

    def on_return(self, sessions: SessionStore) -> None:
        """Redis answers again. Raises ``redis.RedisError``."""

    def on_lost(self, namespace: str, room: str | None) -> None:
        """Messages of a room are lost to this node."""

    def on_new_epoch(self, shard: "Shard") -> None:
        """The log of a shard began again: stored messages may be gone."""


class Listener(Protocol):
    """The part of a manager that hears other nodes."""

    def on_request(self, data: bytes) -> None:
        """A node, this one too, or another process asks all nodes."""

    def on_answer(self, data: bytes) -> None:
        """A node has answered this one."""


class StockListener(Protocol):
    """The part of a manager that hears python-socketio's own emitters."""

    def on_message(self, data: bytes) -> None:
        """A message came over the channel of stock emitters."""


class NodeDescriber(PresenceOwner, Protocol):
    """The part of a manager that knows who is where."""

    def describe_node(self) -> dict[str, Any]:
        """Return what others may know of this node."""


class ShardOwner(Protocol):
    """The manager, as its shards see it."""

    @property
    def delivery(self) -> EntryReceiver: ...
    @property
    def recovery(self) -> SessionOwner: ...
    @property
    def membership(self) -> NodeDescriber: ...
    @property
    def peers(self) -> Listener: ...
    @property
    def stock_channel(self) -> StockListener: ...


class Shard:
    """A shard, and the receiver of what this node hears of it.

    Args:
        keys: the names of its keys and channels.
        common: what all shards use.
        options: the settings that all shards share.
        owner: the manager, which hears of messages and sessions.
        home: the first shard; ``None`` for the first shard itself.
    """

    def __init__(
        self, keys: Keys, common: Common, options: Options, owner: ShardOwner, home: "Shard | None" = None
    ) -> None:
        self.keys = keys
        self.number = keys.shard
        connections = common.connections
        self.commands = connections.get_commands(keys)
        self._owner = owner
        self._delivery = owner.delivery
        self._home = home
        self.log = ShardLog(self.commands, keys, options.history, self._on_new_epoch)
        self.sessions = SessionStore(self.commands, self.log, options.recovery_window_s)
        subscription = connections.create_subscription(keys)
        channel = options.channel if home is None else ""
        position = Position(self.commands, self.log, common.delivered)
        self.follower = Follower(subscription, position, channel, self)
        count_replicas = _count_replicas(connections, keys, options)
        writing = connections.get_writing(keys)
        self.writer = Writer(writing, common.scheduler, self.log, self.follower, count_replicas)
        self.lease = Lease(self.commands, keys, self)
        self.registry = Registry(self.commands, keys, self.lease)
        self.presence = Presence(self.commands, keys, self.lease, self.follower, owner.membership)
        self.inboxes = Inboxes(self.commands, keys, options.history.ttl_s)
        self.renewal = Renewal(self.sessions, owner.recovery)
        common.ticker.add(self.follower.on_beat)
        common.ticker.add(self.presence.on_beat)
        common.ticker.add(self.lease.renew_soon, RENEW_S)

    def start(self, node: str) -> None:
        """Work in the name of ``node`` from now on."""
        self.lease.hold(node)
        for part in (self.writer, self.sessions, self.follower):
            part.start(node)
        for one in (self.inboxes, self.renewal):
            one.start()
        gevent.spawn(self._listen)

    @property
    def is_ready(self) -> bool:
        """Whether Redis answers, and all that it has of this shard is delivered."""
        return self.follower.is_ready and not self.follower.position.refusal

    def _listen(self) -> None:
        """Listen, once it is known that the farm has as many shards: else nothing may be stored here."""
        while not (self._home is None or self._has_begun() or self._home.follower.wait_until_ready(_LOOK_S)):
            pass
        failed = f"shard {self.number}: listening failed, and begins again"
        Repeating(self._follow, _LOOK_S, log=log, failed=failed).start()

    def _follow(self) -> None:
        for data in self.follower.listen():
            self._owner.stock_channel.on_message(data)

    def _has_begun(self) -> bool:
        """Return whether the shard itself says that it is one of as many shards; a new shard does not say so."""
        try:
            return bool(self.commands.execute("HGET", self.keys.clock, "format") == self.keys.format.encode())
        except redis.RedisError:
            return False

    # From the follower

    def on_entry(self, entry: Entry) -> None:
        """Deliver a message of the log to those of its room that this process has."""
        namespace, room = self.keys.get_room(entry.room)
        if self._delivery.deliver_entry(self, namespace, room, entry):
            self.inboxes.on_delivered(entry.room, entry.id)

    def on_volatile(self, stream: str, body: bytes) -> None:
        """Deliver a message that is not in the log."""
        try:
            self._delivery.deliver_volatile(*self.keys.get_room(stream), body)
        except (ValueError, TypeError, LookupError) as error:
            log.warning("a volatile message of %s could not be read and was dropped: %r", stream, error)

    def on_presence(self, channel: str, data: bytes) -> None:
        """A user came into a room that is watched, or went."""
        self.presence.on_change(channel, data)

    def on_taken(self, sid: str, generation: int) -> None:
        """A session of this node belongs to another connection by now."""
        self._owner.recovery.on_taken(sid, generation)

    def on_probe(self, sid: str, generation: int) -> None:
        """Another connection wants a session that was resumed just now."""
        self._owner.recovery.on_probe(sid, generation)

    def on_request(self, data: bytes) -> None:
        """A node, this one too, or another process asks all nodes."""
        self._owner.peers.on_request(data)

    def on_answer(self, data: bytes) -> None:
        """A node has answered this one."""
        self._owner.peers.on_answer(data)

    # From the lease

    def describe_node(self) -> dict[str, Any]:
        """Return what others may know of this node."""
        return self._owner.membership.describe_node()

    def on_return(self) -> None:
        """Redis answers again, or the lease had ended; nothing has been delivered yet."""
        self._owner.recovery.on_return(self.sessions)
        self.registry.refresh()
        self.lease.renew_soon()

    def on_lost(self, streams: list[str]) -> None:
        """Messages of these rooms are lost to this node."""
        for stream in streams:
            self._owner.recovery.on_lost(*self.keys.get_room(stream))

    def _on_new_epoch(self) -> None:
        """The log began again: no client with a room here can still show that it has everything."""
        self._owner.recovery.on_new_epoch(self)


def _count_replicas(connections: Connections, keys: Keys, options: Options) -> Callable[[], int]:
    """Return what says how many replicas a message waits for: no more than there are, where a cluster knows that."""

    def count() -> int:
        there = connections.count_replicas(keys)
        return options.wait_replicas if there is None else min(options.wait_replicas, there)

    return count if options.wait_replicas else lambda: 0
