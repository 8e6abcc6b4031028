"""Who is connected where: which live nodes serve a name (a socket's id, or a room such as a user's).

A node (one worker process) holds a *lease*, a key that it renews; what it serves stands in one set per
name. A name is served by the nodes of its set whose lease lives, so nothing that a killed worker held
is believed for longer than the lease.

Keys: ``<prefix>:node:<node>`` the lease; ``<prefix>:at:<name>`` the set of nodes.
"""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import gevent
import redis
from gevent.lock import BoundedSemaphore

from chat.errors import Unavailable
from chat.realtime.redis_client import redis_errors_as_unavailable

log = logging.getLogger(__name__)

LEASE_S = 6
_RENEW_S = 2
_SET_TTL_S = 3600  # of a set whose nodes all died; a living node writes its names again before that
_REFRESH_S = 1200
_BATCH = 500


class Registry:
    """The names that this node serves, and the answer to how many nodes serve a name.

    What Redis could not take at once is written with the next renewal that it answers.

    Args:
        client: where leases and names are kept.
        prefix: what every key begins with.
        is_connected: whether Redis is known to answer; while it does not, nobody waits for a timeout.
    """

    def __init__(self, client: redis.Redis, prefix: str, is_connected: Callable[[], bool]) -> None:
        self._redis = client
        self._prefix = prefix
        self._is_connected = is_connected
        self._names: Counter[str] = Counter()
        self._leftover: set[str] = set()  # names that Redis may still have and that we no longer serve
        self._lock = BoundedSemaphore()  # an add and a remove of one name must reach Redis in their order
        self._must_write = False
        self._refreshed = time.monotonic()
        self.node = ""

    def start(self, node: str) -> None:
        """Hold the lease of ``node`` from now on. Each start is a node of its own: the one before is dead."""
        self.node = f"{node}#{uuid.uuid4().hex[:8]}"
        gevent.spawn(self._run)

    def add(self, *names: str) -> None:
        """Serve each of ``names`` once more; raises ``Unavailable``, and then none is served."""
        with self._lock:
            new = [name for name in names if name not in self._names]
            self._leftover.update(new)  # a command that timed out may have been executed
            with self._redis_answers():
                self._write(new)
            self._leftover.difference_update(new)
            self._names.update(names)

    def remove(self, *names: str) -> None:
        """Serve each of ``names`` once less."""
        with self._lock:
            self._names.subtract(names)
            gone = [name for name in names if self._names[name] <= 0]
            for name in gone:
                del self._names[name]
            self._leftover.update(gone)
            try:
                with self._redis_answers():
                    self._erase(gone)
            except Unavailable as error:
                log.debug("to be removed later: %s (%s)", gone, error)

    def count_nodes(self, name: str) -> int:
        """Return how many live nodes serve ``name``; raises ``Unavailable``."""
        with self._redis_answers():
            nodes: set[bytes] = self._redis.smembers(self._at(name))  # type: ignore[assignment]
            return int(self._redis.exists(*(self._lease(node.decode()) for node in nodes))) if nodes else 0

    def _redis_answers(self) -> AbstractContextManager[None]:
        if not self._is_connected():
            raise Unavailable("Redis does not answer")
        return redis_errors_as_unavailable()

    def _run(self) -> None:
        while True:
            try:
                self._renew()
            except redis.RedisError as error:
                log.debug("lease not renewed: %s", error)
                self._must_write = True  # whether the lease had ended will not be known
            gevent.sleep(_RENEW_S)

    def _renew(self) -> None:
        """Renew the lease; write all names again if it had ended (Redis was away or emptied), or now and then."""
        held = self._redis.set(self._lease(self.node), "1", px=LEASE_S * 1000, get=True)
        if held is None or time.monotonic() - self._refreshed > _REFRESH_S:
            self._must_write = True
        if self._must_write or self._leftover:
            with self._lock:
                self._erase(list(self._leftover))
                if self._must_write:
                    self._write(list(self._names))
                    self._must_write, self._refreshed = False, time.monotonic()

    def _write(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), _BATCH):
            pipe = self._redis.pipeline(transaction=False)
            for name in names[start : start + _BATCH]:
                pipe.sadd(self._at(name), self.node)
                pipe.expire(self._at(name), _SET_TTL_S)
            pipe.execute()

    def _erase(self, names: Sequence[str]) -> None:
        """Take this node out of the sets of ``names``, but for those that it serves (again)."""
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            pipe = self._redis.pipeline(transaction=False)
            for name in batch:
                if name not in self._names:
                    pipe.srem(self._at(name), self.node)
            pipe.execute()
            self._leftover.difference_update(batch)

    def _lease(self, node: str) -> str:
        return f"{self._prefix}:node:{node}"

    def _at(self, name: str) -> str:
        return f"{self._prefix}:at:{name}"
