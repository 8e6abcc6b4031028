"""A ``Server`` offers the methods of its parts as its own."""

import inspect

import pytest

from webfarm import Server
from webfarm.socketio.all_nodes import AllNodes
from webfarm.socketio.client_api import ClientAPI
from webfarm.socketio.leaving import Leaving


def list_public(part):
    return [(part, name) for name in vars(part) if not name.startswith("_")]


@pytest.mark.parametrize(
    ("part", "name"),
    [*list_public(AllNodes), *list_public(ClientAPI), (Leaving, "disconnect"), (Leaving, "evict")],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_parts_method_is_the_servers_with_its_signature_and_docstring(part, name):
    own, theirs = getattr(Server, name), getattr(part, name)
    assert inspect.signature(own) == inspect.signature(theirs)
    assert own.__doc__ == theirs.__doc__
    assert own.__doc__


def test_a_servers_method_reaches_the_part():
    server = Server()
    server.on_server_event("version", lambda: "1.2")
    assert server.call_all("ready?", room="nobody", timeout=0.1).is_complete
    with pytest.raises(ValueError, match="call\\(\\) to broadcast"):
        server.call("event")
