"""A connection to Redis that is written and read in the hub: no greenlet waits for it.

redis-py connects, with TLS, passwords and Sentinel; hiredis reads.
"""

import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
import hiredis
import redis
from redis.connection import DefaultParser

_READ, _WRITE = 1, 2  # libev's events
_READ_BYTES = 65_536
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """The socket of a connection.

    Args:
        connection: redis-py's, connected, with no command under way.
        on_reply: called in the hub with each reply: texts as bytes, an error as ``redis.RedisError``.
        on_lost: called in the hub once the connection is broken; it closes the socket.
    """

    def __init__(
        self, connection: Any, on_reply: Callable[[Any], object], on_lost: Callable[[Exception], object]
    ) -> None:
        self._socket: Any = connection._sock
        self._socket.settimeout(0)
        self._has_pending = getattr(self._socket, "pending", None)  # TLS: decrypted, but not fetched
        self._reader = hiredis.Reader(protocolError=redis.InvalidResponse, replyError=DefaultParser.parse_error)
        self._on_reply, self._on_lost = on_reply, on_lost
        self.address = getattr(connection, "host", ""), getattr(connection, "port", 0)
        self._unsent = b""
        loop, fileno = gevent.get_hub().loop, self._socket.fileno()
        self._readable: Any = loop.io(fileno, _READ)
        self._writable: Any = loop.io(fileno, _WRITE)
        self._readable.start(self.read)
        self.is_open = True
        self.heard_at = monotonic()  #: the time of the latest data

    def send(self, data: bytes) -> None:
        """Send ``data`` after all earlier data, without waiting."""
        if not self.is_open:
            return
        is_waiting = bool(self._unsent)
        self._unsent += data
        if not is_waiting:
            self._write()

    def read(self) -> None:
        """Hand on all replies that have come."""
        while self.is_open:
            try:
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    raise redis.ConnectionError("Redis has closed the connection")
                self.heard_at = monotonic()
                self._reader.feed(data)
                while self.is_open and (reply := self._reader.gets()) is not False:
                    self._on_reply(reply)
            except _WOULD_BLOCK:
                return
            except (OSError, redis.RedisError) as error:
                self.lose(error)
                return
            if self._has_pending is None or not self._has_pending() or not self._readable.active:
                return

    def pause(self) -> None:
        """Read no more until ``resume``: Redis has to wait."""
        self._readable.stop()

    def resume(self) -> None:
        """Read on."""
        if self.is_open and not self._readable.active:
            self._readable.start(self.read)
            self.read()

    def lose(self, error: Exception) -> None:
        """Give the connection up, and call ``on_lost``."""
        if self.is_open:
            self.is_open = False
            self._readable.close()
            self._writable.close()
            self._on_lost(error)

    def move_to(self, address: tuple[str, int]) -> None:
        """Give the connection up, unless it is to ``address``."""
        if self.address != address:
            self.lose(redis.ConnectionError(f"{self.address[0]}:{self.address[1]} is no primary any more"))

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except _WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self.lose(error)
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._writable.stop()
        elif not self._writable.active:
            self._writable.start(self._write)
