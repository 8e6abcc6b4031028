"""A connection to Redis that is subscribed to many channels, and to others at every moment."""

from collections import Counter, deque
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Any

import gevent
import hiredis
import redis
from gevent.event import Event
from gevent.hub import Waiter

from chat.errors import Unavailable
from chat.realtime.slices import wait_a_turn
from chat.realtime.wire import Wire

_CONFIRM_S = 3.0
_SLICE_S = 0.004  # of a burst; then others get their turn
_NAMES_AT_ONCE = 1_000
_MAX_REPLIES, _MAX_REPLY_BYTES = 1_000, 16_777_216  # that wait; then nothing more is read


class Subscription:
    """What is to be listened to, whether there is a connection just now or not.

    ``open`` makes one, ``read`` it until it breaks, then ``close`` it; for ever.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._names: set[str] = set()
        self._unconfirmed: Counter[str] = Counter()
        self._confirmed: dict[str, Event] = {}
        self._commands: list[tuple[str, str]] = []
        self._connection: Any = None
        self._wire: Wire | None = None
        self._replies: deque[Any] = deque()
        self._reply_bytes = 0
        self._waiter: Any = None  # of who reads, while nothing has come
        self._error: redis.RedisError | None = None  # which broke the connection
        self.life = object()  #: another one whenever the connection was lost or made

    def add(self, name: str) -> None:
        """Listen to the channel ``name`` from now on."""
        if name not in self._names:
            self._names.add(name)
            self._unconfirmed[name] += 1
            self._send_soon("SUBSCRIBE", name)

    def remove(self, name: str) -> None:
        """Listen to it no longer."""
        if name in self._names:
            self._names.remove(name)
            self._send_soon("UNSUBSCRIBE", name)

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
        connection = self._pool.get_connection()
        self._connection, self.life = connection, object()
        self._error = None
        self._replies.clear()
        self._reply_bytes = 0
        self._wire = Wire(connection, self._on_reply, self._on_lost)
        for event in self._confirmed.values():
            event.set()  # who waits looks again
        self._confirmed.clear()
        self._unconfirmed = Counter(self._names)
        self._commands = [("SUBSCRIBE", name) for name in self._names]
        self._send()

    def close(self) -> None:
        """Give the connection up."""
        self.interrupt()
        connection, self._connection = self._connection, None
        self.life, self._wire = object(), None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def interrupt(self) -> None:
        """Have ``read`` fail."""
        if self._wire is not None:
            self._wire.lose(redis.ConnectionError("given up"))

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield channels and what is published there, until the connection breaks (``redis.RedisError``).

        A connection that is only silent is waited at for ever; ``interrupt`` ends that.
        """
        replies = self._replies
        turn_ends = monotonic() + _SLICE_S
        while self._error is None:
            if not replies:
                self._wait_for_reply()
                turn_ends = monotonic() + _SLICE_S
                continue
            kind, name, data = replies.popleft()
            self._reply_bytes -= _measure(data)
            channel = name.decode()
            if kind == b"message":
                if channel not in self._unconfirmed:  # else it is from before the channel was given up and added again
                    yield channel, data
            elif kind == b"subscribe":
                self._on_confirmed(channel)
            if monotonic() > turn_ends:
                wait_a_turn()
                turn_ends = monotonic() + _SLICE_S
        raise self._error

    def _wait_for_reply(self) -> None:
        waiter: Any = Waiter()
        self._waiter = waiter
        if self._wire is not None:
            self._wire.resume()
        waiter.get()

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self._on_lost(reply)
            return
        self._replies.append(reply)
        self._reply_bytes += _measure(reply[2])
        is_full = len(self._replies) >= _MAX_REPLIES or self._reply_bytes >= _MAX_REPLY_BYTES
        if is_full and self._wire is not None:
            self._wire.pause()
        self._wake()

    def _on_lost(self, error: Exception) -> None:
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

    def _send_soon(self, verb: str, name: str) -> None:
        self._commands.append((verb, name))
        if len(self._commands) == 1:
            gevent.get_hub().loop.run_callback(self._send)

    def _send(self) -> None:
        """Send what is queued, in order: one command for neighbours of one kind."""
        commands, self._commands = self._commands, []
        if self._wire is None:  # the next connection will be subscribed
            return
        for verb, group in groupby(commands, itemgetter(0)):
            names = [name for _, name in group]
            for first in range(0, len(names), _NAMES_AT_ONCE):
                self._wire.send(hiredis.pack_command((verb, *names[first : first + _NAMES_AT_ONCE])))


def _measure(data: Any) -> int:
    """Return how many bytes a reply has that are published; a confirmation has a number instead."""
    return len(data) if isinstance(data, bytes) else 0
