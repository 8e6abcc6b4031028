"""Packets and their attachments are put together for each connection by itself."""

import pytest

from webfarm.protocol.assembler import Assembler
from webfarm.protocol.packet import Packet

TEXT = '52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


@pytest.fixture
def assembler():
    return Assembler(Packet, 10)


def test_a_packet_without_attachments_is_there_at_once(assembler):
    assert assembler.add("x", '2["a"]').data == ["a"]


def test_a_packet_waits_for_its_attachments_and_holds_up_no_other_connection(assembler):
    assert assembler.add("x", TEXT) is None
    assert assembler.add("x", b"12345") is None
    assert assembler.add("y", '2["b"]').data == ["b"]
    assert assembler.add("x", b"67890").data == ["a", b"12345", b"67890"]
    assert assembler.add("x", '2["c"]').data == ["c"]


def test_attachments_have_a_limit_together(assembler):
    assembler.add("x", TEXT)
    assembler.add("x", b"12345")
    with pytest.raises(ValueError, match="large"):
        assembler.add("x", b"678901")


@pytest.mark.parametrize("data", ['2["a"]', "2"])
def test_a_text_is_no_attachment(assembler, data):
    assembler.add("x", TEXT)
    with pytest.raises(ValueError, match="text came"):
        assembler.add("x", data)


def test_bytes_that_were_not_announced_are_no_packet(assembler):
    with pytest.raises(ValueError, match="announced"):
        assembler.add("x", b"1")


def test_nothing_is_left_of_an_ended_connection(assembler):
    assembler.add("x", TEXT)
    assembler.discard("x")
    assembler.discard("y")
    assert assembler.add("x", '2["a"]').data == ["a"]
