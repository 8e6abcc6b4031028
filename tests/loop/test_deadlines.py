"""Deadlines: many on one timer."""

import time

import gevent

from webfarm.loop.deadlines import EARLY_S, SharedTimer


def wait_until(condition):
    with gevent.Timeout(10):
        while not condition():
            gevent.sleep(0.002)


def test_each_item_is_due_after_its_kinds_delay_and_in_order():
    clock, due = SharedTimer(), []
    long, short = (clock.create_deadlines(delay_s, due.append) for delay_s in (0.12, 0.04))
    long.add("long 1")
    short.add("short 1")
    long.add("long 2")
    short.add("short 2")
    wait_until(lambda: len(due) == 4)
    assert due == ["short 1", "short 2", "long 1", "long 2"]


def test_nothing_is_due_much_before_its_time():
    clock, due = SharedTimer(), []
    deadlines = clock.create_deadlines(0.05, lambda item: due.append(time.monotonic()))
    added = []
    for _ in range(10):
        added.append(time.monotonic())
        deadlines.add(None)
        gevent.sleep(0.007)
    wait_until(lambda: len(due) == 10)
    assert all(end - start >= 0.05 - EARLY_S - 0.001 for start, end in zip(added, due, strict=True))


def test_an_action_may_add_its_item_again():
    clock, due = SharedTimer(), []

    def act(item):
        due.append(item)
        if len(due) < 3:
            deadlines.add(item)

    deadlines = clock.create_deadlines(0.01, act)
    deadlines.add("x")
    wait_until(lambda: len(due) == 3)


def test_a_clock_without_deadlines_does_not_run():
    clock, due = SharedTimer(), []
    clock.create_deadlines(0.01, due.append).add("x")
    wait_until(lambda: due)
    gevent.sleep(0)
    assert clock._timer is None
