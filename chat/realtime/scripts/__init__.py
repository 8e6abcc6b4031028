"""The Lua scripts that run in Redis; each says in its head what it takes and returns."""

from functools import cache
from importlib.resources import files

_SHARED = ("clock", "entries", "user_sessions", "presence", "page")  # what the scripts have in common
NAMES = (
    *("store", "mark", "read", "inbox", "history", "confirm", "erase"),
    *("connect", "change", "renew", "restore", "take", "end"),
    *("enlist", "register", "release", "bury", "announce", "nodes", "clients", "rooms", "users"),
    *("ask", "note"),
)


@cache
def get_source(name: str, *, is_cluster: bool = False) -> str:
    """Return the source of the script ``name``; in a cluster it has one key more (``cluster.lua``)."""
    parts = ("cluster" if is_cluster else "single", *_SHARED, name)
    return "".join((files(__name__) / f"{part}.lua").read_text() for part in parts)
