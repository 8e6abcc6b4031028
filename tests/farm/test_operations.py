"""What Node's adapters do on all nodes at once, on two workers, one of which is killed or stands still."""

import json
import os
import re
import signal
import time
import uuid

import pytest
import redis

from tests.kit.clients import Client as _Client
from tests.kit.clients import opening
from tests.kit.offsets import get_keys
from webfarm.testing import starting_workers, wait_until

PREFIX = "operations"
DEAF = "it is not connected to Redis"


class Client(_Client):
    """Answers the question ``add`` with its argument and one more, and no other."""

    def take(self, text):
        if match := re.match(r"42(\d+)(.*)", text):
            self.events.append(json.loads(match[2]))
            event, *args = self.events[-1]
            if event == "add":
                self.socket.send(f"43{match[1]}" + json.dumps([args[0] + 1] if args else []))
        else:
            super().take(text)

    def names(self):
        return [event[0] for event in self.events]

    def settle(self):
        """Return when all has come that was sent before."""
        self.call("rooms")


@pytest.fixture(scope="module")
def site(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start(start_workers, PREFIX)


def start(start_workers, prefix):
    process = start_workers(2, "tests.kit.cluster_handlers:app", ready=False, WEBFARM_PREFIX=prefix)
    wait_until(lambda: process.output.count("Booting worker") == 2, "the workers")
    return process


@pytest.fixture
def client():
    """Opens clients, which end with the test."""
    with opening(Client) as open_client:
        yield open_client


@pytest.fixture
def three(site, client):
    """Clients in a room of their own, two of them on one worker; and the room."""
    room, clients = name(), [client(url) for url in (*site.urls, site.urls[1])]
    for one in clients:
        assert room in one.call("enter", room)
    return [*clients, room]


def name():
    return uuid.uuid4().hex[:11]


def ask(one, event, *args):
    """Send an event; return its number, whose acknowledgement comes later."""
    one.number += 1
    one.socket.send(f"42{one.number}" + json.dumps([event, *args]))
    return one.number


def get_answer(one, number):
    one.wait(lambda: number in one.acks, timeout_s=15)
    return one.acks[number][0]


def disconnected(one):
    one.wait(lambda: ["disconnect"] in one.events)


def test_all_clients_of_a_room_are_disconnected_and_can_not_come_back(site, client, three):
    a, b, c, room = three
    away = client(site.urls[0])
    away.call("enter", room)
    away.cut()
    other = client(site.urls[0])
    assert other.call("disconnect_all", room) == 2
    for one in (a, b, c):
        disconnected(one)
    for one in (a, b, c, away):
        assert client(site.urls[1], pid=one.pid).sid != one.sid
    assert other.call("rooms") == [other.sid]


def test_a_user_who_has_a_room_is_disconnected_everywhere(site, client):
    user = name()
    clients = [client(url, user=user) for url in site.urls]
    other = client(site.urls[0], user=name())
    other.call("disconnect_all", f"user {user}")
    for one in clients:
        disconnected(one)
    assert other.call("rooms")


def test_who_disconnects_his_own_room_is_told_so(site, three):
    a, b, c, room = three
    ask(a, "disconnect_all", room)
    for one in (a, b, c):
        disconnected(one)


@pytest.mark.parametrize("other", [0, 1], ids=["of this worker", "of the other worker"])
def test_a_client_that_is_away_is_disconnected_for_good(site, client, other):
    a, away = client(site.urls[0]), client(site.urls[other])
    away.cut()
    site.wait_for_line(f"disconnect sid={away.sid}")
    assert a.call("disconnect_one", away.sid) == "done"
    again = client(site.urls[1], pid=away.pid)
    assert again.sid != away.sid


def test_all_clients_of_a_room_enter_and_leave_another(three):
    a, b, c, room = three
    another = name()
    assert b.call("enter_all", room, another) == 3
    for one in (a, b, c):
        one.get(1, "entered")
        assert another in one.call("rooms")
    assert a.call("leave_all", room, another) == 3
    for one in (a, b, c):
        assert another not in one.call("rooms")
        assert "left" not in one.names()
    assert a.call("leave_all", room, another) == 3
    assert a.call("enter_all", name(), another) == 0


def test_what_all_were_made_to_enter_is_kept_over_a_lost_connection(site, client, three):
    a, b, _, room = three
    another = name()
    a.call("enter_all", room, another)
    offset = b.get(1, "entered")[0][-1]
    b.cut()
    a.call("emit", "news", another)
    again = client(site.urls[0], pid=b.pid, offset=offset)
    assert again.sid == b.sid
    assert again.get(1, "news")[0][0] == another


def test_the_clients_of_a_room_are_fetched_from_all_nodes(site, client, three):
    a, b, c, room = three
    d = client(site.urls[0], user="dora")
    d.call("enter", room)
    found = a.call("fetch", room, 5)
    assert found["missing"] == {}
    clients = {one["sid"]: one for one in found["clients"]}
    assert clients.keys() == {one.sid for one in (a, b, c, d)}
    assert {one["transport"] for one in found["clients"]} == {"websocket"}
    assert set(clients[a.sid]["rooms"]) == {a.sid, room}
    assert clients[d.sid]["user"] == "dora"
    assert clients[a.sid]["node"] == clients[d.sid]["node"] == a.call("get_node")
    assert clients[b.sid]["node"] == clients[c.sid]["node"] == b.call("get_node")
    assert a.call("fetch", b.sid, 5)["clients"] == [clients[b.sid]]
    assert a.call("fetch", name(), 5) == {"clients": [], "missing": {}}
    assert clients.keys() <= {one["sid"] for one in a.call("fetch", None, 5)["clients"]}


def test_all_clients_of_a_room_are_asked(three):
    a, b, c, room = three
    number = ask(a, "call_all", "add", 1, room, 5)
    for one in (b, c):
        one.get(1, "add")
    assert get_answer(a, number) == {"answers": {one.sid: 2 for one in (a, b, c)}, "missing": {}, "is_complete": True}
    assert a.call("call_all", "add", 1, name(), 5) == {"answers": {}, "missing": {}, "is_complete": True}


def test_who_does_not_answer_or_disconnects_is_missing(site, client, three):
    a, b, c, room = three
    d = client(site.urls[0])
    d.call("enter", room)
    began = time.monotonic()
    number = ask(a, "call_all", "be silent", [1, 2], room, 2)
    assert b.get(1, "be silent") == [[1, 2]]
    d.get(1, "be silent")
    d.socket.send("41")
    b.socket.close()
    answer = get_answer(a, number)
    assert time.monotonic() - began < 4
    silent, gone = "it has not answered", "it has disconnected"
    assert answer == {
        "answers": {},
        "missing": {a.sid: silent, b.sid: gone, c.sid: silent, d.sid: gone},
        "is_complete": False,
    }


def test_an_event_reaches_all_other_nodes_once(three):
    a, b, _, _ = three
    mark = name()
    assert a.call("server_emit", "note", mark, {"n": 1}) == 1
    wait_until(lambda: [mark, {"n": 1}] in b.call("get_heard"), "the event")
    assert a.call("server_call", "note", mark, None) == {
        "by_node": {b.call("get_node"): [b.call("get_node"), mark, None]},
        "missing": {},
    }
    assert b.call("get_heard").count([mark, None]) == 1
    assert not [one for one in a.call("get_heard") if mark in one]


def test_a_node_without_a_handler_or_with_a_failing_one_is_missing(redis_server, client):
    with starting_workers(redis_server.url) as start_workers:
        site = start(start_workers, "failing")
        a, b = map(client, site.urls)
        node = b.call("get_node")
        assert a.call("server_call", "unknown")["missing"] == {node: "it has no handler for this event"}
        assert a.call("server_call", "wait", 5)["missing"] == {node: "it has not answered"}
        assert a.call("server_call", "note") == {"by_node": {node: [node]}, "missing": {}}


def test_a_polling_client_is_fetched_asked_and_disconnected(site, three, node):
    a, _, _, room = three
    polling = node.connect("p", site.urls[1], transports=["polling"])
    assert room in node.call("p", "enter", room)
    [found] = [one for one in a.call("fetch", room, 5)["clients"] if one["sid"] == polling["sid"]]
    assert found["transport"] == "polling"
    assert a.call("call_all", "add", 1, polling["sid"], 0.5)["missing"] == {polling["sid"]: "it has not answered"}
    a.call("disconnect_all", polling["sid"])
    assert node.wait_for("p", "disconnect") == ["io server disconnect"]


def test_what_is_no_request_and_no_answer_does_no_harm(site, three, redis_server):
    a, b, _, room = three
    with redis.Redis.from_url(redis_server.url) as server:
        keys = get_keys(PREFIX)
        channels = [keys.requests, keys.marks + a.call("get_node")]
        for text in ("", "{", "[]", "null", "1", "{}", "[" * 100_000, '{"number": 1, "node": 5}'):
            server.publish(channels[0], text)
            server.publish(channels[1], f"answer {text}")
        unknown = {"name": "dance", "arguments": {}, "node": "", "number": 0, "others_only": False}
        for request in (unknown, unknown | {"arguments": 5}):
            server.publish(channels[0], json.dumps(request))
    assert len(a.call("fetch", room, 5)["clients"]) == 3
    assert b.call("rooms")


def test_a_stopped_worker_is_named_and_a_killed_one_is_not_waited_for(redis_server, client):
    with starting_workers(redis_server.url) as start_workers:
        site = start(start_workers, "stopped")
        a, b = map(client, site.urls)
        for one in (a, b):
            one.call("enter", "room")
        node, pid = b.call("get_node"), site.get_worker(site.ports[1])
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            found = a.call("fetch", "room", 0.5)
            assert [one["sid"] for one in found["clients"]] == [a.sid]
            assert found["missing"] == {node: "it has not answered"}
            answer = get_answer(a, ask(a, "call_all", "add", 1, "room", 0.5))
            assert answer == {"answers": {a.sid: 2}, "missing": {node: "it has not answered"}, "is_complete": False}
            assert time.monotonic() - began < 5
            number = ask(a, "enter_all", "room", "another")  # not confirmed: not acknowledged
            site.wait_for_line("not all nodes have changed their clients' rooms")
            a.settle()
            assert number not in a.acks
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: len(a.call("fetch", "room", 1)["clients"]) == 2, "the worker that stood still")
        with redis.Redis.from_url(redis_server.url) as server:
            wait_until(lambda: server.exists(get_keys("stopped").leases + node), "its new lease")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: a.call("fetch", "room", 0.2)["missing"].get(node) == DEAF, "the end of the killed worker")
        began = time.monotonic()
        a.call("fetch", "room", 5)
        assert time.monotonic() - began < 2


def test_a_node_that_lives_and_is_just_not_connected_to_redis_is_missing_and_not_waited_for(site, three, redis_server):
    a, _, _, room = three
    keys, node = get_keys(PREFIX), f"deaf#{name()}"
    with redis.Redis.from_url(redis_server.url) as server:
        server.set(keys.leases + node, "{}", px=20_000)
        server.sadd(keys.nodes, node)
        try:
            began = time.monotonic()
            found = a.call("fetch", room, 5)
            assert (len(found["clients"]), found["missing"]) == (3, {node: DEAF})
            assert a.call("call_all", "add", 1, a.sid, 5)["missing"] == {node: DEAF}
            assert a.call("server_call", "note")["missing"] == {node: DEAF}
            number = ask(a, "leave_all", room, name())
            site.wait_for_line(f"not all nodes have changed their clients' rooms: {node}: {DEAF}")
            a.settle()
            assert number not in a.acks
            assert time.monotonic() - began < 4
        finally:
            server.srem(keys.nodes, node)
            server.delete(keys.leases + node)


def test_nothing_is_kept_of_questions_that_no_client_has_answered(three):
    a, b, _, room = three
    for _ in range(3):
        assert len(a.call("call_all", "be silent", 1, room, 0.1)["missing"]) == 3
    assert (a.call("count_callbacks"), b.call("count_callbacks")) == (0, 0)
