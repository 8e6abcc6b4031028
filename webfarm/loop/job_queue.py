"""The jobs of one client: one after the other, in a greenlet that lives only while there is work."""

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

from webfarm.loop import greenlet_pool as greenlets
from webfarm.loop.time_slices import SLICE_S, wait_a_turn
from webfarm.monitoring.throttle import Throttled

log = Throttled(logging.getLogger(__name__))

_MAX_JOBS = 1_000  # that wait; then nothing more is read of that client


class JobQueue:
    """A queue of jobs, and the greenlet that runs them."""

    __slots__ = ("_job_bytes", "_jobs", "_resumed", "is_paused")

    def __init__(self) -> None:
        self._jobs: deque[tuple[Callable[..., object], tuple[Any, ...]]] | None = None
        self._job_bytes = 0
        self.is_paused = False  # reading, as so much waits
        self._resumed: Event | None = None

    def get_max_job_bytes(self) -> int:
        """Return how many bytes may wait."""
        raise NotImplementedError

    def on_paused(self) -> None:
        """So many jobs wait that nothing more may be read of the client."""

    def on_resumed(self) -> None:
        """All jobs are done; reading may go on."""

    def enqueue(self, size: int, job: Callable[..., object], *args: Any) -> None:
        """Do ``job(*args)`` after all earlier jobs, in a greenlet.

        ``size`` is the memory that it keeps, in bytes: while too much waits, nothing more is read of this client.
        """
        if self._jobs is None:
            self._jobs = deque()
            greenlets.spawn(self._work)
        self._jobs.append((job, args))
        self._job_bytes += size
        if not self.is_paused and (len(self._jobs) > _MAX_JOBS or self._job_bytes > self.get_max_job_bytes()):
            self.is_paused = True
            self.on_paused()

    def finish(self, job: Callable[..., object], *args: Any) -> None:
        """Do the last job, after all others; if none waits, it begins at once. Called in the hub."""
        if self._jobs is None:
            self._jobs = deque([(job, args)])
            gevent.Greenlet(self._work).switch()  # as the loop would in its next turn; back when it waits
        else:
            self._jobs.append((job, args))

    def wait_until_read(self) -> None:
        """Wait while nothing more is read because too many jobs wait."""
        if self.is_paused:
            self._resumed = self._resumed or Event()
            self._resumed.wait()

    def _work(self) -> None:
        jobs = self._jobs
        assert jobs is not None
        slice_ends = monotonic() + SLICE_S
        while jobs:
            job, args = jobs.popleft()
            try:
                job(*args)
            except BaseException:  # also gevent's timeouts: the jobs behind it are still to be done
                log.exception("%r: %r failed", self, job)
            if jobs and monotonic() > slice_ends:
                slice_ends = wait_a_turn()
        self._jobs, self._job_bytes = None, 0
        if self.is_paused:
            self.is_paused = False
            self.on_resumed()
            self.stop_waiting()

    def stop_waiting(self) -> None:
        """End ``wait_until_read``."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None
