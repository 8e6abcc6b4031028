"""One shard: a part of the log, and what is kept beside it, as this node has to do with it.

Each is complete in itself: a room's messages, members and watchers are in the shard of the room, a client's session and
entry in that of its sid, and a node holds a lease in each. So a part of Redis that is away takes no other with it.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import gevent
import redis

from webfarm.log.entry import Entry
from webfarm.log.follower import Follower
from webfarm.log.inboxes import Inboxes
from webfarm.log.offset import Vector
from webfarm.log.position import Position
from webfarm.log.shard_log import Retention, ShardLog
from webfarm.log.store_scheduler import StoreScheduler
from webfarm.log.writer import Writer
from webfarm.loop.ticker import Ticker
from webfarm.nodes.lease import RENEW_S, Lease
from webfarm.nodes.presence import Presence
from webfarm.nodes.registry import Registry
from webfarm.redis.connections import Connections
from webfarm.redis.keys import Keys
from webfarm.sessions.renewal import Renewal
from webfarm.sessions.store import Sessions

if TYPE_CHECKING:
    from webfarm.manager.redis_manager import RedisManager

log = logging.getLogger(__name__)

_LOOK_S = 1.0


class Options(NamedTuple):
    """What holds of all shards."""

    channel: str  # of stock emitters
    recovery_window_s: float = 120.0
    history: Retention = Retention()
    wait_replicas: int = 0


class Shard:
    """A shard, and the receiver of what is heard of it.

    Args:
        keys: its names in Redis.
        connections: to Redis.
        beat: for all shards.
        rounds: for all shards.
        delivered: the positions of all shards.
        options: as all shards have them.
        manager: whose clients are told.
    """

    def __init__(
        self,
        keys: Keys,
        connections: Connections,
        beat: Ticker,
        rounds: StoreScheduler,
        delivered: Vector,
        options: Options,
        manager: "RedisManager",
    ) -> None:
        self.keys = keys
        self.number = keys.shard
        self._is_home = self.number == 0
        self.commands = connections.get_commands(keys)
        self._manager = manager
        self.log = ShardLog(self.commands, keys, options.history, self._on_new_epoch)
        self.sessions = Sessions(self.commands, self.log, options.recovery_window_s)
        subscription = connections.create_subscription(keys)
        channel = options.channel if self._is_home else ""
        position = Position(self.commands, self.log, delivered)
        self.follower = Follower(subscription, self.commands, position, channel, self)
        count_replicas = _count_replicas(connections, keys, options)
        self.writer = Writer(connections.get_writing(keys), rounds, self.log, self.follower, count_replicas)
        self.lease = Lease(self.commands, keys, manager.describe_node, self.on_return)
        self.registry = Registry(self.commands, keys, self.lease)
        self.presence = Presence(self.commands, keys, self.lease, self.follower, manager.tell_watchers)
        self.inboxes = Inboxes(self.commands, keys, options.history.ttl_s)
        self.renewal = Renewal(self.sessions, manager.recovery.drop, manager.recovery.on_expired)
        beat.add(self.follower.on_beat)
        beat.add(self.presence.on_beat)
        beat.add(self.lease.renew_soon, RENEW_S)

    def start(self, node: str) -> None:
        """Work in the name of ``node`` from now on."""
        self.lease.hold(node)
        for part in (self.writer, self.sessions, self.follower):
            part.start(node)
        for one in (self.inboxes, self.renewal):
            one.start()
        if not self._is_home:  # else the manager listens, for the sake of the channel
            gevent.spawn(self._listen)

    @property
    def is_ready(self) -> bool:
        """Whether Redis answers, and all that it has of this shard is delivered."""
        return self.follower.is_ready and not self.follower.position.refusal

    def _listen(self) -> None:
        """Listen, once it is known that the farm has as many shards: else nothing may be stored here."""
        while not (self._has_begun() or self._manager.shards.home.follower.wait_until_ready(_LOOK_S)):
            pass
        while True:
            try:
                for _ in self.follower.listen():
                    pass
            except (Exception, gevent.Timeout):
                log.exception("shard %d is listened to anew", self.number)
                gevent.sleep(_LOOK_S)

    def _has_begun(self) -> bool:
        """Whether the shard says by itself that it is one of as many; a new one does not, and the first one has to."""
        try:
            return bool(self.commands.execute("HGET", self.keys.clock, "format") == self.keys.format.encode())
        except redis.RedisError:
            return False

    # From the follower

    def on_entry(self, entry: Entry) -> None:
        """Deliver a message of the log to those of its room that this process has."""
        namespace, room = self.keys.get_room(entry.room)
        if self._manager.deliver_entry(self, namespace, room, entry):
            self.inboxes.on_delivered(entry.room, entry.id)

    def on_volatile(self, stream: str, body: bytes) -> None:
        """Deliver a message that is not in the log."""
        try:
            self._manager.deliver_volatile(*self.keys.get_room(stream), body)
        except (ValueError, TypeError, LookupError) as error:
            log.warning("a volatile message of %s could not be read and was dropped: %r", stream, error)

    def on_presence(self, channel: str, data: bytes) -> None:
        """A user came into a room that is watched, or went."""
        self.presence.on_change(channel, data)

    def on_taken(self, sid: str, generation: int) -> None:
        """A session of this node belongs to another connection by now."""
        self._manager.recovery.on_taken(sid, generation)

    def on_probe(self, sid: str, generation: int) -> None:
        """Another connection wants a session that was resumed just now."""
        self._manager.recovery.on_probe(sid, generation)

    def on_request(self, data: bytes) -> None:
        """A node, this one too, or another process asks all nodes."""
        self._manager.peers.on_request(data)

    def on_answer(self, data: bytes) -> None:
        """A node has answered this one."""
        self._manager.peers.on_answer(data)

    def on_return(self) -> None:
        """Redis is back, and nothing has been delivered yet."""
        self._manager.recovery.confirm(self.sessions)
        self.registry.refresh()
        self.lease.renew_soon()

    def on_lost(self, streams: list[str]) -> None:
        """Messages of these rooms are lost to this node."""
        for stream in streams:
            self._manager.on_lost(*self.keys.get_room(stream))

    def _on_new_epoch(self) -> None:
        """What was stored may be gone: no client that has a room here can show any more that it has everything."""
        self._manager.on_new_epoch(self)


def _count_replicas(connections: Connections, keys: Keys, options: Options) -> Callable[[], int]:
    """Return what says how many replicas a message waits for: no more than there are, where a cluster knows that."""

    def count() -> int:
        there = connections.count_replicas(keys)
        return options.wait_replicas if there is None else min(options.wait_replicas, there)

    return count if options.wait_replicas else lambda: 0
