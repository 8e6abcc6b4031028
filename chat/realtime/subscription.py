"""A connection to Redis that is subscribed to many channels, and to others at every moment."""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Any

import gevent
import redis
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from chat.errors import Unavailable
from chat.realtime.slices import wait_a_turn

log = logging.getLogger(__name__)

_CONFIRM_S = 3.0
_SLICE_S = 0.004  # of a burst; then others get their turn
_NAMES_AT_ONCE = 1_000


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
        self._is_sending = False
        self._sending = BoundedSemaphore()
        self._connection: Any = None
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
        connection.update_current_socket_timeout(None)  # a timer for each read costs more than the read
        self._commands.clear()
        for event in self._confirmed.values():
            event.set()  # who waits looks again
        self._confirmed.clear()
        self._unconfirmed = Counter(self._names)
        names = list(self._names)
        for first in range(0, len(names), _NAMES_AT_ONCE):
            self._send(self.life, "SUBSCRIBE", *names[first : first + _NAMES_AT_ONCE])

    def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        self.life = object()
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def interrupt(self) -> None:
        """Have ``read`` fail."""
        if self._connection is not None:
            self._connection.disconnect()

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield channels and what is published there, until the connection breaks (``redis.RedisError``).

        A connection that is only silent is waited at for ever; ``interrupt`` ends that.
        """
        connection = self._connection
        turn_ends = monotonic() + _SLICE_S
        while True:
            kind, name, data = connection.read_response(disable_decoding=True)
            channel = name.decode()
            if kind == b"message":
                if channel not in self._unconfirmed:  # else it is from before the channel was given up and added again
                    yield channel, data
            elif kind == b"subscribe":
                self._on_confirmed(channel)
            if monotonic() > turn_ends:
                wait_a_turn()
                turn_ends = monotonic() + _SLICE_S

    def _on_confirmed(self, name: str) -> None:
        self._unconfirmed[name] -= 1
        if self._unconfirmed[name] <= 0:
            del self._unconfirmed[name]
            event = self._confirmed.pop(name, None)
            if event is not None:
                event.set()

    def _send_soon(self, verb: str, name: str) -> None:
        self._commands.append((verb, name))
        if not self._is_sending:
            self._is_sending = True
            gevent.spawn(self._send_commands)

    def _send_commands(self) -> None:
        """Send what is queued, in order: one command for neighbours of one kind."""
        life = self.life
        try:
            while self._commands and self._connection is not None:
                life = self.life
                commands, self._commands = self._commands, []
                for verb, group in groupby(commands, itemgetter(0)):
                    self._send(life, verb, *(name for _, name in group))
        except (redis.RedisError, OSError) as error:
            log.debug("not sent, the next connection will be subscribed: %s", error)
            if self.life is life:
                self.interrupt()
        finally:
            self._is_sending = False

    def _send(self, life: object, verb: str, *names: str) -> None:
        with self._sending:
            if self.life is life:
                self._connection.send_command(verb, *names, check_health=False)
