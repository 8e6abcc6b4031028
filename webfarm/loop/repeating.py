"""A job that is done again and again as long as the process lives, whatever it raises."""

import logging
from collections.abc import Callable

import gevent
from gevent.event import Event


class Repeating:
    """Repeats ``job`` in a greenlet of its own.

    What ``job`` raises is logged, then the job is repeated all the same; a ``gevent.Timeout`` that it lets through
    counts as well.

    Args:
        job: takes no arguments; it may block.
        every_s: seconds from the end of one run to the next; ``None``: a run begins only after ``run_soon``.
        log: the logger for failures.
        failed: the log line for a failure, such as ``"lease not renewed"``.
        expected: exceptions that are logged without a traceback, on the level ``debug``.
    """

    def __init__(
        self,
        job: Callable[[], object],
        every_s: float | None,
        *,
        log: logging.Logger,
        failed: str,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        self._job = job
        self._every_s = every_s
        self._log = log
        self._failed = failed
        self._expected = expected
        self._is_due = Event()
        self._is_stopped = False

    def start(self, *, after_s: float = 0.0) -> None:
        """Begin the first run, ``after_s`` seconds from now."""
        gevent.spawn_later(after_s, self._run)

    def run_soon(self) -> None:
        """Begin the next run at once, or right after the current one."""
        self._is_due.set()

    def stop(self) -> None:
        """Begin no run any more; the current one is not interrupted."""
        self._is_stopped = True
        self._is_due.set()

    def _run(self) -> None:
        while not self._is_stopped:
            self._is_due.clear()
            try:
                self._job()
            except self._expected as error:
                self._log.debug("%s: %s", self._failed, error)
            except (Exception, gevent.Timeout):  # noqa: BLE001 - the logger is the owner's
                self._log.exception("%s", self._failed)
            if not self._is_stopped:
                self._is_due.wait(self._every_s)
