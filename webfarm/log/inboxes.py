"""Inboxes: rooms whose messages wait for a member, such as a user's room.

An inbox has a *pointer*: the id up to which a client that was in it is known to have received everything, which is
what had been sent before a heartbeat that the client answered. A new client begins there.
"""

import logging
from collections import Counter
from itertools import islice

import gevent
import redis

from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys

log = logging.getLogger(__name__)

_WRITE_S = 1.0
_AT_ONCE = 500


class Inboxes:
    """The inboxes of this node's clients.

    Args:
        commands: the connection to where pointers are kept.
        keys: how they are called there.
        ttl_s: how long a pointer lives: as long as the messages that it points to.
    """

    def __init__(self, commands: Commands, keys: Keys, ttl_s: float) -> None:
        self._commands = commands
        self._keys = keys
        self._ttl_ms = int(ttl_s * 1000)
        self._streams: dict[str, tuple[str, ...]] = {}  # by connection
        self._members: Counter[str] = Counter()  # connections by stream
        self._newest: dict[str, int] = {}  # by stream: what was delivered and is not known to be received
        # By connection: up to where all had been sent before its heartbeat, and of which inboxes.
        self._pinged: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._received: dict[str, int] = {}  # by stream: pointers to be written

    def start(self) -> None:
        """Write pointers from now on."""
        gevent.spawn(self._run)

    def add(self, eio_sid: str, stream: str) -> None:
        """The connection ``eio_sid`` is in the inbox ``stream``."""
        streams = self._streams.get(eio_sid, ())
        if stream not in streams:
            self._streams[eio_sid] = (*streams, stream)
            self._members[stream] += 1

    def remove(self, eio_sid: str, stream: str) -> None:
        """It is there no longer."""
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
        """A message was sent to the members of a room."""
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

    def _run(self) -> None:
        while True:
            gevent.sleep(_WRITE_S)
            try:
                while self._received:
                    self._write()
            except redis.RedisError as error:
                log.debug("pointers not written: %s", error)
            except (Exception, gevent.Timeout):
                log.exception("pointers not written")

    def _write(self) -> None:
        some = dict(islice(self._received.items(), _AT_ONCE))
        keys = [self._keys.pointer(stream) for stream in some]
        self._commands.run("confirm", keys, [self._ttl_ms, *some.values()])
        for stream, id in some.items():
            if self._received[stream] == id:  # else it has moved on meanwhile
                del self._received[stream]
