"""What is kept of a client's WSGI environment: its texts, as one string.

An environment costs several KiB of keys, objects and buffers. Its texts (headers, query, addresses) are what a handler
may ask for later; they take as many bytes as they have characters.
"""

import io
import sys
from typing import Any

_SEPARATOR = "\0"  # a text that holds one is kept as it is

Packed = tuple[str, dict[str, Any] | None]


def strip(environ: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of ``environ`` without what holds its request and connection alive."""
    return {key: value for key, value in environ.items() if type(value) is str}


def pack(environ: dict[str, Any]) -> Packed:
    """Return ``environ`` made small: its texts in one string, and what else an application has put there."""
    texts, others = [], {}
    for key, value in environ.items():
        if type(value) is str and _SEPARATOR not in value:
            texts.append(f"{key}={value}")
        elif key not in _GIVEN:
            others[key] = value
    return _SEPARATOR.join(texts), others or None


def unpack(packed: Packed) -> dict[str, Any]:
    """Return the environment that was packed, completed to one that WSGI frameworks accept (without a body)."""
    texts, others = packed
    environ: dict[str, Any] = {
        key: value for key, _, value in (text.partition("=") for text in texts.split(_SEPARATOR))
    }
    environ.update(_make_given())
    environ.update(others or {})
    return environ


def _make_given() -> dict[str, Any]:
    """Return what PEP 3333 wants of an environment beside texts."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


_GIVEN = frozenset(_make_given())
