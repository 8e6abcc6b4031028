"""What a handler asks for one client: rooms."""

import pytest

from tests.kit.polling_client import PollingClient
from webfarm import Namespace, Server
from webfarm.errors import Forbidden


def create_server(**options):
    server = Server(identify=lambda environ, auth: auth and auth["name"], **options)
    server.on("join", lambda sid, room: server.enter_room(sid, room))
    return server


@pytest.fixture
def server():
    return create_server(has_user_rooms=True)


def test_a_client_enters_a_room_by_its_name_but_not_the_room_of_another_user(server):
    eve, bob = PollingClient(server), PollingClient(server)
    sid, other = eve.connect(auth={"name": "eve"})["sid"], bob.connect(auth={"name": "bob"})["sid"]
    for room in ("user:bob", "user:", "user:eve ", "user:EVE"):
        [answer] = eve.call("join", room)
        assert answer["error"]["code"] == "forbidden"
    assert eve.call("join", "lobby") == eve.call("join", "user:eve") == []
    assert set(server.rooms(sid)) == {sid, "user:eve", "lobby"}
    assert set(server.rooms(other)) == {other, "user:bob"}


def test_a_guest_does_not_enter_a_users_room(server):
    guest = PollingClient(server)
    guest.connect()
    assert guest.call("join", "user:bob")[0]["error"]["code"] == "forbidden"


def test_an_inbox_is_the_explicit_way_into_another_users_room(server):
    server.on("connect", lambda sid, environ: server.enter_inbox(sid, "user:bob"))
    sid = PollingClient(server).connect(auth={"name": "eve"})["sid"]
    assert "user:bob" in server.rooms(sid)


def test_each_namespace_has_user_rooms_or_not():
    class Game(Namespace):
        has_user_rooms = True

        def on_join(self, sid, room):
            self.enter_room(sid, room)

    server = create_server(namespaces=["/"])
    server.register_namespace(Game("/game"))
    client = PollingClient(server)
    sid = client.connect(auth={"name": "eve"})["sid"]
    assert client.call("join", "user:bob") == []  # a room like others
    assert "user:bob" in server.rooms(sid)
    own = client.connect("/game", {"name": "eve"})["sid"]
    with pytest.raises(Forbidden):
        server.enter_room(own, "user:bob", "/game")
