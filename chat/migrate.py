"""``chat migrate``: a stopped farm's log and sessions are copied to another Redis, of another kind or in more shards.

What arrived is read back and compared. The clocks are written last, the first shard's at the very end: until then
nobody takes the target for a farm's Redis, and whoever was interrupted may begin again, which deletes what was left.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import redis

from chat.errors import Error
from chat.realtime.keys import Keys, split_name
from chat.realtime.plain import PlainPart, PlainParts, list_parts
from chat.realtime.redis_client import connect
from chat.redis_url import without_password
from chat.settings import LEASE_S, Settings

_AT_ONCE = 200  # keys that are looked for, entries


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
            shards = _count_shards(source, settings.prefix, without_password(source_url))
            migration = _Migration(
                list_parts(source, settings.prefix, shards),
                list_parts(target, settings.prefix, settings.shards),
                int((settings.recovery_window_s + LEASE_S) * 1000),
                report,
            )
            migration.check(without_password(target_url))
            return migration.run()
        except redis.RedisError as error:
            reason = str(error).rstrip(".")
            raise Error(f"Redis does not answer: {reason}. The source is as it was; try again.") from None


def _count_shards(client: redis.Redis, prefix: str, shown: str) -> int:
    """Return how many shards the log of a farm has. Raises ``Error`` if there is none that this version knows."""
    [home] = list_parts(client, prefix)
    found = home.commands.execute("HGET", home.keys.clock, "format")
    if found is None:
        raise Error(f"there is no farm whose CHAT_PREFIX is {prefix!r} in the Redis at {shown}.")
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
        self, source: PlainParts, target: PlainParts, session_ms: int, report: Callable[[Copied], None]
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
        for part in self._target:
            is_left = self._is_begun and part is not self._target.home
            if not is_left and part.commands.execute("EXISTS", part.keys.clock):
                raise Error(f"the Redis at {shown_target} has a farm with this CHAT_PREFIX already: delete it first.")

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
        for part in self._source:
            for name in _list(part, part.keys.rooms):
                self._copy_room(part, name)
            for name in _list(part, part.keys.pointers):
                to = self._get_of_room(name)
                self._copy(part, part.keys.pointers + name, to, to.keys.pointers + name)
            for name in _list(part, part.keys.onces):
                for to in self._list_of_once(name):
                    self._copy(part, part.keys.onces + name, to, to.keys.onces + name)
            for name in _list(part, part.keys.note("")):
                to = self._target.get(name)
                self._copy(part, part.keys.note(name), to, to.keys.note(name))
            for user in _list(part, part.keys.notes("")):
                to = self._target.get(user)
                self._copy(part, part.keys.notes(user), to, to.keys.notes(user))
            for name in _list(part, part.keys.users_sids):
                self._copy_sids(part, attrgetter("users_sids"), name)
            if self._has_sessions:
                self._copy_sessions(part)
        self._check_stopped()
        if self._read_clocks() != self._clocks:
            raise Error("something was stored in the source meanwhile. Stop whatever emits there, and try again.")
        self._write_clocks()
        home.execute("DEL", self._mark)
        return self._copied

    @cached_property
    def _is_begun(self) -> bool:
        """Whether what is at the target is what an interrupted copy has left."""
        return bool(self._target.home.commands.execute("EXISTS", self._mark))

    def _clear_target(self) -> None:
        """Delete what was copied before: by now it may be gone at the source."""
        for part in self._target:
            for name in _list(part, part.keys.tag):
                if (key := part.keys.tag + name) != self._mark:
                    part.commands.execute("DEL", key)

    def _copy_room(self, part: PlainPart, name: str) -> None:
        """Copy a room's messages and what is known of it."""
        to = self._get_of_room(name)
        source, target = part.keys.streams + name, to.keys.streams + name
        to.commands.execute("DEL", target)
        start = "-"
        while entries := part.commands.execute("XRANGE", source, start, "+", "COUNT", _AT_ONCE):
            to.commands.execute_all([("XADD", target, id, *_flatten(fields)) for id, fields in entries])
            last = entries[-1][0].decode()
            _compare(entries, to.commands.execute("XRANGE", target, start, last, "COUNT", _AT_ONCE), target)
            start = f"({last}"
            self._copied.messages += len(entries)
            self._report(self._copied)
        _copy_lifetime(_get_lifetime(part, source), to, target)
        self._copy(part, part.keys.rooms + name, to, to.keys.rooms + name)
        self._copied.rooms += 1

    def _copy_sessions(self, part: PlainPart) -> None:
        """Copy the sessions: of each, who may resume it has its time anew."""
        for sid in _list(part, part.keys.sessions):
            to = self._target.get(sid)
            self._copy(part, part.keys.session(sid), to, to.keys.session(sid), self._session_ms)
            self._copied.sessions += 1
            self._report(self._copied)
        for name in _list(part, part.keys.users):
            self._copy_sids(part, attrgetter("users"), name)

    def _copy_sids(self, part: PlainPart, get_start: Callable[[Keys], str], name: str) -> None:
        """Copy a user's sids, each to where its session is."""
        key = get_start(part.keys) + name
        left_ms = _get_lifetime(part, key)
        found = part.commands.execute("ZRANGE", key, 0, -1, "WITHSCORES")
        for sid, score in zip(found[::2], found[1::2], strict=True):
            to = self._target.get(sid.decode())
            to_key = get_start(to.keys) + name
            to.commands.execute("ZADD", to_key, score, sid)
            _copy_lifetime(left_ms, to, to_key, self._session_ms)

    def _copy(self, part: PlainPart, key: str, to: PlainPart, to_key: str, least_ms: int = 0) -> None:
        """Copy a text, a hash or a sorted set with its time to live, which is ``least_ms`` at least."""
        left_ms, kind = _get_lifetime(part, key), part.commands.execute("TYPE", key)
        reading, options, writing, arrange = _KINDS.get(kind, _KINDS[b"string"])
        found = part.commands.execute(reading, key, *options)
        to.commands.execute("DEL", to_key)
        if found in (None, {}, []):  # its time is over
            return
        to.commands.execute(writing, to_key, *arrange(found))
        _compare(found, to.commands.execute(reading, to_key, *options), to_key)
        _copy_lifetime(left_ms, to, to_key, least_ms)

    def _read_clocks(self) -> list[list[Any]]:
        return [part.commands.execute("HMGET", part.keys.clock, "epoch", "id") for part in self._source]

    def _write_clocks(self) -> None:
        """Let the target's shards begin where the source's have ended."""
        newest = max(int(id or 0) for _, id in self._clocks)
        for keys, commands in reversed(self._target):
            if self._has_sessions:
                epoch, id = self._clocks[keys.shard if len(self._clocks) > 1 else 0]
            else:
                epoch, id = secrets.token_urlsafe(6), newest
            commands.execute("HSET", keys.clock, "format", keys.format, "epoch", epoch or "", "id", id or 0)

    def _get_of_room(self, name: str) -> PlainPart:
        return self._target.get_of_room(*split_name(name))

    def _list_of_once(self, name: str) -> set[PlainPart]:
        """Return where it may be looked for that a message was stored: room and key may both have colons."""
        return {self._get_of_room(name[: found.start()]) for found in re.finditer(":", name)}


def _list(part: PlainPart, start: str) -> Iterator[str]:
    """Yield what follows ``start`` in the names of keys; one may come twice."""
    cursor: Any = 0
    while True:
        cursor, names = part.commands.execute("SCAN", cursor, "MATCH", f"{start}*", "COUNT", _AT_ONCE)
        yield from (name.decode().removeprefix(start) for name in names)
        if not int(cursor):
            return


def _get_lifetime(part: PlainPart, key: str) -> int:
    """Return for how many ms a key lives; -1: for ever, -2: no more."""
    left_ms: int = part.commands.execute("PTTL", key)
    return left_ms


def _copy_lifetime(left_ms: int, to: PlainPart, to_key: str, least_ms: int = 0) -> None:
    if left_ms != -1:
        to.commands.execute("PEXPIRE", to_key, max(left_ms, least_ms, 1))


def _compare(found: Any, arrived: Any, key: str) -> None:
    if found != arrived:
        raise Error(f"{key} did not arrive as it was; is somebody writing there? Try again.")


def _flatten(fields: dict[Any, Any]) -> list[Any]:
    return [part for field in fields.items() for part in field]


#: Of each type, the command that reads all of a key, and the one that writes it from what was read.
_KINDS: dict[bytes, tuple[str, tuple[Any, ...], str, Callable[[Any], list[Any]]]] = {
    b"string": ("GET", (), "SET", lambda text: [text]),
    b"hash": ("HGETALL", (), "HSET", _flatten),
    b"zset": (
        "ZRANGE",
        (0, -1, "WITHSCORES"),
        "ZADD",
        lambda found: found[::-1],
    ),
}
