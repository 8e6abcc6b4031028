"""A process without Redis ends its clients' sessions in time, and keeps nothing of clients that left."""

import time

import gevent
import pytest

from tests.kit.polling_client import PollingClient, settle
from webfarm import Server
from webfarm.auth import Identity
from webfarm.manager import no_recovery


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(no_recovery, "_EXPIRE_S", 0.05)


def wait_for(condition):
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0.01)


def keeps_nothing(server):
    recovery = server.manager.recovery
    return not recovery._namespaces and not recovery._ends


def test_a_client_whose_identity_ends_is_disconnected_then():
    server, gone = Server(identify=lambda environ, auth: Identity("anna", time.time() + 0.2)), []
    server.on("disconnect", lambda sid, reason: gone.append(reason))
    client = PollingClient(server)
    sid = client.connect()["sid"]
    assert server.get_user(sid) == "anna"
    assert client.receive() == "1"
    settle()
    assert gone == ["server disconnect"]
    assert client.is_open
    assert keeps_nothing(server)
    wait_for(lambda: not server.manager.recovery._is_watching)


def test_an_apps_end_counts_and_the_last_one_of_several():
    server = Server(identify=lambda environ, auth: Identity("anna", time.time() + 0.1), namespaces="*")
    server.on("connect", lambda sid, environ: server.expire_session(sid, time.time() + 60))
    client = PollingClient(server)
    sid, other = client.connect()["sid"], client.connect("/other")["sid"]
    assert client.receive() == "1/other,"
    settle()
    assert server.manager.is_connected(sid, "/")
    assert not server.manager.is_sid_room("/other", other)
    server.expire_session(sid, time.time())
    assert client.receive() == "1"
    wait_for(lambda: keeps_nothing(server))


@pytest.mark.parametrize("leave", [lambda client: client.send("1"), PollingClient.close])
def test_nothing_is_left_of_a_client_that_left(leave):
    server = Server(identify=lambda environ, auth: Identity("anna", time.time() + 60))
    server.on("disconnect", lambda sid, reason: server.expire_session(sid, time.time() + 60))
    client = PollingClient(server)
    client.connect()
    assert not keeps_nothing(server)
    leave(client)
    wait_for(lambda: keeps_nothing(server))
    wait_for(lambda: not server.manager.recovery._is_watching)


def test_nothing_is_left_of_a_client_that_was_refused():
    server = Server(identify=lambda environ, auth: Identity("anna", time.time() + 60))
    server.on("connect", lambda sid, environ: False)
    client = PollingClient(server)
    assert "message" in client.connect()
    assert keeps_nothing(server)
