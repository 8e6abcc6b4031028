"""Ending the sessions of all clients in a room, connected or away, on whichever node they are."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from webfarm.redis.commands import AnyShard
from webfarm.sessions.session import get_field

_AT_ONCE = 500


class Ended(NamedTuple):
    """How many sessions were ended."""

    connected: int
    away: int


def end_sessions(shards: Iterable[AnyShard], namespace: str, room: str | None, user: str | None = None) -> Ended:
    """End the sessions of all clients in a room; ``None``: of all of ``namespace``. Raises ``redis.RedisError``.

    Their nodes are not told: they notice when they write or renew them, and disconnect their clients. Where all in the
    room are clients of ``user``, only that user's sessions are looked through, not everybody's.
    """
    counts = [0, 0]
    for shard in shards:
        for names in _scan(shard) if user is None else _list(shard, namespace, user):
            for was_open in shard.commands.run("sessions/end", names, [namespace, get_field(room), shard.keys.users]):
                counts[was_open] += 1
    return Ended(connected=counts[1], away=counts[0])


def end_session(shard: AnyShard, sid: str, namespace: str) -> None:
    """End one session of a shard. Raises ``redis.RedisError``."""
    shard.commands.run("sessions/end", [shard.keys.session(sid)], [namespace, "", shard.keys.users])


def get_sids(shard: AnyShard, namespace: str, user: str) -> list[str]:
    """Return the sids of a user's sessions, of some that have expired, too. Raises ``redis.RedisError``."""
    return [sid.decode() for sid in shard.commands.execute("ZRANGE", shard.keys.user_sessions(namespace, user), 0, -1)]


def _list(shard: AnyShard, namespace: str, user: str) -> Iterator[list[str]]:
    """Yield the keys of a user's sessions, some at a time."""
    sids = get_sids(shard, namespace, user)
    for first in range(0, len(sids), _AT_ONCE):
        yield [shard.keys.session(sid) for sid in sids[first : first + _AT_ONCE]]


def _scan(shard: AnyShard) -> Iterator[list[Any]]:
    """Yield the keys of all sessions, some at a time; one that comes and goes meanwhile may be left out."""
    cursor: Any = 0
    while True:
        cursor, names = shard.commands.execute("SCAN", cursor, "MATCH", f"{shard.keys.sessions}*", "COUNT", _AT_ONCE)
        if names:
            yield names
        if not int(cursor):
            return
