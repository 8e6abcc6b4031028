"""A class-based namespace refuses bad events by name, and decides about its own clients."""

import pytest

from tests.kit.polling_client import PollingClient
from webfarm import Namespace, Server
from webfarm.errors import BadRequest, ClientError


class Own(Namespace):
    def __init__(self, name="/"):
        super().__init__(name)
        self.told = []

    def on_add(self, sid, one, two=0):
        return one + two

    def identify(self, environ, auth):
        return f"own {(auth or {}).get('name')}"

    def on_presence(self, room, user, is_online, watchers):
        self.told.append((room, user, is_online, watchers))


def refuse(environ, auth):
    raise BadRequest("not here")


def test_an_event_has_as_many_arguments_as_its_handler_takes():
    handlers = Own()
    assert handlers.trigger_event("add", "sid", 1) == 1
    assert handlers.trigger_event("add", "sid", 1, 2) == 3
    with pytest.raises(BadRequest, match="The event 'add' takes 2 arguments"):
        handlers.trigger_event("add", "sid", 1, 2, 3)
    with pytest.raises(BadRequest, match="There is no event 'other'"):
        handlers.trigger_event("other", "sid")


def test_connect_and_disconnect_need_no_handler():
    assert Own().trigger_event("connect", "sid", {}, None) is None
    assert Own().trigger_event("disconnect", "sid", "reason") is None


def test_no_client_can_call_a_hook_as_an_event():
    server, handlers = Server(), Own()
    server.register_namespace(handlers)
    client = PollingClient(server)
    client.connect()
    [answer] = client.call("presence", "room", True, ["sid"])
    assert answer == {"ok": False, "error": {"code": "bad_request", "message": "There is no event 'presence'."}}
    assert not handlers.told


def test_a_namespace_decides_before_the_server():
    server, handlers = Server(identify=refuse), Own("/own")
    server.register_namespace(handlers)
    client = PollingClient(server)
    sid = client.connect("/own", auth={"name": 7})["sid"]
    assert server.get_user(sid, "/own") == handlers.get_user(sid) == "own 7"
    assert client.connect("/")["data"] == {"code": "bad_request", "message": "not here"}
    server.on_presence("/own", "room", "anna", True, [sid])
    assert handlers.told == [("room", "anna", True, [sid])]


def test_by_default_a_namespace_does_as_the_server_was_told():
    told = []
    server = Server(
        identify=lambda environ, auth: auth["name"],
        get_user=lambda sid: f"user of {sid}",
        select_rooms=lambda sid, environ, rooms: rooms[:1],
        on_presence=lambda *args: told.append(args),
    )
    handlers = Namespace("/own")
    server.register_namespace(handlers)
    sid = PollingClient(server).connect("/own", auth={"name": "anna"})["sid"]
    assert server.manager.get_user(sid) == "anna"
    assert server.get_user(sid, "/own") == f"user of {sid}"
    assert list(server.select_rooms(sid, "/own", ["a", "b"])) == ["a"]
    server.on_presence("/own", "room", "anna", False, [sid])
    assert told == [("/own", "room", "anna", False, [sid])]


def test_a_namespaces_error_reaches_its_client_by_its_code():
    class Picky(Own):
        def on_connect(self, sid, environ):
            class Busy(ClientError):
                code = "busy"

            raise Busy("come later")

    server = Server()
    server.register_namespace(Picky())
    refusal = PollingClient(server).connect()
    assert refusal == {"message": "come later", "data": {"code": "busy", "message": "come later"}}
