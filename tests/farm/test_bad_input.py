"""Whatever one client sends, nobody but itself is harmed.

Twenty bystanders talk to the same worker all the time. After each bad input the offender has been answered or closed,
and the worker is the same process, no larger, with no descriptor left open and no traceback in its log; the
bystanders are still connected, and none has waited long.
"""

import contextlib
import json
import os
import re
import threading
import time
from pathlib import Path

import pytest
import requests

from tests.kit.socketio_clients import Client, OverPolling, OverWebsocket
from tests.kit.wire import BINARY, CONTINUATION, PING, TEXT, Closed, Wire, frame
from webfarm.testing import is_alive, starting_workers, wait_until

MAX_BYTES = 1_000_000  # WEBFARM_MAX_MESSAGE_BYTES
MB = 1 << 20
BYSTANDERS = 20
LATENCY_S = 2.0  # generous: the machine may be busy
POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"


class Bystanders:
    """Clients on websockets, each waiting for one acknowledgement after the other."""

    def __init__(self, url, event):
        self.wires = [Wire(url).upgrade(WEBSOCKET) for _ in range(BYSTANDERS)]
        self.event = event
        self.rounds = 0
        self.longest_s = 0.0
        self.error = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        for wire in self.wires:
            wire.send("40")
        self._thread.start()

    def _run(self):
        try:
            while not self._stop.wait(0.02):
                self._talk(self.rounds + 1)
                self.rounds += 1
        except Exception as error:  # noqa: BLE001
            self.error = error

    def _talk(self, number):
        sent = []
        for wire in self.wires:
            sent.append(time.monotonic())
            wire.send(f"42{number}{self.event}")
        for wire, at in zip(self.wires, sent, strict=True):
            while not (message := wire.receive()).startswith(f"43{number}["):
                if message == "2":
                    wire.send("3")
            self.longest_s = max(self.longest_s, time.monotonic() - at)

    def check(self):
        """Return once all have been answered to what they send from now on."""
        after = self.rounds + 2
        wait_until(lambda: self.error or self.rounds >= after, "the bystanders' acknowledgements")
        assert self.error is None
        assert self.longest_s < LATENCY_S

    def close(self):
        self._stop.set()
        self._thread.join(10)
        print(f"the longest wait of a bystander: {self.longest_s * 1000:.0f} ms in {self.rounds} rounds")
        for wire in self.wires:
            wire.close()


class Watch:
    """What must be as it was: the worker's process, descriptors, memory and log."""

    def __init__(self, server, port, bystanders, redis_port=None):
        self.server, self.bystanders, self.redis_port = server, bystanders, redis_port
        for _ in range(20):
            requests.get(f"http://127.0.0.1:{port}/", timeout=10)
        bystanders.check()
        self.pid = server.get_worker(port)
        self.descriptors = self.count_descriptors()
        self.kilobytes = self.get_kilobytes("VmRSS")
        self.lines = 0  # of the log, seen by then

    def count_descriptors(self):
        """Return how many files and sockets it has open, its connections to Redis left out: their pool may grow."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        to_redis = {f"socket:[{row[9]}]" for row in rows if int(row[2].split(":")[1], 16) == self.redis_port}
        found = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed just now
                found.append(os.readlink(entry))
        return len([target for target in found if target not in to_redis])

    def get_kilobytes(self, row):
        return int(re.search(rf"{row}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1])

    def check(self):
        """Return once all is as it was; the next check is of what comes then."""
        try:
            self._check()
        finally:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # VmHWM, the largest size, starts anew

    def _check(self):
        self.bystanders.check()
        lines, self.lines = self.server.lines[self.lines :], len(self.server.lines)
        assert is_alive(self.pid)
        wait_until(lambda: self.count_descriptors() <= self.descriptors, "the offenders' descriptors to be closed")
        assert self.get_kilobytes("VmRSS") < self.kilobytes + 60 * 1024
        assert self.get_kilobytes("VmHWM") < self.kilobytes + 150 * 1024
        assert not [line for line in lines if line.lstrip().startswith("Traceback")]


@pytest.fixture(scope="module")
def server(example):
    return example("echo_socketio")


@pytest.fixture(scope="module")
def watch(server):
    with contextlib.closing(Bystanders(server.url, '["message-with-ack","hello"]')) as bystanders:
        yield Watch(server, server.ports[0], bystanders)


@pytest.fixture
def unharmed(request):
    """Checks that nobody was harmed, once the offender is gone."""
    watch = request.getfixturevalue("watch")
    yield
    watch.check()


@pytest.fixture
def offend(unharmed, wire):
    """Opens connections to the worker; everybody is looked after when they are closed."""
    return wire


def get_outcome(client):
    """Return whether the client is still ``served``, or was ``closed``."""
    client.send('42["message","are you there"]')
    try:
        while client.transport.receive() != '42["message-back","are you there"]':
            pass
    except Closed:
        return "closed"
    return "served"


# Packets


PLACEHOLDER = '{"_placeholder":true,"num":0}'
CLOSED = {
    "nothing": [""],
    "no type": ["4"],
    "letters": ["4abc"],
    "an event without data": ["42"],
    "an event that is an object": ["42{}"],
    "an event without a name": ["42[]"],
    "an event whose name is an object": ["42[{}]"],
    "half an event": ['42["message"'],
    "a reserved name": ['42["disconnect"]'],
    "NaN": ['42["message",NaN]'],
    "-Infinity": ['42["message",[-Infinity]]'],
    "a number out of range": ['42["message",1e400]'],
    "an id of 400 digits": ["42" + "1" * 400 + '["message-with-ack",1]'],
    "10,000 levels that never end": ["42" + "[" * 10_000],
    "half a million levels": ["42" + "[" * 500_000],
    "half a million levels of objects": ['42["message",' + '{"a":' * 150_000],
    "80,000 keys": ['42["message",{' + ",".join(f'"{n}":0' for n in range(80_000)) + "}]"],
    "450,000 numbers": ['42["message"' + ",1" * 450_000 + "]"],
    "300,000 arrays": ['42["message"' + ",[]" * 300_000 + "]"],
    "300,000 objects": ['42["message"' + ",{}" * 300_000 + "]"],
    "300,000 texts": ['42["message"' + ',""' * 300_000 + "]"],
    "300,000 arrays beside an attachment": ['451-["message"' + ",[]" * 300_000 + f",{PLACEHOLDER}]", b"x"],
    "300,000 arrays acknowledged": ["431[" + "[]," * 300_000 + "0]"],
    "300,000 arrays in a CONNECT": ['40/custom,{"a":[' + "[]," * 300_000 + "0]}"],
    "300,000 quotes that never end": ['42["message","' + '\\",' * 300_000 + "\\"],
    "10,000 attachments announced": [f'4510000-["message",{PLACEHOLDER}]'],
    "10^9 attachments announced": [f'451000000000-["message",{PLACEHOLDER}]'],
    "10^300 attachments announced": ["451" + "0" * 300 + f'-["message",{PLACEHOLDER}]'],
    "no attachments announced": ['450-["message"]'],
    "an attachment named twice": [f'451-["message",{PLACEHOLDER},{PLACEHOLDER}]', b"x"],
    "an attachment named 20,000 times": ['451-["message"' + f",{PLACEHOLDER}" * 20_000 + "]", b"x" * 100_000],
    "an attachment named 20,000 times, deep down": [
        '451-["message",' + "[" * 400 + ",".join([PLACEHOLDER] * 20_000) + "]" * 401,
        b"x",
    ],
    "a placeholder out of range": ['451-["message",{"_placeholder":true,"num":7}]', b"x"],
    "a placeholder below zero": ['451-["message",{"_placeholder":true,"num":-1}]', b"x"],
    "a placeholder that is a text": ['451-["message",{"_placeholder":true,"num":"0"}]', b"x"],
    "a placeholder that is huge": ['451-["message",{"_placeholder":true,"num":1e300}]', b"x"],
    "a placeholder that is true": ['451-["message",{"_placeholder":true,"num":false}]', b"x"],
    "an attachment too many": [f'451-["message",{PLACEHOLDER}]', b"x", b"y"],
    "an attachment of nothing": [b"x"],
    "a text where an attachment is due": [f'451-["message",{PLACEHOLDER}]', '42["message","text"]'],
    "an event to a namespace never joined": ['42/custom,["message",1]'],
    "a namespace of control characters": ['42/\x00\n\t,["message",1]'],
    "a CONNECT with a list": ["40/custom,[1]"],
    "a CONNECT with half an object": ['40/custom,{"a":'],
}
SERVED = {
    "acknowledgements that nobody asked for": ["430[]", '43123["x"]', f"461-5[{PLACEHOLDER}]", b"x"],
    "an unknown namespace": ["40/unknown"],
    "a thousand unknown namespaces": [f"40/unknown{number}" for number in range(1000)],
    "a thousand packets in a row": ['42["message",1]'] * 1000,
    "fifty thousand arguments": ['42["message"' + ",0" * 50_000 + "]"],
    "an unknown event": ['42["dance",1]', '425["dance",1]'],
    "an unknown event with an attachment": [f'451-["dance",{PLACEHOLDER}]', b"x"],
    "a name of half a megabyte": [json.dumps(["x" * 500_000]).join(["42", ""])],
    "thirty thousand keys": ['42["message",{' + ",".join(f'"{n}":0' for n in range(30_000)) + "}]"],
    "a text of commas and brackets": ['42["message","' + "[,{:" * 200_000 + '"]'],
    "a text of quotes": ['42["message","' + '\\",' * 250_000 + '"]'],
    "lone surrogates": [r'42["message","\ud800\udfff\udc00"]'],
    "keys that other languages hold dear": ['42["message",{"__proto__":{"a":1},"constructor":null,"__class__":0}]'],
    "joining and leaving": ["40/custom,", "41/custom,"] * 100,
}
EITHER = {
    "10,000 levels that end": ['42["message",' + "[" * 10_000 + "]" * 10_000 + "]"],
    "900 levels": ['42["message",' + "[" * 900 + "]" * 900 + "]"],
    "900 levels of objects": ['42["message",' + '{"a":' * 900 + "1" + "}" * 900 + "]"],
    "a number of 100,000 digits": ['42["message",' + "1" * 100_000 + "]"],
    "a number of 4,000 digits": ['42["message",' + "1" * 4000 + "]"],
    "a fraction of 100,000 digits": ['42["message",0.' + "1" * 100_000 + "]"],
    "CONNECT twice": ["40", "40"],
    "CONNECT a thousand times": ["40"] * 1000,
    "leaving what was never joined": ["41/custom,", "41/unknown,"],
    "an error from the client": ['44{"message":"x"}'],
    "a namespace's name of 900 kB": ["40/" + "x" * 900_000],
    "an event to a namespace's name of 900 kB": ["42/" + "x" * 900_000 + ',["message",1]'],
    "a namespace with a query": ["40/custom?token=x,"],
    "Engine.IO's own packets": ["3", "3probe", "6"],
    "Engine.IO's packets for the other side": ["0{}"],
    "an upgrade that was none": ["5"],
    "a ping from the client": ["2"],
    "an attachment of 0.9 MB": [f'451-["message",{PLACEHOLDER}]', b"x" * 900_000],
}
CASES = [
    pytest.param(messages, outcomes, id=name)
    for cases, outcomes in ((CLOSED, {"closed"}), (SERVED, {"served"}), (EITHER, {"closed", "served"}))
    for name, messages in cases.items()
]


@pytest.mark.parametrize("transport", [OverWebsocket, OverPolling])
@pytest.mark.parametrize(("messages", "outcomes"), CASES)
def test_a_bad_packet_closes_its_sender_at_most(server, offend, transport, messages, outcomes):
    client = Client(transport(server, offend))
    client.join()
    client.send(*messages)
    assert get_outcome(client) in outcomes


@pytest.mark.parametrize("transport", [OverWebsocket, OverPolling])
@pytest.mark.parametrize(
    "messages", [['42["message",1]'], ["41"], [b"x"], ["43", "x"], [f'451-["message",{PLACEHOLDER}]', b"x"]]
)
def test_a_packet_before_any_namespace_was_joined_closes_its_sender(server, offend, transport, messages):
    client = Client(transport(server, offend))
    client.send(*messages)
    assert get_outcome(client) == "closed"


def test_80_mb_of_attachments_before_any_namespace_was_joined_are_not_taken(server, offend):
    client = OverWebsocket(server, offend)
    with pytest.raises((ConnectionError, Closed)):
        for _ in range(100):
            client.wire.write(frame(BINARY, b"x" * 800_000))
        raise Closed(client.wire.receive_close())


def test_attachments_that_never_come_are_waited_for_by_nobody(server, offend):
    """Each of many connections may wait for its attachment; none is waited for when its client leaves."""
    for _ in range(100):
        client = Client(OverWebsocket(server, offend))
        client.join()
        client.send(f'451-["message",{PLACEHOLDER}]')


def test_attachments_that_are_too_large_together_close_their_sender(server, offend):
    client = Client(OverWebsocket(server, offend))
    client.join()
    placeholders = ",".join(json.dumps({"_placeholder": True, "num": number}) for number in range(10))
    client.send(f'4510-["message",{placeholders}]', *[b"x" * 900_000] * 10)
    assert get_outcome(client) == "closed"


# Frames


FRAMES = {
    "a header that announces 2^62 bytes": frame(BINARY, announce=1 << 62),
    "a header that announces 1 GB": frame(TEXT, announce=1 << 30),
    "a header that announces one byte too many": frame(TEXT, announce=MAX_BYTES + 1),
    "an unmasked frame": frame(TEXT, b"42", mask=False),
    "a reserved opcode": frame(7, b"x"),
    "a reserved bit": frame(TEXT, b"42", rsv=4),
    "a text that is no UTF-8": frame(TEXT, b'42["message","\xff"]'),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "zeros": b"\x00" * 10_000,
    "ones": b"\xff" * 10_000,
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_a_bad_frame_closes_its_connection(server, offend, data):
    client = Client(OverWebsocket(server, offend))
    client.join()
    client.transport.wire.write(data)
    assert client.is_closed()
    client.transport.wire.wait_for_end()


@pytest.mark.parametrize("size", [1000, 100_000])
def test_endless_fragments_are_not_kept(server, offend, size):
    ws = OverWebsocket(server, offend).wire
    part = frame(CONTINUATION, b"x" * size, fin=False)
    with pytest.raises((ConnectionError, Closed)):
        ws.write(frame(TEXT, fin=False))
        for _ in range(40 * MB // size):
            ws.write(part)
        raise Closed(ws.receive_close())


def test_many_empty_fragments_cost_nobody_anything(server, offend):
    """They hold nothing, so they may go on; but they cost nothing either."""
    ws = OverWebsocket(server, offend).wire
    with contextlib.suppress(ConnectionError):
        ws.write(frame(TEXT, fin=False))
        for _ in range(200):
            ws.write(frame(CONTINUATION, fin=False) * 500)


# HTTP


def post(body, *headers, path=POLLING, method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode() + body


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
REFUSED = {
    "two lengths": post(b"4" + SMUGGLED, "Content-Length: 1", f"Content-Length: {len(SMUGGLED) + 1}"),
    "two lengths in one header": post(b"4" + SMUGGLED, f"Content-Length: 1, {len(SMUGGLED) + 1}"),
    "a length and chunks": post(b"0\r\n\r\n" + SMUGGLED, "Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunks and a length": post(b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: chunked", "Content-Length: 5"),
    "a length below zero": post(SMUGGLED, "Content-Length: -1"),
    "a length that is a word": post(SMUGGLED, "Content-Length: many"),
    "a length with a sign": post(b"4" + SMUGGLED, "Content-Length: +1"),
    "a length in hexadecimal": post(b"4" + SMUGGLED, "Content-Length: 0x1"),
    "a length with an underscore": post(b"4" * 10 + SMUGGLED, "Content-Length: 1_0"),
    "a length with an exponent": post(b"4" * 10 + SMUGGLED, "Content-Length: 1e1"),
    "a length that is empty": post(SMUGGLED, "Content-Length:"),
    "a length in other digits": post(b"4" + SMUGGLED, "Content-Length: \u0661"),
    "a length of 5,000 digits": post(SMUGGLED, "Content-Length: " + "9" * 5000),
    "an unknown encoding": post(SMUGGLED, "Transfer-Encoding: x"),
    "an encoding in front of the chunks": post(SMUGGLED, "Transfer-Encoding: gzip, chunked"),
    "chunks of chunks": post(SMUGGLED, "Transfer-Encoding: chunked, chunked"),
    "chunks twice": post(SMUGGLED, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunks that are not last": post(b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: chunked, identity"),
    "two encodings": post(b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "a header name with a blank": post(b"4" + SMUGGLED, "Content-Length : 1"),
    "a header without a colon": post(b"", "Content-Length 1"),
    "a folded header": post(b"4", "X: a", "\tContent-Length: 1"),
    "a header without a name": post(b"", ": x"),
    "1 GB announced": post(b"", "Content-Length: 1073741824"),
    "one byte too many announced": post(b"", f"Content-Length: {MAX_BYTES + 1}"),
    "1 GB announced, waiting for leave": post(b"", "Content-Length: 1073741824", "Expect: 100-continue"),
    "a header of 1 MB": post(b"", "X: " + "x" * MB),
    "10,000 headers": post(b"", *(f"X-{number}: x" for number in range(10_000))),
    "a path of 1 MB": post(b"", path="/" + "x" * MB, method="GET"),
    "no path": b"GET\r\n\r\n",
    "no HTTP": b"hello there, how do you do\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2 + b"\r\n\r\n",
    "bytes of every value": bytes(range(256)) * 100 + b"\r\n\r\n",
    "zeros": b"\x00" * 100_000,
    "one line that never ends": b"x" * MB,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_a_request_that_is_none_is_refused_and_nothing_after_it_is_served(server, offend, data):
    """It is refused at once and the connection ends: what follows is no second request."""
    connection = offend(server.url)
    with contextlib.suppress(ConnectionError):  # it may have been refused before all of it was sent
        connection.write(data)
    answer = connection.wait_for_end()
    assert len(re.findall(rb"HTTP/1\.[01] \d{3} ", answer)) <= 1
    assert not answer or re.match(rb"HTTP/1\.[01] (4\d\d|50[15]) ", answer)


def test_a_chunked_payload_is_served_or_refused(server, offend):
    client = OverPolling(server, offend)
    connection = offend(server.url)
    path = client.url.removeprefix(server.url)
    connection.write(post(b"2\r\n40\r\n0\r\n\r\n", "Transfer-Encoding: chunked", path=path))
    status, _, body = connection.read_response()
    if status == 200:
        assert body == b"ok"
        assert client.receive().startswith("40{")
    else:
        assert status in (400, 411, 413, 501)


CHUNKS = {
    "no number": b"zz\r\n40\r\n0\r\n\r\n",
    "below zero": b"-2\r\n40\r\n0\r\n\r\n",
    "a sign": b"+2\r\n40\r\n0\r\n\r\n",
    "a prefix": b"0x2\r\n40\r\n0\r\n\r\n",
    "2^64": b"10000000000000000\r\n40",
    "digits without end": b"0" * 100_000,
    "more than it says": b"1\r\n40\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS)
def test_a_chunk_that_is_none_is_refused(server, offend, body):
    client = OverPolling(server, offend)
    connection = offend(server.url)
    path = client.url.removeprefix(server.url)
    with contextlib.suppress(ConnectionError):
        connection.write(post(body + SMUGGLED, "Transfer-Encoding: chunked", path=path))
    answer = connection.wait_for_end()
    assert len(re.findall(rb"HTTP/1\.[01] \d{3} ", answer)) <= 1
    assert not answer or re.match(rb"HTTP/1\.[01] (4\d\d|501) ", answer)


def test_endless_chunks_end_at_the_limit(server, offend):
    client = OverPolling(server, offend)
    connection = offend(server.url)
    path = client.url.removeprefix(server.url)
    with pytest.raises((ConnectionError, Closed)):
        connection.write(post(b"", "Transfer-Encoding: chunked", path=path))
        for _ in range(1000):
            connection.write(b"10000\r\n" + b"4" * 65536 + b"\r\n")
        connection.wait_for_end()
        raise Closed(1006)


def test_requests_in_one_segment_are_answered_in_order(server, offend):
    connection = offend(server.url)
    request = f"GET {POLLING} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    connection.write(request * 20)
    answers = [connection.read_response() for _ in range(20)]
    assert {status for status, _, _ in answers} == {200}
    assert len({body for _, _, body in answers}) == 20


@pytest.mark.parametrize("data", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", post(b"4", "Content-Length: 10")])
def test_half_a_request_ends_with_its_connection(server, offend, data):
    for _ in range(50):
        connection = offend(server.url)
        connection.write(data)
        connection.socket.shutdown(1)
        connection.wait_for_end()


def test_half_requests_keep_nobody_from_being_served(server, offend):
    """A hundred connections that say no more keep nobody from being served, and leave nothing when they end."""
    for number in range(100):
        data = [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", post(b"4", "Content-Length: 10")][number % 4]
        offend(server.url).write(data)
    assert requests.get(f"{server.url}{POLLING}", timeout=10).status_code == 200


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "OPTIONS", "get", "X" * 1000])
def test_another_method_opens_no_session(server, offend, method):
    connection = offend(server.url)
    connection.write(post(b"", "Content-Length: 0", method=method))
    status, _, body = connection.read_response()
    assert status < 500 or status == 501
    assert b'"sid"' not in body


# Somebody else's session


def test_a_websocket_that_does_not_probe_takes_no_session_over(server, offend):
    for transport in (OverWebsocket, OverPolling):
        victim = Client(transport(server, offend))
        victim.join()
    polling = victim.transport.url.rpartition("=")[2]
    ws = offend(server.url).upgrade(f"{WEBSOCKET}&sid={polling}")  # an upgrade that its owner did not ask for
    ws.send('42["message","mine"]')
    assert ws.receive_close()
    assert get_outcome(victim) == "served"


def test_guessed_sids_are_bad_requests(server, offend):
    for number in range(200):
        assert requests.get(f"{server.url}{POLLING}&sid=guess{number}", timeout=10).status_code == 400


@pytest.mark.parametrize("first", [True, False])
def test_a_second_upgrade_does_not_disturb_the_first(server, offend, first):
    client = OverPolling(server, offend)
    path = f"{WEBSOCKET}&sid={client.url.rpartition('=')[2]}"
    sockets = [offend(server.url)]
    sockets[0].upgrade(path)
    if first:
        sockets[0].send("2probe")
        assert sockets[0].receive() == "3probe"
        sockets[0].send("5")
    for _ in range(20):
        other = offend(server.url)
        status, _, _ = other.request(path)
        assert status in (101, 400)
        if status == 101:
            other.receive_close()
    if not first:
        sockets[0].send("2probe")
        assert sockets[0].receive() == "3probe"
        sockets[0].send("5")
    sockets[0].send("40")
    assert sockets[0].receive().startswith("40{")


# Floods


def test_failing_packets_by_the_thousand_are_few_lines_in_the_log(server, offend, watch):
    """Who fills the log fills the disk: one line a second, and two for each kind, however many packets fail."""
    began, lines = time.monotonic(), len(server.lines)
    kinds = ("42{}", "4abc", '42["message",NaN]')
    for text in kinds:
        for _ in range(50):
            client = OverWebsocket(server, offend)
            with contextlib.suppress(ConnectionError):
                client.wire.write(frame(TEXT, b"40") + frame(TEXT, text.encode()) * 100)
            client.is_closed()
    watch.bystanders.check()
    assert len(server.lines) - lines <= time.monotonic() - began + 2 * len(kinds)  # the first, and how many came after


def flood(ws, data, count):
    """Write ``data`` up to ``count`` times, 100 MB in all, without reading: the server must end the connection."""
    with pytest.raises(ConnectionError):
        for _ in range(count):
            ws.write(data)


def test_a_flood_to_oneself_that_is_not_read_ends(server, offend):
    client = Client(OverWebsocket(server, offend))
    client.join()
    flood(client.transport.wire, frame(TEXT, b'42["message","' + b"x" * 100_000 + b'"]'), 1000)


def test_acknowledgements_that_are_not_read_end(server, offend):
    client = Client(OverWebsocket(server, offend))
    client.join()
    flood(client.transport.wire, frame(TEXT, b'421["message-with-ack","' + b"x" * 1000 + b'"]') * 100, 1000)


def test_pongs_that_are_not_read_end(server, offend):
    client = Client(OverWebsocket(server, offend))
    client.join()
    flood(client.transport.wire, frame(PING, b"x" * 125) * 1000, 1000)


def test_refusals_that_are_not_read_end(server, offend):
    client = Client(OverWebsocket(server, offend))
    client.join()
    flood(client.transport.wire, frame(TEXT, b"40/" + b"x" * 250) * 4000, 100)


def test_a_poller_that_goes_deaf_is_closed(server, offend):
    client = OverPolling(server, offend)
    client.send("40")
    client.status = 200
    for _ in range(100):
        client.send('42["message","' + "x" * 100_000 + '"]')
        if client.status != 200:
            break
    assert client.status == 400
    assert client.is_closed()


def test_many_sessions_may_be_opened_and_left(server, offend):
    for _ in range(500):
        assert requests.get(f"{server.url}{POLLING}", timeout=10).status_code == 200


def test_many_connections_may_be_cut(server, offend):
    for number in range(200):
        client = OverWebsocket(server, offend)
        client.send("40", '42["message",1]')
        if number % 2:
            client.wire.receive()
        client.wire.close()


# The chat itself


@pytest.fixture(scope="module")
def chat(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2)


@pytest.fixture(scope="module")
def chat_watch(chat, redis_server):
    with contextlib.closing(Bystanders(chat.urls[0], '["leave",{"room":"elsewhere"}]')) as bystanders:
        yield Watch(chat, chat.ports[0], bystanders, redis_server.port)


@pytest.mark.parametrize("deaf", ["websocket", "polling"])
def test_a_reader_that_goes_deaf_while_its_room_is_busy_is_closed(chat, chat_watch, wire, deaf):
    """The room's messages go on for all others; the deaf one is closed, and is no weight on the worker."""
    speaker, listener = (Client(OverWebsocket(Target(chat, n), wire)) for n in (1, 0))
    for client in (speaker, listener):
        enter(client, "busy")
    victim = (OverWebsocket if deaf == "websocket" else OverPolling)(Target(chat, 0), wire)
    victim.send("40", '42["join",{"room":"busy"}]')
    data = json.dumps({"room": "busy", "text": "x" * 50_000})
    for number in range(300):
        speaker.send(f'42{number}["message",{data}]')
        wait_for(speaker, f"43{number}[")
        wait_for(listener, '42["message",{"room":"busy"')
    if deaf == "websocket":
        assert victim.wire.receive_close()
    else:
        assert victim.is_closed()
    for client in (speaker, listener, victim):
        if client is not victim or deaf == "websocket":
            getattr(client, "transport", client).wire.close()
    chat_watch.check()


class Target:
    """One of the chat's workers."""

    def __init__(self, chat, number):
        self.url = chat.urls[number]


def enter(client, room):
    client.send("40", f'421["join",{{"room":"{room}"}}]')
    wait_for(client, "431[")


def wait_for(client, start):
    while not str(client.transport.receive()).startswith(start):
        pass


BAD_TO_THE_CHAT = {name: CLOSED[name] for name in list(CLOSED)[:20:3]} | {
    "a room that is a list": ['421["join",{"room":["x"]}]'],
    "an event with a hundred arguments": ['421["message"' + ",1" * 100 + "]"],
    "900 levels": EITHER["900 levels"],
    "a room of 900 kB": ['421["join",{"room":"' + "x" * 900_000 + '"}]'],
}


@pytest.mark.parametrize("messages", BAD_TO_THE_CHAT.values(), ids=BAD_TO_THE_CHAT)
def test_a_bad_packet_to_the_chat_harms_nobody_else(chat, chat_watch, wire, messages):
    client = OverWebsocket(Target(chat, 0), wire)
    client.send("40", *messages, '42999["leave",{"room":"x"}]')
    with contextlib.suppress(Closed):
        while not str(client.receive()).startswith("43999["):
            pass
    client.wire.close()
    chat_watch.check()
