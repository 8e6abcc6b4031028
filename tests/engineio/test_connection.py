"""A connection between its server and its transports, in this process."""

import gevent
import pytest
from gevent.event import AsyncResult
from socketio.exceptions import DisconnectedError

from webfarm.engineio.connection import Connection
from webfarm.engineio.polling import Polling, PollingError
from webfarm.engineio.server import EngineServer
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.protocol.engine_packet import CLOSE, NOOP, PING, PONG, EnginePacket


class Replayed:
    """A replay in front of all that was held."""

    def __init__(self, *packets):
        self._messages = [EnginePacket(packet) for packet in packets]

    def merge(self, held):
        return self._messages + held


@pytest.fixture
def eio():
    return EngineServer(max_outbox_bytes=100, ping_interval=0.05, ping_timeout=0.1)


@pytest.fixture
def connection(eio):
    one = eio.sockets["a"] = Connection(eio, "a")
    return one


def take(connection):
    return [message.packet for message in connection.polling.take()]


def test_messages_of_a_namespace_wait_until_the_client_has_joined_it(connection):
    connection.hold("/a")
    connection.send(EnginePacket("4held"), namespace="/a")
    connection.send(EnginePacket("4other"), namespace="/b")
    connection.send(EnginePacket("4answer"))
    assert connection.is_joining
    connection.release(Replayed("4missed"))
    assert take(connection) == ["4other", "4answer", "4missed", "4held"]
    assert not connection.is_joining


def test_held_messages_are_not_for_a_refused_client(connection):
    connection.hold("/a")
    connection.send(EnginePacket("4held"), namespace="/a")
    connection.release(None)
    assert take(connection) == []


def test_a_replay_may_be_larger_than_the_outbox(connection):
    connection.hold("/a")
    connection.release(Replayed(*["4" + "x" * 90] * 5))
    assert connection.closed is None
    connection.send(EnginePacket("4x"))
    assert len(take(connection)) == 6


@pytest.mark.parametrize("namespace", [None, "/a"])
def test_a_client_that_reads_nothing_is_closed(connection, namespace):
    connection.hold("/a")
    for _ in range(5):
        connection.send(EnginePacket("4" + "x" * 90), namespace=namespace)
    assert connection.closed == CloseReason.SLOW_CLIENT


def test_a_heartbeat_is_sent_and_a_client_that_does_not_answer_is_closed(eio, connection):
    eio.heartbeats.begin(connection)
    gevent.sleep(0.08)
    assert take(connection) == [PING]
    connection.on_message(PONG)
    gevent.sleep(0.08)
    assert take(connection) == [PING]
    with gevent.Timeout(5):
        while not connection.closed:
            gevent.sleep(0.01)
    assert connection.closed == CloseReason.PING_TIMEOUT


def test_a_probe_closes_a_silent_client_only(eio, connection):
    other = Connection(eio, "b")
    for one in (connection, other):
        eio.heartbeats.probe(one, 0.02)
    connection.on_message(PONG)
    gevent.sleep(0.05)
    assert (connection.closed, other.closed) == (None, CloseReason.PING_TIMEOUT)


def test_a_packet_that_is_none_closes_the_connection(connection):
    connection.on_message("9")
    assert connection.closed == CloseReason.TRANSPORT_ERROR


def test_an_unanswered_question_fails_when_its_client_leaves_the_namespace(eio, connection):
    answer, other = AsyncResult(), AsyncResult()
    with eio.calls.adding(connection, answer, "/a"), eio.calls.adding(connection, other, "/b"):
        eio.calls.fail(connection, "/a")
        assert (answer.ready(), other.ready()) == (True, False)
        connection.close(CloseReason.TRANSPORT_CLOSE)
        for one in (answer, other):
            with pytest.raises(DisconnectedError):
                one.get(timeout=1)


@pytest.mark.parametrize(
    ("reason", "polled"),
    [
        (CloseReason.SERVER_DISCONNECT, [CLOSE]),
        (CloseReason.CLIENT_DISCONNECT, [NOOP]),
        (CloseReason.PING_TIMEOUT, [CLOSE]),
    ],
)
def test_a_poll_that_waits_is_answered_at_the_end(reason, polled):
    polling = Polling()
    waiting = gevent.spawn(polling.poll, 5)
    gevent.sleep(0.01)
    with pytest.raises(PollingError):
        polling.poll(5)
    polling.close(reason)
    assert [message.packet for message in waiting.get(timeout=5)] == polled


def test_without_a_poll_only_a_close_by_the_server_is_left_for_the_next():
    for reason in CloseReason:
        polling = Polling()
        polling.add(EnginePacket("4x"))
        polling.close(reason)
        left = [message.packet for message in polling.messages]
        assert left == (["4x", CLOSE] if reason == CloseReason.SERVER_DISCONNECT else [])
