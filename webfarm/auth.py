"""From a client's handshake to its user, or to a refusal.

In open mode (no ``WEBFARM_SECRET``) the server believes the query's ``userId``; a client without one is a guest. In
token mode the user is the ``sub`` of a JWT (HS256) in the handshake's ``auth.token``, and ``userId`` must not differ.
The token's ``exp`` ends the session; its ``rooms`` lists private rooms that the user may join.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import jwt

from webfarm.errors import BadRequest, Unauthorized
from webfarm.names import NAME_RULE, is_name

_ALGORITHM = "HS256"
_MAX_TOKEN = 8_192  # characters


@dataclass(frozen=True)
class Identity:
    """A client's user (``None`` for a guest), its session's end (seconds since 1970), and its token's private rooms."""

    user: str | None
    expires_at: float | None = None
    rooms: tuple[str, ...] = ()


def authenticate(environ: Mapping[str, Any], auth: Any, secret: str | None) -> Identity:
    """Return a client's identity.

    Args:
        environ: the WSGI environment of the connection; its query may have ``userId``.
        auth: what the client sent as ``auth``, usually ``{"token": ...}`` or ``None``.
        secret: the key of tokens, or ``None`` for open mode.

    Raises:
        BadRequest: ``userId`` is no name (``NAME_RULE``), or is given twice.
        Unauthorized: the token is missing, bad or expired, or ``userId`` is another's.
    """
    claimed = _get_user_id(environ)
    if secret is None:
        return Identity(claimed)
    identity = _verify(auth.get("token") if isinstance(auth, dict) else None, secret)
    if claimed not in (None, identity.user):
        raise Unauthorized("The userId is not the token's user.")
    return identity


def create_token(user: str, secret: str, ttl_s: int, rooms: Sequence[str] = ()) -> str:
    """Return a token for ``user`` that expires in ``ttl_s`` seconds and names private ``rooms``."""
    now = int(time.time())
    claims = {"sub": user, "iat": now, "exp": now + ttl_s} | ({"rooms": list(rooms)} if rooms else {})
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def _get_user_id(environ: Mapping[str, Any]) -> str | None:
    values = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True).get("userId")
    if values is None:
        return None
    if len(values) > 1 or not is_name(values[0]):
        raise BadRequest(f"userId must be given once, {NAME_RULE}.")
    return str(values[0])


def _verify(token: Any, secret: str) -> Identity:
    if not isinstance(token, str):
        raise Unauthorized("A token is needed to connect.")
    if len(token) > _MAX_TOKEN:
        raise Unauthorized("The token is too long.")
    try:
        claims = jwt.decode(token, secret, algorithms=[_ALGORITHM], options={"require": ["exp", "sub"]})
        expires_at = float(claims["exp"])
    except jwt.ExpiredSignatureError:
        raise Unauthorized("The token has expired.") from None
    except (jwt.InvalidTokenError, ValueError, OverflowError):
        raise Unauthorized("The token is not valid.") from None
    if not is_name(claims["sub"]):
        raise Unauthorized("The token's sub is no user's id.")
    rooms = claims.get("rooms") or []
    if not isinstance(rooms, list) or not all(map(is_name, rooms)):
        raise Unauthorized("The token's rooms are no list of rooms' names.")
    return Identity(str(claims["sub"]), expires_at, tuple(rooms))
