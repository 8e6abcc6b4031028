"""A Socket.IO packet is what its type says, within bounds, or it is refused."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from webfarm.protocol.packet import (
    MAX_ATTACHMENTS,
    MAX_DEPTH,
    MAX_VALUES,
    Packet,
    check_event,
    is_too_deep,
    list_arguments,
)

RESERVED = ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
NAMES = st.text(min_size=1).filter(lambda name: name not in RESERVED)
PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
DATA = st.recursive(
    PLAIN | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def decode(text, *attachments):
    pkt = Packet(encoded_packet=text)
    done = [pkt.add_attachment(attachment) for attachment in attachments]
    assert done == [False] * (len(attachments) - 1) + [True] * bool(attachments)
    return pkt


@given(NAMES, st.lists(DATA, max_size=3), st.none() | st.integers(0, 10**15), st.sampled_from([None, "/", "/a"]))
def test_an_event_comes_out_as_it_went_in(name, arguments, number, namespace):
    sent = Packet(2, [name, *arguments], namespace=namespace, id=number)
    parts = sent.encode_parts()
    assume(len(parts) <= 1 + MAX_ATTACHMENTS)
    received = decode(*parts)
    assert received.data == [name, *arguments]
    assert (received.id, received.namespace or "/") == (number, namespace or "/")
    assert received.size == sum(map(len, parts))


@given(st.text() | st.binary())
def test_any_input_is_a_packet_or_is_refused(data):
    try:
        pkt = Packet(encoded_packet=data)
    except (ValueError, RecursionError):
        return
    assert pkt.packet_type in range(7)


@pytest.mark.parametrize(
    ("text", "kind", "namespace", "number", "data"),
    [
        ("0", 0, None, None, None),
        ('0/admin,{"token":"x"}', 0, "/admin", None, {"token": "x"}),
        ("0/admin?a=1,", 0, "/admin", None, None),
        ("1", 1, None, None, None),
        ('2["a"]', 2, None, None, ["a"]),
        ('27["a",1]', 2, None, 7, ["a", 1]),
        ('2/x,12["a"]', 2, "/x", 12, ["a"]),
        ("33[]", 3, None, 3, []),
    ],
)
def test_the_parts_of_a_packet(text, kind, namespace, number, data):
    pkt = Packet(encoded_packet=text)
    assert (pkt.packet_type, pkt.namespace, pkt.id, pkt.data) == (kind, namespace, number, data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "x",
        b"bytes",
        "2",
        "2{}",
        "2[]",
        "2[1]",
        '2["disconnect"]',
        '2["a"',
        "2[NaN]",
        "0[]",
        "07{}",
        "1{}",
        "3[]",
        "31{}",
        '5["a"]',
        '50-["a"]',
        '511-["a"]',
        '51-["a"]',
        '51-["a",{"_placeholder":true,"num":1}]',
        '51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]',
        '51-["a",{"_placeholder":1,"num":0}]',
        '51-["a",{"_placeholder":true,"num":true}]',
        "2/" + "x" * 300 + ',["a"]',
        '2["a",' + "[" * 100_000,
        '2["a",' + ",".join("1" * MAX_VALUES) + "]",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_no_packet(text):
    with pytest.raises((ValueError, RecursionError)):
        Packet(encoded_packet=text)


def test_an_announced_attachment_can_not_be_a_text():
    pkt = Packet(encoded_packet='51-["a",{"_placeholder":true,"num":0}]')
    with pytest.raises(ValueError, match="attachment"):
        pkt.add_attachment("text")


def test_attachments_take_the_places_of_their_numbers():
    text = '52-["a",{"x":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]'
    assert decode(text, b"first", b"second").data == ["a", {"x": b"second"}, b"first"]


def test_commas_and_brackets_in_strings_are_no_values():
    text = ",[" * MAX_VALUES
    assert Packet(encoded_packet=f"2{json.dumps(['a', text])}").data == ["a", text]


def test_an_event_that_no_client_could_take_is_refused():
    check_event("a", ({"b": [1]}, None))
    for event in ("", 1, None, "connect"):
        with pytest.raises(ValueError, match="name"):
            check_event(event, None)
    deep = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(ValueError, match="deep"):
        check_event("a", deep)
    with pytest.raises(ValueError, match="values"):
        check_event("a", [[]] * MAX_VALUES)


def test_depth():
    value = nested = []
    for _ in range(MAX_DEPTH - 1):
        nested.append({"a": []})
        nested = nested[0]["a"]
    assert is_too_deep(value)
    assert not is_too_deep([1, {"a": [2]}])


def test_arguments():
    assert [list_arguments(data) for data in (None, 1, [1], (1, [2]), ())] == [[], [1], [[1]], [1, [2]], []]
