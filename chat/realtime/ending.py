"""Ending the sessions of all clients in a room, connected or away, on whichever node they are."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chat.realtime.keys import Keys
from chat.realtime.scripts import Run
from chat.realtime.session import get_field

_AT_ONCE = 500

Execute = Callable[..., Any]  # a command, to its answer


class Ended(NamedTuple):
    """How many sessions were ended."""

    connected: int
    away: int


def end_sessions(
    execute: Execute, run: Run, keys: Keys, namespace: str, room: str | None, user: str | None = None
) -> Ended:
    """End the sessions of all clients in a room; ``None``: of all of ``namespace``. Raises ``redis.RedisError``.

    Their nodes are not told: they notice when they write or renew them, and disconnect their clients. Where all in the
    room are clients of ``user``, only that user's sessions are looked through, not everybody's.
    """
    counts = [0, 0]
    sessions = _scan(execute, f"{keys.sessions}*") if user is None else _list(execute, keys, namespace, user)
    for names in sessions:
        for was_open in run("end", names, [namespace, get_field(room), keys.users]):
            counts[was_open] += 1
    return Ended(connected=counts[1], away=counts[0])


def get_sids(execute: Execute, keys: Keys, namespace: str, user: str) -> list[str]:
    """Return the sids of a user's sessions, of some that have expired, too. Raises ``redis.RedisError``."""
    return [sid.decode() for sid in execute("ZRANGE", keys.user_sessions(namespace, user), 0, -1)]


def _list(execute: Execute, keys: Keys, namespace: str, user: str) -> Iterator[list[str]]:
    """Yield the keys of a user's sessions, some at a time."""
    sids = get_sids(execute, keys, namespace, user)
    for first in range(0, len(sids), _AT_ONCE):
        yield [keys.session(sid) for sid in sids[first : first + _AT_ONCE]]


def _scan(execute: Execute, pattern: str) -> Iterator[list[Any]]:
    """Yield the keys that match, some at a time; one that comes and goes meanwhile may be left out."""
    cursor: Any = 0
    while True:
        cursor, names = execute("SCAN", cursor, "MATCH", pattern, "COUNT", _AT_ONCE)
        if names:
            yield names
        if not int(cursor):
            return
