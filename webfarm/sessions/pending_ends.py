"""Pending ends: which sessions were closed and which have ended, until Redis knows."""

import logging
from typing import Protocol

import gevent
import redis
from gevent.lock import BoundedSemaphore

from webfarm.sessions.session import Session

log = logging.getLogger(__name__)

_AT_ONCE = 500


class EndWriter(Protocol):
    """The store of the sessions. Its methods raise ``redis.RedisError``."""

    def write_closed(self, sessions: list[Session]) -> None:
        """Write that the connections of some sessions were lost."""

    def write_ended(self, session: Session) -> None:
        """Write that a session has ended."""


class PendingEnds:
    """Writes soon what is added; if Redis does not answer, it keeps the rest until ``write`` is called again."""

    def __init__(self, writer: EndWriter) -> None:
        self._writer = writer
        self._closed: list[Session] = []
        self._ended: list[Session] = []
        self._is_writing = False
        self._lock = BoundedSemaphore()

    def add_closed(self, session: Session) -> None:
        """Write soon that a session's connection was lost."""
        self._closed.append(session)
        self._write_soon()

    def add_ended(self, session: Session) -> None:
        """Write soon that a session has ended."""
        self._ended.append(session)
        self._write_soon()

    def write(self) -> None:
        """Write everything that was added. Raises ``redis.RedisError``."""
        with self._lock:
            while self._closed:
                some = self._closed[:_AT_ONCE]
                self._writer.write_closed(some)
                del self._closed[: len(some)]
            while self._ended:
                self._writer.write_ended(self._ended[0])
                del self._ended[0]

    def _write_soon(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            gevent.spawn(self._write)

    def _write(self) -> None:
        try:
            self.write()
        except redis.RedisError as error:
            log.debug("to be written later: %s", error)
        finally:
            self._is_writing = False
