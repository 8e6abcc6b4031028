"""Work in slices leaves the loop its turns."""

import socket
import time

import gevent
import pytest

from webfarm.engineio.connection import Connection
from webfarm.engineio.server import EngineServer
from webfarm.loop.time_slices import TimeSlices

WORK_S, COUNT = 0.002, 30


@pytest.fixture
def incoming():
    """A socket that something has come to, which the loop looks at in its next turn; a list of what was noticed."""
    here, there = socket.socketpair()
    noticed = []
    watcher = gevent.get_hub().loop.io(here.fileno(), 1)

    def notice():
        watcher.stop()
        noticed.append(here.recv(1))

    watcher.start(notice)
    there.send(b"x")
    yield noticed
    watcher.close()
    here.close()
    there.close()


def test_what_comes_meanwhile_is_seen_between_slices(incoming):
    seen = []

    def work(item):
        time.sleep(WORK_S)
        seen.append(bool(incoming))

    slices = TimeSlices(work)
    for item in range(COUNT):
        slices.add(item)
    with gevent.Timeout(10):
        while len(seen) < COUNT:
            gevent.sleep(0.001)
    assert sum(seen) > COUNT / 2


def test_what_comes_meanwhile_is_seen_between_one_clients_jobs(incoming):
    seen = []

    def work():
        time.sleep(WORK_S)
        seen.append(bool(incoming))

    connection = Connection(EngineServer(), "a")
    for _ in range(COUNT):
        connection.enqueue(0, work)
    with gevent.Timeout(10):
        while len(seen) < COUNT:
            gevent.sleep(0.001)
    assert sum(seen) > COUNT / 2


def test_a_failing_action_stops_no_other():
    seen = []

    def work(item):
        if item == 1:
            raise ZeroDivisionError
        seen.append(item)

    slices = TimeSlices(work)
    for item in range(3):
        slices.add(item)
    gevent.sleep(0.05)
    assert seen == [0, 2]
