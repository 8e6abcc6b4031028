"""The chat's events, seen by the stock JavaScript client on two workers without HAProxy in between."""

import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import requests

from webfarm.auth import create_token
from webfarm.testing import get_status, starting_workers, wait_until

WEBSOCKET = {"transports": ["websocket"]}


@pytest.fixture(scope="module")
def two_workers(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX="webfarm")


@pytest.fixture
def pair(two_workers, node):
    """Clients ``a`` (user anna) and ``b`` (user bob) on different workers; returns the workers and their connections."""
    process = two_workers
    a = node.connect("a", process.urls[0], query={"userId": "anna"}, **WEBSOCKET)
    b = node.connect("b", process.urls[1], query={"userId": "bob"}, **WEBSOCKET)
    yield process, a, b
    for name in ("a", "b"):
        node.close(name)
    for connection in (a, b):
        process.wait_for_line(f"disconnect sid={connection['sid']}")


def test_a_message_goes_to_common_sender_included(pair, node):
    _, a, _ = pair
    answer = node.call("a", "message", "hello")
    assert answer == {"ok": True, "id": answer["id"]}
    for name in "ab":
        [[data, meta]] = node.wait_for(name, "message")
        assert data == "hello"
        assert meta == {
            "from": "anna",
            "sid": a["sid"],
            "room": "common",
            "at": meta["at"],
            "id": answer["id"],
        }
        assert abs(meta["at"] / 1000 - time.time()) < 30


@pytest.mark.parametrize(
    "data",
    [
        None, True, 0, -1.5, 1e21, "", "grüße 🎈 \u0000 <b>", [], [[1], {}], {}, {"a": {"b": [None]}}, {"text": "x", "to": 5},
        {"_placeholder": True, "num": 0},
    ],
)  # fmt: skip
def test_data_arrives_exactly_as_sent(pair, node, data):
    assert node.call("a", "broadcast", data)["ok"]
    assert node.wait_for("b", "broadcast")[0][0] == data


def test_lone_surrogates_survive(pair, node):
    assert node.call("a", "message", "\ud800x")["ok"]
    assert node.wait_for("b", "message")[0][0] == "\ud800x"


def test_binary_attachments_survive(pair, node):
    data = {"file": {"hex": "00ff10"}, "more": [{"hex": ""}, "text"]}
    assert node.call("a", "message", data, binary=True)["ok"]
    for name in "ab":
        assert node.wait_for(name, "message")[0][0] == data


def test_a_private_message_to_a_socket_on_another_worker(pair, node):
    _, a, b = pair
    answer = node.call("a", "privateMessage", {"to": b["sid"], "text": "psst"})
    assert answer == {"ok": True, "id": answer["id"], "nodes": 1}
    [[data, meta]] = node.wait_for("b", "privateMessage")
    assert data == {"to": b["sid"], "text": "psst"}
    assert meta == {"from": "anna", "sid": a["sid"], "at": meta["at"], "id": answer["id"]}
    node.call("b", "privateMessage", {"to": a["sid"]})
    node.wait_for("a", "privateMessage")
    assert len(node.get("a", "privateMessage")) == len(node.get("b", "privateMessage")) == 1


def test_a_private_message_to_a_user_reaches_all_of_its_sockets(pair, node):
    process, _, _ = pair
    for name, url in (("b2", process.urls[0]), ("b3", process.urls[1])):
        node.connect(name, url, query={"userId": "bob"}, **WEBSOCKET)
    assert node.call("a", "privateMessage", {"toUser": "bob"})["nodes"] == 2
    for name in ("b", "b2", "b3"):
        node.wait_for(name, "privateMessage")
    assert node.get("a", "privateMessage") == []


def test_rooms_are_joined_posted_to_and_left(pair, node):
    for name in "ab":
        assert node.call(name, "join", {"room": "Räume 7"}) == {"ok": True, "room": "Räume 7"}
    assert node.call("a", "message", {"room": "Räume 7", "n": 1})["ok"]
    assert node.wait_for("b", "message")[0][1]["room"] == "Räume 7"
    assert node.call("b", "leave", {"room": "Räume 7"}) == {"ok": True, "room": "Räume 7"}
    assert node.call("a", "message", {"room": "Räume 7", "n": 2})["ok"]
    assert node.call("a", "message", "last")["ok"]
    wait_until(lambda: len(node.get("b", "message")) == 2, "the last message")
    assert [args[0] for args in node.get("b", "message")] == [{"room": "Räume 7", "n": 1}, "last"]


def test_who_is_typing_is_told_to_the_others_of_a_room_or_to_one_user_and_not_stored(pair, node):
    for name in "ab":
        assert node.call(name, "join", {"room": "study"})["ok"]
    assert node.call("a", "typing", {"room": "study"}) == {"ok": True}
    assert node.wait_for("b", "typing") == [{"userId": "anna", "room": "study"}]
    assert node.call("b", "typing", {"toUser": "anna"}) == {"ok": True}
    assert node.wait_for("a", "typing") == [{"userId": "bob", "toUser": "anna"}]
    assert node.call("a", "history", {"room": "study"})["messages"] == []
    assert len(node.get("a", "typing")) == len(node.get("b", "typing")) == 1


def test_who_types_all_the_time_is_told_no_more_often_than_helps(pair, node):
    for _ in range(30):
        assert node.call("a", "typing", {"room": "common"}) == {"ok": True}
    assert node.call("a", "message", "last")["ok"]
    node.wait_for("b", "message")
    assert 1 <= len(node.get("b", "typing")) < 15


def test_both_workers_see_one_order(pair, node):
    count = 200
    for number in range(count):
        node.emit("ab"[number % 2], "message", number)
    orders = [[args[0] for args in node.wait_for(name, "message", count)] for name in "ab"]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(count))
    assert [n for n in orders[0] if n % 2 == 0] == list(range(0, count, 2))


BAD_ROOMS = [
    {},
    {"room": ""},
    {"room": "x" * 129},
    {"room": 5},
    {"room": None},
    {"room": ["x"]},
    {"room": "a\nb"},
    {"room": "\u0085"},
]


@pytest.mark.parametrize(
    ("event", "data", "code"),
    [
        *(("join", data, "bad_request") for data in [None, "room", 5, [], *BAD_ROOMS]),
        *(("leave", data, "bad_request") for data in ["room", *BAD_ROOMS]),
        *(("message", data, "bad_request") for data in BAD_ROOMS[1:]),
        *(("privateMessage", data, "bad_request") for data in [None, "x", {}, {"to": "a", "toUser": "b"}, {"to": 5}, {"to": ""}]),
        *(("typing", data, "bad_request") for data in [None, "x", {"toUser": 5}, {"toUser": "a", "to": "b"}, *BAD_ROOMS]),
        ("message", {"room": "never joined"}, "not_in_room"),
        ("typing", {"room": "never joined"}, "not_in_room"),
        ("typing", {"room": "user:bob"}, "forbidden"),
        ("typing", {"room": "*"}, "forbidden"),
        ("privateMessage", {"to": "nobody"}, "no_recipient"),
        ("privateMessage", {"to": "common"}, "no_recipient"),
        ("privateMessage", {"to": "user:bob"}, "no_recipient"),
        ("join", {"room": "user:bob"}, "forbidden"),
        ("message", {"room": "user:bob"}, "forbidden"),
        ("leave", {"room": "user:anna"}, "forbidden"),
        ("leave", {"room": "*"}, "forbidden"),
        ("join", {"room": "*"}, "forbidden"),
        ("message", {"room": "*"}, "forbidden"),
        ("dance", {}, "bad_request"),
    ],
)  # fmt: skip
def test_a_bad_event_is_refused_and_the_worker_lives(pair, node, event, data, code):
    answer = node.call("a", event, data)
    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert re.fullmatch(r"[A-Z].+\.", answer["error"]["message"])
    assert node.call("a", "message", "still here")["ok"]


def test_a_sockets_own_room_is_nobody_elses(pair, node):
    _, _, b = pair
    for event in ("join", "message"):
        assert node.call("a", event, {"room": b["sid"]})["error"]["code"] == "forbidden"


@pytest.mark.parametrize("args", [[], ["a", "b"]])
def test_another_number_of_arguments_is_refused(pair, node, args):
    assert node.call("a", "message", *args)["error"] == {
        "code": "bad_request",
        "message": "The event 'message' takes 1 argument.",
    }


def test_one_can_be_in_so_many_rooms(workers, node):
    process = workers(1, WEBFARM_MAX_ROOMS_PER_CLIENT="3")
    node.connect("a", process.urls[0])
    for room in "xyz":
        assert node.call("a", "join", {"room": room})["ok"]
    assert node.call("a", "join", {"room": "x"})["ok"]
    assert node.call("a", "join", {"room": "one more"})["error"]["code"] == "too_many_rooms"
    assert node.call("a", "leave", {"room": "x"})["ok"]
    assert node.call("a", "join", {"room": "one more"})["ok"]


def test_one_who_has_left_is_no_recipient(pair, node):
    _, a, _ = pair
    node.close("a")
    wait_until(
        lambda: node.call("b", "privateMessage", {"to": a["sid"]}).get("error", {}).get("code") == "no_recipient",
        "a to be gone",
    )
    assert node.call("b", "privateMessage", {"toUser": "anna"})["nodes"] == 0


def test_connects_and_disconnects_are_logged(pair, node):
    process, a, _ = pair
    port, pid = process.ports[0], process.get_worker(process.ports[0])
    who, where = f"sid={a['sid']} user=anna address=127.0.0.1", rf"node=\S+:{port} process={pid}$"
    line = process.wait_for_line(f"connect sid={a['sid']}")
    assert re.search(rf"connect {who} connection=\S+ transport=websocket recovered=false {where}", line)
    node.close("a")
    line = process.wait_for_line(f"disconnect sid={a['sid']}")
    assert re.search(rf"disconnect {who} connection=\S+ reason='client disconnect' {where}", line)


def test_a_bad_user_id_is_a_connect_error_with_a_code(workers, node):
    process = workers(1)
    node.open("a", process.urls[0], query={"userId": "x" * 200})
    error = node.wait_for("a", "connect_error")[0]
    assert error["data"]["code"] == "bad_request"
    assert error["message"].startswith("userId must be given once")


def test_tokens(workers, node):
    secret = "k" * 32
    process = workers(1, WEBFARM_SECRET=secret)
    node.open("a", process.urls[0], query={"userId": "anna"})
    assert node.wait_for("a", "connect_error")[0]["data"]["code"] == "unauthorized"
    token = create_token("bob", secret, 60)
    node.connect("b", process.urls[0], auth={"token": token})
    node.call("b", "message", "hi")
    assert node.wait_for("b", "message")[0][1]["from"] == "bob"
    assert token not in process.output and secret not in process.output


def test_an_event_that_is_none_closes_only_its_sender(pair, node, raw_client):
    process, _, _ = pair
    for text in (
        "x",
        "",
        "4",
        "4" + "[" * 5000,
        "42{}",
        "42[]",
        "42[5]",
        '42["disconnect"]',
        '42["connect",{}]',
        '42["message",NaN]',
    ):
        raw = raw_client(process.urls[0])
        raw.send(text)
        assert raw.receive_until_closed()
    assert node.call("a", "message", "still here")["ok"]
    assert node.get("a", "disconnect") == []


BAD_ATTACHMENTS = [
    ['451-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', b"x"],  # one, named twice
    ['451-["message",{"_placeholder":true,"num":1}]', b"x"],
    [
        '451-["message",{"_placeholder":true,"num":0},{"_placeholder":1,"num":0}]',
        b"x",
    ],  # stock replaces what is true-like
    ['451-["message",{"_placeholder":true,"num":-1}]', b"x"],
    ['451-["message",1]', b"x"],
    ['450-["message",1]'],
    ["4511-[" + '"message"' + ',{"_placeholder":true,"num":0}' * 11 + "]"],
    ['451-["message",{"_placeholder":true,"num":0}]', '42["message","a text"]'],
    ['452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"x" * 600_000, b"x" * 600_000],
    [b"out of the blue"],
]


@pytest.mark.parametrize("frames", BAD_ATTACHMENTS)
def test_bad_attachments_close_their_sender_and_nothing_of_it_stays(pair, node, raw_client, frames):
    process, _, _ = pair
    raw = raw_client(process.urls[0], query="&userId=bad")
    for frame in frames:
        raw.send(frame)
    assert raw.receive_until_closed()
    wait_until(lambda: node.call("a", "privateMessage", {"toUser": "bad"})["nodes"] == 0, "the sender to be gone")
    assert node.call("b", "message", "still here")["ok"]


def test_data_that_is_nested_too_deeply_is_refused(pair, node, raw_client):
    process, _, _ = pair
    raw = raw_client(process.urls[0])
    for depth, answer in ((150, '"ok":true'), (300, "nested too deeply"), (900, "nested too deeply")):
        raw.send('427["message",' + "[" * depth + "]" * depth + "]")
        raw.wait_for(answer)
    raw.send("42" + "[" * 10_000)
    assert raw.receive_until_closed()
    assert node.call("a", "message", "still here")["ok"]


def test_a_websocket_without_connection_upgrade_is_a_bad_request(pair):
    process, _, _ = pair
    url = f"{process.urls[0]}/socket.io/?EIO=4&transport=websocket"
    assert requests.get(url, headers={"Upgrade": "websocket"}, timeout=5).status_code == 400


def test_a_post_that_is_no_payload_ends_its_session(pair):
    process, _, _ = pair
    url = f"{process.urls[0]}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url, timeout=5).text[1:])["sid"]
    assert requests.post(f"{url}&sid={sid}", data="x", timeout=5).status_code == 400
    assert requests.get(f"{url}&sid={sid}", timeout=5).status_code == 400


def test_who_left_while_redis_was_away_is_gone_when_it_is_back(own_redis, workers, node):
    own_redis.start()
    process = workers(1, url=own_redis.url)
    node.connect("a", process.urls[0], query={"userId": "a"})
    b = node.connect("b", process.urls[0], query={"userId": "b"})
    own_redis.close()
    wait_until(lambda: get_status(f"{process.urls[0]}/readyz") == 503, "readyz to notice")
    node.close("b")
    process.wait_for_line(f"disconnect sid={b['sid']}")
    own_redis.start()
    gone = {"code": "no_recipient", "message": "Nobody by that id is connected."}
    wait_until(lambda: (node.call("a", "privateMessage", {"to": b["sid"]}) or {}).get("error") == gone, "b to be gone")
    assert node.call("a", "privateMessage", {"toUser": "b"})["nodes"] == 0


def test_a_connection_that_ends_while_its_connect_waits_for_redis_leaves_nothing(own_redis, workers, node):
    own_redis.start()
    process = workers(1, url=own_redis.url)
    node.connect("a", process.urls[0], query={"userId": "a"})
    url = f"{process.urls[0]}/socket.io/?EIO=4&transport=polling&userId=gone"
    sid = json.loads(requests.get(url, timeout=5).text[1:])["sid"]
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(2) as pool:
            joining = pool.submit(requests.post, f"{url}&sid={sid}", data="40", timeout=20)
            wait_until(lambda: get_status(f"{process.urls[0]}/readyz") == 503, "readyz to notice")
            requests.post(f"{url}&sid={sid}", data="1", timeout=5)
            os.kill(own_redis.process.pid, signal.SIGCONT)
            joining.result(20)
    finally:
        os.kill(own_redis.process.pid, signal.SIGCONT)
    wait_until(lambda: (node.call("a", "privateMessage", {"toUser": "gone"}) or {}).get("nodes") == 0, "it to be gone")


def test_messages_on_the_channel_that_are_none_harm_nobody(pair, node, redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        for data in (
            "",
            "5",
            "[]",
            "{}",
            "no json",
            b"\xff",
            '{"method":"emit"}',
            '{"method":"emit","event":5}',
            '{"method":"x"}',
        ):
            client.publish("socketio", data)
    assert node.call("a", "message", "still here")["ok"]
    node.wait_for("b", "message")


def test_a_connection_that_joins_no_namespace_is_closed(workers, raw_client):
    process = workers(1, WEBFARM_CONNECT_TIMEOUT_S="0.5")
    raw = raw_client(process.urls[0], join=False)
    assert raw.receive_until_closed()


def test_who_was_closed_and_never_polls_again_holds_up_no_stop(workers):
    process = workers(1, WEBFARM_CONNECT_TIMEOUT_S="0.2", WEBFARM_DRAIN_S="60")
    requests.get(f"{process.urls[0]}/socket.io/?EIO=4&transport=polling", timeout=5)
    process.wait_for_line("closed: it joined no namespace in time")
    process.kill()
    process.wait_for_line("drain begins clients=0")
    process.wait_for_line("drain ends")


def test_heartbeats_are_advertised_exactly(workers, raw_client):
    process = workers(1, WEBFARM_PING_INTERVAL_S="0.3", WEBFARM_PING_TIMEOUT_S="0.25", WEBFARM_MAX_MESSAGE_BYTES="5000")
    opened = raw_client(process.urls[0]).handshake
    assert (opened["pingInterval"], opened["pingTimeout"], opened["maxPayload"]) == (300, 250, 5000)
