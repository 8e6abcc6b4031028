"""What a server asks of its clients' sessions, where there are none: nothing outlives a connection."""

from typing import TYPE_CHECKING, Any

from webfarm.sessions.replay import Replay
from webfarm.sessions.session import NotResumable

if TYPE_CHECKING:
    from webfarm.manager.rooms import Rooms


class NoRecovery:
    """The clients of a process without Redis: nothing outlives a connection."""

    def __init__(self, manager: "Rooms") -> None:
        self._manager = manager

    def split_auth(self, data: Any) -> tuple[Any, Any, Any]:
        """Return the app's part of what a client sent with CONNECT, then its pid and offset, if it has any."""
        return data, None, None

    def begin(self, eio_sid: str, namespace: str, owner: str, user: str = "") -> str:
        """Return the sid of a new client.

        Args:
            eio_sid: its connection.
            namespace: what it joins.
            owner: who may resume its session; empty: whoever knows the session's ``pid``.
            user: the name under which it is counted and listed; empty: none.
        """
        sid: str = self._manager.server.eio.generate_id()
        self._manager.add_client(sid, eio_sid, namespace, user)
        return sid

    def resume(self, eio_sid: str, namespace: str, owner: str, pid: Any, offset: Any) -> tuple[str, Replay]:
        """Return the sid of a client that came back, and what it missed.

        Raises:
            NotResumable: it is to begin anew; why, in a word.
            Unavailable: Redis is away.
        """
        raise NotResumable("unknown")

    def write(self, sid: str) -> Replay:
        """The client is about to be told that it has joined; return what it is sent first."""
        return Replay()

    def describe(self, sid: str) -> dict[str, str]:
        """Return what CONNECT is answered with."""
        return {"sid": sid}

    def is_recovered(self, sid: str) -> bool:
        """Return whether the client came back to its session."""
        return False

    def enter_inbox(self, sid: str, namespace: str, room: str) -> None:
        """Put a client that is connecting into a room whose messages wait for it."""
        self._manager.basic_enter_room(sid, namespace, room)

    def save(self, sid: str, data: Any) -> None:
        """Keep what ``save_session`` was given."""

    def expire(self, sid: str, at: float) -> None:
        """End the client's session at ``at``, in seconds since 1970."""
        raise RuntimeError("sessions expire with a RedisManager only")

    def close(self, sid: str, eio_sid: str) -> None:
        """The client's connection ``eio_sid`` was lost."""

    def end(self, sid: str, eio_sid: str) -> None:
        """The client, which has the connection ``eio_sid``, is gone for good."""

    def drop_resuming(self, namespace: str, room: str | None) -> None:
        """The sessions of a room have ended: nobody who is just resuming one of them gets it."""
