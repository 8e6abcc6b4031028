"""The user ``admin``, who may look at the farm and change it: the password is ``WEBFARM_ADMIN_PASSWORD``.

An admin who shows the password gets a *session*, a token that replaces the password for some hours on every worker. The
token's key is derived from the password, so that a new password ends all sessions.
"""

import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Callable
from typing import Any

import jwt

from webfarm.addresses import parse_ip
from webfarm.errors import RateLimited, Unauthorized
from webfarm.monitoring.throttle import Throttled
from webfarm.rate_limits import Buckets

log = Throttled(logging.getLogger(__name__))

USER = "admin"

_SESSION_S = 12 * 3600
_ALGORITHM = "HS256"
_GUESSES, _GUESS_EVERY_S = 10, 6.0  # wrong passwords from one address: at once, and from then on
_REFUSAL = "invalid credentials"  # the Admin UI's own words
_PREFIX_BITS = 64  # of an IPv6 address: one owner has all addresses that begin with them


class AdminAuth:
    """Checks the admin's password, and stops guessing.

    Args:
        password: the admin's.
        prefix: the farm's; a session of another farm is not valid.
        clock: returns the time for limits, in seconds.
    """

    def __init__(self, password: str, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._digest = _hash(USER, password)
        self._key = hashlib.scrypt(password.encode(), salt=f"admin of {prefix}".encode(), n=2**14, r=8, p=1)
        self._guesses = Buckets(1 / _GUESS_EVERY_S, 0, clock, burst=_GUESSES)

    def check(self, user: Any, password: Any, address: str) -> None:
        """Return if the password is the admin's.

        Args:
            user: the given name, of any type.
            password: the given password, of any type.
            address: the address of the client that gave them.

        Raises:
            Unauthorized: the password is wrong.
            RateLimited: too many wrong passwords have come from the address; this one was not checked.
        """
        if not isinstance(user, str) or not isinstance(password, str):
            raise Unauthorized(_REFUSAL)  # which is no guess
        network = _get_network(address)
        if not self._guesses.has_event(network):
            raise RateLimited("Too many wrong passwords have come from your address; wait a minute.")
        if not hmac.compare_digest(_hash(user, password), self._digest):
            self._guesses.take(network, 0)
            log.warning("admin: wrong password", extra={"address": address})
            raise Unauthorized(_REFUSAL)

    def create_session(self) -> str:
        """Return a token that replaces the password."""
        return jwt.encode({"sub": USER, "exp": int(time.time()) + _SESSION_S}, self._key, algorithm=_ALGORITHM)

    def is_session(self, token: Any) -> bool:
        """Return whether ``token`` replaces the password, and has not expired."""
        try:
            jwt.decode(token, self._key, algorithms=[_ALGORITHM], options={"require": ["exp", "sub"]})
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return False
        return True


def _hash(user: str, password: str) -> bytes:
    """Return a digest: the time of comparing two digests tells nothing about the password."""
    return hashlib.sha256(f"{user}\0{password}".encode(errors="surrogatepass")).digest()


def _get_network(address: str) -> str:
    parsed = parse_ip(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _PREFIX_BITS), strict=False))
    return str(parsed or address)
