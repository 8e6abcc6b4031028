"""Inboxes: up to where a pointer moves, by heartbeats and their answers alone."""

import pytest

from webfarm.log.inboxes import Inboxes
from webfarm.redis.keys import Keys

A, B = "{t:0}:log:/,user:a", "{t:0}:log:/,user:b"


class Recording:
    """Commands that keep the scripts they are to run."""

    def __init__(self):
        self.calls = []

    def run(self, *call):
        self.calls.append(call)


@pytest.fixture
def commands():
    return Recording()


@pytest.fixture
def inboxes(commands):
    return Inboxes(commands, Keys("t"), 60)


def get_written(inboxes, commands):
    inboxes._write_all()
    calls, commands.calls = commands.calls, []
    return {key: id for name, keys, (_, *ids) in calls for key, id in zip(keys, ids, strict=True)}


def test_a_pointer_moves_to_what_was_sent_before_an_answered_heartbeat(inboxes, commands):
    inboxes.add("one", A)
    inboxes.on_delivered(A, 10)
    inboxes.on_ping("one", 12)
    inboxes.on_delivered(A, 20)  # after the heartbeat: nobody knows whether it was received
    assert get_written(inboxes, commands) == {}
    inboxes.on_pong("one")
    assert get_written(inboxes, commands) == {"{t:0}:pointer:/,user:a": 12}
    inboxes.on_ping("one", 25)
    inboxes.on_pong("one")
    assert get_written(inboxes, commands) == {"{t:0}:pointer:/,user:a": 25}


def test_without_a_new_message_no_pointer_is_written(inboxes, commands):
    inboxes.add("one", A)
    inboxes.on_ping("one", 12)
    inboxes.on_pong("one")
    inboxes.on_delivered(B, 13)  # of an inbox without members here
    inboxes.on_ping("one", 14)
    inboxes.on_pong("one")
    assert get_written(inboxes, commands) == {}


def test_of_several_connections_the_furthest_counts(inboxes, commands):
    for eio_sid in ("one", "other"):
        inboxes.add(eio_sid, A)
    inboxes.on_delivered(A, 10)
    inboxes.on_ping("one", 30)
    inboxes.on_ping("other", 20)
    inboxes.on_pong("one")
    inboxes.on_pong("other")
    assert get_written(inboxes, commands) == {"{t:0}:pointer:/,user:a": 30}


def test_an_inbox_that_was_left_meanwhile_stays_as_it_is(inboxes, commands):
    for stream in (A, B):
        inboxes.add("one", stream)
        inboxes.on_delivered(stream, 10)
    inboxes.on_ping("one", 12)
    inboxes.remove("one", A)
    inboxes.on_pong("one")
    assert get_written(inboxes, commands) == {"{t:0}:pointer:/,user:b": 12}


def test_many_pointers_are_written_some_at_a_time(inboxes, commands):
    streams = [f"{{t:0}}:log:/,user:{number}" for number in range(1_100)]
    for number, stream in enumerate(streams):
        inboxes.add(str(number), stream)
        inboxes.on_delivered(stream, 10)
        inboxes.on_ping(str(number), 12)
        inboxes.on_pong(str(number))
    inboxes._write_all()
    assert [len(keys) for _, keys, _ in commands.calls] == [500, 500, 100]
