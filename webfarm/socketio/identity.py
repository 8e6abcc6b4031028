"""The identity of a client, as the app's ``identify`` tells it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


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


#: What ``identify`` may return; a text or ``None`` is a user's name. An empty text is nobody, as ``None`` is.
Identified = Identity | str | None


def make_identity(identified: Identified) -> Identity:
    """Return the answer of ``identify`` as an ``Identity``; an empty name is nobody's."""
    if identified is None or isinstance(identified, str):
        return Named(identified or None)
    if identified.user == "":
        return Named(None, identified.expires_at, tuple(identified.rooms))
    return identified


def create_guest() -> str:
    """Return a name for a guest that has a room of its own."""
    return f"guest-{secrets.token_hex(8)}"
