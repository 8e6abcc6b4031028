"""Engine.IO packets, and several of them in one body."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webfarm.protocol.engine_packet import CLOSE, MESSAGE, NOOP, OPEN, PING, PONG, UPGRADE, EnginePacket
from webfarm.protocol.frames import encode_frame
from webfarm.protocol.payload import decode_payload, encode_payload

TEXTS = st.text(alphabet=st.characters(exclude_characters="\x1e", codec="utf-8")).map(lambda text: MESSAGE + text)


@given(st.lists(TEXTS | st.binary(), min_size=1))
def test_a_payload_comes_out_as_it_went_in(packets):
    assert list(decode_payload(encode_payload(map(EnginePacket, packets)))) == packets


def test_the_types_are_the_protocols():
    assert (OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP) == ("0", "1", "2", "3", "4", "5", "6")


def test_the_example_of_the_protocol():
    packets = [EnginePacket("4hello"), EnginePacket("2"), EnginePacket("4world"), EnginePacket(b"\x01\x02\x03\x04")]
    assert encode_payload(packets) == b"4hello\x1e2\x1e4world\x1ebAQIDBA=="


@pytest.mark.parametrize("body", [b"\xff", b"4a\x1e\xff", b"bA", b"b!!!!", "b€".encode(), b"bAQ=="[:-1]])
def test_a_body_that_is_no_payload_is_refused(body):
    with pytest.raises(ValueError):
        list(decode_payload(body))


def test_the_packets_before_a_bad_one_are_read():
    packets = decode_payload(b"4a\x1eb!")
    assert next(packets) == "4a"
    with pytest.raises(ValueError, match="base64"):
        next(packets)


@pytest.mark.parametrize("packet", ["4€", b"\0\xff"])
def test_a_packet_is_encoded_once_for_each_transport(packet):
    message = EnginePacket(packet)
    assert message.frame == encode_frame(packet)
    assert message.frame is message.frame
    assert message.payload is message.payload
    assert list(decode_payload(message.payload)) == [packet]
