"""The Lua scripts that run in Redis; each says in its head what it takes and returns."""

from functools import cache
from importlib.resources import files

_SHARED = ("clock", "entries", "user_sessions", "presence")  # what the scripts have in common
NAMES = (
    *("store", "mark", "read", "history", "connect", "change", "renew", "restore", "take", "confirm", "end", "erase"),
    *("enlist", "register", "bury", "announce", "nodes", "clients", "rooms", "users"),
)


@cache
def get_source(name: str) -> str:
    """Return the source of the script ``name``."""
    return "".join((files(__name__) / f"{part}.lua").read_text() for part in (*_SHARED, name))
