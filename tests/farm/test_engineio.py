"""Engine.IO 4 as its specification has it, over HTTP long-polling and websockets, on ``examples/echo_engineio.py``.

A polling client is a handful of plain HTTP requests here, a websocket one a ``Wire``.
"""

import base64
import contextlib
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.kit.wire import CLOSE, TEXT, Closed, frame
from webfarm.testing import wait_until

SEPARATOR = "\x1e"
WEBSOCKET = "/engine.io/?EIO=4&transport=websocket"
TEXTS = ["", "hello", "grüße 🎈", "2", "x" * 100_000, '{"a":[1]}', "\u0000\n", "b64"]
BYTES = [b"", b"\x00", bytes(range(256)), b"4hello", b"x" * 100_000]
OUTBOX_BYTES = 100_000


@pytest.fixture(scope="module")
def server(example):
    """A server with the heartbeat of every day."""
    return example("echo_engineio", WEBFARM_MAX_OUTBOX_BYTES="1048576")


@pytest.fixture(scope="module")
def quick(example):
    """A server whose heart beats fast, and that is easily filled."""
    return example(
        "echo_engineio",
        WEBFARM_PING_INTERVAL_S="0.3",
        WEBFARM_PING_TIMEOUT_S="0.225",
        WEBFARM_MAX_MESSAGE_BYTES="5000",
        WEBFARM_MAX_OUTBOX_BYTES=str(OUTBOX_BYTES),
    )


class Polling:
    """A session over HTTP long-polling."""

    def __init__(self, server):
        self.url = f"{server.url}/engine.io/?EIO=4&transport=polling"
        response = requests.get(self.url, timeout=10)
        assert response.status_code == 200
        assert response.text[0] == "0"
        self.handshake = json.loads(response.text[1:])
        self.sid = self.handshake["sid"]
        self.url += f"&sid={self.sid}"

    def get(self):
        """Poll once; return status and body."""
        response = requests.get(self.url, timeout=20)
        return response.status_code, response.content.decode()

    def post(self, body):
        """Post a payload; return status and body."""
        data = body.encode() if isinstance(body, str) else body
        headers = {"Content-Type": "text/plain;charset=UTF-8"}
        response = requests.post(self.url, data=data, headers=headers, timeout=20)
        return response.status_code, response.text

    def read_packets(self, count):
        """Poll until ``count`` packets are there; return them."""
        packets = []
        while len(packets) < count:
            status, body = self.get()
            assert status == 200
            packets += body.split(SEPARATOR)
        return packets

    def is_over(self):
        return self.get()[0] == 400

    def echoes(self):
        assert self.post("4are you there") == (200, "ok")
        return self.get() == (200, "4are you there")


@pytest.fixture
def polling(server):
    return Polling(server)


@pytest.fixture
def connect(wire):
    """Opens websocket sessions; returns the websocket and the handshake."""

    def connect(server):
        ws = wire(server.url).upgrade(WEBSOCKET)
        opened = ws.receive()
        assert opened[0] == "0"
        return ws, json.loads(opened[1:])

    return connect


@pytest.fixture
def probe(wire):
    """Opens a websocket for a polling session and sends the probe."""

    def probe(server, session):
        ws = wire(server.url).upgrade(f"{WEBSOCKET}&sid={session.sid}")
        ws.send("2probe")
        assert ws.receive() == "3probe"
        return ws

    return probe


@pytest.fixture
def beside():
    """Runs a function in a thread of its own; returns a future."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def echoes(ws):
    ws.send("4are you there")
    return ws.receive() == "4are you there"


def is_closed(ws):
    """Whether the server closes the websocket, and ends the connection when the client agrees."""
    code = ws.receive_close()
    with contextlib.suppress(ConnectionError):
        ws.write(frame(CLOSE, b"\x03\xe8"))
    ws.wait_for_end()
    return code != 1011


def is_refused(wire, server, path):
    """Whether a websocket there is refused: with HTTP 400, or closed as soon as it is open, without a message."""
    ws = wire(server.url)
    status, _, _ = ws.request(path)
    if status != 101:
        return status == 400
    with pytest.raises(Closed):
        ws.receive()
    return True


# The handshake


def test_a_polling_session_opens(server):
    response = requests.get(f"{server.url}/engine.io/?EIO=4&transport=polling", timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Type"].lower() == "text/plain; charset=utf-8"
    handshake = json.loads(response.text.removeprefix("0"))
    assert handshake.pop("sid")
    assert handshake == {
        "upgrades": ["websocket"],
        "pingInterval": 25_000,
        "pingTimeout": 20_000,
        "maxPayload": 1_000_000,
    }


def test_a_websocket_session_opens(server, connect):
    _, handshake = connect(server)
    assert handshake.pop("sid")
    assert handshake == {"upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 1_000_000}


def test_fractions_of_a_second_are_told_exactly(quick, connect):
    for handshake in (Polling(quick).handshake, connect(quick)[1]):
        assert (handshake["pingInterval"], handshake["pingTimeout"], handshake["maxPayload"]) == (300, 225, 5000)


def test_every_session_has_an_id_of_its_own(server, connect):
    sids = [Polling(server).sid for _ in range(20)] + [connect(server)[1]["sid"] for _ in range(20)]
    assert len(set(sids)) == 40


BAD_QUERIES = [
    "",
    "EIO=4",
    "transport=polling",
    "transport=websocket",
    "EIO=&transport=polling",
    "EIO=3&transport=polling",
    "EIO=5&transport=polling",
    "EIO=abc&transport=polling",
    "EIO=abc&transport=websocket",
    "EIO=4&transport=",
    "EIO=4&transport=abc",
    "EIO=4&transport=flashsocket",
    "EIO=4&transport=polling&sid=unknown",
    "EIO=4&transport=websocket&sid=unknown",
    "EIO=4&transport=polling&sid=__proto__",
    "EIO=4&transport=polling&sid=%00",
]


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_a_bad_query_is_a_bad_request(server, query):
    for method in ("GET", "POST"):
        assert requests.request(method, f"{server.url}/engine.io/?{query}", timeout=10).status_code == 400


@pytest.mark.parametrize("query", [query for query in BAD_QUERIES if "polling" not in query])
def test_a_websocket_with_a_bad_query_is_refused(server, wire, query):
    assert is_refused(wire, server, f"/engine.io/?{query}")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_a_session_opens_by_get_only(server, method):
    url = f"{server.url}/engine.io/?EIO=4&transport=polling"
    assert requests.request(method, url, timeout=10).status_code in (400, 405)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_a_request_by_another_method_does_not_harm_its_session(server, polling, method):
    assert requests.request(method, polling.url, data="4x", timeout=10).status_code in (400, 405)
    assert polling.echoes()


def test_a_websocket_transport_wants_a_websocket(server):
    assert requests.get(f"{server.url}/engine.io/?EIO=4&transport=websocket", timeout=10).status_code == 400


def test_a_polling_transport_is_none_over_a_websocket(server, wire):
    assert is_refused(wire, server, "/engine.io/?EIO=4&transport=polling")


def test_nothing_else_is_served(server):
    assert requests.get(f"{server.url}/elsewhere", timeout=10).status_code == 404


# Messages


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_polling_texts_come_back(polling, text):
    assert polling.post("4" + text) == (200, "ok")
    assert polling.get() == (200, "4" + text)


@pytest.mark.parametrize("data", BYTES, ids=range(len(BYTES)))
def test_polling_bytes_travel_as_base64(polling, data):
    packet = "b" + base64.b64encode(data).decode()
    assert polling.post(packet) == (200, "ok")
    assert polling.get() == (200, packet)


@pytest.mark.parametrize("count", [2, 3, 16, 17, 100, 2000])
def test_a_payload_holds_many_packets(polling, count):
    kinds = itertools.cycle(["4text", "bAQIDBA==", "4", "4grüße"])
    packets = [
        kind + str(number) if kind[0] == "4" else kind for number, kind in zip(range(count), kinds, strict=False)
    ]
    assert polling.post(SEPARATOR.join(packets)) == (200, "ok")
    assert polling.read_packets(count) == packets


def test_a_poll_waits_for_its_message(polling, beside):
    poll = beside(polling.get)
    for number in range(3):
        assert polling.post(f"4{number}") == (200, "ok")
        assert poll.result(10) == (200, f"4{number}")
        poll = beside(polling.get)
    assert polling.post("1")[0] == 200
    poll.result(10)


def test_requests_may_share_a_connection(server, polling):
    with requests.Session() as session:
        for number in range(20):
            assert session.post(polling.url, data=f"4{number}", timeout=10).text == "ok"
            assert session.get(polling.url, timeout=10).text == f"4{number}"


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_websocket_texts_come_back(server, connect, text):
    ws, _ = connect(server)
    ws.send("4" + text)
    assert ws.receive() == "4" + text


@pytest.mark.parametrize("data", BYTES, ids=range(len(BYTES)))
def test_websocket_bytes_travel_as_they_are(server, connect, data):
    ws, _ = connect(server)
    ws.send(data)
    assert ws.receive() == data


def test_texts_and_bytes_keep_their_order(server, connect):
    ws, _ = connect(server)
    messages = [f"4{number}" if number % 3 else bytes([number]) for number in range(200)]
    for message in messages:
        ws.send(message)
    assert [ws.receive() for _ in messages] == messages


def test_each_session_gets_its_own(server, connect):
    sessions = [Polling(server) for _ in range(5)]
    sockets = [connect(server)[0] for _ in range(5)]
    for number, (session, ws) in enumerate(zip(sessions, sockets, strict=True)):
        assert session.post(f"4polling {number}") == (200, "ok")
        ws.send(f"4websocket {number}")
    assert [session.get()[1] for session in sessions] == [f"4polling {number}" for number in range(5)]
    assert [ws.receive() for ws in sockets] == [f"4websocket {number}" for number in range(5)]


# What is no packet ends the session


NO_PAYLOADS = [
    "abc",
    "x",
    "7",
    "9hello",
    "",
    SEPARATOR,
    "4a\x1e",
    "\x1e4a",
    "4a\x1e\x1e4b",
    "b!",
    "b====",
    "bAAAAA",
    b"4\xff",
    b"\xff",
]


@pytest.mark.parametrize("payload", NO_PAYLOADS, ids=repr)
def test_what_is_no_payload_ends_the_session(polling, payload):
    assert polling.post(payload)[0] == 400
    assert polling.is_over()


@pytest.mark.parametrize("message", ["abc", "x", "7", "9hello", ""])
def test_what_is_no_packet_ends_the_websocket(server, connect, message):
    ws, _ = connect(server)
    ws.send(message)
    assert is_closed(ws)


def test_a_poll_that_waits_is_answered_when_its_session_ends(polling, beside):
    poll = beside(polling.get)
    assert polling.post("4hello") == (200, "ok")
    assert poll.result(10) == (200, "4hello")
    poll = beside(polling.get)
    assert polling.post("abc")[0] == 400
    status, body = poll.result(10)
    assert (status, body) in [(200, "1"), (200, "6")] or status == 400  # the end was quicker than the poll
    assert polling.is_over()


# Retention


def test_a_payload_may_be_as_large_as_the_handshake_says_and_no_larger(quick):
    session = Polling(quick)
    assert session.post("4" + "x" * 4999) == (200, "ok")
    assert session.get() == (200, "4" + "x" * 4999)
    assert Polling(quick).post("4" + "x" * 5000)[0] in (400, 413)


def test_a_websocket_message_may_be_as_large_as_the_handshake_says_and_no_larger(quick, connect):
    ws, _ = connect(quick)
    for message in ("4" + "x" * 4999, b"x" * 5000):
        ws.send(message)
        assert ws.receive() == message
    ws.send("4" + "x" * 5000)
    assert ws.receive_close() == 1009


def test_a_client_that_posts_and_never_polls_is_closed_at_the_limit(quick):
    """Its heartbeat goes on, so that nothing but the bytes that wait for it can close it."""
    session = Polling(quick)
    size = 4000
    statuses = []
    while len(statuses) < 2 * OUTBOX_BYTES // size and 400 not in statuses:
        statuses.append(session.post("3\x1e4" + "x" * size)[0])
    assert set(statuses[:-1]) == {200}
    assert OUTBOX_BYTES - 2 * size <= len(statuses) * size <= OUTBOX_BYTES + 2 * size
    assert session.is_over()


def test_a_client_that_sends_and_never_reads_is_closed_at_the_limit(server, wire):
    ws = wire(server.url)
    ws.socket.setsockopt(1, 8, 4096)  # SOL_SOCKET, SO_RCVBUF
    ws.upgrade(WEBSOCKET)
    data = frame(TEXT, b"4" + b"x" * 50_000)
    with pytest.raises((ConnectionError, Closed)):
        for _ in range(1000):
            ws.write(data)
        raise Closed(ws.receive_close(2))


# The heartbeat


def test_a_polling_client_is_pinged_and_stays_while_it_answers(quick):
    session = Polling(quick)
    for _ in range(4):
        began = time.monotonic()
        assert session.get() == (200, "2")
        assert time.monotonic() - began < 2
        assert session.post("3") == (200, "ok")
    assert session.echoes()


def test_a_websocket_client_is_pinged_and_stays_while_it_answers(quick, connect):
    ws, _ = connect(quick)
    for _ in range(4):
        began = time.monotonic()
        assert ws.receive() == "2"
        assert 0.2 < time.monotonic() - began < 2
        ws.send("3")
    assert echoes(ws)


def test_who_does_not_answer_the_ping_is_closed(quick, connect):
    """The websocket is opened after the polling session: when it is closed, the other one must be, too."""
    session = Polling(quick)
    ws, _ = connect(quick)
    began = time.monotonic()
    assert ws.receive() == "2"
    with pytest.raises(Closed):
        ws.receive()
    assert 0.4 < time.monotonic() - began < 3
    assert session.get()[0] == 400
    assert session.post("3")[0] == 400


def test_a_poll_that_waits_at_the_ping_timeout_is_answered_properly(quick):
    session = Polling(quick)
    assert session.get() == (200, "2")
    status, body = session.get()
    assert status == 200
    assert body in ("1", "6")
    assert session.is_over()


def test_a_message_is_no_pong(quick, connect):
    """A client that talks but answers no ping is closed all the same."""
    ws, _ = connect(quick)
    stop = threading.Event()

    def talk():
        while not stop.wait(0.05):
            ws.send("4hello")

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        ws.receive_close()
    finally:
        stop.set()
        thread.join()


# The end


def test_a_polling_client_may_close(polling):
    assert polling.post("1") == (200, "ok")
    assert polling.is_over()
    assert polling.post("4late")[0] == 400


def test_a_poll_that_waits_is_answered_with_noop_when_its_client_closes(polling, beside):
    poll = beside(polling.get)
    assert polling.post("4here") == (200, "ok")
    assert poll.result(10) == (200, "4here")
    poll = beside(polling.get)
    post = beside(polling.post, "1")
    status, body = poll.result(10)
    assert post.result(10) == (200, "ok")
    assert (status, body) == (200, "6") or status == 400  # the close was quicker than the poll
    assert polling.is_over()


def test_a_websocket_client_may_close(server, connect):
    ws, _ = connect(server)
    ws.send("1")
    assert is_closed(ws)


def test_a_websocket_client_may_close_by_the_websockets_own_way(server, connect):
    ws, _ = connect(server)
    ws.write(frame(CLOSE, b"\x03\xe8"))
    assert ws.receive_close() == 1000
    ws.wait_for_end()


def test_a_second_poll_ends_the_session(polling, beside):
    polls = [beside(polling.get) for _ in range(2)]
    answers = sorted(poll.result(10) for poll in polls)
    assert answers[0] == (200, "1")
    assert answers[1][0] == 400
    assert polling.is_over()


def test_a_second_post_ends_the_session(server, polling, wire):
    """The first one's body is on its way when the second comes: 100 says that the server waits for it."""
    first = wire(server.url)
    path = polling.url.removeprefix(server.url)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    first.write(head.encode())
    assert first.read_response()[0] == 100
    first.write(b"4hell")
    assert polling.post("4second")[0] == 400
    assert polling.is_over()
    with contextlib.suppress(ConnectionError, Closed):  # it is answered, or cut
        first.write(b"o you")
        assert first.read_response()[0] == 400


# The upgrade


def test_an_upgrade_moves_the_session_to_the_websocket(server, polling, probe, beside):
    poll = beside(polling.get)
    ws = probe(server, polling)
    assert poll.result(10) == (200, "6")
    ws.send("5")
    assert echoes(ws)


def test_a_poll_during_the_upgrade_is_answered_with_noop(server, polling, probe):
    ws = probe(server, polling)
    assert polling.get() == (200, "6")
    ws.send("5")
    assert echoes(ws)


@pytest.mark.parametrize("waiting", [False, True])
def test_nothing_is_lost_or_doubled_by_an_upgrade(server, polling, wire, beside, waiting):
    """Messages posted before the probe, during it, and sent after it come back once, in order."""
    poll = beside(polling.get) if waiting else None
    ws = wire(server.url).upgrade(f"{WEBSOCKET}&sid={polling.sid}")
    assert polling.post("4a\x1e4b") == (200, "ok")
    ws.send("2probe")
    assert ws.receive() == "3probe"
    assert polling.post("4c\x1ebAQ==") == (200, "ok")
    polled = poll.result(10)[1].split(SEPARATOR) if poll else []
    ws.send("5")
    ws.send("4d")
    got = [packet for packet in polled if packet != "6"]
    while not got or got[-1] != "4d":
        message = ws.receive()
        got.append(message if isinstance(message, str) else "b" + base64.b64encode(message).decode())
    assert got == ["4a", "4b", "4c", "bAQ==", "4d"]


def test_an_upgraded_session_is_served_over_its_websocket_only(server, polling, probe):
    ws = probe(server, polling)
    ws.send("5")
    assert echoes(ws)
    assert polling.get()[0] == 400
    assert polling.post("4hello")[0] == 400
    assert echoes(ws)


def test_an_upgraded_session_has_its_heartbeat(quick, probe):
    session = Polling(quick)
    ws = probe(quick, session)
    ws.send("5")
    for _ in range(3):
        assert ws.receive() == "2"
        ws.send("3")
    with pytest.raises(Closed):
        while ws.receive() == "2":
            pass


@pytest.mark.parametrize("first", ["x", "4hello", "2", "2nope", "3probe", b"2probe", None], ids=repr)
def test_a_failed_probe_leaves_the_session_as_it_was(server, polling, wire, probe, first):
    """Whatever comes in the probe's place, polling goes on, and another upgrade may be tried."""
    ws = wire(server.url).upgrade(f"{WEBSOCKET}&sid={polling.sid}")
    if first is None:
        ws.close()
    else:
        ws.send(first)
        ws.receive_close()
    assert polling.echoes()
    wait_until(lambda: try_upgrade(server, polling, wire), "an upgrade")


def try_upgrade(server, session, wire):
    ws = wire(server.url)
    if ws.request(f"{WEBSOCKET}&sid={session.sid}")[0] != 101:
        return False
    ws.send("2probe")
    try:
        assert ws.receive() == "3probe"
    except Closed:
        return False
    ws.send("5")
    return echoes(ws)


@pytest.mark.parametrize("how", ["frame", "fin", "packet"])
def test_a_websocket_that_ends_between_probe_and_upgrade_leaves_the_session(server, polling, wire, probe, how):
    ws = probe(server, polling)
    if how == "frame":
        ws.write(frame(CLOSE, b"\x03\xe8"))
    elif how == "fin":
        ws.close()
    else:
        ws.send("x")
    if how != "fin":
        ws.receive_close()
    assert polling.post("4hello") == (200, "ok")
    packets = []
    while "4hello" not in packets:
        packets += polling.read_packets(1)
    assert set(packets) <= {"4hello", "6"}
    wait_until(lambda: try_upgrade(server, polling, wire), "an upgrade")


def test_a_second_upgrade_is_refused_and_the_first_goes_on(server, polling, wire, probe):
    ws = probe(server, polling)
    assert is_refused(wire, server, f"{WEBSOCKET}&sid={polling.sid}")
    ws.send("5")
    assert echoes(ws)
    assert is_refused(wire, server, f"{WEBSOCKET}&sid={polling.sid}")
    assert echoes(ws)


def test_a_websocket_session_belongs_to_its_websocket(server, connect, wire):
    ws, handshake = connect(server)
    assert is_refused(wire, server, f"{WEBSOCKET}&sid={handshake['sid']}")
    url = f"{server.url}/engine.io/?EIO=4&transport=polling&sid={handshake['sid']}"
    assert requests.get(url, timeout=10).status_code == 400
    assert requests.post(url, data="4hello", timeout=10).status_code == 400
    assert echoes(ws)


def test_a_session_that_ended_is_upgraded_no_more(server, polling, wire):
    assert polling.post("1") == (200, "ok")
    assert is_refused(wire, server, f"{WEBSOCKET}&sid={polling.sid}")


# Other origins


def test_options_opens_no_session(server):
    response = requests.options(f"{server.url}/engine.io/?EIO=4&transport=polling", timeout=10)
    assert response.status_code in (200, 204)
    assert "sid" not in response.text
