"""The websocket layer against RFC 6455, byte by byte, on ``examples/echo_websocket.py``.

The RFC's section stands with each test. Every test ends with the server's own answer, never with a guess of time.
"""

import base64
import itertools
import time

import pytest

from tests.kit.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closed, frame

MAX_BYTES = 200_000
EXAMPLE_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # section 1.3's answer to the key that ``Wire`` sends

TEXTS = ["", "a", "grüße", "κόσμε 🎈", "\u0000\n\t", "\ufeffbom", "\U0010ffff", "\ufffe"]
SIZES = [0, 1, 125, 126, 127, 128, 4095, 4096, 65535, 65536, 65537, MAX_BYTES]
NO_UTF8 = {
    "a byte of no sequence": b"\xff",
    "a continuation alone": b"ab\x80",
    "an overlong slash": b"\xc0\xaf",
    "an overlong NUL": b"\xe0\x80\x80",
    "a surrogate": b"\xed\xa0\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "a start without its end": b"\xce",
    "three bytes of four": b"ok \xf0\x9f\x8e",
    "a start inside a sequence": b"\xf0\x9f\xce\xba",
}


@pytest.fixture(scope="module")
def server(example):
    return example("echo_websocket", WEBFARM_MAX_MESSAGE_BYTES=str(MAX_BYTES))


@pytest.fixture
def ws(server, wire):
    return wire(server.url).upgrade()


def fails_with(ws, code):
    """Whether the server says ``code`` in a close frame, then ends the connection, also if nobody answers it."""
    assert ws.receive_close() == code
    ws.wait_for_end()
    return True


# The opening handshake (4.2)


def test_the_handshake_is_answered_with_the_keys_hash_and_nothing_unasked_for(server, wire):
    status, headers, body = wire(server.url).request("/any/path?with=query")
    assert (status, headers["sec-websocket-accept"], body) == (101, EXAMPLE_ACCEPT, b"")
    assert headers["upgrade"].lower() == "websocket"
    assert headers["connection"].lower() == "upgrade"
    assert not {"sec-websocket-protocol", "sec-websocket-extensions", "content-length"} & set(headers)


@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "upgrade"},
        {"Upgrade": "WebSocket"},
        {"Sec-WebSocket-Protocol": "chat"},
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Sec-WebSocket-Extensions": "x-unknown"},
    ],
)
def test_a_handshake_may_be_written_in_other_ways(server, wire, changes):
    ws = wire(server.url).upgrade(**changes)
    ws.send("hello")
    assert ws.receive() == "hello"


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Version": None}),
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Version": "6"}),
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Version": "14"}),
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Version": "x"}),
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Key": None}),
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Key": ""}),
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Key": "not base64!!!"}),
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Key": base64.b64encode(b"15 bytes of key").decode()}),
        ("GET {} HTTP/1.1", {"Sec-WebSocket-Key": base64.b64encode(b"17 bytes of a key").decode()}),
        ("GET {} HTTP/1.1", {"Connection": None}),
        ("GET {} HTTP/1.1", {"Connection": "close"}),
        ("GET {} HTTP/1.1", {"Upgrade": None}),
        ("GET {} HTTP/1.1", {"Upgrade": "h2c"}),
        ("POST {} HTTP/1.1", {"Content-Length": "0"}),
        ("PUT {} HTTP/1.1", {"Content-Length": "0"}),
        ("GET {} HTTP/1.0", {}),
    ],
)
def test_a_bad_handshake_is_refused(server, wire, line, changes):
    status, headers, _ = wire(server.url).request(line=line, **changes)
    assert 400 <= status < 500 or status == 505
    if status == 426 and "Sec-WebSocket-Version" in changes:
        assert "13" in headers["sec-websocket-version"].split(", ")


def test_frames_in_the_segment_of_the_handshake_are_served(server, wire):
    early = frame(TEXT, b"early") + frame(BINARY, b"birds")
    ws = wire(server.url).upgrade(extra=early + frame(TEXT, b"split")[:4])
    assert [ws.receive(), ws.receive()] == ["early", b"birds"]
    ws.write(frame(TEXT, b"split")[4:])
    assert ws.receive() == "split"


# Framing (5.2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_length_encoding_come_back(ws, opcode, size):
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    ws.write(frame(opcode, payload))
    assert ws.receive() == (payload.decode() if opcode == TEXT else payload)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back_unchanged(ws, text):
    ws.send(text)
    assert ws.receive() == text


def test_bytes_of_every_value_come_back_as_bytes(ws):
    ws.send(bytes(range(256)) * 3)
    assert ws.receive() == bytes(range(256)) * 3


@pytest.mark.parametrize("rsv", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, PING, CLOSE])
def test_a_reserved_bit_is_a_protocol_error(ws, opcode, rsv):
    ws.write(frame(opcode, b"", rsv=rsv))
    assert fails_with(ws, 1002)


@pytest.mark.parametrize("payload", [b"", b"x"])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_a_reserved_opcode_is_a_protocol_error(ws, opcode, payload):
    ws.write(frame(opcode, payload))
    assert fails_with(ws, 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_an_unmasked_frame_is_a_protocol_error(ws, opcode):
    """5.1"""
    ws.write(frame(opcode, b"", mask=False))
    assert fails_with(ws, 1002)


def test_what_came_before_a_bad_frame_is_served(ws):
    ws.write(frame(TEXT, b"good") + frame(3) + frame(TEXT, b"late"))
    assert ws.receive() == "good"
    with pytest.raises(Closed) as closed:
        ws.receive()
    assert closed.value.code == 1002


# Too big (7.4.1): 1009, from the header alone


@pytest.mark.parametrize("announced", [MAX_BYTES + 1, 1 << 31, 1 << 32, 1 << 62])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_header_that_announces_too_much_is_enough(ws, opcode, announced):
    ws.write(frame(opcode, announce=announced))
    assert fails_with(ws, 1009)


def test_a_length_with_its_highest_bit_set_is_refused(ws):
    ws.write(frame(BINARY, announce=1 << 63))
    assert ws.receive_close() in (1002, 1009)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_may_together_be_as_large_as_one_frame_and_no_larger(ws, opcode):
    half = b"x" * (MAX_BYTES // 2)
    ws.write(frame(opcode, half, fin=False) + frame(CONTINUATION, half))
    assert len(ws.receive()) == MAX_BYTES
    ws.write(frame(opcode, half, fin=False) + frame(CONTINUATION, half, fin=False))
    ws.write(frame(CONTINUATION, announce=1, fin=False))
    assert fails_with(ws, 1009)


def test_endless_fragments_end_at_the_limit(ws):
    part = frame(CONTINUATION, b"x" * 1000, fin=False)
    with pytest.raises((ConnectionError, TimeoutError, Closed)):
        ws.write(frame(TEXT, b"", fin=False))
        for _ in range(100 * MAX_BYTES // 1000):
            ws.write(part)
        raise Closed(ws.receive_close(2))


# Fragments (5.4)


@pytest.mark.parametrize("parts", [2, 3, 10, 500])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_fragmented_message_comes_back_whole(ws, opcode, parts):
    payload = bytes(range(32, 127)) * 20
    for fragment in split(opcode, payload, parts):
        ws.write(fragment)
    assert ws.receive() == (payload.decode() if opcode == TEXT else payload)


def split(opcode, payload, parts):
    """Return the frames of one message in ``parts`` fragments."""
    size = -(-len(payload) // parts)
    pieces = [payload[i * size : (i + 1) * size] for i in range(parts)]
    opcodes = [opcode] + [CONTINUATION] * (parts - 1)
    return [frame(op, piece, fin=i == parts - 1) for i, (op, piece) in enumerate(zip(opcodes, pieces, strict=True))]


@pytest.mark.parametrize("pieces", [[b"", b"", b""], [b"", b"x", b""], [b"x", b"", b""], [b"", b"", b"x"]])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_may_be_empty(ws, opcode, pieces):
    first, second, last = pieces
    ws.write(frame(opcode, first, fin=False) + frame(CONTINUATION, second, fin=False) + frame(CONTINUATION, last))
    whole = b"".join(pieces)
    assert ws.receive() == (whole.decode() if opcode == TEXT else whole)


def test_control_frames_between_fragments_are_served_at_once(ws):
    ws.write(frame(TEXT, b"one ", fin=False) + frame(PING, b"in between") + frame(PONG, b"unasked"))
    assert ws.read_frame() == (PONG, True, b"in between")
    ws.write(frame(CONTINUATION, b"two ", fin=False) + frame(PING) + frame(CONTINUATION, b"three"))
    assert ws.read_frame() == (PONG, True, b"")
    assert ws.receive() == "one two three"


def test_a_close_between_fragments_closes(ws):
    """The message is never ended; its other side may close nevertheless."""
    ws.write(frame(TEXT, b"never ended", fin=False) + frame(CLOSE, b"\x03\xe8"))
    assert ws.receive_close() == 1000
    ws.wait_for_end()


@pytest.mark.parametrize(
    "frames",
    [
        frame(CONTINUATION, b"of nothing"),
        frame(CONTINUATION, b"of nothing", fin=False),
        frame(TEXT, b"whole") + frame(CONTINUATION, b"after the end"),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"another"),
        frame(TEXT, b"a", fin=False) + frame(BINARY, b"another", fin=False),
        frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b") + frame(CONTINUATION, b"c"),
    ],
)
def test_fragments_out_of_order_are_a_protocol_error(ws, frames):
    ws.write(frames)
    assert fails_with(ws, 1002)


# Control frames (5.5)


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(125)), b"\xff\x00" * 62])
def test_a_ping_is_answered_with_its_payload(ws, payload):
    ws.write(frame(PING, payload))
    assert ws.read_frame() == (PONG, True, payload)


def test_pings_in_one_segment_are_answered_in_order(ws):
    ws.write(b"".join(frame(PING, b"%d" % number) for number in range(100)))
    assert [ws.read_frame() for _ in range(100)] == [(PONG, True, b"%d" % number) for number in range(100)]


def test_a_pong_that_nobody_asked_for_is_ignored(ws):
    ws.write(frame(PONG) + frame(PONG, b"unasked") + frame(TEXT, b"hello"))
    assert ws.read_frame() == (TEXT, True, b"hello")


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_are_short_and_whole(server, wire, opcode):
    for data in (frame(opcode, b"", fin=False), frame(opcode, b"\x03\xe8" * 63), frame(opcode, b"\x03\xe8" * 35_000)):
        ws = wire(server.url).upgrade()
        ws.write(data)
        assert fails_with(ws, 1002)


# UTF-8 (8.1)


@pytest.mark.parametrize("payload", NO_UTF8.values(), ids=NO_UTF8)
def test_a_text_that_is_no_utf8_is_refused_in_one_frame_and_in_many(server, wire, payload):
    for frames in ([frame(TEXT, payload)], split(TEXT, payload, len(payload)), split(TEXT, payload, 2)):
        ws = wire(server.url).upgrade()
        ws.write(b"".join(frames))
        assert fails_with(ws, 1007)


@pytest.mark.parametrize("payload", NO_UTF8.values(), ids=NO_UTF8)
def test_bytes_need_not_be_utf8(ws, payload):
    ws.send(payload)
    assert ws.receive() == payload


@pytest.mark.parametrize("position", range(1, len("κόσμε🎈".encode())))
def test_a_character_may_be_split_over_fragments(ws, position):
    payload = "κόσμε🎈".encode()
    ws.write(frame(TEXT, payload[:position], fin=False) + frame(PING, b"\xff"))
    ws.write(frame(CONTINUATION, payload[position:]))
    assert ws.receive() == "κόσμε🎈"


# The closing handshake (5.5.1, 7)


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_a_close_is_answered_with_its_code_and_the_connection_ends(ws, code):
    ws.write(frame(CLOSE, code.to_bytes(2) + "Grüße".encode()))
    assert fails_with(ws, code)


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_close_code_that_may_not_be_sent_is_a_protocol_error(ws, code):
    ws.write(frame(CLOSE, code.to_bytes(2)))
    assert fails_with(ws, 1002)


def test_a_close_without_a_code_is_answered(ws):
    ws.write(frame(CLOSE))
    assert ws.receive_close() in (1000, 1005)
    assert ws.wait_for_end() == b""


def test_a_closes_reason_may_fill_its_frame(ws):
    ws.write(frame(CLOSE, b"\x03\xe8" + b"r" * 123))
    assert fails_with(ws, 1000)


def test_a_close_of_one_byte_is_a_protocol_error(ws):
    ws.write(frame(CLOSE, b"\x03"))
    assert fails_with(ws, 1002)


@pytest.mark.parametrize("reason", NO_UTF8.values(), ids=NO_UTF8)
def test_a_closes_reason_is_utf8(ws, reason):
    ws.write(frame(CLOSE, b"\x03\xe8" + reason))
    assert ws.receive_close() in (1002, 1007)
    ws.wait_for_end()


def test_nothing_is_answered_after_a_close(ws):
    ws.write(frame(CLOSE, b"\x03\xe8") + frame(PING, b"late") + frame(TEXT, b"late") + frame(3))
    assert ws.read_frame()[0] == CLOSE
    assert ws.wait_for_end() == b""


@pytest.mark.parametrize("data", [b"", frame(TEXT, b"half")[:5], frame(TEXT, b"half", fin=False)])
def test_a_client_that_ends_its_side_without_a_close_is_let_go(ws, data):
    ws.write(data)
    ws.socket.shutdown(1)
    ws.wait_for_end()


def test_who_goes_on_sending_after_a_close_is_cut(ws):
    ws.write(frame(CLOSE, b"\x03\xe8"))
    assert ws.receive_close() == 1000
    sent = 0
    with pytest.raises(ConnectionError):
        while sent < 50_000_000:
            ws.write(b"x" * 100_000)
            sent += 100_000


# The heartbeat (5.5.2)


@pytest.fixture(scope="module")
def quick(example):
    return example("echo_websocket", WEBFARM_PING_INTERVAL_S="0.3", WEBFARM_PING_TIMEOUT_S="0.2")


def test_who_answers_pings_stays(quick, wire):
    ws = wire(quick.url).upgrade()
    for _ in range(4):
        assert ws.read_frame() == (PING, True, b"")
        ws.write(frame(PONG))
    ws.send("still here")
    assert ws.receive() == "still here"


def test_who_sends_anything_else_stays(quick, wire):
    ws = wire(quick.url).upgrade()
    for number in range(4):
        assert ws.read_frame() == (PING, True, b"")
        ws.send(str(number))
        assert ws.receive() == str(number)


def test_who_is_silent_after_a_ping_is_cut(quick, wire):
    ws = wire(quick.url).upgrade()
    began = time.monotonic()
    assert ws.read_frame() == (PING, True, b"")
    assert ws.wait_for_end() == b""
    assert 0.4 < time.monotonic() - began < 3


# However TCP cuts it


def test_frames_may_be_cut_at_every_byte(ws):
    data = frame(TEXT, "Grüße".encode(), fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"!" * 130)
    for byte in data:
        ws.write(bytes([byte]))
    assert ws.read_frame() == (PONG, True, b"p")
    assert ws.receive() == "Grüße" + "!" * 130


def test_frames_may_be_cut_anywhere(ws):
    data = frame(TEXT, b"a" * 70_000) + frame(BINARY, b"b" * 300) + frame(TEXT, b"c")
    for cut in [*range(1, 20), 69_990, 70_010, 70_016, len(data) - 7, len(data) - 1]:
        ws.write(data[:cut])
        ws.write(data[cut:])
        assert [len(ws.receive()) for _ in range(3)] == [70_000, 300, 1]


def test_a_thousand_frames_in_one_segment_come_back_in_order(ws):
    ws.write(b"".join(frame(TEXT, b"%d" % number) for number in range(1000)))
    assert [ws.receive() for _ in range(1000)] == [str(number) for number in range(1000)]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_large_messages_and_small_ones_keep_their_order(ws, opcode):
    sizes = list(itertools.islice(itertools.cycle([0, 60_000, 1, 126, 65_536]), 30))
    for size in sizes:
        ws.write(frame(opcode, b"x" * size))
        assert len(ws.receive()) == size


def test_the_worker_is_still_the_one_that_began(server, wire):
    assert server.output.count("Booting worker") <= 1
    ws = wire(server.url).upgrade()
    ws.send("still here")
    assert ws.receive() == "still here"
