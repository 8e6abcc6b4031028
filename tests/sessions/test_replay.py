"""A replay: which messages a client is sent, in which order, with which offsets. Nothing here does any I/O."""

import pytest

from webfarm.log.entry import Entry, encode_body
from webfarm.log.offset import decode_offset
from webfarm.protocol.engine_packet import EnginePacket
from webfarm.sessions.replay import Replay, select_messages
from webfarm.sessions.session import Session


@pytest.fixture
def session():
    session = Session("sid", "/", "", "sid.secret")
    session.epochs = ("e",)
    session.floors = {None: 0, "sid": 0, "a": 0, "b": 0}
    return session


def make_entry(id, room="a", *, skip=(), elsewhere=(), copies=()):
    body = encode_body([f'2["x",{id}]'], list(skip), list(elsewhere), list(copies))
    return Entry(id, 0, room, b"".join(body)), 0


def make_live(id, text="4live"):
    message = EnginePacket(text)
    message.id, message.shard = id, 0
    return message


def get_ids(messages):
    return [message.id for message in messages]


def test_messages_are_replayed_in_the_logs_order(session):
    found = [make_entry(3, "b"), make_entry(1), make_entry(2, "b")]
    assert get_ids(select_messages(session, found, (0,), has_offset=True)) == [1, 2, 3]


def test_a_message_that_skips_the_client_is_not_replayed(session):
    found = [make_entry(1, skip=["sid"]), make_entry(2, skip=["another"])]
    assert get_ids(select_messages(session, found, (0,), has_offset=True)) == [2]


def test_of_an_emit_to_several_rooms_a_member_gets_one_copy(session):
    found = [make_entry(1, "a"), make_entry(2, "b", elsewhere=["a"])]
    assert get_ids(select_messages(session, found, (0,), has_offset=True)) == [1]


def test_a_copy_before_the_floor_was_not_sent_so_the_next_is(session):
    session.floors["a"] = 1
    found = [make_entry(2, "b", elsewhere=["a"])]
    assert get_ids(select_messages(session, found, (0,), has_offset=True)) == [2]


def test_live_messages_are_merged_and_none_is_sent_twice():
    replay = Replay([make_live(1), make_live(3)], (3,), (0,), None)
    assert get_ids(replay.merge([make_live(3), make_live(2), make_live(4)])) == [1, 3, 4]


def test_a_message_that_is_not_in_the_log_stays_behind_those_that_it_came_after():
    replay = Replay([make_live(1), make_live(5)], (0,), (0,), None)
    assert get_ids(replay.merge([make_live(3), make_live(0), make_live(6)])) == [1, 3, 0, 5, 6]


def test_a_client_that_missed_nothing_gets_what_was_held_as_it_is():
    held = [make_live(2), make_live(1)]
    assert Replay().merge(held) is held


def test_offsets_only_rise(session):
    messages = select_messages(session, [make_entry(7), make_entry(9)], (8,), has_offset=True)
    offsets = []
    for message in Replay(messages, (9,), (8,), ("e",)).merge([]):
        text = message.payload if isinstance(message.payload, str) else message.payload.decode()
        offsets.append(decode_offset(text.rpartition(',"')[2].removesuffix('"]'), ("e",)))
    assert offsets == [(8,), (9,)]
