"""Who may join which room, post there and read it: with a token that names it, an invitation, or neither."""

import json
import time
import uuid

import jwt
import pytest
import redis

from tests.kit.clients import Client, name, opening
from tests.kit.offsets import get_keys
from webfarm.testing import starting_workers, wait_until

SECRET = "s" * 32


@pytest.fixture(scope="module")
def secret_workers(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX="rights", WEBFARM_SECRET=SECRET)


@pytest.fixture
def client(secret_workers):
    """Opens clients with a token that names rooms; they end with the test."""

    def open_client(user, *rooms, worker=0, **auth):
        claims = {"sub": user, "exp": time.time() + 60} | ({"rooms": rooms} if rooms else {})
        return open_any(secret_workers.urls[worker], token=jwt.encode(claims, SECRET), **auth)

    with opening(Client) as open_any:
        yield open_client


@pytest.fixture
def room():
    return f"private:{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def open_workers(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX="open-rights")


@pytest.fixture
def open_client(open_workers):
    """Opens clients in open mode; they end with the test."""
    with opening(Client) as open_any:
        yield lambda user, worker=0, **auth: open_any(open_workers.urls[worker], user, **auth)


def get_code(answer):
    return answer.get("error", {}).get("code", "ok")


def test_a_private_room_is_for_those_whose_token_names_it(client, room):
    insider, outsider = client(name(), "private:other", room), client(name(), "private:other", worker=1)
    assert insider.call("join", {"room": room})["ok"]
    stored = insider.call("message", {"room": room, "n": 1})
    assert stored["ok"]
    assert insider.call("history", {"room": room})["messages"][0]["id"] == stored["id"]
    assert get_code(outsider.call("join", {"room": room})) == "forbidden"
    assert get_code(outsider.call("message", {"room": room})) == "not_in_room"
    assert get_code(outsider.call("typing", {"room": room})) == "not_in_room"
    assert get_code(outsider.call("history", {"room": room})) == "not_in_room"
    assert get_code(outsider.call("invite", {"room": room, "userId": "x"})) == "not_in_room"
    assert get_code(outsider.call("privateMessage", {"to": room})) == "no_recipient"


def test_rooms_of_other_names_are_open(client):
    assert client(name()).call("join", {"room": f"privat:{name()}"})["ok"]


def test_a_member_lets_somebody_in_on_any_worker_and_nobody_else(client, room):
    invited, other = name(), name()
    insider, guest = client(name(), room), client(invited, worker=1)
    assert get_code(insider.call("invite", {"room": room, "userId": invited})) == "not_in_room"
    insider.call("join", {"room": room})
    assert insider.call("invite", {"room": room, "userId": invited}) == {"ok": True, "room": room}
    assert guest.call("join", {"room": room})["ok"]
    assert guest.call("message", {"room": room, "n": 1})["ok"]
    assert insider.get(1)[0][0]["n"] == 1
    assert get_code(client(other).call("join", {"room": room})) == "forbidden"
    assert get_code(guest.call("join", {"room": room + "x"})) == "forbidden"


def test_an_invitation_is_kept_for_the_historys_time(client, room, redis_server):
    insider, invited = client(name(), room), name()
    insider.call("join", {"room": room})
    insider.call("invite", {"room": room, "userId": invited})
    key, invitation = get_keys("rights", invited).notes(invited), f"invitation:{room}"
    with redis.Redis.from_url(redis_server.url) as server:
        assert 86_000_000 < server.pttl(key) <= 86_400_000
        assert server.zscore(key, invitation) / 1000 == pytest.approx(time.time() + 86_400, abs=20)
        server.zadd(key, {invitation: int(time.time() * 1000) + 10_000})
        assert client(invited).call("join", {"room": room})["ok"]
        assert server.zscore(key, invitation) / 1000 == pytest.approx(time.time() + 86_400, abs=20)
        server.zadd(key, {invitation: int(time.time() * 1000) - 1})
    assert get_code(client(invited).call("join", {"room": room})) == "forbidden"


def test_with_tokens_nobody_opens_a_room_by_being_first(client, room):
    for worker in (0, 1):
        assert get_code(client(name(), worker=worker).call("join", {"room": room})) == "forbidden"


def test_in_open_mode_the_first_to_come_opens_a_private_room_and_lets_others_in(open_client, room):
    first, second, invited = name(), name(), name()
    opener, other, guest = open_client(first), open_client(second, 1), open_client(invited, 1)
    assert opener.call("join", {"room": room})["ok"]
    assert get_code(other.call("join", {"room": room})) == "forbidden"
    assert opener.call("invite", {"room": room, "userId": invited})["ok"]
    assert guest.call("join", {"room": room})["ok"]
    assert guest.call("message", {"room": room})["ok"]
    for one in (opener, guest):
        assert one.call("leave", {"room": room})["ok"]
    assert get_code(other.call("join", {"room": room})) == "forbidden"
    assert opener.call("join", {"room": room})["ok"]
    opener.cut()
    assert open_client(first, 1, pid=opener.pid).call("message", {"room": room})["ok"]


def test_of_many_who_come_first_at_once_one_opens_the_room(open_client, room):
    clients = [open_client(name(), number % 2) for number in range(10)]
    for one in clients:
        one.socket.send("421" + json.dumps(["join", {"room": room}]))
    for one in clients:
        one.wait(lambda one=one: one.acks)
    codes = [get_code(one.acks[1][0]) for one in clients]
    assert sorted(codes) == ["forbidden"] * 9 + ["ok"]


@pytest.mark.parametrize("held_by", ["a member", "its messages"])
def test_a_room_is_not_opened_again_as_long_as_somebody_is_in_there_or_something_is_stored(
    open_client, redis_server, room, held_by
):
    opener, other = open_client(name()), open_client(name(), 1)
    assert opener.call("join", {"room": room})["ok"]
    assert opener.call("who", {"room": room})["ok"]  # what it tells is known to all workers
    if held_by == "its messages":
        assert opener.call("message", {"room": room})["ok"]
        assert opener.call("leave", {"room": room})["ok"]
    with redis.Redis.from_url(redis_server.url) as server:
        server.delete(get_keys("open-rights", f"opened:{room}").note(f"opened:{room}"))  # as when its time is over
        assert get_code(other.call("join", {"room": room})) == "forbidden"
        if held_by == "a member":
            assert opener.call("leave", {"room": room})["ok"]
        else:
            server.delete(get_keys("open-rights", room).stream("/", room))
    wait_until(lambda: other.call("join", {"room": room})["ok"], "the room to be nobody's")


@pytest.mark.parametrize(
    "data", [None, {}, {"room": "private:a"}, {"room": "private:a", "userId": ""}, {"room": "common", "userId": "x"}]
)
def test_an_invitation_that_is_none_is_refused(client, data):
    assert get_code(client(name()).call("invite", data)) == "bad_request"


@pytest.mark.parametrize("worker", [0, 1], ids=["the same worker", "the other worker"])
def test_a_client_that_is_back_is_only_where_it_may_still_be_and_gets_nothing_of_the_rest(client, worker):
    user, kept, lost = name(), f"private:{name()}", f"private:{name()}"
    first, other = client(user, kept, lost), client(name(), kept, lost, worker=1)
    for one in (first, other):
        for room in (kept, lost):
            assert one.call("join", {"room": room})["ok"]
    first.cut()
    for room in (lost, kept):
        assert other.call("message", {"room": room})["ok"]
    again = client(user, kept, worker=worker, pid=first.pid)
    assert again.sid == first.sid
    assert again.call("message", {"room": kept})["ok"]
    assert [args[0]["room"] for args in again.get(2)] == [kept, kept]
    for event in ("message", "history"):
        assert get_code(again.call(event, {"room": lost})) == "not_in_room"
    assert get_code(again.call("join", {"room": lost})) == "forbidden"
    again.cut()
    once_more = client(user, kept, lost, worker=worker, pid=first.pid, offset=again.get(2)[1][-1])
    assert once_more.sid == first.sid
    assert get_code(once_more.call("message", {"room": lost})) == "not_in_room"
    assert once_more.call("join", {"room": lost})["ok"]


def test_an_invited_client_that_is_back_is_in_its_room_again(client, room):
    insider, invited = client(name(), room), name()
    insider.call("join", {"room": room})
    insider.call("invite", {"room": room, "userId": invited})
    guest = client(invited)
    guest.call("join", {"room": room})
    guest.cut()
    insider.call("message", {"room": room, "n": 1})
    again = client(invited, worker=1, pid=guest.pid)
    assert [args[0]["n"] for args in again.get(1)] == [1]
    assert again.call("message", {"room": room, "n": 2})["ok"]


def test_a_token_that_names_more_lets_its_client_into_more_when_it_is_back(client, room):
    user = name()
    first = client(user)
    assert get_code(first.call("join", {"room": room})) == "forbidden"
    first.cut()
    again = client(user, room, worker=1, pid=first.pid)
    assert again.sid == first.sid
    assert again.call("join", {"room": room})["ok"]
