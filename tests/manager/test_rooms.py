"""The bookkeeping of rooms does what python-socketio's own does, which is the oracle here."""

import pytest
import socketio
from hypothesis import given, settings
from hypothesis import strategies as st

from webfarm import LocalManager, Server

CLIENTS, ROOMS = ["c0", "c1", "c2"], ["a", "b", None]
STEPS = st.one_of(
    st.tuples(st.just("connect"), st.sampled_from(CLIENTS)),
    st.tuples(st.just("accept"), st.sampled_from(CLIENTS)),
    st.tuples(st.just("leaving"), st.sampled_from(CLIENTS)),
    st.tuples(st.just("gone"), st.sampled_from(CLIENTS)),
    st.tuples(st.just("enter"), st.sampled_from(CLIENTS), st.sampled_from(["a", "b"])),
    st.tuples(st.just("enter own"), st.sampled_from(CLIENTS)),
    st.tuples(st.just("enter other"), st.sampled_from(CLIENTS), st.sampled_from(CLIENTS)),
    st.tuples(st.just("leave"), st.sampled_from(CLIENTS), st.sampled_from(["a", "b"])),
    st.tuples(st.just("close"), st.sampled_from(["a", "b"])),
)


class Model:
    """A manager, told the same as another one; sids are made by each, so clients go by name."""

    def __init__(self, manager):
        self.manager, self.sids = manager, {}

    def do(self, step, *args):
        manager = self.manager
        if step == "connect":
            sid = manager.pre_connect(args[0], "/")
            self.sids[args[0]] = sid or self.sids[args[0]]
            return sid is not None
        sids = [self.sids.get(name) for name in args if name in CLIENTS]
        if step == "close":
            return manager.close_room(args[0], "/")
        if None in sids:
            return None
        if step == "accept":
            return manager.is_pre_connected(sids[0], "/") and bool(manager.connect(sids[0], "/"))
        if step == "leaving":
            return manager.is_connected(sids[0], "/") and manager.pre_disconnect(sids[0], "/")
        if step == "gone":
            manager.disconnect(sids[0], "/")
            del self.sids[args[0]]
            return None
        if step.startswith("enter"):
            room = {"enter own": sids[0], "enter other": sids[-1]}.get(step) or args[1]
            try:
                return manager.enter_room(sids[0], "/", room)
            except (ValueError, KeyError):
                return "refused"
        return manager.leave_room(sids[0], "/", args[1])

    def look(self):
        """What a user of the manager can see, by the clients' names."""
        names = {sid: name for name, sid in self.sids.items()}
        return {
            "rooms": {
                name: sorted(names.get(room, room) for room in self.manager.get_rooms(sid, "/"))
                for name, sid in self.sids.items()
            },
            "members": {
                str(names.get(room, room)): sorted(
                    (names[sid], eio) for sid, eio in self.manager.get_participants("/", room)
                )
                for room in [*ROOMS, *names, ("a", "b")]
            },
            "connected": {name: self.manager.is_connected(sid, "/") for name, sid in self.sids.items()},
            "pending": {name: self.manager.is_pre_connected(sid, "/") for name, sid in self.sids.items()},
            "eio": {name: self.manager.eio_sid_from_sid(sid, "/") for name, sid in self.sids.items()},
            "back": {name: names.get(self.manager.sid_from_eio_sid(name, "/")) for name in CLIENTS},
            "namespaces": list(self.manager.get_namespaces()),
        }


def make_models():
    stock = socketio.Server(async_mode="threading", client_manager=socketio.Manager())
    return Model(Server().manager), Model(stock.manager)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_rooms_are_as_python_socketio_keeps_them(steps):
    ours, stock = make_models()
    for step in steps:
        assert ours.do(*step) == stock.do(*step)
        assert ours.look() == stock.look()


def test_nothing_is_left_of_a_client_that_was_in_rooms():
    manager = Server().manager
    sids = [manager.pre_connect(f"e{number}", "/") for number in range(10)]
    for sid in sids:
        manager.connect(sid, "/")
        for room in "abc":
            manager.enter_room(sid, "/", room)
    for sid in sids:
        manager.disconnect(sid, "/")
    assert manager.rooms == {}
    rooms = manager.clients
    assert rooms._rooms_of == rooms._namespaces_of == rooms.pending_connect == rooms.pending_disconnect == {}


@pytest.mark.parametrize("method", ["emit", "close_room", "get_participants"])
def test_nobody_is_in_a_namespace_that_nobody_joined(method):
    manager = Server(client_manager=LocalManager()).manager
    if method == "emit":
        manager.emit("x", 1, "/nowhere")
    elif method == "close_room":
        manager.close_room("a", "/nowhere")
    else:
        assert list(manager.get_participants("/nowhere", None)) == []


def test_a_connection_has_the_namespaces_that_it_joined():
    manager = Server().manager
    sids = {name: manager.pre_connect("e0", name) for name in ("/", "/a")}
    assert manager.get_namespaces_of("e0") == ("/", "/a")
    manager.disconnect(sids["/"], "/")
    assert manager.get_namespaces_of("e0") == ("/a",)
    manager.disconnect(sids["/a"], "/a")
    assert manager.get_namespaces_of("e0") == ()


def test_nothing_is_kept_of_a_callback_that_was_called():
    manager = Server().manager
    answers = []
    first = manager._generate_ack_id("a client of another worker", answers.append)
    second = manager._generate_ack_id("a client of another worker", answers.append)
    for number in (second, first, first):
        manager.trigger_callback("a client of another worker", number, [number])
    assert answers == [second, first]
    assert manager.callbacks == {}
