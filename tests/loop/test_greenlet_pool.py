"""A greenlet is used again exactly if nobody else knows it."""

import contextvars
import gc
import sys

import gevent
import greenlet
import pytest
from gevent import local
from gevent.event import AsyncResult, Event

from webfarm.loop import greenlet_pool as greenlets

variable = contextvars.ContextVar("variable", default="")
own = local.local()


def run(job):
    """Run ``job`` as ``greenlets.spawn`` does, to its end; return the number of its greenlet."""
    result = AsyncResult()

    def work():
        job()
        number = numbers.setdefault(id(greenlet.getcurrent()), len(numbers))
        gevent.get_hub().loop.run_callback(result.set, number)

    numbers = run.numbers
    greenlets.spawn(work)
    answer = result.get(timeout=5)
    gevent.sleep(0)
    return answer


@pytest.fixture(autouse=True)
def _empty():
    """No greenlet is idle, and nothing traces: the frames that coverage keeps hold their greenlets."""
    trace = sys.gettrace()
    sys.settrace(None)
    greenlets._idle.clear()
    run.numbers = {}
    yield
    sys.settrace(trace)


def nothing():
    pass


def wait():
    done = Event()
    gevent.spawn_later(0.001, done.set)
    assert done.wait(5)


def wait_with_a_timeout():
    with gevent.Timeout(5):
        gevent.sleep(0.001)


def fail_inside():
    with pytest.raises(ValueError, match="x"):
        int("x")


@pytest.mark.parametrize("job", [nothing, wait, wait_with_a_timeout, fail_inside])
def test_the_next_job_has_the_same_greenlet(job):
    first = run(nothing)
    assert [run(job), run(nothing)] == [first, first]


def test_a_greenlet_that_a_timeout_waits_for_is_not_used_again():
    timeouts = []
    first = run(lambda: timeouts.append(gevent.Timeout.start_new(0.02)))
    second = run(lambda: gevent.sleep(0.05))  # it comes now, and reaches nobody
    assert second != first
    assert run(nothing) == second


def test_a_greenlet_that_somebody_holds_is_not_used_again():
    held = []
    first = run(lambda: held.append(greenlet.getcurrent()))
    second = run(nothing)
    assert second != first
    gevent.get_hub().loop.run_callback(held.pop().throw, ValueError("to nobody"))
    gevent.sleep(0.01)
    assert run(nothing) == second


def test_what_is_local_to_a_greenlet_is_not_there_for_the_next_job():
    run(lambda: setattr(own, "name", "first"))
    seen = []
    run(lambda: seen.append(getattr(own, "name", None)))
    assert seen == [None]


def test_what_is_set_in_a_context_is_not_there_for_the_next_job():
    first = run(lambda: variable.set("first"))
    seen = []
    assert run(lambda: seen.append(variable.get())) == first
    assert seen == [""]


def test_no_more_are_kept_than_is_useful():
    started = Event()
    for _ in range(300):
        greenlets.spawn(started.wait)
    gevent.sleep(0.01)
    started.set()
    gevent.sleep(0.01)
    gc.collect()
    assert len(greenlets._idle) == greenlets._MAX_IDLE
