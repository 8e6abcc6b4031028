"""The manager: what ties the workers together through Redis.

Overridden of ``socketio.RedisManager`` (5.18), and why:

- ``__init__``: one client, which never repeats a command by itself (stock makes a new one, from two greenlets, whenever
  anything fails). The shards listen; stock's own thread is not started.
- ``emit``: an event is stored in the log, and delivered when it comes back from there, on its own worker too. So all
  workers see one order, and only workers with members in the room do any work.
- ``enter_room``, ``leave_room``: also written to the client's session, and confirmed by the client's node.
- ``_publish``, ``_handle_emit``, ``_handle_close_room``: what stock sends over its channel (``StockChannel``).
- the bookkeeping of rooms (``RoomManager``).
"""

import uuid
from functools import partial
from typing import Any

import gevent
import socketio
from gevent import monkey

from webfarm.defaults import PREFIX, RECOVERY_WINDOW_S
from webfarm.log.batch import Outgoing
from webfarm.log.entry import Copy, encode_body
from webfarm.log.offset import Vector
from webfarm.log.retention import Retention
from webfarm.log.shard_log import Stored
from webfarm.log.store_scheduler import StoreScheduler
from webfarm.loop.ticker import Ticker
from webfarm.manager.delivery import LogDelivery, make_event
from webfarm.manager.history import History
from webfarm.manager.membership import Membership
from webfarm.manager.recovery import Recovery
from webfarm.manager.room_changes import RoomChanges
from webfarm.manager.room_manager import RoomManager
from webfarm.manager.rooms import list_rooms, list_sids
from webfarm.manager.shard import Common, Options, Shard
from webfarm.manager.shards import Shards
from webfarm.manager.stock_channel import StockChannel
from webfarm.nodes.directory import Directory
from webfarm.nodes.peers import Peers
from webfarm.redis.connections import open_connections
from webfarm.redis.keys import Keys, check_prefix, get_stock_channel
from webfarm.redis.preflight import log_faults
from webfarm.redis.url import get_database, get_default_shards, get_default_wait_replicas

_UNPATCHED = (
    "gevent has not patched the sockets, so a wait for Redis would stop all clients: run the app by"
    " gunicorn -c python:webfarm.gunicorn, or call gevent.monkey.patch_all() before all other imports."
)


def _require_patched_sockets() -> None:
    if not monkey.is_module_patched("socket"):
        raise RuntimeError(_UNPATCHED)


class RedisManager(RoomManager, socketio.RedisManager):
    """Delivers what the log has, and keeps the clients' sessions.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://host:port[,…]/name/db`` or
            ``redis+cluster://host:port[,…]``; another one raises ``ValueError``.
        channel: of stock ``socketio.RedisManager(write_only=True)``, and of callbacks; a given name is taken as it is.
            ``None``: ``socketio`` with the default prefix, else the prefix; in database *n* above 0 ``/n`` follows.
        prefix: what every key and channel of the farm begins with; ``socketio`` and ``flask-socketio`` are refused.
        recovery_window_s: how long a client can come back to its session at least, in seconds; 0: never.
        history: how much the log keeps of each room.
        wait_replicas: how many replicas of Redis must have a message before an emit returns. If a cluster's primary has
            fewer, all of them must. ``None``: 1 with Sentinel or a cluster, else 0.
        shards: parts of the log, each on one primary; the same number for a farm's life. ``None``: 8 on a cluster,
            else 1.
    """

    delivery: LogDelivery

    def __init__(
        self,
        url: str,
        channel: str | None = None,
        prefix: str = PREFIX,
        *,
        recovery_window_s: float = RECOVERY_WINDOW_S,
        history: Retention | None = None,
        wait_replicas: int | None = None,
        shards: int | None = None,
    ) -> None:
        check_prefix(prefix)
        database = get_database(url)
        wait_replicas = get_default_wait_replicas(url) if wait_replicas is None else wait_replicas
        count = get_default_shards(url) if shards is None else shards
        channel = channel or get_stock_channel(prefix, database)
        super().__init__(url, channel=channel)
        self.address = self.node = ""
        self.has_recovery = recovery_window_s > 0
        self._connections = open_connections(url, has_writing=wait_replicas > 0)
        self._log_faults = partial(log_faults, url, prefix, shards=count, wait_replicas=wait_replicas)
        self._ticker = Ticker()
        delivered = Vector([""] * count, [0] * count)
        self.delivery = LogDelivery(self.clients, self, delivered if self.has_recovery else None)
        self.recovery, self.membership = Recovery(self), Membership(self)
        self.stock_channel = StockChannel(self, channel)
        common = Common(self._connections, self._ticker, StoreScheduler(), delivered)
        options = Options(channel, recovery_window_s, history or Retention(), wait_replicas)
        all_keys = [Keys(prefix, number, count, database) for number in range(count)]
        home = Shard(all_keys[0], common, options, self)
        self.shards = all_shards = Shards([home, *(Shard(keys, common, options, self, home) for keys in all_keys[1:])])
        self.directory, self.peers, self.history = Directory(all_shards), Peers(all_shards), History(all_shards)
        self._room_changes = RoomChanges(self)
        self.clients.add_observer(self.membership)
        # What a ``Server`` asks beside that, the parts answer themselves.
        self.get_unready_reason, self.get_lag = all_shards.get_unready_reason, all_shards.get_lag
        self.wait_until_ready, self.wait_until_joinable = all_shards.wait_until_ready, all_shards.wait_until_joinable
        self.wait_until_delivered, self.on_upgraded = all_shards.wait_until_delivered, self.membership.on_upgraded
        self.on_ping, self.on_pong = self.recovery.on_ping, self.recovery.on_pong

    def start(self, node: str) -> None:
        """Connect to Redis, over sockets that gevent has patched, and stay connected; ``node`` names this worker."""
        _require_patched_sockets()
        self.address = node
        self.node = f"{node}#{uuid.uuid4().hex[:8]}"  # each start is a node of its own: the one before is dead
        self._connections.start()
        gevent.spawn(self._log_faults)
        self.peers.start(self.node)
        for shard in self.shards:
            shard.start(self.node)
        self._ticker.start()

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
            self.delivery.deliver(event, self.stock_channel.without_offset(data), namespace, room, skip_sid)
        elif callback is not None:
            super().emit(event, data, namespace, room, skip_sid, callback, **kwargs)
        elif kwargs.get("volatile"):
            self.stock_channel.publish_volatile(event, data, namespace, room, skip_sid)
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
        """Store an event in the log, which delivers it; return its id and the number of nodes that it reached.

        Args:
            event: its name.
            data: its argument; a tuple of several; ``None`` for none. ``MESSAGE_ID`` in it becomes the id.
            namespace: the namespace of the clients.
            room: a room, a list of rooms (a client in several gets one copy), or ``None`` for all.
            skip_sid: the clients that get none: a sid, a list of sids, or ``None``.
            once: a name under which Redis stores the event once within ``known_s`` seconds. A repeat returns the
                id and the nodes of the first event.
            recipient: a sid, if there must be such a client, connected or away.

        Raises:
            Unavailable: Redis could not take it just now.
            NoRecipient: there is no such client.
        """
        parts = make_event(event, data, namespace).encode_parts()
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

    # Clients and rooms

    def enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        """Put a client of any node into a room: a later emit reaches it. Raises ``Unavailable``, ``ValueError``."""
        self._room_changes.enter(sid, namespace, room)

    def leave_room(self, sid: str, namespace: str, room: str) -> None:
        """Take a client of any node out of a room. Raises ``Unavailable``."""
        self._room_changes.leave(sid, namespace, room)

    def get_session(self, sid: str) -> Any:
        """Return the session of a client of this node."""
        return self.shards.get(sid).sessions.get(sid)

    def get_owner(self, sid: str) -> str:
        """Return the owner of a client of this node, as ``identify`` named it; an empty text if it has none."""
        session = self.get_session(sid)
        return session.owner if session is not None else ""

    def has_client(self, sid: str) -> bool:
        """Return whether a client of any node has this sid, connected or away. Raises ``Unavailable``."""
        return self.shards.get(sid).sessions.exists(sid)

    def get_users(self, room: str, namespace: str = "/", *, most: int = 0, is_watched: bool = False) -> dict[str, int]:
        """Return the users in ``room`` on all nodes, each with the number of its clients there. Raises ``Unavailable``.

        Args:
            room: its name; Redis is read after the call begins.
            namespace: of the room.
            most: above 0, how many users are enough, whichever they are.
            is_watched: include, with 0 clients, users who left so recently that no watcher has been told yet. If they
                come back by then, no watcher will be.
        """
        return self.membership.get_users(room, namespace, most=most, is_watched=is_watched)

    def watch(self, sid: str, room: str, namespace: str = "/") -> None:
        """Tell a client of this node, by ``Server``'s ``on_presence``, which users come into ``room`` and leave it.

        It ends when the client leaves the room, or with ``unwatch``. Raises ``Unavailable``.
        """
        self.membership.watch(sid, room, namespace)

    def unwatch(self, sid: str, room: str, namespace: str = "/") -> None:
        """Tell a client no more of ``room``."""
        self.membership.unwatch(sid, room, namespace)

    @property
    def is_ready(self) -> bool:
        """Whether events can be handled."""
        return self.shards.is_ready

    # From python-socketio

    def _publish(self, data: dict[str, Any]) -> None:
        self.stock_channel.publish(data)

    def _handle_emit(self, message: dict[str, Any]) -> None:
        """Do nothing yet with an emit of this process: the channel brings it back."""

    def _handle_close_room(self, message: dict[str, Any]) -> None:
        gevent.spawn(self.stock_channel.close_own_room, message)  # what stock publishes then waits for no client
