"""Events from outside have one target, and the server's word on them."""

import time

import pytest

from webfarm import MESSAGE_ID
from webfarm.errors import BadRequest
from webfarm.socketio.external_events import create_message, get_target_room, get_user_room, parse_json


def test_a_target_is_a_room_a_user_or_everybody():
    assert get_target_room(room="lobby") == "lobby"
    assert get_target_room(user="anna") == get_user_room("anna") == "user:anna"
    assert get_target_room(everybody=True) is None


@pytest.mark.parametrize(
    "target", [{}, {"room": "a", "user": "b"}, {"room": "a", "everybody": True}, {"user": "b", "everybody": True}]
)
def test_exactly_one_target_is_needed(target):
    with pytest.raises(BadRequest, match="Exactly one of room, user and all"):
        get_target_room(**target)


@pytest.mark.parametrize("name", ["", "a" * 129, "a\nb", "\ud800", 7, ["a"]])
@pytest.mark.parametrize("kind", ["room", "user"])
def test_a_target_has_a_name_that_a_client_could_use(kind, name):
    with pytest.raises(BadRequest, match="1 to 128 characters"):
        get_target_room(**{kind: name})


def test_a_message_from_outside_is_from_nobody():
    before = time.time_ns() // 1_000_000
    event, (data, meta) = create_message("news", {"text": "hello"})
    assert (event, data) == ("news", {"text": "hello"})
    assert before <= meta.pop("at") <= time.time_ns() // 1_000_000
    assert meta == {"from": None, "sid": None, "id": MESSAGE_ID}


@pytest.mark.parametrize(("event", "has_room"), [("message", True), ("news", False)])
def test_only_a_message_names_its_room(event, has_room):
    _, (_, meta) = create_message(event, "hello", "lobby")
    assert ("room" in meta) is has_room


@pytest.mark.parametrize("event", ["", "connect", "disconnect", 7, None])
def test_an_event_has_a_name_that_a_client_can_take(event):
    with pytest.raises(BadRequest):
        create_message(event, "hello")


@pytest.mark.parametrize("text", ["", "{", "NaN", "[" * 100_000, b"\xff"], ids=range(5))
def test_a_text_that_is_no_json_is_refused(text):
    with pytest.raises(BadRequest, match="no JSON"):
        parse_json(text)
