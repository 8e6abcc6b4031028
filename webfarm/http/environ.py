"""A client's WSGI environment, kept small: its texts, as one string.

An environment costs several KiB of keys, objects and buffers. A handler may ask for its texts later: headers, query,
addresses. As one string they take as many bytes as they have characters.
"""

import io
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any

from webfarm.protocol.handshake import UPGRADE

#: The key of a function that tells whether the request's connection is still open (``webfarm.http.server``).
IS_CONNECTED = "webfarm.is_connected"

_SEPARATOR = "\0"  # a text that holds one is kept as it is

_SERVERS_OWN = frozenset(
    (UPGRADE, "gunicorn.sock", "wsgi.file_wrapper", "wsgi.input_terminated", "wsgi.websocket", "werkzeug.request")
)  # these hold the request or its connection alive

Packed = tuple[str, dict[str, Any] | None]


class Environs(MutableMapping[str, dict[str, Any]]):
    """The environments of clients by Engine.IO sid: each is small until you ask for it; you may then change it."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any] | Packed] = {}

    def __getitem__(self, eio_sid: str) -> dict[str, Any]:
        kept = self._kept[eio_sid]
        if isinstance(kept, tuple):
            kept = self._kept[eio_sid] = unpack(kept)
        return kept

    def __setitem__(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self._kept[eio_sid] = environ

    def __delitem__(self, eio_sid: str) -> None:
        del self._kept[eio_sid]

    def __contains__(self, eio_sid: object) -> bool:
        return eio_sid in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def get_text(self, eio_sid: str, key: str) -> str:
        """Return one text of the environment, an empty one if there is none."""
        kept = self._kept.get(eio_sid)
        if isinstance(kept, tuple):
            _, _, rest = f"{_SEPARATOR}{kept[0]}".partition(f"{_SEPARATOR}{key}=")
            return rest.partition(_SEPARATOR)[0] or str((kept[1] or {}).get(key, ""))
        return str((kept or {}).get(key, ""))

    def pack(self, eio_sid: str) -> None:
        """Make the environment small, if there is one."""
        kept = self._kept.get(eio_sid)
        if isinstance(kept, dict):
            self._kept[eio_sid] = pack(kept)


def strip(environ: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of ``environ`` with an empty body, which does not hold its request or connection alive."""
    return {key: value for key, value in environ.items() if key not in _SERVERS_OWN} | _make_given()


def pack(environ: dict[str, Any]) -> Packed:
    """Return ``environ`` made small: its texts in one string, and other values that an application has put there."""
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
    """Return what PEP 3333 demands of an environment beside texts."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


_GIVEN = frozenset(_make_given())
