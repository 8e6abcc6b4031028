"""The clients' sessions where there is no Redis: nothing outlives a connection."""

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent

from webfarm.manager.rooms import Rooms
from webfarm.sessions.replay import Replay
from webfarm.sessions.session import NotResumable, Session

log = logging.getLogger(__name__)

_EXPIRE_S = 1.0  # from one look for sessions that have expired to the next


class LocalOwner(Protocol):
    """The manager, as ``NoRecovery`` sees it."""

    server: Any
    clients: Rooms


class NoRecovery:
    """``Recovery``'s methods, for a process without Redis."""

    def __init__(self, owner: LocalOwner) -> None:
        self._owner = owner
        self._namespaces: dict[str, str] = {}  # by sid, of all clients
        self._ends: dict[str, float] = {}  # by sid, of the clients whose session expires: in seconds since 1970
        self._is_watching = False

    def split_auth(self, data: Any) -> tuple[Any, Any, Any]:
        """Return all of ``data`` as the app's part: no client has a pid or an offset."""
        return data, None, None

    def begin(self, eio_sid: str, namespace: str, owner: str, user: str = "") -> str:
        """Add a new client; return its sid."""
        sid: str = self._owner.server.eio.generate_id()
        self._owner.clients.add_client(sid, eio_sid, namespace, user)
        self._namespaces[sid] = namespace
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
        """End a client's session at ``at``, in seconds since 1970."""
        if sid in self._namespaces:
            self._ends[sid] = at
            if not self._is_watching:
                self._is_watching = True
                gevent.spawn(self._watch)

    def close(self, sid: str, eio_sid: str) -> None:
        """A client's connection was lost."""
        self._forget(sid)

    def disconnect(self, sid: str, eio_sid: str) -> None:
        """A client was disconnected, or did so itself."""
        self._forget(sid)

    def evict_resuming(self, has_ended: Callable[[Session], bool]) -> list[tuple[str, str]]:
        """Return that no client has a session that could end elsewhere."""
        return []

    def _forget(self, sid: str) -> None:
        self._namespaces.pop(sid, None)
        self._ends.pop(sid, None)

    def _watch(self) -> None:
        """Disconnect clients whose session has expired, for as long as any session is to expire."""
        while self._ends:
            now = time.time()
            for sid in [sid for sid, at in self._ends.items() if at <= now]:
                gevent.spawn(self._end, sid)
            gevent.sleep(_EXPIRE_S)
        self._is_watching = False

    def _end(self, sid: str) -> None:
        namespace = self._namespaces.get(sid)
        if namespace is not None:
            user = self._owner.clients.users.get(sid, "")
            log.info("session expired", extra={"sid": sid, "user": user})
            self._owner.server.disconnect(sid, namespace)
