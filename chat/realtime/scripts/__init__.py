"""The Lua scripts that run in Redis; each says in its head what it takes and returns."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

#: What runs a script: given its name, its keys and its arguments, it returns the answer.
Run = Callable[[str, Sequence[Any], Sequence[Any]], Any]

_SHARED = ("clock", "entries", "user_sessions", "presence", "page")  # what the scripts have in common
NAMES = (
    *("store", "mark", "read", "history", "connect", "change", "renew", "restore", "take", "confirm", "end", "erase"),
    *("enlist", "register", "bury", "announce", "nodes", "clients", "rooms", "users", "ask", "note"),
)


@cache
def get_source(name: str, *, is_cluster: bool = False) -> str:
    """Return the source of the script ``name``; in a cluster it has one key more (``cluster.lua``)."""
    parts = ("cluster" if is_cluster else "single", *_SHARED, name)
    return "".join((files(__name__) / f"{part}.lua").read_text() for part in parts)
