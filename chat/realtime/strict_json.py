"""JSON as RFC 8259 has it, in the shape that python-socketio wants of a JSON module.

The standard library reads and writes ``NaN`` and ``Infinity``, which no browser can parse: one client
could break all others. They are refused here, in and out. What was read is written back unchanged,
lone surrogates included.
"""

import json
import math
import re
from typing import Any, NoReturn

_MAX_DIGITS = 100
_SURROGATE = re.compile("[\ud800-\udfff]")


def loads(text: str | bytes) -> Any:
    """Parse ``text``.

    Raises:
        ValueError: it is no JSON, or holds ``NaN``, an infinite number, or an integer of over 100 digits.
    """
    return json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)


def dumps(value: Any, separators: tuple[str, str] = (",", ":")) -> str:
    """Return ``value`` as JSON that can always be encoded as UTF-8.

    Raises:
        ValueError: it holds ``NaN`` or an infinite number.
        TypeError: it holds what JSON has no word for.
    """
    text = json.dumps(value, separators=separators, ensure_ascii=False, allow_nan=False)
    if not text.isascii() and _SURROGATE.search(text):
        return json.dumps(value, separators=separators, allow_nan=False)
    return text


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
