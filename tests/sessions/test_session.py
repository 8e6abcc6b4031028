"""A session's record: what Redis keeps of it, and how it is read. Nothing here does any I/O."""

import pytest

from webfarm.errors import Unavailable
from webfarm.sessions.session import Session, Taken, check_refusal, get_field


def make_session(shards=1):
    session = Session("sid", "/", "owner", "sid.secret")
    session.user, session.epochs, session.received = "anna", ("e",) * shards, (0,) * shards
    session.floors = {None: 5, "sid": 6, "lobby": 7}
    session.inboxes, session.data, session.expires_ms = ("user:anna",), {"seen": [1, 2]}, 99
    return session


def write_and_read(session, shards):
    fields = {**session.get_fields("node"), "epoch": "e"}
    items = [part if isinstance(part, bytes) else str(part).encode() for field in fields.items() for part in field]
    return Session.from_fields(session.sid, items, shards)


@pytest.mark.parametrize("shards", [1, 8])
def test_a_session_is_read_as_it_was_written(shards):
    session = make_session(shards)
    session.received = tuple(range(10, 10 + shards))
    read = write_and_read(session, shards)
    names = [name for name in Session.__slots__ if name not in ("is_written", "pinged", "began", "eio_sid")]
    assert {name: getattr(read, name) for name in names} == {name: getattr(session, name) for name in names}
    assert read.is_written


def test_a_session_of_one_shard_has_the_same_values_in_each_of_more():
    session = make_session()
    session.received = (12,)
    read = write_and_read(session, 3)
    assert (read.epochs, read.received) == (("e",) * 3, (12,) * 3)


def test_a_session_of_the_release_before_has_no_user_and_has_received_nothing():
    fields = {
        "pid": "p",
        "namespace": "/",
        "owner": "",
        "generation": "2",
        "epoch": "e",
        "data": "null",
        "inboxes": "[]",
    }
    read = Session.from_fields("sid", [part.encode() for field in fields.items() for part in field], 1)
    assert (read.user, read.received, read.expires_ms, read.generation) == ("", (0,), 0, 2)


def test_a_room_cannot_have_the_field_of_all_clients():
    assert get_field(None) != get_field("") != get_field("floor")
    assert len({get_field(room) for room in (None, "", "floor", "floor:")}) == 4


def test_a_client_has_received_what_was_sent_before_the_heartbeat_that_it_answered():
    session = make_session(2)
    session.on_ping((20, 30))
    assert session.received == (0, 0)
    session.on_pong()
    assert (session.received, session.pinged) == ((20, 30), ())
    session.on_ping((10, 40))  # a shard whose log began again
    session.on_pong()
    assert session.received == (20, 40)


def test_an_epoch_is_set_in_its_shard_alone():
    session = make_session(3)
    session.set_epoch(1, "later")
    assert session.epochs == ("e", "later", "e")


@pytest.mark.parametrize(("refusal", "is_ended"), [(b"taken", False), (b"ended", True)])
def test_a_refused_write_says_whether_the_session_was_taken_or_ended(refusal, is_ended):
    session = make_session()
    with pytest.raises(Taken) as caught:
        check_refusal(session, refusal)
    assert caught.value.session is session
    assert session.is_ended is is_ended


@pytest.mark.parametrize("refusal", [b"", b"missing"])
def test_a_write_that_is_not_refused_raises_nothing(refusal):
    check_refusal(make_session(), refusal)


def test_a_handler_of_a_taken_session_ends():
    session = make_session()
    session.check()
    session.is_taken = True
    with pytest.raises(Unavailable):
        session.check()
