"""Greenlets that are used again: a new greenlet costs more than many a handler that runs in it.

Python maps and unmaps memory for each greenlet's frames. So a greenlet takes another job after its own, if nobody else
knows it by then. A timeout that still runs holds a reference to its greenlet; a ``gevent.local.local`` holds a weak
reference. So nothing of a job reaches the next.
"""

import sys
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import greenlet

_MAX_IDLE = 100

_idle: list[greenlet.greenlet] = []


def _count_own_references() -> int:
    """Return how many references ``spawn`` itself has to an idle greenlet: the number differs between Pythons."""
    idle = [greenlet.greenlet()]
    one = idle.pop()
    return sys.getrefcount(one)


_OWN_REFERENCES = _count_own_references()


def spawn(job: Callable[[], object]) -> None:
    """Run ``job`` in a greenlet, as ``gevent.spawn_raw`` does."""
    while _idle:
        one = _idle.pop()
        if one and sys.getrefcount(one) == _OWN_REFERENCES and not weakref.getweakrefcount(one):
            gevent.get_hub().loop.run_callback(one.switch, job)
            return
    gevent.spawn_raw(_run, job)


def _run(job: Callable[[], object]) -> None:
    hub: Any = gevent.get_hub()
    while True:
        job()
        del job
        if len(_idle) >= _MAX_IDLE:
            return
        greenlet.getcurrent().gr_context = None
        _idle.append(greenlet.getcurrent())
        try:
            job = hub.switch()
        except BaseException:  # noqa: BLE001 - it is killed, or a timeout of the last job comes
            return
