"""A repeated job goes on, whatever it raises."""

import logging

import gevent
import pytest
from gevent.event import Event

from webfarm.loop.repeating import Repeating

log = logging.getLogger(__name__)


@pytest.fixture
def repeat():
    """Return a function that starts a job; all are stopped at the end."""
    started = []

    def start(job, every_s, **options):
        repeating = Repeating(job, every_s, log=log, failed="it failed", **options)
        started.append(repeating)
        repeating.start()
        return repeating

    yield start
    for repeating in started:
        repeating.stop()
    gevent.sleep(0.01)


@pytest.mark.parametrize("error", [ZeroDivisionError, gevent.Timeout])
def test_a_job_that_fails_is_logged_and_repeated(repeat, caplog, error):
    done, runs = Event(), []

    def job():
        runs.append(1)
        if len(runs) == 3:
            done.set()
        raise error

    repeat(job, 0.001)
    assert done.wait(5)
    assert caplog.messages[:2] == ["it failed", "it failed"]
    assert all(record.exc_info for record in caplog.records)


def test_an_expected_failure_has_no_traceback(repeat, caplog):
    caplog.set_level(logging.DEBUG, __name__)
    runs, done = [], Event()

    def job():
        runs.append(1)
        if len(runs) == 1:
            raise OSError("gone")
        done.set()

    repeat(job, 0.001, expected=(OSError,))
    assert done.wait(5)
    [record] = caplog.records
    assert (record.levelname, record.message, record.exc_info) == ("DEBUG", "it failed: gone", None)


def test_a_run_may_be_asked_for_and_none_begins_after_a_stop(repeat):
    runs = []
    repeating = repeat(lambda: runs.append(1), None)
    gevent.sleep(0.01)
    assert len(runs) == 1
    repeating.run_soon()
    gevent.sleep(0.01)
    assert len(runs) == 2
    repeating.stop()
    gevent.sleep(0.01)
    repeating.run_soon()
    gevent.sleep(0.01)
    assert len(runs) == 2


def test_a_run_that_is_asked_for_during_a_run_follows_it(repeat):
    runs, go_on = [], Event()

    def job():
        runs.append(1)
        go_on.wait()

    repeating = repeat(job, None)
    gevent.sleep(0.01)
    repeating.run_soon()
    go_on.set()
    gevent.sleep(0.01)
    assert len(runs) == 2
