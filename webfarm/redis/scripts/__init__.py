"""The Lua scripts that run in Redis; each says in its head what it takes and returns."""

import re
from functools import cache
from importlib.resources import files

_SHARED = ("clock", "entries", "user_sessions", "presence", "page")  # what some scripts have in common
_FOLDERS = ("log", "sessions", "nodes", "shared")
_WORDS = re.compile(r"\w+")
_FUNCTIONS = re.compile(r"^local function (\w+)", re.MULTILINE)
NAMES = (
    *("store", "mark", "read", "inbox", "history", "confirm", "erase"),
    *("connect", "change", "renew", "restore", "take", "end"),
    *("enlist", "register", "release", "bury", "announce", "nodes", "clients", "rooms", "users"),
    *("ask", "grant"),
)


@cache
def get_source(name: str, *, is_cluster: bool = False) -> str:
    """Return the source of the script ``name``, behind what it needs; in a cluster it has a key more (``cluster.lua``).

    Each call makes all functions of the source anew.
    """
    source = _read(name)
    for shared in map(_read, reversed(_SHARED)):  # which need only those before them
        if {*_FUNCTIONS.findall(shared)} & {*_WORDS.findall(source)}:
            source = shared + source
    return _read("cluster" if is_cluster else "single") + source


def _read(name: str) -> str:
    [path] = [path for folder in _FOLDERS if (path := files(__name__) / folder / f"{name}.lua").is_file()]
    return path.read_text()
