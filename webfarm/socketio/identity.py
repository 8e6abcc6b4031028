"""The identity of a client, as the app's ``identify`` tells it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Identity(Protocol):
    """What ``identify`` may return: a user, an end, and rooms; ``webfarm.auth.Identity`` is one."""

    @property
    def user(self) -> str | None:
        """The user; ``None`` for a guest."""

    @property
    def expires_at(self) -> float | None:
        """When the client's session ends, in seconds since 1970; ``None``: never."""

    @property
    def rooms(self) -> Sequence[str]:
        """Names of rooms that come with the identity; the app decides what they mean."""


@dataclass(frozen=True, slots=True)
class Named:
    """The identity of a user of whom only the name is known, or of a guest (``None``)."""

    user: str | None
    expires_at: float | None = None
    rooms: tuple[str, ...] = ()


#: What ``identify`` may return: a user's name, or its number in a database; ``None`` or an empty text for nobody.
Identified = Identity | str | int | None


def make_identity(identified: Identified, hook: str = "identify") -> Identity:
    """Return the answer of ``identify`` as an ``Identity``; a number becomes a text, an empty name is nobody's.

    Raises ``TypeError`` for any other type; its text names the method, ``hook``.
    """
    if identified is None or _is_name(identified):
        return Named(_get_name(identified))
    if isinstance(identified, str | int) or not _is_identity(identified):
        raise TypeError(
            f"{hook} returned {identified!r}: expected a user's name (str or int), None for a guest, or an object with"
            " user, expires_at and rooms."
        )
    name = _get_name(identified.user)
    return identified if identified.user == name else Named(name, identified.expires_at, tuple(identified.rooms))


def _is_identity(value: Any) -> bool:
    has_parts = all(hasattr(value, part) for part in ("user", "expires_at", "rooms"))
    return has_parts and (value.user is None or _is_name(value.user))


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _get_name(name: Any) -> str | None:
    return None if name is None or name == "" else str(name)


def create_guest() -> str:
    """Return a name for a guest that has a room of its own."""
    return f"guest-{secrets.token_hex(8)}"
