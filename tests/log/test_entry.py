"""Bodies of the log: what a message was comes back from them, and its id and offset are put where they belong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webfarm.log.entry import MESSAGE_ID, Body, decode_body, encode_body, make_messages, put_offset

texts = st.text(st.characters(exclude_categories=["Cs"]))
rooms = st.lists(st.one_of(st.none(), texts), max_size=3)


@given(
    texts, st.lists(st.binary(), max_size=3), st.lists(texts, max_size=3), rooms, st.lists(st.tuples(texts, st.just(7)))
)
def test_a_body_comes_back_as_it_was(text, attachments, skip, elsewhere, copies):
    encoded = b"".join(encode_body([text, *attachments], skip, elsewhere, copies))
    found = decode_body(encoded)
    assert found.text == text
    assert found.attachments == attachments
    assert list(found.skip) == skip
    assert list(found.elsewhere) == elsewhere
    assert [tuple(copy) for copy in found.copies] == copies


def test_a_body_has_two_halves_where_its_id_is_to_stand():
    first, second = encode_body([f'2["message",{{"id":"{MESSAGE_ID}"}}]'])
    assert decode_body(first + b"17" + second).text == '2["message",{"id":"17"}]'
    assert encode_body(['2["message"]']) == (b'\n2["message"]', b"")


@pytest.mark.parametrize("body", [b"{\n2[]", b"none\n2[]", b"\xff\n2[]", b'\n\xff"'])
def test_what_is_no_body_is_refused(body):
    with pytest.raises(ValueError):
        decode_body(body)


def test_the_offset_is_the_last_argument_and_can_be_replaced():
    body = Body('51-["message",{"_placeholder":true,"num":0}]', [b"bytes"])
    text, attachment = make_messages(body, 3, 17, "e.17")
    assert text.packet == '451-["message",{"_placeholder":true,"num":0},"e.17"]'
    assert attachment.packet == b"bytes"
    assert [(one.shard, one.id) for one in (text, attachment)] == [(3, 17)] * 2
    changed = put_offset(text, "e.18")
    assert json.loads(changed.packet[4:])[-1] == "e.18"
    assert (changed.shard, changed.id) == (3, 17)
    assert put_offset(attachment, "e.18") is attachment


def test_without_an_offset_a_message_is_as_it_was_sent():
    [message] = make_messages(Body('2["message",1]'), 0, 1, None)
    assert message.packet == '42["message",1]'
