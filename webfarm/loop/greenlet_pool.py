"""Greenlets that are used again: a new one costs more than many a handler that runs in it.

Python maps and unmaps memory for each greenlet's frames. So one whose job is done takes another, if nobody else knows
it by then: a timeout that still runs holds a reference to the greenlet that it is for, a ``gevent.local.local`` a weak
one. So nothing of a job reaches the next.
"""

import sys
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import greenlet

_MAX_IDLE = 100
_OWN_REFERENCES = 2  # to an idle one, while ``spawn`` looks at it

_idle: list[greenlet.greenlet] = []


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
        except BaseException:  # noqa: BLE001 - it is given up, or a timeout of the last job comes
            return
