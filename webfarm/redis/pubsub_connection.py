"""A connection to one primary over which several shards listen."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gevent
import hiredis
import redis
from redis.exceptions import MovedError

from webfarm.redis.wire import Wire

if TYPE_CHECKING:
    from webfarm.redis.subscription import Subscription

_NAMES_AT_ONCE = 1_000

OnMoved = Callable[[int, tuple[str, int]], object]


class PubSubConnection:
    """What comes is handed to the shard whose it is, by the tag of its channel.

    Args:
        pool: gives the connection. Raises ``redis.RedisError``.
        on_moved: told where a slot is that is elsewhere.
        is_cluster: whether it is one of several primaries.
    """

    def __init__(self, pool: Any, on_moved: OnMoved, *, is_cluster: bool) -> None:
        self._pool, self._on_moved = pool, on_moved
        self._connection = pool.get_connection()
        self.source = self._ask_id() if is_cluster else b""  #: what the messages of its log name
        self._shards: dict[bytes, Subscription] = {}  # by tag, and by a channel without one
        self._known: set[Subscription] = set()  # also those that have left
        self._full: set[Subscription] = set()
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
    def address(self) -> tuple[str, int]:
        """Where it is connected to."""
        return self._wire.address

    def takes(self, subscription: "Subscription") -> bool:
        """Whether a shard can listen here: one that has left can't, as replies to it may be under way."""
        return self._wire.is_open and subscription not in self._known

    def attach(self, subscription: "Subscription") -> None:
        """Let a shard listen here."""
        self._known.add(subscription)
        self._shards[subscription.keys.tag.encode()] = subscription

    def detach(self, subscription: "Subscription", names: "dict[str, list[str]]") -> None:
        """Hand nothing more to a shard; ``names`` are what it is subscribed to, by the commands that end that."""
        self._shards = {name: one for name, one in self._shards.items() if one is not subscription}
        if not self._shards:
            self._wire.lose(redis.ConnectionError("nobody listens"))
            return
        for verb, channels in names.items():
            self.send(subscription, verb, channels)
        self.resume(subscription)

    def send(self, subscription: "Subscription", verb: str, names: Sequence[str]) -> None:
        """Send a command of a shard, for the channels ``names``."""
        if verb == "SUBSCRIBE":
            self._shards |= {name.encode(): subscription for name in names if not subscription.has_tag(name)}
        for first in range(0, len(names), _NAMES_AT_ONCE):
            command: tuple[Any, ...] = (verb, *names[first : first + _NAMES_AT_ONCE])
            self._wire.send(hiredis.pack_command(command))

    def pause(self, subscription: "Subscription") -> None:
        """Read no more, until a shard that has enough has read it."""
        self._full.add(subscription)
        self._wire.pause()

    def resume(self, subscription: "Subscription") -> None:
        """A shard has read what it had."""
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
        """A slot that has moved is one shard's matter; anything else is the matter of all."""
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

    A shard that had to leave it comes back over another one, which those that come later share.

    Args:
        client: says which Redis; its pool gives the connections.
        on_moved: told where a slot is that is elsewhere; ``None`` if it is the only primary.
    """

    def __init__(self, client: redis.Redis, on_moved: OnMoved | None = None) -> None:
        self._pool = client.connection_pool
        self._is_cluster = on_moved is not None
        self._on_moved = on_moved or (lambda slot, address: None)
        self._newest: PubSubConnection | None = None
        self._making: gevent.Greenlet[[], Exception | None] | None = None

    def attach(self, subscription: "Subscription") -> PubSubConnection:
        """Return a connection, where the shard is attached by now. Raises ``redis.RedisError``."""
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
