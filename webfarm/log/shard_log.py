"""The log: every message has an id that rises over all rooms, and its room's message before it.

A *shard* is a part of the log with one clock; an *epoch* names one unbroken life of it.
"""

import secrets
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from webfarm.log.entry import Entry
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys

_ROOMS_AT_ONCE = 250
_MAX_READ_BYTES = 16_777_216


class Retention(NamedTuple):
    """What is kept of each room."""

    length: int = 10_000
    bytes: int = 16_777_216
    ttl_s: float = 86_400.0  # of a room in which nothing happens


class Stored(NamedTuple):
    """Where a message is in the log, and how many nodes it reached."""

    id: int
    nodes: int


class Reading(NamedTuple):
    """What was stored in some rooms, ordered by id."""

    oldest: int  # the clock when the first of it was read
    newest: int  # the clock when the last of it was read
    entries: list[Entry]
    incomplete: list[str]  # keys of the streams of which something is missing


class Inbox(NamedTuple):
    """What waits in some rooms."""

    newest: int  # the clock
    entries: list[Entry]
    pointers: list[int]  # of each room: up to where somebody has received everything


class ShardLog:
    """One shard of the log.

    Args:
        commands: the connection to the Redis that it is in.
        keys: the shard's keys.
        limits: what is kept of each room.
        on_new_epoch: called when the log's life was found to be broken.
    """

    def __init__(self, commands: Commands, keys: Keys, limits: Retention, on_new_epoch: Callable[[], None]) -> None:
        self.epoch = ""
        self.newest = 0
        self.keys = keys
        self._commands = commands
        self.limits = limits
        self._on_new_epoch = on_new_epoch
        self._past_epochs: set[str] = set()
        self._names = (secrets.token_urlsafe(6), count())  # for epochs to come

    @property
    def clock_arguments(self) -> tuple[str, str, str, str]:
        """What each script that opens the clock is told."""
        prefix, numbers = self._names
        return self.keys.format, f"{prefix}{next(numbers)}", self.epoch, str(self.newest)

    def see(self, epoch: bytes, newest: int | bytes) -> int:
        """Take note of the clock that a script returned; return its id."""
        name, id = epoch.decode(), int(newest)
        if name == self.epoch:
            self.newest = max(self.newest, id)
        elif name not in self._past_epochs:  # else it is a late answer
            had_begun = bool(self.epoch)
            self._past_epochs.add(self.epoch)
            self.epoch, self.newest = name, id
            if had_begun:
                self._on_new_epoch()
        return id

    def find(self, namespace: str, room: str | None, once: str) -> Stored | None:
        """Return where the message is that was stored under ``once``. Raises ``redis.RedisError``."""
        known: Any = self._commands.execute("GET", self.keys.once(self.keys.stream(namespace, room), once))
        return Stored(*map(int, known.split())) if known else None

    def read(self, starts: dict[str, int], *, most: int) -> Reading | None:
        """Read what is stored in rooms after an id each; ``None`` if it is too much to be sent.

        Args:
            starts: the ids by stream.
            most: entries.

        Raises:
            redis.RedisError: it could not be read.
        """
        entries: list[Entry] = []
        incomplete: list[str] = []
        names = list(starts)
        oldest = newest = 0
        for first in range(0, max(len(names), 1), _ROOMS_AT_ONCE):
            some = names[first : first + _ROOMS_AT_ONCE]
            keys = [self.keys.clock, *(key for name in some for key in (name, self.keys.room_of(name)))]
            arguments: list[Any] = [*self.clock_arguments, most, _MAX_READ_BYTES, *(starts[name] for name in some)]
            epoch, id, is_all, missing, found = self._commands.run("read", keys, arguments)
            newest = self.see(epoch, id)
            oldest = oldest or newest
            if not is_all:
                return None
            entries += decode_entries(found, some)
            incomplete += [some[index] for index in missing]
        entries.sort()
        return Reading(oldest, newest, entries, incomplete)

    def fetch_clock(self) -> int:
        """Return the newest id. Raises ``redis.RedisError``."""
        reading = self.read({}, most=0)
        return reading.newest if reading is not None else 0

    def read_inboxes(self, streams: Sequence[str]) -> "Inbox":
        """Return what waits in some rooms behind their pointers. Raises ``redis.RedisError``."""
        keys = [key for name in streams for key in (name, self.keys.room_of(name), self.keys.pointer(name))]
        arguments = [*self.clock_arguments, self.limits.length]
        epoch, id, pointers, found = self._commands.run("inbox", [self.keys.clock, *keys], arguments)
        return Inbox(self.see(epoch, id), decode_entries(found, streams), [int(pointer) for pointer in pointers])

    def read_history(
        self, namespace: str, room: str | None, *, before: int, most: int, most_bytes: int
    ) -> list[tuple[int, bytes]]:
        """Return ids and bodies of a room's messages before an id, newest first. Raises ``redis.RedisError``."""
        found: Any = self._commands.run("history", [self.keys.stream(namespace, room)], [before, most, most_bytes])
        return [(int(found[i]), found[i + 1]) for i in range(0, len(found), 2)]


def decode_entries(found: list[Any], names: Sequence[str]) -> list[Entry]:
    """Return the entries that a script's list of index, id, prev and body stands for."""
    return [Entry(int(id), int(prev), names[index], body) for index, id, prev, body in _in_fours(found)]


def _in_fours(items: list[Any]) -> Any:
    iterator = iter(items)
    return zip(iterator, iterator, iterator, iterator, strict=True)
