"""A connection to one primary over which several shards listen."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gevent
import hiredis
import redis
from redis.exceptions import MovedError

from webfarm.redis.keys import Keys
from webfarm.redis.url import Address
from webfarm.redis.wire import Wire

_NAMES_AT_ONCE = 1_000

OnMoved = Callable[[int, Address], object]


class Listener(Protocol):
    """A shard that listens to a connection."""

    @property
    def keys(self) -> Keys:
        """The shard's; the tag is in the name of each of its channels."""

    def has_tag(self, name: str) -> bool:
        """Whether a channel is this shard's."""

    def on_reply(self, reply: Any) -> None:
        """Take a reply of Redis to a command of this shard, or a message for it."""

    def on_lost(self, error: Exception) -> None:
        """Take note that no more replies will come."""


class PubSubConnection:
    """Hands each message to its shard, by the tag of its channel.

    Args:
        pool: gives the connection. Raises ``redis.RedisError``.
        on_moved: called with a slot that has moved, and its address.
        is_cluster: whether it is one of several primaries.
    """

    def __init__(self, pool: Any, on_moved: OnMoved, *, is_cluster: bool) -> None:
        self._pool, self._on_moved = pool, on_moved
        self._connection = pool.get_connection()
        self.source = self._ask_id() if is_cluster else b""  #: the name that the messages of its log have
        self._shards: dict[bytes, Listener] = {}  # by tag, and by a channel without one
        self._known: set[Listener] = set()  # also those that have left
        self._full: set[Listener] = set()
        self._wire = Wire(self._connection, self._on_reply, self._on_lost)

    def _ask_id(self) -> bytes:
        try:
            self._connection.send_command("CLUSTER", "MYID", check_health=False)
            id: bytes = self._connection.read_response()
        except BaseException:
            self._connection.disconnect()
            self._pool.release(self._connection)
            raise
        return id

    @property
    def address(self) -> Address:
        """Where it is connected to."""
        return self._wire.address

    def takes(self, subscription: Listener) -> bool:
        """Whether a shard can listen here. A shard that has left can't, as replies to it may be under way."""
        return self._wire.is_open and subscription not in self._known

    def attach(self, subscription: Listener) -> None:
        """Let a shard listen here."""
        self._known.add(subscription)
        self._shards[subscription.keys.tag.encode()] = subscription

    def detach(self, subscription: Listener, names: dict[str, list[str]]) -> None:
        """Hand nothing more to a shard; ``names`` are its channels, by the commands that end the subscriptions."""
        self._shards = {name: one for name, one in self._shards.items() if one is not subscription}
        if not self._shards:
            self._wire.lose(redis.ConnectionError("nobody listens"))
            return
        for verb, channels in names.items():
            self.send(subscription, verb, channels)
        self.resume(subscription)

    def send(self, subscription: Listener, verb: str, names: Sequence[str]) -> None:
        """Send a command of a shard, for the channels ``names``."""
        if verb == "SUBSCRIBE":
            self._shards |= {name.encode(): subscription for name in names if not subscription.has_tag(name)}
        for first in range(0, len(names), _NAMES_AT_ONCE):
            command: tuple[Any, ...] = (verb, *names[first : first + _NAMES_AT_ONCE])
            self._wire.send(hiredis.pack_command(command))

    def pause(self, subscription: Listener) -> None:
        """Read no more, until a shard that has enough replies has read them."""
        self._full.add(subscription)
        self._wire.pause()

    def resume(self, subscription: Listener) -> None:
        """A shard has read its replies."""
        self._full.discard(subscription)
        if not self._full:
            self._wire.resume()

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self._on_error(reply)
            return
        name = reply[1]
        subscription = self._shards.get(name[: name.find(b"}") + 2]) or self._shards.get(name)
        if subscription is not None:
            subscription.on_reply(reply)

    def _on_error(self, error: Exception) -> None:
        """End the shards of a slot that has moved; any other error ends the connection."""
        if not isinstance(error, MovedError):
            self._wire.lose(error)
            return
        self._on_moved(error.slot_id, (error.host or self.address[0], error.port))
        for subscription in {*self._shards.values()}:
            if subscription.keys.slot == error.slot_id:
                subscription.on_lost(redis.ConnectionError(f"MOVED {error}"))

    def _on_lost(self, error: Exception) -> None:
        self._connection.disconnect()
        gevent.spawn(self._pool.release, self._connection)
        for subscription in {*self._shards.values()}:
            subscription.on_lost(error)


class PubSubConnections:
    """The connection to one primary for all shards there, made when it is needed.

    A detached shard reconnects over a new connection; shards attached later share that one.

    Args:
        client: knows which Redis; its pool gives the connections.
        on_moved: called with a slot that has moved, and its address; ``None`` if this is the only primary.
    """

    def __init__(self, client: redis.Redis, on_moved: OnMoved | None = None) -> None:
        self._pool = client.connection_pool
        self._is_cluster = on_moved is not None
        self._on_moved = on_moved or (lambda slot, address: None)
        self._newest: PubSubConnection | None = None
        self._making: gevent.Greenlet[[], Exception | None] | None = None

    def attach(self, subscription: Listener) -> PubSubConnection:
        """Attach a shard to a connection, and return that. Raises ``redis.RedisError``."""
        while self._newest is None or not self._newest.takes(subscription):
            if self._making is None:  # else somebody has begun
                self._making = gevent.spawn(self._make)
            error = self._making.get()
            if error is not None:
                raise error
        self._newest.attach(subscription)
        return self._newest

    def _make(self) -> Exception | None:
        try:
            self._newest = PubSubConnection(self._pool, self._on_moved, is_cluster=self._is_cluster)
        except (redis.RedisError, OSError) as error:
            return error
        finally:
            self._making = None
        return None
