"""Connection state recovery, inboxes and history: on the wire, and with the stock JavaScript client."""

import contextlib
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import requests
from websockets.exceptions import ConnectionClosed

from tests.kit.clients import TRANSPORTS, Client, get_refusals, name, opening
from tests.kit.offsets import get_epochs, get_keys, read_offset
from webfarm import Emitter
from webfarm.auth import create_token
from webfarm.testing import SHARDS, get_status, is_alive, starting_workers, wait_until

SECRET = "s" * 32


@pytest.fixture(scope="module")
def two_workers(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX="recovery", WEBFARM_PING_INTERVAL_S="0.3")


@pytest.fixture
def client():
    """Opens clients, which end with the test."""
    with opening(Client) as open_client:
        yield open_client


# On the wire


def test_the_last_argument_is_the_offset_and_the_answer_has_a_pid(two_workers, redis_server, client):
    a = client(two_workers.urls[0], name())
    assert set(a.answer) == {"sid", "pid"}
    stored = a.call("message", "hello")
    [[data, meta, offset]] = a.get(1)
    assert (data, meta["id"]) == ("hello", stored["id"])
    with redis.Redis.from_url(redis_server.url) as server:
        ids = read_offset(server, "recovery", offset)
    assert ids[get_keys("recovery", "common").shard] == int(stored["id"])


@pytest.mark.parametrize("other", [0, 1], ids=["the same worker", "the other worker"])
def test_a_client_that_comes_back_has_its_id_its_rooms_and_what_it_missed(two_workers, client, other):
    user, room, urls = name(), name(), two_workers.urls
    b = client(urls[1], name())
    a = client(urls[0], user)
    for one in (a, b):
        assert one.call("join", {"room": room})["ok"]
    b.call("message", {"room": room, "n": 0})
    offset = a.get(1)[0][-1]
    a.cut()
    for n in (1, 2, 3):
        b.call("message", {"room": room, "n": n})
        b.call("privateMessage", {"to": a.sid, "n": n})
    again = client(urls[other], user, pid=a.pid, offset=offset)
    assert again.answer == a.answer
    assert [args[0]["n"] for args in again.get(3)] == [1, 2, 3]
    assert [args[0]["n"] for args in again.get(3, "privateMessage")] == [1, 2, 3]
    offsets = [args[-1] for _, *args in again.events]
    assert len(set(offsets)) == len(offsets)
    assert again.call("message", {"room": room, "n": 4})["ok"]
    assert [args[0]["n"] for args in again.get(4)] == [1, 2, 3, 4]


def test_a_client_that_had_received_nothing_gets_all_since_it_joined(two_workers, client):
    user, room = name(), name()
    a, b = client(two_workers.urls[0], user), client(two_workers.urls[1], name())
    b.call("join", {"room": room})
    b.call("message", {"room": room, "n": "before"})
    a.call("join", {"room": room})
    a.cut()
    b.call("message", {"room": room, "n": "after"})
    again = client(two_workers.urls[1], user, pid=a.pid)
    assert [args[0]["n"] for args in again.get(1)] == ["after"]


def test_rooms_that_were_left_are_not_joined_again(two_workers, client):
    user, room = name(), name()
    a, b = client(two_workers.urls[0], user), client(two_workers.urls[1], name())
    for one in (a, b):
        one.call("join", {"room": room})
    a.call("leave", {"room": room})
    a.cut()
    b.call("message", {"room": room})
    again = client(two_workers.urls[0], user, pid=a.pid)
    assert again.call("message", {"room": room})["error"]["code"] == "not_in_room"
    assert again.get(0) == []


def test_binary_events_are_replayed_with_their_attachments(two_workers, node):
    user = name()
    node.connect("a", two_workers.urls[0], query={"userId": user}, transports=["websocket"], reconnectionDelay=1000)
    node.connect("b", two_workers.urls[1], transports=["websocket"])
    node.call("b", "message", "first")
    node.wait_for("a", "message")
    node.cut("a")
    node.wait_for("a", "disconnect")
    data = {"file": {"hex": "00ff10"}}
    assert node.call("b", "message", data, binary=True)["ok"]
    assert node.wait_for("a", "connect", 2)[1]["recovered"] is True
    assert node.wait_for("a", "message", 2)[1][0] == data


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pid": "nobody.AAAAAAAAAAAAAAAAAAAAAA"}, "unknown"),
        ({"pid": "x" * 1000}, "unknown"),
        ({"pid": {"no": "text"}}, "unknown"),
        ({"pid": "\ud800.x"}, "unknown"),
        ({"user": "somebody else"}, "foreign"),
        ({"offset": "EPOCH.9999999999999999"}, "offset"),
    ],
)
def test_what_can_not_be_resumed_is_a_new_connection_and_counted(two_workers, redis_server, client, change, reason):
    user, url = name(), two_workers.urls[0]
    a = client(url, user)
    a.call("message", "x")
    with redis.Redis.from_url(redis_server.url) as server:
        epoch = get_epochs(server, "recovery")[get_keys("recovery", "common").shard]
    a.cut()
    before = get_refusals(url).get(reason, 0)
    offset = change.get("offset", "").replace("EPOCH", epoch)
    again = client(url, change.get("user", user).replace(" ", "%20"), pid=change.get("pid", a.pid), offset=offset)
    assert again.sid != a.sid
    assert again.pid != a.pid
    assert get_refusals(url)[reason] == before + 1
    again.call("message", "y")
    assert [args[0] for args in again.get(1)] == ["y"]


@pytest.mark.parametrize(
    "offset", ["", "x", "other.1795520454007527", 5, None, ["x"], "\ud800", "EPOCH.-1", "EPOCH.1e5"]
)
def test_an_offset_that_is_none_of_this_epoch_counts_as_none(two_workers, redis_server, client, offset):
    user = name()
    a = client(two_workers.urls[0], user)
    a.call("message", "x")
    with redis.Redis.from_url(redis_server.url) as server:
        epoch = get_epochs(server, "recovery")[get_keys("recovery", "common").shard]
    a.cut()
    if isinstance(offset, str):
        offset = offset.replace("EPOCH", epoch)
    again = client(two_workers.urls[0], user, pid=a.pid, offset=offset)
    assert again.sid == a.sid
    assert [args[0] for args in again.get(1)] == ["x"]


def test_a_guests_session_is_resumed_by_its_pid_and_keeps_its_user(two_workers, client):
    a = client(two_workers.urls[0])
    a.call("message", "x")
    a.cut()
    again = client(two_workers.urls[1], pid=a.pid)
    again.call("message", "y")
    first, second = (meta["from"] for _, meta, _ in again.get(2))
    assert first == second
    assert first.startswith("guest-")


def test_a_session_that_the_client_ended_is_not_resumed(two_workers, redis_server, client):
    user = name()
    a = client(two_workers.urls[0], user)
    a.socket.send("41")
    two_workers.wait_for_line(f"disconnect sid={a.sid}")
    key = get_keys("recovery", a.sid).session(a.sid)
    with redis.Redis.from_url(redis_server.url) as server:
        wait_until(lambda: not server.hexists(key, "pid"), "the session's end")
    assert client(two_workers.urls[0], user, pid=a.pid).sid != a.sid


def test_the_second_tab_that_resumes_a_session_gets_one_of_its_own(two_workers, client):
    user = name()
    a = client(two_workers.urls[0], user)
    a.cut()
    first = client(two_workers.urls[0], user, pid=a.pid)
    assert first.sid == a.sid
    with ThreadPoolExecutor(1) as pool:
        # It answers when it is asked whether it lives, until it has heard the second one.
        living = pool.submit(first.wait, lambda: any(args[0] == user for _, *args in first.events))
        second = client(two_workers.urls[1], user, pid=a.pid)
        second.call("message", user)
        living.result(20)
    assert second.sid != a.sid
    assert first.call("message", "still there")["ok"]


def test_the_newest_connection_wins_and_the_old_half_is_told(two_workers, redis_server, client):
    user = name()
    a = client(two_workers.urls[0], user)
    for url in two_workers.urls:  # on the other worker, too
        again = client(url, user, pid=a.pid)
        assert again.sid == a.sid
        a.get(1, "disconnect")
        a = again
        with redis.Redis.from_url(redis_server.url) as server:  # as if it had been resumed a second ago
            server.hset(get_keys("recovery", a.sid).session(a.sid), "resumed", "1")


# Stored once


def test_a_message_with_an_id_is_stored_once(two_workers, client):
    a, room = client(two_workers.urls[0], name()), name()
    first = a.call("message", {"id": "m1", "n": 1})
    assert a.call("message", {"id": "m1", "n": 2}) == first
    assert a.call("message", {"id": "m2", "n": 3}) != first
    assert [args[0]["n"] for args in a.get(2)] == [1, 3]
    a.call("join", {"room": room})
    stored = a.call("message", {"id": "m1", "room": room})
    assert stored["id"] != first["id"]
    a.call("leave", {"room": room})
    assert a.call("message", {"id": "m1", "room": room}) == stored
    assert a.call("message", {"id": "m9", "room": room})["error"]["code"] == "not_in_room"


def test_a_private_message_is_answered_again_though_its_recipient_is_gone(two_workers, client):
    a, b = (client(url, name()) for url in two_workers.urls)
    first = a.call("privateMessage", {"id": "p1", "to": b.sid})
    assert first["nodes"] == 1
    b.socket.send("41")
    two_workers.wait_for_line(f"disconnect sid={b.sid}")
    wait_until(lambda: not a.call("privateMessage", {"to": b.sid})["ok"], "the recipient's end")
    assert a.call("privateMessage", {"id": "p1", "to": b.sid}) == first


def test_a_socket_that_is_away_and_can_be_resumed_is_a_recipient(two_workers, client):
    user = name()
    a, b = client(two_workers.urls[0], name()), client(two_workers.urls[1], user)
    b.cut()
    two_workers.wait_for_line(f"disconnect sid={b.sid}")
    assert a.call("privateMessage", {"to": b.sid, "n": 1})["ok"]
    again = client(two_workers.urls[0], user, pid=b.pid)
    assert again.get(1, "privateMessage")[0][0]["n"] == 1


# Inboxes


def test_what_was_sent_to_a_socket_that_has_gone_is_nobody_elses(two_workers, redis_server, client):
    a, b = client(two_workers.urls[0], name()), client(two_workers.urls[1], name())
    outside = Emitter(redis_server.url, "recovery", shards=SHARDS)
    outside.store("privateMessage", "from elsewhere", room=b.sid)  # not one to a recipient
    outside.close()
    assert a.call("privateMessage", {"to": b.sid, "secret": 1})["ok"]
    b.get(2, "privateMessage")
    b.socket.send("41")
    wait_until(lambda: not a.call("privateMessage", {"to": b.sid})["ok"], "its session to end")
    for event in ("join", "history", "who", "message"):
        assert a.call(event, {"room": b.sid})["error"]["code"] == "forbidden"


def test_an_absent_user_gets_private_messages_on_the_next_connection(two_workers, client):
    user, a = name(), client(two_workers.urls[0], name())
    for n in range(3):
        assert a.call("privateMessage", {"toUser": user, "n": n}) | {"id": 0} == {"ok": True, "id": 0, "nodes": 0}
    b = client(two_workers.urls[1], user)
    assert [args[0]["n"] for args in b.get(3, "privateMessage")] == [0, 1, 2]


def test_what_was_received_before_an_answered_heartbeat_does_not_come_again(two_workers, redis_server, client):
    user, a = name(), client(two_workers.urls[0], name())
    b = client(two_workers.urls[1], user)
    a.call("privateMessage", {"toUser": user, "n": "received"})
    b.get(1, "privateMessage")
    room = f"user:{user}"
    keys = get_keys("recovery", room)
    pointer = keys.pointer(keys.stream("/", room))
    with redis.Redis.from_url(redis_server.url) as server:
        while not server.exists(pointer):
            with contextlib.suppress(TimeoutError):
                b.read(0.1)
    b.socket.close()
    two_workers.wait_for_line(f"disconnect sid={b.sid}")
    a.call("privateMessage", {"toUser": user, "n": "missed"})
    again = client(two_workers.urls[0], user)
    again.call("message", "x")
    assert [args[0]["n"] for args in again.get(1, "privateMessage")] == ["missed"]


# History


def test_history_is_paged_oldest_first(two_workers, client):
    a, room = client(two_workers.urls[0], name()), name()
    a.call("join", {"room": room})
    ids = [a.call("message", {"room": room, "n": n})["id"] for n in range(25)]
    page = a.call("history", {"room": room, "limit": 10})["messages"]
    assert [one["id"] for one in page] == ids[15:]
    assert page[0] == {
        "id": ids[15],
        "event": "message",
        "data": {"room": room, "n": 15},
        "meta": page[0]["meta"],
    }
    assert page[0]["meta"]["id"] == ids[15]
    page = a.call("history", {"room": room, "limit": 10, "before": page[0]["id"]})["messages"]
    assert [one["id"] for one in page] == ids[5:15]
    assert a.call("history", {"room": room, "before": ids[0]}) == {"ok": True, "messages": []}


def test_an_answer_of_history_has_a_bound(two_workers, client):
    a, room = client(two_workers.urls[0], name()), name()
    a.call("join", {"room": room})
    for _ in range(5):
        a.call("message", {"room": room, "text": "x" * 100_000})
    a.call("message", {"room": room, "text": "x" * 300_000})
    answer = a.call("history", {"room": room})
    assert len(json.dumps(answer)) < 262_144
    assert len(answer["messages"]) == 2


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({}, "bad_request"),
        ({"room": "common", "limit": 0}, "bad_request"),
        ({"room": "common", "limit": 101}, "bad_request"),
        ({"room": "common", "limit": True}, "bad_request"),
        ({"room": "common", "before": 5}, "bad_request"),
        ({"room": "common", "before": "x"}, "bad_request"),
        ({"room": "never joined"}, "not_in_room"),
        ({"room": "user:bob"}, "forbidden"),
        ({"room": "*"}, "forbidden"),
    ],
)
def test_history_that_is_refused(two_workers, client, data, code):
    assert client(two_workers.urls[0], name()).call("history", data)["error"]["code"] == code


# With the stock client


@pytest.mark.cluster
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_after_kill_9_every_client_is_recovered(farm, node, transport):
    site = farm(2)
    names = [str(n) for n in range(8)]
    for one in names:
        node.open(one, site.url, query={"userId": one}, transports=TRANSPORTS[transport])
    for one in names:
        node.wait_for(one, "connect")
    assert node.call("0", "message", 0)["ok"]
    for port in site.workers.ports:
        pid = site.workers.get_worker(port)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not is_alive(pid), "the worker's end")
        wait_until(lambda port=port: get_status(f"http://127.0.0.1:{port}/readyz") == 200, "its successor")
    for one in names:
        node.wait_for(one, "connect", 2)
    for n in (1, 2, 3):
        wait_until(lambda n=n: (node.call("0", "message", n, timeout_s=2) or {}).get("ok"), "an answer")
    for one in names:
        connections = node.wait_for(one, "connect")
        assert [c["recovered"] for c in connections[1:]] == [True] * (len(connections) - 1)
        assert {c["sid"] for c in connections} == {connections[0]["sid"]}
        received = [args[0] for args in node.wait_for(one, "message", 4)]
        assert [n for n in received if n in (0, 1, 2, 3)][:1] == [0]
        assert sorted(set(received)) == [0, 1, 2, 3]


@pytest.mark.cluster
def test_a_draining_worker_sends_its_clients_elsewhere_one_after_the_other(farm, node):
    site = farm(2, WEBFARM_DRAIN_S="3")
    names = [str(n) for n in range(12)]
    for one in names:
        node.open(one, site.url, query={"userId": one}, transports=["websocket"])
    servers = {one: node.wait_for(one, "connect")[0]["engine"].partition(".")[0] for one in names}
    port = site.workers.ports[0]
    pid = site.workers.get_worker(port)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: get_status(f"http://127.0.0.1:{port}/readyz") == 503, "the drain")
    wait_until(lambda: not is_alive(pid), "the worker's end")
    for one in names:
        if servers[one] == "webserver01":
            again = node.wait_for(one, "connect", 2)[1]
            assert again["recovered"] is True
            assert site.workers.output.count(f"disconnect sid={again['sid']} ") == 1
        else:
            assert node.get(one, "disconnect") == []


def test_in_token_mode_the_session_is_the_tokens_users(workers, client):
    site = workers(1, WEBFARM_SECRET=SECRET)
    tokens = {user: create_token(user, SECRET, 60) for user in ("anna", "bob")}
    a = client(site.urls[0], token=tokens["anna"])
    a.cut()
    assert client(site.urls[0], token=tokens["bob"], pid=a.pid).sid != a.sid
    assert client(site.urls[0], token=tokens["anna"], pid=a.pid).sid == a.sid


def test_without_a_window_there_is_no_recovery(workers, client):
    site = workers(1, WEBFARM_RECOVERY_WINDOW_S="0")
    a = client(site.urls[0], "anna")
    assert set(a.answer) == {"sid"}
    a.call("message", "x")
    assert len(a.get(1)[0]) == 2


def test_a_history_that_ends_before_the_window_stops_the_start(workers):
    site = workers(1, ready=False, WEBFARM_HISTORY_TTL_S="10")
    assert site.wait() == 2
    assert "WEBFARM_HISTORY_TTL_S" in site.output


def test_after_flushall_everybody_begins_anew_and_is_told(own_redis, workers, client):
    own_redis.start()
    site = workers(1, url=own_redis.url)
    a = client(site.urls[0], "anna")
    a.call("message", "x")
    with redis.Redis.from_url(own_redis.url) as server:
        server.flushall()
    with pytest.raises(ConnectionClosed):
        a.wait(lambda: False)
    again = client(site.urls[0], "anna", pid=a.pid, offset=a.get(1)[0][-1])
    assert again.sid != a.sid
    assert again.call("message", "y")["ok"]


def get_counter(url, counter):
    text = requests.get(f"{url}/metrics", timeout=5).text
    return float(re.search(rf"^{counter}_total (\S+)$", text, re.MULTILINE)[1])


def test_a_private_message_is_no_work_for_a_third_worker(workers, client):
    site = workers(8)
    a, b = client(site.urls[0], "anna"), client(site.urls[1], "bob")
    others = [client(url, f"other-{number}") for number, url in enumerate(site.urls[2:])]
    before = {url: get_counter(url, "webfarm_messages_followed") for url in site.urls}
    for number in range(20):
        a.call("privateMessage", {"to": b.sid, "n": number})
    assert len(b.get(20, "privateMessage")) == 20
    work = {url: get_counter(url, "webfarm_messages_followed") - before[url] for url in site.urls}
    assert list(work.values()) == [0, 20, *(0 for _ in others)]


def test_what_is_volatile_is_delivered_and_not_stored(redis_server, workers, client):
    """An emit from outside is not stored, either; neither has an offset, and a text at its end is no offset."""
    site = workers(2, WEBFARM_PREFIX="volatile")
    a = client(site.urls[0], "anna")
    channel = get_keys("volatile", "common").stream("/", "common")
    with redis.Redis.from_url(redis_server.url) as server:
        server.publish(channel, b'volatile \n2["tick","now",{}]')
        assert a.get(1, "tick") == [["now", {}]]
        server.publish(channel, b"no message at all")
        server.publish(channel, b"x y z \xff")
        server.publish(get_keys("volatile").marks + "x", b"nobody listens")
    assert a.call("message", "still here")["ok"]
    assert [args[0] for args in a.get(1)] == ["still here"]


def test_a_room_that_is_left_and_joined_again_and_again_holds_up_nobody(two_workers, client):
    room = name()
    a, b = (client(url, name()) for url in two_workers.urls)
    b.call("join", {"room": room})
    for number in range(100):
        a.socket.send(f'429{number}["leave",{{"room":"{room}"}}]')
        a.socket.send(f'428{number}["join",{{"room":"{room}"}}]')
        assert b.call("message", {"room": room, "n": number})["ok"]
    assert [args[0]["n"] for args in b.get(100)] == list(range(100))
    assert a.call("message", {"room": room, "n": "end"})["ok"]
    a.wait(lambda: any(args[0]["n"] == "end" for event, *args in a.events if event == "message"))


def test_a_client_that_is_cut_right_after_it_was_resumed_is_resumed_again(two_workers, client):
    """Its worker has not noticed yet: it asks the connection whether it lives, and it does not."""
    user = name()
    a = client(two_workers.urls[0], user)
    a.cut()
    deaf = client(two_workers.urls[0], user, pid=a.pid)
    assert deaf.sid == a.sid  # from now on it reads nothing, and answers no heartbeat
    again = client(two_workers.urls[1], user, pid=a.pid)
    assert again.sid == a.sid


def test_what_a_farm_of_another_version_has_stored_is_left_alone_and_named_once(redis_server, workers):
    with redis.Redis.from_url(redis_server.url) as server:
        server.hset(get_keys("otherversion").clock, mapping={"format": "99", "epoch": "e", "id": "5"})
    sentence = "Redis holds what a farm of format 99 has stored, which this version can't share"
    site = workers(1, ready=False, WEBFARM_PREFIX="otherversion", WEBFARM_LOG_LEVEL="debug")
    wait_until(lambda: sum("not caught up: " in line for line in site.lines) >= 3, "three tries", about=site)
    assert sum(sentence in line for line in site.lines) == 1
    assert get_status(f"{site.urls[0]}/readyz") == 503
