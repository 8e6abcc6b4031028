"""How Engine.IO sessions end, and what is left of them; ``tests/kit/engine_handlers.py`` under gunicorn, or in this process."""

import json
import socket
import struct
import sys
import time

import gevent
import pytest
import requests

from tests.kit.example import Example
from tests.kit.wire import PING, PONG, frame
from webfarm.engineio import polling as polling_half
from webfarm.engineio.connection import Connection
from webfarm.engineio.server import EngineServer
from webfarm.protocol.engine_packet import CLOSE, EnginePacket
from webfarm.testing import starting_processes, wait_until

TURN_S = 0.005


@pytest.fixture
def eio():
    return EngineServer()


@pytest.fixture
def busy():
    """Keeps the event loop as busy as many clients do: each of its turns takes ``TURN_S``; a list of an entry each."""
    turns = []

    def work():
        while True:
            time.sleep(TURN_S)
            turns.append(len(turns))
            gevent.sleep(0)

    greenlet = gevent.spawn(work)
    yield turns
    greenlet.kill()


def open_connection(eio, sid):
    connection = eio.sockets[sid] = Connection(eio, sid)
    return connection


def wait_until_forgotten(eio):
    with gevent.Timeout(20):
        while eio.sockets:
            gevent.sleep(0.01)


def test_many_ends_are_seen_to_in_each_turn_of_a_busy_loop(eio, busy):
    count, ended = 300, []

    def disconnect(sid, reason):
        time.sleep(0.0003)
        ended.append(sid)

    eio.on("disconnect", disconnect)
    connections = [open_connection(eio, f"{number}") for number in range(count)]
    for connection in connections:
        connection.close(eio.reason.TRANSPORT_CLOSE)
    wait_until_forgotten(eio)
    assert len(busy) < count / 2
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


# With clients


class Engine(Example):
    """``tests/kit/engine_handlers.py`` under gunicorn."""

    @staticmethod
    def get_argv(name):
        return [sys.executable, "-m", "gunicorn", "-c", "python:webfarm.gunicorn", f"tests.kit.{name}:app"]

    def report(self):
        return requests.get(f"{self.url}/report", timeout=10).json()

    def close(self):
        """End it. Its handlers fail as they were told, so tracebacks are no fault."""
        self.kill()
        self.wait()
        self.lines = [line for line in self.lines if not line.lstrip().startswith("Traceback")]
        super().close()


@pytest.fixture(scope="module")
def engine():
    with starting_processes(Engine) as start:
        yield start("engine_handlers", WEBFARM_MAX_OUTBOX_BYTES="200000")


class Polling:
    """A session over HTTP long-polling; each poll on a connection of its own."""

    def __init__(self, engine, wire):
        self._engine, self._wire = engine, wire
        self.path = "/engine.io/?EIO=4&transport=polling"
        self.sid = json.loads(requests.get(engine.url + self.path, timeout=10).text[1:])["sid"]
        self.path += f"&sid={self.sid}"

    def begin_poll(self):
        """Send a poll; return its connection when the server waits with it."""
        wire = self._wire(self._engine.url)
        wire.write(f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(0.1)
        return wire

    def post(self, packet):
        return requests.post(self._engine.url + self.path, data=packet, timeout=10).status_code

    def get(self):
        return requests.get(self._engine.url + self.path, timeout=10)

    def wait_for_end(self):
        """Return why the session ended, once nothing of it is left."""
        wait_until(lambda: self.sid not in self._engine.report()["open"], "the end of the session", 5)
        return self._engine.report()["ended"][self.sid]


@pytest.fixture
def polling(engine, wire):
    return Polling(engine, wire)


@pytest.mark.parametrize("waits", ["", "&do=wait"])
def test_a_connect_handler_may_disconnect_its_websocket(engine, wire, waits):
    before = engine.report()["ended"]
    ws = wire(engine.url).upgrade(f"/engine.io/?EIO=4&transport=websocket&do=send&do=disconnect{waits}")
    assert ws.receive()[0] == "0"
    assert ws.receive() == "4hello"
    ws.receive_close()
    wait_until(lambda: not engine.report()["open"], "the end of the session", 5)
    (reason,) = (reason for sid, reason in engine.report()["ended"].items() if sid not in before)
    assert reason == "server disconnect"


@pytest.mark.parametrize("waits", ["", "&do=wait"])
def test_a_connect_handler_may_disconnect_its_polling_client(engine, waits):
    url = f"{engine.url}/engine.io/?EIO=4&transport=polling&do=send&do=disconnect{waits}"
    opened, *packets = requests.get(url, timeout=10).text.split("\x1e")
    assert opened[0] == "0"
    assert packets == ["4hello"]
    sid = json.loads(opened[1:])["sid"]
    assert requests.get(f"{url}&sid={sid}", timeout=10).text == "1"
    wait_until(lambda: not engine.report()["open"], "the end of the session", 5)


def test_a_connect_handler_may_disconnect_and_refuse(engine):
    url = f"{engine.url}/engine.io/?EIO=4&transport=polling&do=disconnect&do=wait&do=refuse"
    assert requests.get(url, timeout=10).status_code == 401
    assert not engine.report()["open"]


def test_failing_message_handlers_do_not_fill_the_log(engine, wire):
    calls = engine.report()["calls"]
    ws = wire(engine.url).upgrade("/engine.io/?EIO=4&transport=websocket")
    assert ws.receive()[0] == "0"
    for _ in range(100):
        ws.send("4fail")
    wait_until(lambda: engine.report()["calls"] == calls + 100, "the messages")
    engine.wait_for_line("ZeroDivisionError")
    assert sum("ZeroDivisionError" in line for line in engine.lines) <= 5


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_session_whose_poll_was_cut_ends_when_there_is_a_message(polling, how):
    """Not even the first message is written to nobody: Socket.IO can recover it."""
    poll = polling.begin_poll()
    if how == "reset":
        poll.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    poll.close()
    assert polling.post("41 1") == 200
    assert polling.wait_for_end() == "transport close"
    assert polling.get().status_code == 400


def test_a_session_whose_poll_can_not_be_written_ends(engine, wire):
    """The client is there when its answer begins, and goes away without having read it."""
    session = Polling(engine, wire)
    poll = wire(engine.url)
    poll.write(f"GET {session.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    time.sleep(0.1)
    assert session.post("41 5000000") == 200  # one message may be beyond the bound; it is more than the kernel takes
    time.sleep(0.5)
    poll.close()
    assert session.wait_for_end() == "transport close"


def test_a_client_that_pipelines_is_there(polling):
    poll = polling.begin_poll()
    poll.write(b"GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert polling.post("41 1") == 200
    assert poll.read_response()[2].decode() == "4€"
    assert poll.read_response()[0] == 200


def test_nothing_is_left_of_a_polling_session_when_its_last_messages_were_polled(engine, polling):
    assert polling.post("41 1\x1e4leave") == 200
    wait_until(lambda: polling.sid in engine.report()["ended"], "the end of the session")
    assert polling.sid in engine.report()["open"]
    assert polling.get().text == "4€"
    assert polling.get().text == "1"
    assert polling.sid not in engine.report()["open"]
    assert polling.get().status_code == 400


def test_a_client_that_is_about_to_switch_when_its_session_ends_is_told_over_its_websocket(engine, polling, wire):
    """It would neither poll nor switch if its websocket were closed just then, and wait for its ping timeout."""
    ws = wire(engine.url).upgrade(f"/engine.io/?EIO=4&transport=websocket&sid={polling.sid}")
    ws.send("2probe")
    assert ws.receive() == "3probe"
    assert polling.get().text == "6"
    assert polling.post("4leave") == 200
    wait_until(lambda: polling.sid in engine.report()["ended"], "the end of the session")
    ws.write(frame(PING))
    assert ws.read_frame() == (PONG, True, b"")
    ws.send("5")
    assert ws.receive() == "1"
    ws.receive_close()


def test_what_waits_to_be_polled_is_counted_in_bytes(polling):
    """The bound is 200,000 bytes: 100,000 euro signs take 300,000."""
    assert polling.post("42 50000") == 200
    assert polling.get().status_code == 200
    assert polling.post("43 50000") == 200
    assert polling.wait_for_end() == "slow client"


def test_a_message_is_encoded_once():
    for packet, payload in (("4grüße", "4grüße".encode()), (b"\x01\x02", b"bAQI=")):
        message = EnginePacket(packet)
        assert message.payload == payload
        assert message.payload is message.payload
        assert message.frame is message.frame


def test_a_close_is_polled_by_itself():
    """With messages in one answer, the stock client keeps them for its next connection and gets them twice."""
    polling = polling_half.Polling()
    for packet in ("4first", "4second", CLOSE):
        polling.add(EnginePacket(packet))
    assert [message.packet for message in polling.take()] == ["4first", "4second"]
    assert [message.packet for message in polling.take()] == [CLOSE]
    assert polling.take() == []
