"""JSON as RFC 8259 has it, in the shape that python-socketio expects of a JSON module.

The standard library reads and writes ``NaN`` and ``Infinity``, which no browser can parse: one client could break all
others. This module refuses them, in and out. It writes back unchanged what it has read, lone surrogates included.
orjson does both ten times as fast; the standard library does what orjson refuses or changes.
"""

import json
import math
from typing import Any, NoReturn

import orjson

_MAX_DIGITS = 100
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 19  # digits that may be more than orjson keeps: it reads what is beyond 64 bits as a float
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_check_finite = json.JSONEncoder(allow_nan=False, default=str).encode


def loads(text: str | bytes) -> Any:
    """Parse ``text``.

    Raises:
        ValueError: it is no JSON, or holds ``NaN``, an infinite number, or an integer of over 100 digits.
    """
    encoded = text.encode() if isinstance(text, str) else text
    if _LONG not in encoded.translate(_ZEROS):
        try:
            return orjson.loads(encoded)
        except ValueError:
            if b"\\u" not in encoded:  # else perhaps a lone surrogate, which orjson refuses
                raise
    return json.loads(encoded, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)


def dumps(value: Any, separators: tuple[str, str] = (",", ":")) -> str:
    """Return ``value`` as JSON that can always be encoded as UTF-8. ``separators`` are always these.

    Raises:
        ValueError: it holds ``NaN`` or an infinite number.
        TypeError: it holds what JSON has no word for.
    """
    try:
        encoded = orjson.dumps(value, option=_OPTIONS)
    except TypeError:  # integers beyond 64 bits, lone surrogates, keys that are no texts: slower, but it can be done
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    if b"null" in encoded:  # orjson's word for them as well
        _check_finite(value)
    return encoded.decode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


def _bounded(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("integer is too large")
    return int(text)
