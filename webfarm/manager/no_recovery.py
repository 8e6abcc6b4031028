"""The clients' sessions where there is no Redis: nothing outlives a connection."""

from typing import Any, Protocol

from webfarm.manager.rooms import Rooms
from webfarm.sessions.replay import Replay
from webfarm.sessions.session import NotResumable


class LocalOwner(Protocol):
    """The manager, as ``NoRecovery`` sees it."""

    server: Any
    clients: Rooms


class NoRecovery:
    """``Recovery``'s methods, for a process without Redis."""

    def __init__(self, owner: LocalOwner) -> None:
        self._owner = owner

    def split_auth(self, data: Any) -> tuple[Any, Any, Any]:
        """Return all of ``data`` as the app's part: no client has a pid or an offset."""
        return data, None, None

    def begin(self, eio_sid: str, namespace: str, owner: str, user: str = "") -> str:
        """Add a new client; return its sid."""
        sid: str = self._owner.server.eio.generate_id()
        self._owner.clients.add_client(sid, eio_sid, namespace, user)
        return sid

    def resume(self, eio_sid: str, namespace: str, owner: str, pid: Any, offset: Any) -> tuple[str, Replay]:
        """Raise ``NotResumable``."""
        raise NotResumable("unknown")

    def write(self, sid: str) -> Replay:
        """Return what a client is sent first: nothing."""
        return Replay()

    def describe(self, sid: str) -> dict[str, str]:
        """Return the answer to a client's CONNECT."""
        return {"sid": sid}

    def is_recovered(self, sid: str) -> bool:
        """Return that no client came back to a session."""
        return False

    def enter_inbox(self, sid: str, namespace: str, room: str) -> None:
        """Put a client into a room; no message waits for it there."""
        self._owner.clients.enter(sid, namespace, room)

    def save(self, sid: str, data: Any) -> None:
        """Keep nothing beyond the connection."""

    def expire(self, sid: str, at: float) -> None:
        """Raise ``RuntimeError``: only Redis keeps the time."""
        raise RuntimeError("sessions expire with a RedisManager only")

    def close(self, sid: str, eio_sid: str) -> None:
        """A client's connection was lost."""

    def disconnect(self, sid: str, eio_sid: str) -> None:
        """A client was disconnected, or did so itself."""

    def evict_resuming(self, namespace: str, room: str | None) -> None:
        """The sessions of a room have ended; nobody resumes any."""
