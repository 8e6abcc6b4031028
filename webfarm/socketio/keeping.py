"""What a server keeps of a client beyond its connection.

Overridden of ``socketio.Server`` (5.18): ``save_session``: also kept in the client's session
(``webfarm.manager.recovery``).
"""

from typing import Any

import socketio

from webfarm.manager.local_manager import LocalManager
from webfarm.manager.redis_manager import RedisManager


class Keeping(socketio.Server):
    """The part of a ``Server`` that keeps clients' sessions."""

    manager: LocalManager | RedisManager

    def enter_inbox(self, sid: str, room: str, namespace: str | None = None) -> None:
        """In a connect handler: put the client into ``room``, and send it what was emitted there while nobody was in.

        That is what comes after the last point up to which a member is known to have received everything.
        """
        self.manager.recovery.enter_inbox(sid, namespace or "/", room)

    def is_recovered(self, sid: str) -> bool:
        """Return whether a client came back to its session: it has its rooms and its ``get_session`` again."""
        return self.manager.recovery.is_recovered(sid)

    def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        """Keep ``session`` for the client, also over a lost connection.

        Raises ``TypeError`` if JSON has no word for it, ``Unavailable`` if it could not be written.
        """
        self.manager.recovery.save(sid, session)
        super().save_session(sid, session, namespace)

    def expire_session(self, sid: str, at: float) -> None:
        """End the client's session at ``at`` (seconds since 1970), within two seconds, also if it is away by then.

        It is disconnected, and can't resume its session. Called in a connect handler, of a client that is back as well:
        what was said last counts.
        """
        self.manager.recovery.expire(sid, at)
