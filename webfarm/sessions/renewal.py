"""The time that sessions have: renewed while their connections live, over when the app said so."""

import logging
import time
from typing import Protocol

import gevent
import redis
from gevent.pool import Pool

from webfarm.loop.repeating import Repeating
from webfarm.sessions.session import Session
from webfarm.sessions.store import SessionStore

log = logging.getLogger(__name__)

_RENEWALS = 10  # in which the sessions of a node are renewed, one after the other
_RENEW_AGAIN_S = 0.5
_EXPIRE_S = 1.0
_EXPIRE_AT_ONCE = 100


class RenewalOwner(Protocol):
    """The node's part that has the clients."""

    def evict(self, session: Session) -> None:
        """The session belongs to another connection by now: forget its client."""

    def on_expired(self, session: Session) -> None:
        """The session's time is over. Called in a greenlet of its own; it may wait."""


class Renewal:
    """Renews the sessions of a node, and sees which sessions expire.

    Args:
        sessions: the node's, of a shard.
        owner: the node's part that is told.
    """

    def __init__(self, sessions: SessionStore, owner: RenewalOwner) -> None:
        self._sessions = sessions
        self._owner = owner
        self._expiring = Repeating(self._expire, _EXPIRE_S, log=log, failed="expired sessions were not ended")

    def start(self) -> None:
        """Do so from now on."""
        gevent.spawn(self._run)
        self._expiring.start(after_s=_EXPIRE_S)

    def _run(self) -> None:
        """Keep the sessions alive, a tenth at a time."""
        while True:
            sessions = self._sessions.get_all()
            size = max(1, -(-len(sessions) // _RENEWALS))
            for number in range(_RENEWALS):
                while not self._renew(sessions[number * size : (number + 1) * size]):
                    gevent.sleep(_RENEW_AGAIN_S)
                gevent.sleep(self._sessions.renew_every_s / _RENEWALS)

    def _renew(self, sessions: list[Session]) -> bool:
        """Keep some sessions alive, and drop those that others have taken; return whether Redis took it."""
        try:
            for session in self._sessions.renew(sessions):
                self._owner.evict(session)
        except redis.RedisError as error:
            log.debug("sessions not renewed: %s", error)
            return False
        except (Exception, gevent.Timeout):
            log.exception("sessions not renewed")
        return True

    def _expire(self) -> None:
        """Look for what is over: all sessions, which costs 50 ns each, as nothing then outlives its session."""
        now_ms = time.time() * 1000
        expired = [session for session in self._sessions.get_all() if 0 < session.expires_ms <= now_ms]
        Pool(_EXPIRE_AT_ONCE).map(self._end, expired)

    def _end(self, session: Session) -> None:
        try:
            self._owner.on_expired(session)
        except (Exception, gevent.Timeout):
            log.exception("session %s was not ended in time", session.sid)
