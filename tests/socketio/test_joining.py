"""How a client joins a namespace: who it is, the answer to its CONNECT, and the order of what it is sent."""

import logging
import time

import gevent
import pytest

from tests.kit.polling_client import PollingClient, settle
from webfarm import Namespace, Server
from webfarm.auth import Identity
from webfarm.errors import Forbidden, Unauthorized
from webfarm.monitoring.throttle import Throttled
from webfarm.socketio import joining
from webfarm.socketio.joining import IDENTITY


def name(environ, auth):
    return auth["name"]


def test_a_client_that_joins_is_answered_with_its_sid():
    server = Server()
    sid = PollingClient(server).connect()["sid"]
    assert server.rooms(sid) == [sid]
    assert not server.is_recovered(sid)


def test_an_unknown_namespace_is_refused_and_the_connection_stays():
    client = PollingClient(Server())
    assert client.connect("/other") == {"message": "Invalid namespace"}
    assert "sid" in client.connect()


def test_a_client_joins_a_namespace_once():
    client = PollingClient(Server())
    client.connect()
    assert client.connect() == {"message": "Already connected"}


def test_a_connection_joins_a_hundred_namespaces_at_most():
    client = PollingClient(Server(namespaces="*"))
    answers = [client.connect(f"/{number}") for number in range(101)]
    assert all("sid" in answer for answer in answers[:100])
    assert answers[100] == {"message": "Too many namespaces"}


@pytest.mark.parametrize("where", ["identify", "connect"])
def test_a_client_error_refuses_a_client_by_its_code(where):
    def refuse(*args):
        raise Unauthorized("A token is needed.")

    server = Server(identify=refuse if where == "identify" else lambda environ, auth: None)
    server.on("connect", refuse if where == "connect" else lambda *args: None)
    client = PollingClient(server)
    assert client.connect() == {
        "message": "A token is needed.",
        "data": {"code": "unauthorized", "message": "A token is needed."},
    }
    assert client.is_open
    assert server.manager.get_namespaces_of(client.sid) == ()


def test_a_connect_handler_that_returns_false_refuses_the_client():
    server = Server()
    server.on("connect", lambda sid, environ: False)
    assert PollingClient(server).connect() == {"message": "Connection rejected by server"}


def test_a_connect_handler_that_fails_closes_the_connection(caplog):
    server = Server()
    server.on("connect", lambda sid, environ: 1 / 0)
    client = PollingClient(server)
    client.send("0")
    settle()
    assert not client.is_open
    assert "the connect handler failed" in caplog.text


def test_what_a_connect_handler_emits_comes_after_the_answer():
    server = Server()
    server.on("connect", lambda sid, environ: server.emit("welcome", sid, to=sid))
    client = PollingClient(server)
    sid = client.connect()["sid"]
    assert client.receive() == f'2["welcome","{sid}"]'


@pytest.mark.parametrize(
    ("identified", "user"),
    [
        ("anna", "anna"),
        (None, None),
        ("", None),
        (Identity("ben"), "ben"),
        (Identity(None), None),
        (Identity(""), None),
    ],
)
def test_identify_names_the_user(identified, user):
    server = Server(identify=lambda environ, auth: identified)
    client = PollingClient(server)
    sid = client.connect()["sid"]
    assert server.get_user(sid) == user
    client.close()
    settle()
    assert server.get_user(sid) is None


@pytest.mark.parametrize("identified", [7, Identity(7)])
def test_a_number_is_a_name(identified):
    server = Server(identify=lambda environ, auth: identified, has_user_rooms=True)
    sid = PollingClient(server).connect()["sid"]
    assert server.get_user(sid) == "7"
    assert "user:7" in server.rooms(sid)


@pytest.mark.parametrize("identified", [1.5, True, b"anna", {"user": "anna"}, Identity(b"anna"), object()])
def test_an_identify_that_returns_anything_else_closes_the_connection_and_says_what_it_may_return(
    caplog, monkeypatch, identified
):
    class Game(Namespace):
        def identify(self, environ, auth):
            return identified

    monkeypatch.setattr(joining, "log", Throttled(joining.log.logger))  # which has counted no line of other tests
    server = Server()
    server.register_namespace(Game("/"))
    client = PollingClient(server)
    client.send("0")
    settle()
    assert not client.is_open
    assert server.manager.get_namespaces_of(client.sid) == ()
    [record] = caplog.records
    why = str(record.exc_info[1])
    assert "Game.identify returned" in why
    assert "a user's name (str or int), None for a guest, or an object with user, expires_at and rooms" in why


def test_the_user_is_known_until_the_disconnect_handler_has_run():
    server, gone = Server(identify=name), []
    server.on("disconnect", lambda sid: gone.append(server.get_user(sid)))
    client = PollingClient(server)
    client.connect(auth={"name": "anna"})
    client.send("1")
    settle()
    assert gone == ["anna"]


def test_the_identity_is_in_the_environment_while_the_client_joins():
    identity, seen = Identity("anna", rooms=("private:a",)), []
    server = Server(identify=lambda environ, auth: identity)
    server.on("connect", lambda sid, environ: seen.append(environ[IDENTITY]))
    sid = PollingClient(server).connect()["sid"]
    assert seen == [identity]
    assert IDENTITY not in server.get_environ(sid)


def test_a_new_client_is_in_its_users_room_before_its_connect_handler():
    server, rooms = Server(identify=name, has_user_rooms=True), []
    server.on("connect", lambda sid, environ: rooms.append(server.rooms(sid)))
    sid = PollingClient(server).connect(auth={"name": "anna"})["sid"]
    assert rooms == [[sid, "user:anna"]]


def test_a_client_without_a_user_becomes_a_guest_with_a_room_of_its_own():
    server = Server(has_user_rooms=True)
    users = [server.get_user(PollingClient(server).connect()["sid"]) for _ in range(2)]
    assert all(user.startswith("guest-") and len(user) == len("guest-") + 16 for user in users)
    assert users[0] != users[1]


@pytest.mark.parametrize("identified", ["", Identity("")])
def test_an_empty_name_is_a_guests(identified):
    server = Server(identify=lambda environ, auth: identified, has_user_rooms=True)
    sids = [PollingClient(server).connect()["sid"] for _ in range(2)]
    assert len({server.get_user(sid) for sid in sids}) == 2
    assert all(server.get_user(sid).startswith("guest-") for sid in sids)


def test_without_user_rooms_nobody_gets_one():
    server = Server(identify=name)
    sid = PollingClient(server).connect(auth={"name": "anna"})["sid"]
    assert server.rooms(sid) == [sid]


def evict_when(monkeypatch, server, part, method):
    """Have ``method``, which waits for Redis, end as it does when another connection took the session meanwhile."""
    before = getattr(part, method)

    def evict(sid, *args):
        result = before(sid, *args)
        server.evict(sid, "/", server.manager.eio_sid_from_sid(sid, "/"))
        return result

    monkeypatch.setattr(part, method, evict)


@pytest.mark.parametrize("always_connect", [False, True])
@pytest.mark.parametrize("method", ["expire", "enter_inbox"])
def test_no_handler_runs_for_a_client_that_was_evicted_before(monkeypatch, method, always_connect):
    identity = Identity("anna", time.time() + 60)
    server = Server(identify=lambda environ, auth: identity, has_user_rooms=True, always_connect=always_connect)
    handled = []
    server.on("connect", lambda sid, environ: handled.append(sid))
    evict_when(monkeypatch, server, server.manager.recovery, method)
    client = PollingClient(server)
    client.send("0")
    settle()
    assert client.received == []
    assert client.receive() == "1"  # and no answer to CONNECT
    assert handled == []
    assert server.manager.get_namespaces_of(client.sid) == ()
    assert client.is_open


@pytest.mark.parametrize("always_connect", [False, True])
def test_a_client_that_was_evicted_while_its_session_was_written_is_not_answered(monkeypatch, caplog, always_connect):
    server = Server(always_connect=always_connect)
    handled = []
    server.on("connect", lambda sid, environ: handled.append(sid))
    evict_when(monkeypatch, server, server.manager.recovery, "write")
    client = PollingClient(server)
    client.send("0")
    settle()
    assert client.receive() == "1"
    assert client.is_open
    assert len(handled) == (not always_connect)
    assert server.manager.get_namespaces_of(client.sid) == ()
    assert "failed" not in caplog.text


def test_a_connection_that_joins_nothing_in_time_is_closed():
    server = Server(connect_timeout_s=0.05)
    joined, idle = PollingClient(server), PollingClient(server)
    joined.connect()
    with gevent.Timeout(5):
        while idle.is_open:
            gevent.sleep(0.01)
    assert joined.is_open


def test_with_always_connect_a_refused_client_is_disconnected_after_the_answer():
    server = Server(always_connect=True)

    @server.event
    def connect(sid, environ):
        raise Forbidden("not you")

    client = PollingClient(server)
    assert "sid" in client.connect()
    assert client.receive().startswith('1{"message":"not you"')


def test_a_clients_log_lines_name_it(caplog):
    caplog.set_level(logging.INFO, logger="webfarm.clients")
    server = Server(identify=name)
    client = PollingClient(server)
    sid = client.connect(auth={"name": "anna"})["sid"]
    client.send("1")
    settle()
    came, went = (record for record in caplog.records if record.name == "webfarm.clients")
    assert (came.message, came.sid, came.user, came.transport) == ("connect", sid, "anna", "polling")
    assert (went.message, went.sid, went.user, went.reason) == ("disconnect", sid, "anna", "client disconnect")
    assert came.address == went.address == "192.0.2.1"
