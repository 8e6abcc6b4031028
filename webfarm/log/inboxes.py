"""Inboxes: rooms whose messages wait for a member, such as a user's room.

An inbox has a *pointer*: a client that was in it has received everything up to this id. That is what had been sent
before a heartbeat that the client answered. A new client begins at the pointer.
"""

import logging
from collections import Counter
from itertools import islice

import redis

from webfarm.loop.repeating import Repeating
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys

log = logging.getLogger(__name__)

_WRITE_S = 1.0
_AT_ONCE = 500


class Inboxes:
    """The inboxes of this node's clients.

    Args:
        commands: the connection to the pointers' Redis.
        keys: the shard's.
        ttl_s: how long a pointer lives: as long as the messages that it points to.
    """

    def __init__(self, commands: Commands, keys: Keys, ttl_s: float) -> None:
        self._commands = commands
        self._keys = keys
        self._ttl_ms = int(ttl_s * 1000)
        self._streams: dict[str, tuple[str, ...]] = {}  # by connection
        self._members: Counter[str] = Counter()  # connections by stream
        self._newest: dict[str, int] = {}  # by stream: the newest message that may not be received yet
        # By connection: everything up to this id had been sent before its heartbeat, and the inboxes of that moment.
        self._pinged: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._received: dict[str, int] = {}  # by stream: pointers to be written
        failed, expected = "pointers not written", (redis.RedisError,)
        self._writing = Repeating(self._write_all, _WRITE_S, log=log, failed=failed, expected=expected)

    def start(self) -> None:
        """Write pointers from now on."""
        self._writing.start(after_s=_WRITE_S)

    def add(self, eio_sid: str, stream: str) -> None:
        """The connection ``eio_sid`` is in the inbox ``stream``."""
        streams = self._streams.get(eio_sid, ())
        if stream not in streams:
            self._streams[eio_sid] = (*streams, stream)
            self._members[stream] += 1

    def remove(self, eio_sid: str, stream: str) -> None:
        """The connection left the inbox."""
        streams = self._streams.get(eio_sid, ())
        if stream not in streams:
            return
        if len(streams) == 1:
            del self._streams[eio_sid]
            self._pinged.pop(eio_sid, None)
        else:
            self._streams[eio_sid] = tuple(one for one in streams if one != stream)
        self._members[stream] -= 1
        if not self._members[stream]:
            del self._members[stream]
            self._newest.pop(stream, None)

    def on_delivered(self, stream: str, id: int) -> None:
        """A message with this id was sent to the members of a room."""
        if stream in self._members:
            self._newest[stream] = id

    def on_ping(self, eio_sid: str, position: int) -> None:
        """A heartbeat is sent, after everything up to ``position``."""
        streams = self._streams.get(eio_sid, ())
        if any(stream in self._newest for stream in streams):
            self._pinged[eio_sid] = position, streams

    def on_pong(self, eio_sid: str) -> None:
        """The heartbeat was answered."""
        position, streams = self._pinged.pop(eio_sid, (0, ()))
        for stream in set(streams) & set(self._streams.get(eio_sid, ())):
            self._received[stream] = max(position, self._received.get(stream, 0))
            if self._newest.get(stream, 0) <= position:
                self._newest.pop(stream, None)

    def _write_all(self) -> None:
        while self._received:
            self._write()

    def _write(self) -> None:
        some = dict(islice(self._received.items(), _AT_ONCE))
        keys = [self._keys.pointer(stream) for stream in some]
        self._commands.run("log/confirm", keys, [self._ttl_ms, *some.values()])
        for stream, id in some.items():
            if self._received[stream] == id:  # else it has moved on meanwhile
                del self._received[stream]
