"""Frames and messages of RFC 6455, both ways, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Close, Frame
from websockets.protocol import OPEN

from webfarm.protocol.frames import PING_FRAME, Protocols, WebSocketProtocol, encode_frame

LIMIT = 100


def mask(opcode, data, *, fin=True):
    """Return a frame as a client sends it."""
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def receive(protocol, data):
    """Return the messages that ``data`` completes."""
    found = map(protocol.assemble, protocol.read(data))
    return [message for message in found if message is not None]


@pytest.fixture
def protocol():
    return WebSocketProtocol(LIMIT)


@given(st.lists(st.text(max_size=20) | st.binary(max_size=20), max_size=5), st.data())
def test_messages_come_whole_and_in_order_however_they_are_cut(messages, data):
    protocol, stream, received = WebSocketProtocol(LIMIT), b"", []
    for message in messages:
        opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        cut = data.draw(st.integers(0, len(payload)))
        stream += mask(opcode, payload[:cut], fin=False) + mask(PING, b"?") + mask(CONT, payload[cut:])
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += receive(protocol, stream[:size])
        stream = stream[size:]
    assert received == messages


@pytest.mark.parametrize("data", ["", "grüße", b"", b"\0" * 200, "x" * 70_000])
def test_a_frame_to_a_client_is_not_masked(data):
    frame = encode_frame(data)
    payload = data.encode() if isinstance(data, str) else data
    assert frame[0] == 0x80 | (1 if isinstance(data, str) else 2)
    assert frame[1] < 0x80
    assert frame.endswith(payload)


def test_a_ping_is_answered(protocol):
    assert receive(protocol, mask(PING, b"abc")) == []
    assert protocol.data_to_send() == [Frame(PONG, b"abc").serialize(mask=False)]
    assert bytes([0x89, 0]) == PING_FRAME


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (Frame(TEXT, b"x").serialize(mask=False), 1002),  # not masked
        (mask(CONT, b"x"), 1002),
        (mask(TEXT, b"x" * (LIMIT + 1)), 1009),
        (mask(TEXT, b"x" * LIMIT, fin=False) + mask(CONT, b"x"), 1009),
        (b"\xc1\x80\0\0\0\0", 1002),  # a reserved bit
    ],
    ids=[
        "not masked",
        "no first fragment",
        "too large",
        "too large in fragments",
        "a reserved bit",
    ],  # masks are random
)
def test_a_client_that_breaks_the_protocol_is_told_why(protocol, data, code):
    assert receive(protocol, data) == []
    sent = protocol.data_to_send()
    assert int.from_bytes(sent[0][2:4], "big") == code
    assert protocol.eof_sent
    assert protocol.parser_exc is not None


def test_a_text_that_is_none_ends_the_connection_after_the_messages_before_it(protocol):
    first, second, third = protocol.read(mask(TEXT, b"a") + mask(TEXT, b"\xff") + mask(TEXT, b"b"))
    assert protocol.assemble(first) == "a"
    with pytest.raises(UnicodeDecodeError):
        protocol.assemble(second)
    assert int.from_bytes(protocol.data_to_send()[0][2:4], "big") == 1007
    assert third.data == b"b"


def test_the_other_side_may_close_within_a_message(protocol):
    assert receive(protocol, mask(TEXT, b"a", fin=False) + mask(CLOSE, Close(1000, "").serialize())) == []
    assert protocol.parser_exc is None
    assert protocol.eof_sent


def test_a_protocol_object_is_lent_again_only_between_two_messages():
    protocols = Protocols(LIMIT)
    protocol = protocols.lend()
    protocol.read(mask(TEXT, b"a", fin=False))
    assert not protocols.take_back(protocol)
    protocol.read(mask(CONT, b"b")[:3])
    assert not protocols.take_back(protocol)
    protocol.read(mask(PING, b""))
    other = protocols.lend()
    assert receive(other, mask(TEXT, b"c")) == ["c"]
    assert protocols.take_back(other)
    assert protocols.lend() is other
    assert receive(other, mask(BINARY, b"d")) == [b"d"]


def test_a_protocol_object_that_closes_is_not_lent_again():
    protocols = Protocols(LIMIT)
    protocol = protocols.lend()
    protocol.send_close(1000, "")
    assert protocol.state is not OPEN
    assert not protocols.take_back(protocol)
