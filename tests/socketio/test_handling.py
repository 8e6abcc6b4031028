"""How an event is handled: its handler's answer acknowledges it, an error refuses it, in the order sent."""

import gevent
import pytest
import socketio

from tests.kit.polling_client import PollingClient, settle
from webfarm import Server
from webfarm.errors import Flooding, Forbidden, RateLimited, Unavailable


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def client(server):
    client = PollingClient(server)
    client.sid_of_socket = client.connect()["sid"]
    return client


@pytest.mark.parametrize(
    ("answer", "acknowledged"), [(None, []), ("a", ["a"]), (("a", 1), ["a", 1]), ([1, 2], [[1, 2]]), ((), [])]
)
def test_the_handlers_answer_acknowledges_the_event(server, client, answer, acknowledged):
    server.on("ask", lambda sid: answer)
    assert client.call("ask") == acknowledged


def test_an_event_without_a_handler_is_not_acknowledged(server, client):
    server.on("last", lambda sid: "last")
    client.emit("nothing", id=1)
    client.emit("last", id=2)
    assert client.receive() == '32["last"]'


@pytest.mark.parametrize(
    ("error", "code"), [(Forbidden("not you"), "forbidden"), (ValueError("secret"), "internal")], ids=["own", "other"]
)
def test_an_error_refuses_the_event_by_its_code(server, client, error, code):
    @server.event
    def fail(sid):
        raise error

    [answer] = client.call("fail")
    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert "secret" not in answer["error"]["message"]


def test_an_event_that_could_not_be_stored_is_not_acknowledged(server, client):
    @server.event
    def fail(sid):
        raise Unavailable("no Redis")

    server.on("last", lambda sid: "last")
    client.emit("fail", id=1)
    client.emit("last", id=2)
    assert client.receive() == '32["last"]'


def test_one_clients_events_are_handled_one_after_the_other(server, client):
    order = []

    @server.event
    def wait(sid, name, seconds):
        order.append(f"begin {name}")
        gevent.sleep(seconds)
        order.append(f"end {name}")

    client.send('2["wait","a",0.02]', '2["wait","b",0]')
    with gevent.Timeout(5):
        while len(order) < 4:
            gevent.sleep(0.005)
    assert order == ["begin a", "end a", "begin b", "end b"]


def test_an_acknowledgement_overtakes_events_so_that_a_handler_can_call_its_client(server, client):
    server.on("quiz", lambda sid: server.call("question", to=sid, timeout=2))
    client.emit("quiz", id=1)
    packet = client.receive()
    assert packet.endswith('["question"]')
    client.send(f'3{packet[1 : packet.index("[")]}["42"]')
    assert client.receive() == '31["42"]'


def test_a_called_client_that_disconnects_fails_the_call_at_once(server, client):
    other = PollingClient(server)
    sid = other.connect()["sid"]
    server.on("ask", lambda own: server.call("question", to=sid, timeout=30))
    client.emit("ask", id=1)
    other.receive()
    other.close()
    text = client.receive()
    assert '"code":"internal"' in text
    assert "has disconnected" in text


def test_a_call_without_an_answer_times_out(server, client):
    with pytest.raises(socketio.exceptions.TimeoutError):
        server.call("question", to=client.sid_of_socket, timeout=0.01)
    assert not server.manager.callbacks


def test_an_event_to_a_namespace_that_was_not_joined_closes_the_connection(client):
    client.send('2/other,["event"]')
    settle()
    assert not client.is_open


def test_what_is_no_packet_closes_the_connection(client):
    client.send("9nothing")
    assert client.status.startswith("400")
    assert not client.is_open


def test_data_that_is_nested_too_deeply_is_refused(server, client):
    server.on("take", lambda sid, data: "taken")
    client.send("21" + '["take",' + "[" * 250 + "]" * 250 + "]")
    assert '"code":"bad_request"' in client.receive()


def test_a_refused_event_is_answered_in_its_turn_and_a_flood_closes_the_connection():
    asked = []

    def admit(user, size):
        asked.append((user, size))
        if len(asked) > 3:
            raise Flooding("on and on")
        if len(asked) > 2:
            raise RateLimited("wait")

    server = Server(identify=lambda environ, auth: "anna", admit=admit)
    server.on("say", lambda sid, text: text)
    client = PollingClient(server)
    client.connect()
    client.emit("say", "a", id=1)
    client.emit("say", "b", id=2)
    assert client.receive() == '31["a"]'
    assert client.receive().startswith('32[{"ok":false,"error":{"code":"rate_limited"')
    assert asked[0] == (client.sid, 1)  # before it has joined, it is its connection
    assert [user for user, _ in asked[1:]] == ["anna", "anna"]
    client.emit("say", "c", id=3)
    settle()
    assert not client.is_open


def test_a_disconnect_handler_may_leave_the_reason_out(server):
    gone = []
    server.on("disconnect", lambda sid: gone.append(sid))

    class Own(socketio.Namespace):
        def on_disconnect(self, sid):
            gone.append("own")

    server.register_namespace(Own("/own"))
    client = PollingClient(server)
    sid = client.connect()["sid"]
    client.connect("/own")
    client.close()
    settle()
    assert sorted(gone) == sorted([sid, "own"])
