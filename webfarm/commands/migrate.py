"""``webfarm migrate`` copies a stopped farm's log and sessions to another Redis, of another kind or in more shards.

It reads the copy back and compares. It writes the clocks last, the first shard's at the very end: until then no worker
takes the target for a farm's Redis. After an interruption the next run deletes the rest of the copy, and starts again.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple

import redis

from webfarm.defaults import LEASE_S
from webfarm.errors import Error
from webfarm.redis.blocking import BlockingShard, BlockingShards, list_shards
from webfarm.redis.client import connect
from webfarm.redis.keys import Keys, split_name
from webfarm.redis.url import get_database, without_password
from webfarm.settings import Settings

_AT_ONCE = 200  # keys that are looked for, entries

_GetStart = Callable[[Keys], str]  # what the keys of one kind begin with


class _Kind(NamedTuple):
    """A type of Redis': the command that reads all of a key, and the one that writes it from what was read."""

    reader: str
    options: tuple[Any, ...]
    writer: str
    arrange: Callable[[Any], list[Any]]

    def read(self, key: str) -> tuple[Any, ...]:
        return self.reader, key, *self.options

    def write(self, key: str, found: Any) -> tuple[Any, ...]:
        return self.writer, key, *self.arrange(found)


def _flatten(fields: dict[Any, Any]) -> list[Any]:
    return [part for field in fields.items() for part in field]


_KINDS = {
    b"string": _Kind("GET", (), "SET", lambda text: [text]),
    b"hash": _Kind("HGETALL", (), "HSET", _flatten),
    b"zset": _Kind("ZRANGE", (0, -1, "WITHSCORES"), "ZADD", lambda found: found[::-1]),
}


@dataclass
class Copied:
    """What was copied, and found to be equal there."""

    rooms: int = 0
    messages: int = 0
    sessions: int = 0

    def __str__(self) -> str:
        return f"{self.rooms:,} rooms, {self.messages:,} messages, {self.sessions:,} sessions"


def migrate(source_url: str, target_url: str, settings: Settings, report: Callable[[Copied], None]) -> Copied:
    """Copy the log of a farm, its sessions, and what it remembers about users; check that all of it arrived.

    Args:
        source_url: the farm's Redis.
        target_url: where it is to go.
        settings: the farm's; ``shards`` is how many the target is to have.
        report: told again and again how far it is.

    Raises:
        Error: the farm still runs, another one is at the target, or what arrived is not equal.
    """
    with ExitStack() as stack:
        source, target = (stack.enter_context(closing(connect(url))) for url in (source_url, target_url))
        try:
            shards = _count_shards(source, settings.prefix, source_url)
            migration = _Migration(
                list_shards(source, settings.prefix, shards, get_database(source_url)),
                list_shards(target, settings.prefix, settings.shards, get_database(target_url)),
                int((settings.recovery_window_s + LEASE_S) * 1000),
                report,
            )
            migration.check(without_password(target_url))
            return migration.run()
        except redis.RedisError as error:
            reason = str(error).rstrip(".")
            raise Error(f"Redis does not answer: {reason}. The source is as it was; try again.") from None


def _count_shards(client: redis.Redis, prefix: str, url: str) -> int:
    """Return how many shards the log of a farm has. Raises ``Error`` if there is none that this version knows."""
    [home] = list_shards(client, prefix, database=get_database(url))
    shown = without_password(url)
    found = home.commands.execute("HGET", home.keys.clock, "format")
    if found is None:
        raise Error(f"there is no farm whose WEBFARM_PREFIX is {prefix!r} in the Redis at {shown}.")
    format, _, shards = found.decode().partition("/")
    if format != home.keys.format:
        raise Error(f"the Redis at {shown} holds the log of a farm of format {format}, not this version's.")
    return int(shards or 1)


class _Migration:
    """A copy that is being made.

    Args:
        source: the shards that there are.
        target: the shards that there are to be.
        session_ms: for how long a session can be resumed at least.
        report: told how far it is.
    """

    def __init__(
        self, source: BlockingShards, target: BlockingShards, session_ms: int, report: Callable[[Copied], None]
    ) -> None:
        self._source = source
        self._target = target
        self._session_ms = session_ms
        self._report = report
        self._copied = Copied()
        self._clocks: list[list[Any]] = []
        self._mark = f"{target.home.keys.tag}migrating"  # there as long as the copy is not complete
        # What a client shows of one shard holds of each that it becomes; what it shows of several, of no others.
        self._has_sessions = len(source) in (1, len(target))

    def check(self, shown_target: str) -> None:
        """Raise ``Error`` if the farm still runs, or another one is where it is to go."""
        self._clocks = self._read_clocks()
        self._check_stopped()
        for shard in self._target:
            is_left = self._is_begun and shard is not self._target.home
            if not is_left and shard.commands.execute("EXISTS", shard.keys.clock):
                raise Error(
                    f"the Redis at {shown_target} has a farm with this WEBFARM_PREFIX already: delete it first."
                )

    def _check_stopped(self) -> None:
        for keys, commands in self._source:
            nodes = [node.decode() for node in commands.execute("SMEMBERS", keys.nodes)]
            living = [node for node in nodes if commands.execute("EXISTS", keys.leases + node)]
            if living:
                raise Error(f"the farm still runs: {living[0]}. Stop all workers, wait {LEASE_S} s, and try again.")

    def run(self) -> Copied:
        """Copy everything; return what that was."""
        if self._is_begun:
            self._clear_target()
        home = self._target.home.commands
        home.execute("SET", self._mark, "1")
        for shard in self._source:
            for names in _list(shard, shard.keys.rooms):
                for name in names:
                    self._copy_room(shard, name)
                self._copy(shard, attrgetter("rooms"), names, self._list_of_room)
                self._copied.rooms += len(names)
            for get_start, list_targets in (
                (attrgetter("pointers"), self._list_of_room),
                (attrgetter("onces"), self._list_of_once),
                (methodcaller("note", ""), self._list_of_name),
                (methodcaller("notes", ""), self._list_of_name),
            ):
                for names in _list(shard, get_start(shard.keys)):
                    self._copy(shard, get_start, names, list_targets)
            self._copy_sids(shard, attrgetter("users_sids"))
            if self._has_sessions:
                self._copy_sessions(shard)
        self._check_stopped()
        if self._read_clocks() != self._clocks:
            raise Error(
                "a message was stored in the source during the copy: stop the process that emits there, and try again."
            )
        self._write_clocks()
        home.execute("DEL", self._mark)
        return self._copied

    @cached_property
    def _is_begun(self) -> bool:
        """Whether what is at the target is what an interrupted copy has left."""
        return bool(self._target.home.commands.execute("EXISTS", self._mark))

    def _clear_target(self) -> None:
        """Delete what was copied before: by now it may be gone at the source."""
        for shard in self._target:
            for names in _list(shard, shard.keys.tag):
                shard.commands.execute_all(
                    [("DEL", key) for name in names if (key := shard.keys.tag + name) != self._mark]
                )

    def _copy_room(self, shard: BlockingShard, name: str) -> None:
        """Copy a room's messages."""
        [to] = self._list_of_room(name)
        source, target = shard.keys.streams + name, to.keys.streams + name
        start, commands = "-", [("DEL", target)]
        while True:
            reading = (start, "+", "COUNT", _AT_ONCE)
            left_ms, entries = shard.commands.execute_all([("PTTL", source), ("XRANGE", source, *reading)])
            commands += [("XADD", target, id, *_flatten(fields)) for id, fields in entries]
            arrived = to.commands.execute_all([*commands, ("XRANGE", target, *reading), *_limit(target, left_ms)])
            _compare(entries, arrived[len(commands)], target)
            self._copied.messages += len(entries)
            self._report(self._copied)
            if len(entries) < _AT_ONCE:
                return
            start, commands = f"({entries[-1][0].decode()}", []

    def _copy_sessions(self, shard: BlockingShard) -> None:
        """Copy the sessions; each can be resumed for the whole window again."""
        for sids in _list(shard, shard.keys.sessions):
            self._copy(shard, attrgetter("sessions"), sids, self._list_of_name, self._session_ms)
            self._copied.sessions += len(sids)
            self._report(self._copied)
        self._copy_sids(shard, attrgetter("users"))

    def _copy_sids(self, shard: BlockingShard, get_start: _GetStart) -> None:
        """Copy users' sids, each to where its session is."""
        for name in chain.from_iterable(_list(shard, get_start(shard.keys))):
            key = get_start(shard.keys) + name
            left_ms, found = shard.commands.execute_all([("PTTL", key), ("ZRANGE", key, 0, -1, "WITHSCORES")])
            for sid, score in zip(found[::2], found[1::2], strict=True):
                to = self._target.get(sid.decode())
                to_key = get_start(to.keys) + name
                to.commands.execute_all([("ZADD", to_key, score, sid), *_limit(to_key, left_ms, self._session_ms)])

    def _copy(
        self,
        shard: BlockingShard,
        get_start: _GetStart,
        names: list[str],
        list_targets: Callable[[str], Iterable[BlockingShard]],
        least_ms: int = 0,
    ) -> None:
        """Copy texts, hashes or sorted sets of one kind, by their names, with their times to live."""
        keys = [get_start(shard.keys) + name for name in names]
        states = shard.commands.execute_all([one for key in keys for one in (("PTTL", key), ("TYPE", key))])
        kinds = [_KINDS.get(kind, _KINDS[b"string"]) for kind in states[1::2]]
        all_found = shard.commands.execute_all([kind.read(key) for kind, key in zip(kinds, keys, strict=True)])
        writing: dict[BlockingShard, list[tuple[Any, ...]]] = {}
        readings: dict[BlockingShard, list[tuple[int, str, Any]]] = {}  # where among its answers is what arrived
        for name, left_ms, kind, found in zip(names, states[::2], kinds, all_found, strict=True):
            for to in list_targets(name):
                key, commands = get_start(to.keys) + name, writing.setdefault(to, [])
                commands.append(("DEL", key))
                if found not in (None, {}, []):  # else its time is over
                    commands += [kind.write(key, found), kind.read(key)]
                    readings.setdefault(to, []).append((len(commands) - 1, key, found))
                    commands += _limit(key, left_ms, least_ms)  # last: it may be over at once
        for to, commands in writing.items():
            answers = to.commands.execute_all(commands)
            for index, key, found in readings.get(to, ()):
                _compare(found, answers[index], key)

    def _read_clocks(self) -> list[list[Any]]:
        return [shard.commands.execute("HMGET", shard.keys.clock, "epoch", "id") for shard in self._source]

    def _write_clocks(self) -> None:
        """Let the target's shards begin where the source's have ended."""
        newest = max(int(id or 0) for _, id in self._clocks)
        for keys, commands in reversed(self._target):
            if self._has_sessions:
                epoch, id = self._clocks[keys.shard if len(self._clocks) > 1 else 0]
            else:
                epoch, id = secrets.token_urlsafe(6), newest
            commands.execute("HSET", keys.clock, "format", keys.format, "epoch", epoch or "", "id", id or 0)

    def _list_of_name(self, name: str) -> list[BlockingShard]:
        return [self._target.get(name)]

    def _list_of_room(self, name: str) -> list[BlockingShard]:
        return [self._target.get_of_room(*split_name(name))]

    def _list_of_once(self, name: str) -> set[BlockingShard]:
        """Return where it may be looked for that a message was stored: room and key may both have colons."""
        return {to for found in re.finditer(":", name) for to in self._list_of_room(name[: found.start()])}


def _list(shard: BlockingShard, start: str) -> Iterator[list[str]]:
    """Yield what follows ``start`` in the names of keys, some at a time; one may come twice."""
    cursor: Any = 0
    while True:
        cursor, names = shard.commands.execute("SCAN", cursor, "MATCH", f"{start}*", "COUNT", _AT_ONCE)
        if names:
            yield [name.decode().removeprefix(start) for name in names]
        if not int(cursor):
            return


def _limit(key: str, left_ms: int, least_ms: int = 0) -> list[tuple[Any, ...]]:
    """Return what limits the life of a key whose source has ``left_ms``: -1 is for ever, -2 no more."""
    return [] if left_ms == -1 else [("PEXPIRE", key, max(left_ms, least_ms, 1))]


def _compare(found: Any, arrived: Any, key: str) -> None:
    if found != arrived:
        raise Error(f"{key} differs from its copy. Stop everything that writes to the target, and try again.")
