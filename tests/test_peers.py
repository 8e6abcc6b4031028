"""What nodes ask each other, without any other node; ``test_operations.py`` has it with two."""

import json

import pytest

from chat.realtime import Server
from chat.realtime.peers import pack, unpack


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
