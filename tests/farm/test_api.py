"""The HTTP API, on two workers."""

import json
import uuid

import pytest
import requests

from tests.kit.clients import Client, opening
from webfarm.testing import starting_workers, wait_until

KEY = "the key of the API"
TOO_DEEP = "[" * 300 + "]" * 300


@pytest.fixture(scope="module")
def two_workers(redis_server):
    settings = {"WEBFARM_API_KEY": KEY, "WEBFARM_MAX_MESSAGE_BYTES": "200000"}
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX="api", **settings)


@pytest.fixture
def client():
    """Opens clients, which end with the test."""
    with opening(Client) as open_client:
        yield open_client


def name():
    return uuid.uuid4().hex[:11]


def post(url, body, key=KEY, **headers):
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return requests.post(f"{url}/api/emit", data=data, headers={"Authorization": f"Bearer {key}"} | headers, timeout=10)


def test_the_api_stores_and_tells_id_and_nodes(two_workers, client):
    room, clients = name(), [client(url, name()) for url in two_workers.urls]
    for one in clients:
        one.call("join", {"room": room})
    answer = post(two_workers.urls[0], {"event": "news", "data": [1], "room": room})
    assert (answer.status_code, answer.json()) == (200, {"id": answer.json()["id"], "nodes": 2})
    for one in clients:
        [[data, meta, _]] = one.get(1, "news")
        assert (data, meta["from"], meta["id"]) == ([1], None, answer.json()["id"])


def test_the_api_reaches_a_user_everybody_and_a_room_that_nobody_is_in(two_workers, client):
    user = name()
    a, b = client(two_workers.urls[0], user), client(two_workers.urls[1], name())
    assert post(two_workers.urls[1], {"event": "mine", "data": 1, "user": user}).json()["nodes"] == 1
    assert post(two_workers.urls[1], {"event": "ours", "data": 2, "all": True}).json()["nodes"] == 2
    assert post(two_workers.urls[1], {"event": "mine", "data": 3, "room": name()}).json()["nodes"] == 0
    for one in (a, b):
        assert one.get(1, "ours")[0][0] == 2
    assert [args[0] for args in a.get(1, "mine")] == [1]
    assert b.get(0, "mine") == []


GOOD = {"event": "news", "data": 1, "room": "a"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "bad_request"),
        ("{", 400, "bad_request"),
        (b"\xff\xfe", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        ("null", 400, "bad_request"),
        ('{"event": "news", "data": NaN, "room": "a"}', 400, "bad_request"),
        ('{"event": "news", "data": 1e999, "room": "a"}', 400, "bad_request"),
        (f'{{"event": "news", "data": {TOO_DEEP}, "room": "a"}}', 400, "bad_request"),
        ("[" * 100_000, 400, "bad_request"),
        (f'{{"event": "news", "data": [{"0," * 65_536}0], "room": "a"}}', 400, "bad_request"),
        ({"event": "news", "data": 1}, 400, "bad_request"),
        ({"event": "news", "room": "a"}, 400, "bad_request"),
        ({"data": 1, "room": "a"}, 400, "bad_request"),
        (GOOD | {"user": "b"}, 400, "bad_request"),
        (GOOD | {"all": True}, 400, "bad_request"),
        (GOOD | {"all": 1}, 400, "bad_request"),
        (GOOD | {"volatile": True}, 400, "bad_request"),
        (GOOD | {"room": 1}, 400, "bad_request"),
        (GOOD | {"room": ["a"]}, 400, "bad_request"),
        (GOOD | {"room": "a" * 129}, 400, "bad_request"),
        (GOOD | {"room": "\ud800"}, 400, "bad_request"),
        (GOOD | {"event": "disconnect"}, 400, "bad_request"),
        (GOOD | {"event": "connect_error"}, 400, "bad_request"),
        (GOOD | {"event": ""}, 400, "bad_request"),
        (GOOD | {"event": ["news"]}, 400, "bad_request"),
        (GOOD | {"data": "x" * 200_000}, 413, "too_large"),
    ],
    ids=range(26),
)  # fmt: skip
def test_bad_input_to_the_api_is_refused_in_one_sentence(two_workers, body, status, code):
    answer = post(two_workers.urls[0], body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message"}


def test_a_body_without_a_length_is_read_up_to_the_limit(two_workers):
    def send(parts):
        headers = {"Authorization": f"Bearer {KEY}"}
        return requests.post(f"{two_workers.urls[0]}/api/emit", data=iter(parts), headers=headers, timeout=10)

    assert send([b'{"event": "news", ', b'"data": 1, "room": "a"}']).status_code == 200
    answer = send([b"x" * 100_000] * 3)
    assert answer.status_code == 413, answer.text


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xff"]
)
def test_without_the_key_everything_is_refused(two_workers, authorization):
    answer = post(two_workers.urls[0], "{", Authorization=authorization.encode("latin-1"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    assert KEY not in answer.text


def test_neither_the_key_nor_what_was_given_for_it_is_logged(two_workers):
    post(two_workers.urls[0], "{", key="a secret of somebody's")
    assert "address=127.0.0.1" in two_workers.wait_for_line("api: wrong key")
    assert KEY not in two_workers.output
    assert "a secret" not in two_workers.output


def test_without_a_key_there_is_no_api(workers):
    assert post(workers(1).urls[0], GOOD).status_code == 404


def test_while_redis_is_away_the_api_says_503(workers, own_redis):
    own_redis.start()
    process = workers(1, url=own_redis.url, WEBFARM_API_KEY=KEY)
    own_redis.close()
    answer = post(process.urls[0], GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    own_redis.start()
    wait_until(lambda: post(process.urls[0], GOOD).status_code == 200, "the API to store again")
