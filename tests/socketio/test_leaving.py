"""How a client leaves: its disconnect handler runs once, in its own order, and nothing of the client stays."""

import gevent
import pytest

from tests.kit.polling_client import PollingClient, settle
from webfarm import Server


@pytest.fixture
def gone():
    return []


@pytest.fixture
def server(gone):
    server = Server()
    server.on("disconnect", lambda sid, reason: gone.append(reason))
    return server


@pytest.fixture
def client(server):
    client = PollingClient(server)
    client.sid_of_socket = client.connect()["sid"]
    return client


def is_forgotten(server, sid):
    manager = server.manager
    return not manager.is_sid_room("/", sid) and not manager.rooms and not manager.callbacks


def test_a_disconnected_client_is_told_after_what_was_emitted(server, client, gone):
    server.emit("last", to=client.sid_of_socket)
    server.disconnect(client.sid_of_socket)
    server.emit("too late", to=client.sid_of_socket)
    assert [client.receive(), client.receive()] == ['2["last"]', "1"]
    settle()
    assert gone == ["server disconnect"]
    assert is_forgotten(server, client.sid_of_socket)
    assert client.is_open


def test_a_client_that_is_disconnected_twice_leaves_once(server, client, gone):
    server.disconnect(client.sid_of_socket)
    server.disconnect(client.sid_of_socket)
    settle()
    assert gone == ["server disconnect"]


def test_the_disconnect_handler_waits_for_the_event_that_is_being_handled(server, client, gone):
    @server.event
    def work(sid):
        server.disconnect(sid)
        gevent.sleep(0.02)
        gone.append("handled")

    server.on("more", lambda sid: gone.append("never"))
    client.send('2["work"]', '2["more"]')
    with gevent.Timeout(5):
        while len(gone) < 2:
            gevent.sleep(0.005)
    settle()
    assert gone == ["handled", "server disconnect"]


def test_a_client_leaves_by_its_own_word_and_may_join_again(server, client, gone):
    client.send("1")
    assert client.connect()["sid"] != client.sid_of_socket
    assert gone == ["client disconnect"]


def test_a_lost_connection_leaves_all_its_namespaces(gone):
    server = Server(namespaces=["/", "/other"])
    for name in server.namespaces:
        server.on("disconnect", lambda sid, reason, name=name: gone.append((name, reason)), namespace=name)
    client = PollingClient(server)
    sids = [client.connect(name)["sid"] for name in server.namespaces]
    client.close()
    settle()
    assert sorted(gone) == [("/", "client disconnect"), ("/other", "client disconnect")]
    assert all(is_forgotten(server, sid) for sid in sids)
    assert client.sid not in server.environ


def test_a_disconnect_handler_that_fails_leaves_nothing_of_its_client(server, client, caplog):
    server.on("disconnect", lambda sid, reason: 1 / 0)
    client.close()
    settle()
    assert "the disconnect handler" in caplog.text
    assert is_forgotten(server, client.sid_of_socket)


def test_an_evicted_client_is_told_and_no_handler_runs(server, client, gone):
    server.evict(client.sid_of_socket, "/", client.sid)
    assert client.receive() == "1"
    assert is_forgotten(server, client.sid_of_socket)
    client.close()
    settle()
    assert gone == []


def test_a_client_of_nobody_is_disconnected_without_a_word(server, gone):
    server.disconnect("unknown")
    server.disconnect("unknown", ignore_queue=True)
    assert gone == []


def test_a_connection_that_left_its_last_namespace_is_closed_in_time(gone):
    server = Server(connect_timeout_s=0.05)
    client = PollingClient(server)
    client.connect()
    client.send("1")
    with gevent.Timeout(5):
        while client.is_open:
            gevent.sleep(0.01)
