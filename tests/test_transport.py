"""The Engine.IO server's own bookkeeping, in this process: how sessions end."""

import time

import gevent
import pytest

from chat.realtime.connection import Connection
from chat.realtime.transport import EngineServer

TURN_S = 0.005


@pytest.fixture
def eio():
    return EngineServer()


@pytest.fixture
def busy():
    """Keeps the event loop as busy as many clients do: each of its turns takes ``TURN_S``."""

    def work():
        while True:
            time.sleep(TURN_S)
            gevent.sleep(0)

    greenlet = gevent.spawn(work)
    yield
    greenlet.kill()


def open_connection(eio, sid):
    connection = eio.sockets[sid] = Connection(eio, sid)
    return connection


def wait_until_forgotten(eio):
    with gevent.Timeout(20):
        while eio.sockets:
            gevent.sleep(0.01)


def test_many_ends_are_seen_to_in_each_turn_of_a_busy_loop(eio, busy):
    count, ended = 1000, []
    eio.on("disconnect", lambda sid, reason: ended.append(sid))
    connections = [open_connection(eio, f"{number}") for number in range(count)]
    started = time.monotonic()
    for connection in connections:
        connection.close(eio.reason.TRANSPORT_CLOSE)
    wait_until_forgotten(eio)
    assert time.monotonic() - started < count * TURN_S / 5
    assert ended == [connection.sid for connection in connections]


def test_an_end_comes_after_what_its_client_has_sent(eio):
    seen = []
    connection = open_connection(eio, "a")

    def work(number):
        gevent.sleep(0.01)
        seen.append(number)

    eio.on("disconnect", lambda sid, reason: seen.append(reason))
    for number in range(3):
        connection.enqueue(0, work, number)
    connection.close(eio.reason.TRANSPORT_CLOSE)
    wait_until_forgotten(eio)
    assert seen == [0, 1, 2, eio.reason.TRANSPORT_CLOSE]


def test_a_disconnect_handler_that_waits_holds_up_no_other(eio):
    ended = []

    def wait_for_the_second(sid, reason):
        if sid == "first":
            while "second" not in ended:
                gevent.sleep(0.01)
        ended.append(sid)

    eio.on("disconnect", wait_for_the_second)
    for connection in [open_connection(eio, sid) for sid in ("first", "second")]:
        connection.close(eio.reason.TRANSPORT_CLOSE)
    wait_until_forgotten(eio)
    assert ended == ["second", "first"]
