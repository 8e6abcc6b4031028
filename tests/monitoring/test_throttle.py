"""No client fills the log."""

import logging

import gevent
import pytest

from webfarm.monitoring.throttle import Throttled


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "throttled")
    return Throttled(logging.getLogger("throttled"))


def get_lines(caplog):
    """Return the lines of ``log``; what earlier tests have throttled may come meanwhile."""
    return [record.getMessage() for record in caplog.records if record.name == "throttled"]


def test_lines_with_one_text_are_one_line_and_a_count(log, caplog):
    for number in range(1000):
        log.info("client %d sent %s", number, "nonsense")
    log.warning("another text")
    assert get_lines(caplog) == ["client 0 sent nonsense", "another text"]
    with gevent.Timeout(10):
        while len(get_lines(caplog)) < 3:
            gevent.sleep(0.01)
    assert get_lines(caplog)[2] == "client 999 sent nonsense (the last of 999 more within a second)"


def test_a_line_now_and_then_is_logged_as_it_is(log, caplog):
    log.info("once")
    gevent.sleep(1.1)  # the window is over; nothing tells so
    log.info("once")
    assert get_lines(caplog) == ["once", "once"]


def test_an_exception_is_logged_with_its_traceback_once(log, caplog):
    for _ in range(100):
        try:
            raise ValueError("of a handler")
        except ValueError:
            log.exception("failed")
    assert [bool(record.exc_info) for record in caplog.records if record.name == "throttled"] == [True]


def test_what_is_not_logged_opens_no_window(log, caplog):
    log.debug("unseen")
    assert log._counted == {}
