"""The Lua scripts that run in Redis; the head of each names its keys, its arguments and its answer.

A script is named by its folder and its file: ``log/store``. Only the wing of that name calls it.
"""

import re
from functools import cache
from importlib.resources import files

NAMES = (
    *(f"log/{name}" for name in ("store", "mark", "read", "inbox", "history", "confirm", "erase")),
    *(f"sessions/{name}" for name in ("connect", "change", "renew", "restore", "take", "end")),
    *(f"nodes/{name}" for name in ("enlist", "register", "release", "bury", "announce", "nodes", "clients")),
    *(f"nodes/{name}" for name in ("rooms", "users", "ask", "grant", "hold")),
)

_SHARED = ("clock", "entries", "user_sessions", "presence", "page")  # what several scripts use, in order of need
_COMMENTS = re.compile(r"--.*")
_WORDS = re.compile(r"\w+")
_FUNCTIONS = re.compile(r"^local function (\w+)", re.MULTILINE)


@cache
def get_source(name: str, *, is_cluster: bool = False) -> str:
    """Return the source of a script of ``NAMES``, behind the functions that it needs.

    Each call of the script makes all functions of its source again, so it gets no others. In a cluster it takes one
    more key (``cluster.lua``).
    """
    source = _read(name)
    for shared in reversed(_SHARED):  # each needs only those before it
        functions = _read(f"shared/{shared}")
        if {*_FUNCTIONS.findall(functions)} & {*_WORDS.findall(_COMMENTS.sub("", source))}:
            source = functions + source
    return _read("shared/cluster" if is_cluster else "shared/single") + source


@cache
def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.lua").read_text()
