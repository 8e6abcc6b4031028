"""Greenlets that do one job after another.

Making one costs more than most jobs: Python maps 16 KiB of stack for each, and unmaps them at its end. So those that
have nothing to do wait for the next job, as the threads of a pool do.
"""

import sys
from collections.abc import Callable
from contextvars import Context
from typing import Any

import gevent
from gevent.pool import Pool
from greenlet import getcurrent

_MAX_IDLE = 128


class Greenlets:
    """As many as there are jobs that wait for something; some more are kept for the next ones."""

    def __init__(self) -> None:
        self._idle: list[Any] = []

    def spawn(self, job: Callable[..., object], *args: Any) -> None:
        """Do ``job(*args)`` soon, in a greenlet and a context of its own. An exception is gevent's to report."""
        if self._idle:
            gevent.get_hub().loop.run_callback(self._idle.pop().switch, (job, args))
        else:
            gevent.spawn(self._work, (job, args))

    def _work(self, task: tuple[Callable[..., object], tuple[Any, ...]] | None) -> None:
        hub = gevent.get_hub()
        while task is not None:
            job, args = task
            try:
                Context().run(job, *args)
            except Exception:  # noqa: BLE001 - reported below
                hub.handle_error(job, *sys.exc_info())
            del job, args, task
            if len(self._idle) >= _MAX_IDLE:
                return
            this = getcurrent()
            self._idle.append(this)
            try:
                task = hub.switch()
            except BaseException:  # a timeout that a job has left behind
                self._idle.remove(this)
                raise


class GreenletPool(Pool):
    """A pool of gevent's whose greenlets are used again: what ``gevent.pywsgi`` and gunicorn need of one."""

    _semaphore: Any

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._greenlets = Greenlets()

    def spawn(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self._semaphore.acquire()
        self._greenlets.spawn(self._run, args)

    def free_count(self) -> int:
        return int(self._semaphore.counter)

    def _run(self, call: tuple[Any, ...]) -> None:
        function, *args = call
        try:
            function(*args)
        finally:
            self._semaphore.release()
