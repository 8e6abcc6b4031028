"""The log: each message has an id that rises over all rooms, and names its room's message before it.

A *shard* is a part of the log with one clock; an *epoch* names one unbroken life of it.
"""

import secrets
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from webfarm.log.entry import Entry
from webfarm.log.retention import Retention
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys

_ROOMS_AT_ONCE = 250
_MAX_READ_BYTES = 16_777_216


class Stored(NamedTuple):
    """Where a message is in the log, and how many nodes it reached."""

    id: int
    nodes: int


class Reading(NamedTuple):
    """The messages that were stored in some rooms, ordered by id."""

    oldest: int  # the clock when the first of it was read
    newest: int  # the clock when the last of it was read
    entries: list[Entry]
    incomplete: list[str]  # keys of the streams that lack a message


class Inbox(NamedTuple):
    """The messages that wait in some rooms."""

    newest: int  # the clock
    entries: list[Entry]
    pointers: list[int]  # of each room: somebody has received everything up to there


class ShardLog:
    """One shard of the log.

    Args:
        commands: the connection to its Redis.
        keys: the shard's keys.
        retention: of each room.
        on_new_epoch: called when a new epoch began.
    """

    def __init__(self, commands: Commands, keys: Keys, retention: Retention, on_new_epoch: Callable[[], None]) -> None:
        self.epoch = ""
        self.newest = 0
        self.keys = keys
        self._commands = commands
        self.retention = retention
        self._on_new_epoch = on_new_epoch
        self._past_epochs: set[str] = set()
        self._names = (secrets.token_urlsafe(6), count())  # for epochs to come

    @property
    def clock_arguments(self) -> tuple[str, str, str, str]:
        """The arguments of each script that opens the clock."""
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
        """Return the id and the nodes of the message that is stored under ``once``. Raises ``redis.RedisError``."""
        known: Any = self._commands.execute("GET", self.keys.once(self.keys.stream(namespace, room), once))
        return Stored(*map(int, known.split())) if known else None

    def read(self, starts: dict[str, int], *, most: int) -> Reading | None:
        """Read the messages of rooms after an id each; ``None`` if they are too many to be sent.

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
            epoch, id, is_all, missing, found = self._commands.run("log/read", keys, arguments)
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
        """Return the messages of some rooms behind their pointers. Raises ``redis.RedisError``."""
        keys = [key for name in streams for key in (name, self.keys.room_of(name), self.keys.pointer(name))]
        arguments = [*self.clock_arguments, self.retention.length]
        epoch, id, pointers, found = self._commands.run("log/inbox", [self.keys.clock, *keys], arguments)
        return Inbox(self.see(epoch, id), decode_entries(found, streams), [int(pointer) for pointer in pointers])

    def read_history(
        self, namespace: str, room: str | None, *, before: int, most: int, most_bytes: int
    ) -> list[tuple[int, bytes]]:
        """Return ids and bodies of a room's messages before an id, newest first. Raises ``redis.RedisError``."""
        found: Any = self._commands.run("log/history", [self.keys.stream(namespace, room)], [before, most, most_bytes])
        return [(int(found[i]), found[i + 1]) for i in range(0, len(found), 2)]


def decode_entries(found: list[Any], names: Sequence[str]) -> list[Entry]:
    """Return the entries of a script's list of index, id, prev and body."""
    return [Entry(int(id), int(prev), names[index], body) for index, id, prev, body in _in_fours(found)]


def _in_fours(items: list[Any]) -> Any:
    iterator = iter(items)
    return zip(iterator, iterator, iterator, iterator, strict=True)
