"""What nodes ask each other, without any other node; ``test_operations.py`` has it with two."""

import json
import os
import signal
from types import SimpleNamespace

import gevent
import pytest
import redis
from gevent.event import Event

from webfarm import LocalManager, Server
from webfarm.errors import Unavailable
from webfarm.nodes import peers as peers_module
from webfarm.nodes.peers import Peers, pack, unpack
from webfarm.nodes.request import Request
from webfarm.redis.client import connect
from webfarm.redis.keys import Keys
from webfarm.redis.pipeline import Pipeline


def test_a_server_that_is_alone_has_the_same():
    sio = Server()
    sio.on_server_event("note", lambda: 1)
    assert sio.fetch_clients("room") == ([], {})
    assert sio.call_all("add", 1, room="room").is_complete
    assert sio.enter_all("room", "another") == sio.leave_all("room", "another") == 0
    assert (sio.server_emit("note"), sio.server_call("note")) == (0, ({}, {}))
    with pytest.raises(TypeError, match="a room's name is a text"):
        sio.enter_all("room", ["another"])


@pytest.mark.parametrize(
    "data", [None, 1, "text", [1], (1, 2), b"bytes", {"deep": [b"a", b""]}, (b"a", None)], ids=repr
)
def test_what_is_packed_for_another_node_is_unpacked_there(data):
    assert unpack(json.loads(json.dumps(pack(data)))) == data


class Slow(Server):
    """Takes its time to disconnect the client ``slow``."""

    def __init__(self):
        super().__init__()
        self.may_go_on, self.gone = Event(), []
        for sid in ("slow", *map(str, range(150))):
            self.manager.clients.add_client(sid, f"eio {sid}", "/")
            self.manager.connect(sid, "/")

    def disconnect(self, sid, namespace=None, ignore_queue=False):
        if sid == "slow":
            self.may_go_on.wait()
        self.gone.append(sid)


def test_of_many_who_are_disconnected_none_waits_for_another():
    sio = Slow()
    sio.disconnect_all(None)
    with gevent.Timeout(5):
        while len(sio.gone) < 150:
            gevent.sleep(0.001)
    sio.may_go_on.set()
    with gevent.Timeout(5):
        while "slow" not in sio.gone:
            gevent.sleep(0.001)


def answer(request, *nodes):
    for node in nodes:
        request.add({"number": 1, "node": node, "answer": node})


def test_a_request_is_answered_when_all_have_answered_who_heard_it():
    request = Request()
    answer(request, "a")  # before it is known who heard it
    request.expect(2, {"a": 1, "b": 1})
    assert not request.is_answered.is_set()
    assert request.find_missing(set()) == {"b": "it has not answered"}
    request.add({"number": 1, "node": "b", "error": "it has failed"})
    assert request.is_answered.is_set()
    assert (request.answers, request.find_missing(set())) == ({"a": "a"}, {"b": "it has failed"})


def test_who_lives_and_has_not_heard_a_request_is_missing_and_not_waited_for():
    request = Request()
    request.expect(1, {"a": 1, "b": 0})
    answer(request, "a")
    assert request.is_answered.is_set()
    assert request.find_missing(set()) == {"b": "it is not connected to Redis"}
    answer(request, "b")  # it has, as it turns out
    assert request.find_missing(set()) == {}


def test_a_node_whose_last_connection_redis_still_has_answers_once():
    request = Request()
    request.expect(2, {"a": 2})
    answer(request, "a")
    assert request.is_answered.is_set()


def test_who_has_heard_a_request_without_a_lease_is_waited_for():
    request = Request()
    request.expect(4, {"a": 1})
    answer(request, "a", "b")
    assert not request.is_answered.is_set()
    assert request.find_missing({"a", "b", "c"}) == {
        "c": "it has not answered",
        "gone (1)": "it has ended meanwhile",
    }
    answer(request, "c", "d")
    assert request.is_answered.is_set()


def test_answers_that_have_come_are_kept_though_redis_stands_still(own_redis):
    own_redis.start()
    commands, keys = Pipeline(connect(own_redis.url)), Keys("peers")
    peers = Peers(SimpleNamespace(home=SimpleNamespace(commands=commands, keys=keys)))
    peers.start("a")

    def answer_and_stop():
        peers.on_answer(b'{"number": 1, "node": "b", "answer": 5}')
        os.kill(own_redis.process.pid, signal.SIGSTOP)

    with redis.Redis.from_url(own_redis.url) as client, client.pubsub() as b, client.pubsub() as c:
        for one in (b, c):  # two that have no lease
            one.subscribe(keys.requests)
            assert one.get_message(timeout=5)["type"] == "subscribe"
        commands.execute("PING")
        gevent.spawn_later(0.2, answer_and_stop)
        try:
            with gevent.Timeout(2):
                answers = peers.ask("add", {}, 0.5)
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
    assert (answers.by_node, list(answers.missing)) == ({"b": 5}, ["gone (1)"])
    commands._wire.lose(redis.ConnectionError("the test has ended"))


def test_the_reason_of_a_clients_node_is_in_what_its_asker_is_told(redis_server, monkeypatch):
    monkeypatch.setattr(peers_module, "_CONFIRM_S", 0.05)
    commands, keys = Pipeline(connect(redis_server.url)), Keys("reasons")
    peers = Peers(SimpleNamespace(home=SimpleNamespace(commands=commands, keys=keys)))
    peers.start("a")

    def refuse():
        with gevent.Timeout(2):
            while not peers._open:
                gevent.sleep(0.001)
        [number] = peers._open
        peers.on_answer(json.dumps({"number": number, "node": "b", "error": "Redis does not answer"}).encode())

    gevent.spawn(refuse)
    with pytest.raises(
        Unavailable, match=r"no node has confirmed the request 'enter' with .*; b: Redis does not answer$"
    ):
        peers.ask_owner("enter", {"room": "r"})
    commands._wire.lose(redis.ConnectionError("the test has ended"))


@pytest.mark.parametrize("error", [ValueError("cannot enter a sid room"), Unavailable("Redis does not answer")])
def test_a_clients_node_logs_one_warning_for_a_room_that_it_cannot_change(caplog, monkeypatch, error):
    def fail(*args):
        raise error

    manager = LocalManager()
    monkeypatch.setattr(manager, "enter_room", fail)
    sio = Server(manager)
    for number in range(3):
        manager.clients.add_client(f"sid {number}", f"eio {number}", "/")
        manager.connect(f"sid {number}", "/")
        manager.clients.enter(f"sid {number}", "/", "red")
    enter = manager.peers.handlers["enter"]
    for members_of, of in (("sid 1", "sid 1"), ("red", "some clients in red"), (None, "some clients in /")):
        caplog.clear()
        with pytest.raises(Unavailable, match=f"^{error}$"):
            enter(namespace="/", members_of=members_of, room="r")
        assert caplog.messages == [f"the rooms of {of} are as they were: {error}"]
    assert sio.manager is manager
