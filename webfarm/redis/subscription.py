"""The channels to which one shard listens: many, and they change at every moment."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Any

import gevent
import redis
from gevent.event import Event
from gevent.hub import Waiter

from webfarm.errors import Unavailable
from webfarm.loop.time_slices import SLICE_S, wait_a_turn
from webfarm.redis.keys import Keys
from webfarm.redis.pubsub_connection import PubSubConnection
from webfarm.redis.url import Address

_CONFIRM_S = 3.0
_MAX_REPLIES, _MAX_REPLY_BYTES = 1_000, 16_777_216  # that may wait; then nothing more is read

_MESSAGES = {b"message", b"smessage"}
_CONFIRMATIONS = {b"subscribe", b"ssubscribe"}
_ENDS = {"SUBSCRIBE": "UNSUBSCRIBE", "SSUBSCRIBE": "SUNSUBSCRIBE"}


class Subscription:
    """The channels of one shard, whether there is a connection at the moment or not.

    ``open`` makes a connection or shares that of other shards; ``read`` it until it breaks, then ``close`` it.

    Args:
        keys: the shard's. A channel without their tag belongs to all shards.
        attach: attaches this to a connection (``PubSubConnections``). Raises ``redis.RedisError``.
        is_cluster: whether a shard's channels are on its own primary alone.
    """

    def __init__(
        self, keys: Keys, attach: "Callable[[Subscription], PubSubConnection]", *, is_cluster: bool = False
    ) -> None:
        self.keys = keys
        self._attach = attach
        self._is_cluster = is_cluster
        self._names: set[str] = set()
        self._unconfirmed: Counter[str] = Counter()
        self._confirmed: dict[str, Event] = {}
        self._leaving: Counter[str] = Counter()  # given up, not yet confirmed
        self._commands: list[tuple[str, str]] = []
        self._subscriber: PubSubConnection | None = None
        self._replies: deque[Any] = deque()
        self._reply_bytes = 0
        self._waiter: Any = None  # of the reader, while it waits
        self._error: redis.RedisError | None = None  # that broke the connection
        self._source = b""  # the primary of the connection, as messages name it
        self.life = object()  #: another object after each loss and each opening of a connection

    def add(self, name: str) -> None:
        """Listen to the channel ``name`` from now on."""
        if name not in self._names:
            self._names.add(name)
            self._unconfirmed[name] += 1
            self._send_soon(self._get_verb(name), name)

    def remove(self, name: str) -> None:
        """Listen to the channel no longer."""
        if name in self._names:
            self._names.remove(name)
            self._leaving[name] += 1
            self._send_soon(_ENDS[self._get_verb(name)], name)

    def wait_until_confirmed(self, *names: str) -> None:
        """Wait until Redis has confirmed ``names`` (without any: all). Raises ``Unavailable``."""
        deadline = monotonic() + _CONFIRM_S
        for name in names or list(self._unconfirmed):
            while self._unconfirmed[name] > 0 and name in self._names:
                event = self._confirmed.setdefault(name, Event())
                if not event.wait(max(deadline - monotonic(), 0.0)):
                    raise Unavailable("Redis does not confirm a subscription")

    def open(self) -> None:
        """Connect, and subscribe to everything. Raises ``redis.RedisError``."""
        self._subscriber, self.life = self._attach(self), object()
        self._source = self._subscriber.source
        self._error = None
        self._replies.clear()
        self._reply_bytes = 0
        self._leaving.clear()
        for event in self._confirmed.values():
            event.set()  # those who wait look again
        self._confirmed.clear()
        self._unconfirmed = Counter(self._names)
        self._commands = [(self._get_verb(name), name) for name in self._names]
        self._send()

    def close(self) -> None:
        """Give the connection up."""
        self.interrupt()
        subscriber, self._subscriber = self._subscriber, None
        self.life = object()
        if subscriber is not None:
            names = defaultdict(list)
            for name in self._names | self._leaving.keys():
                names[_ENDS[self._get_verb(name)]].append(name)
            subscriber.detach(self, names)

    def interrupt(self) -> None:
        """Let ``read`` raise."""
        if self._subscriber is not None and self._error is None:
            self.on_lost(redis.ConnectionError("given up"))

    def move_to(self, address: Address) -> None:
        """Let ``read`` raise, unless the connection is to ``address``."""
        if self._subscriber is not None and self._subscriber.address != address:
            self.on_lost(redis.ConnectionError(f"the shard is at {address[0]}:{address[1]} now"))

    def get_epoch(self, name: bytes) -> bytes | None:
        """Return the epoch that a message names; ``None`` if another primary has sent it than the connected one.

        A primary that was stalled and replaced meanwhile publishes until it knows: its messages are in no log.
        """
        epoch, _, source = name.partition(b"@")
        return epoch if source == self._source else None

    def has_tag(self, name: str) -> bool:
        """Whether a channel is this shard's."""
        return name.startswith(self.keys.tag)

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield each message with its channel, until the connection breaks (``redis.RedisError``).

        It waits for ever at a silent connection; ``interrupt`` ends that.
        """
        replies = self._replies
        slice_ends = monotonic() + SLICE_S
        while self._error is None:
            if not replies:
                self._wait_for_reply()
                slice_ends = monotonic() + SLICE_S
                continue
            kind, name, data = replies.popleft()
            self._reply_bytes -= _measure(data)
            channel = name.decode()
            if kind in _MESSAGES:
                if channel not in self._unconfirmed:  # else it was sent before the channel was given up and added again
                    yield channel, data
            elif kind in _CONFIRMATIONS:
                self._on_confirmed(channel)
            else:
                self._on_left(channel)
            if monotonic() > slice_ends:
                slice_ends = wait_a_turn()
        raise self._error

    def _wait_for_reply(self) -> None:
        waiter: Any = Waiter()
        self._waiter = waiter
        if self._subscriber is not None:
            self._subscriber.resume(self)
        waiter.get()

    # From the connection

    def on_reply(self, reply: Any) -> None:
        """Take a reply or a message."""
        self._replies.append(reply)
        self._reply_bytes += _measure(reply[2])
        is_full = len(self._replies) >= _MAX_REPLIES or self._reply_bytes >= _MAX_REPLY_BYTES
        if is_full and self._subscriber is not None:
            self._subscriber.pause(self)
        self._wake()

    def on_lost(self, error: Exception) -> None:
        """Let ``read`` raise: nothing more will come."""
        self._error = error if isinstance(error, redis.RedisError) else redis.ConnectionError(str(error))
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            gevent.get_hub().loop.run_callback(waiter.switch, None)

    def _on_confirmed(self, name: str) -> None:
        self._unconfirmed[name] -= 1
        if self._unconfirmed[name] <= 0:
            del self._unconfirmed[name]
            event = self._confirmed.pop(name, None)
            if event is not None:
                event.set()

    def _on_left(self, name: str) -> None:
        self._leaving[name] -= 1
        if self._leaving[name] < 0:
            raise redis.ConnectionError("the shard has left this primary")
        if not self._leaving[name]:
            del self._leaving[name]

    def _get_verb(self, name: str) -> str:
        return "SSUBSCRIBE" if self._is_cluster and self.has_tag(name) else "SUBSCRIBE"

    def _send_soon(self, verb: str, name: str) -> None:
        self._commands.append((verb, name))
        if len(self._commands) == 1:
            gevent.get_hub().loop.run_callback(self._send)

    def _send(self) -> None:
        """Send the queued commands in order: one command for neighbours of one kind."""
        commands, self._commands = self._commands, []
        if self._subscriber is None:  # the next connection will be subscribed
            return
        for verb, group in groupby(commands, itemgetter(0)):
            self._subscriber.send(self, verb, [name for _, name in group])


def _measure(data: Any) -> int:
    """Return how many bytes a message has; a confirmation has a number instead of them."""
    return len(data) if isinstance(data, bytes) else 0
