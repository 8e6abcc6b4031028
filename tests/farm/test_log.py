"""Emits through the log, as python-socketio documents them, on two workers."""

import contextlib
import json

import pytest
import redis

from tests.kit.clients import AnsweringClient as Client
from tests.kit.offsets import get_epochs, get_keys, read_offset
from webfarm.testing import starting_workers, wait_until


@pytest.fixture(scope="module")
def site(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, "tests.kit.log_handlers:app", ready=False, WEBFARM_PREFIX="logged")


@pytest.fixture
def pair(site):
    """Two clients, each on a worker of its own."""
    wait_until(lambda: site.output.count("Booting worker") == 2, "the workers")
    clients = [Client(url) for url in site.urls]
    for client in clients:
        client.get(2 if client is clients[0] else 1, "arrived")
    yield clients
    for client in clients:
        client.stack.close()


def test_what_a_connect_handler_emits_comes_after_the_answer_and_has_offsets(pair, redis_server):
    a, _ = pair
    assert a.names() == ["welcome", "arrived", "arrived"]
    assert a.events[0][1] == a.events[1][1] == a.sid
    with redis.Redis.from_url(redis_server.url) as server:
        before, *offsets = [read_offset(server, "logged", event[2]) for event in a.events]
    for ids in offsets:
        assert ids != before
        assert all(map(int.__ge__, ids, before))
        before = ids


def test_a_client_gets_one_copy_of_an_emit_to_several_rooms(pair):
    a, b = pair
    a.call("enter", a.sid, "one")
    a.call("emit", "news", 1, {"room": ["one", "all", b.sid]})
    a.call("emit", "end", None, {"room": "all"})
    for client in pair:
        client.get(1, "end")
        assert client.names().count("news") == 1


def test_skipped_clients_get_nothing_also_not_when_they_come_back(site, pair):
    a, b = pair
    a.call("emit", "news", 1, {"room": "all", "skip_sid": b.sid})
    b.cut()
    a.call("emit", "news", 2, {"room": "all", "skip_sid": [b.sid]})
    a.call("emit", "news", 3, {"room": "all"})
    again = Client(site.urls[0], pid=b.pid, offset=b.events[-1][-1])
    assert again.sid == b.sid
    assert [args[0] for args in again.get(1, "news")] == [3]
    assert [args[0] for args in a.get(3, "news")] == [1, 2, 3]
    again.stack.close()


def test_to_all_of_a_namespace_and_of_no_other(site, pair):
    a, b = pair
    b.socket.send("40/other,")
    a.call("emit", "everybody", "x", {})
    a.call("emit", "elsewhere", "x", {"namespace": "/other"})
    for client in pair:
        assert client.get(1, "everybody")[0][0] == "x"
    assert "elsewhere" not in a.names()


def test_no_argument_several_and_a_volatile_text(pair, redis_server):
    a, b = pair
    a.call("emit", "none", None, {"room": "all"})
    a.call("emit", "several", [1, {"two": 2}], {"room": "all"})
    a.call("emit", "tick", "now", {"room": "all", "volatile": True})
    [offset] = b.get(1, "none")[0]
    with redis.Redis.from_url(redis_server.url) as server:
        assert read_offset(server, "logged", offset)[get_keys("logged", "all").shard]
    assert b.get(1, "several")[0][:2] == [1, {"two": 2}]
    assert b.get(1, "tick") == [["now", {}]]


def test_a_volatile_emit_is_not_replayed(site, pair):
    a, b = pair
    offset = b.events[-1][-1]
    b.cut()
    a.call("emit", "tick", 1, {"room": "all", "volatile": True})
    a.call("emit", "news", 1, {"room": "all"})
    again = Client(site.urls[1], pid=b.pid, offset=offset)
    again.get(1, "news")
    assert again.names() == ["news"] or again.names()[-2:] == ["arrived", "news"]
    again.stack.close()


@pytest.mark.parametrize("owner", [0, 1], ids=["of this worker", "of the other worker"])
def test_what_is_emitted_to_a_room_reaches_whoever_was_just_put_there(pair, owner):
    a, other = pair[0], pair[owner]
    for number in range(50):
        room = f"room {owner} {number}"
        a.call("enter", other.sid, room)
        assert other.get(number + 1, "entered")[-1][0] == room
    a.call("leave", other.sid, "room 0 0" if owner == 0 else "room 1 0")
    a.call("emit", "end", None, {"room": "all"})
    other.get(1, "end")
    assert "left" not in other.names()


def test_a_room_that_is_closed_has_nobody_left_on_any_worker(pair):
    a, _ = pair
    for client in pair:
        a.call("enter", client.sid, "to be closed")
    a.call("close", "to be closed")
    tries = iter(range(1, 1000))

    def reaches_nobody():
        number = next(tries)
        a.call("emit", "inside", number, {"room": "to be closed"})
        a.call("emit", "end", None, {"room": "all"})
        for client in pair:
            client.get(number, "end")
        return not any(number in event for client in pair for event in client.events if event[0] == "inside")

    wait_until(reaches_nobody, "the room to be closed")


@pytest.mark.parametrize("other", [0, 1], ids=["of this worker", "of the other worker"])
def test_a_question_comes_after_what_was_emitted_before_it(pair, other):
    a, asked = pair[0], pair[other]
    if asked is a:
        assert a.call("ask", a.sid, "who") == "who!"
    else:
        a.number += 1
        a.socket.send(f"42{a.number}" + json.dumps(["ask", asked.sid, "who"]))
        asked.get(1, "question")
        a.wait(lambda: a.number in a.acks)
        assert a.acks[a.number] == ["who!"]
    assert [name for name in asked.names() if name in ("before", "question")] == ["before", "question"]


@pytest.mark.parametrize("other", [0, 1], ids=["of this worker", "of the other worker"])
def test_who_is_disconnected_has_what_was_emitted_before_and_can_not_come_back(site, pair, other):
    kicker, kicked = pair[1 - other], pair[other]
    kicker.call("kick", kicked.sid)
    kicked.get(1, "disconnect")
    assert [name for name in kicked.names() if name in ("before", "disconnect")] == ["before", "disconnect"]
    again = Client(site.urls[0], pid=kicked.pid)
    assert again.sid != kicked.sid
    again.stack.close()


def test_a_saved_session_is_kept_over_a_lost_connection(site, pair):
    _, b = pair
    b.call("save", {"name": "bob", "list": [1, 2]})
    b.cut()
    again = Client(site.urls[0], pid=b.pid)
    assert again.call("load") == {"name": "bob", "list": [1, 2]}
    assert again.call("save_what_is_no_json") == "refused"
    assert again.call("load") == {"name": "bob", "list": [1, 2]}
    again.stack.close()


@pytest.mark.parametrize("event", ["enter", "emit"])
def test_a_room_whose_name_is_no_text_for_redis_is_a_fault_of_its_handler_alone(site, pair, event):
    """What others ask for in the same turn is done."""
    a, _ = pair
    others = [Client(site.urls[0]) for _ in range(5)]
    bad = ["emit", "x", 1, {"room": "\ud800"}] if event == "emit" else ["enter", a.sid, "\ud800"]
    for number, other in enumerate(others):
        a.socket.send(f"42{number}" + json.dumps(bad))
        good = ["emit", "x", 1, {"room": "all"}] if event == "emit" else ["enter", other.sid, f"room {number}"]
        other.socket.send("421" + json.dumps(good))
    for other in others:
        other.wait(lambda other=other: other.acks, 2)
    a.wait(lambda: len(a.acks) == len(others))
    assert all(answer[0]["error"]["code"] == "internal" for answer in a.acks.values())
    for other in others:
        other.stack.close()
    site.lines = [line.replace("Traceback", "traceback") for line in site.lines]  # its handler's


def take(server, sid):
    """Give a session to another node, and tell nobody."""
    server.hincrby(get_keys("logged", sid).session(sid), "generation", 1)


def test_who_saves_its_session_when_that_is_anothers_is_disconnected_and_not_answered(site, pair, redis_server):
    a, _ = pair
    with redis.Redis.from_url(redis_server.url) as server:
        take(server, a.sid)
    a.socket.send('421["save",{"n":1}]')
    a.get(1, "disconnect")
    assert a.acks == {}
    site.wait_for_line(f"not acknowledged sid={a.sid} event=save reason=\"the session is another connection's")
    assert "Traceback" not in site.output


def test_a_handler_whose_client_has_gone_meanwhile_ends_without_a_traceback(site, pair):
    a, _ = pair
    other = Client(site.urls[0])
    gate = f"{a.sid} load"
    other.call("close_gate", gate)
    a.socket.send('421["load_late"]')
    wait_until(lambda: other.call("is_reached", gate), "the handler")
    again = Client(site.urls[1], pid=a.pid)
    assert again.sid == a.sid
    a.get(1, "disconnect")
    other.call("open_gate", gate)
    site.wait_for_line(f"event 'load_late' from {a.sid}, whose session was taken")
    assert "Traceback" not in site.output
    for one in (other, again):
        one.stack.close()


@pytest.mark.parametrize("place", ["select", "connect"])
def test_a_client_that_comes_back_and_whose_session_is_taken_meanwhile_is_dropped(
    site, pair, redis_server, raw_client, place
):
    a, _ = pair
    other = Client(site.urls[0])
    gate = f"{a.sid} {place}"
    other.call("close_gate", gate)
    a.cut()
    raw = raw_client(site.urls[0], join=False)
    raw.send("40" + json.dumps({"pid": a.pid}))
    wait_until(lambda: other.call("is_reached", gate), "the handler")
    with redis.Redis.from_url(redis_server.url) as server:
        server.hset(get_keys("logged", a.sid).session(a.sid), "resumed", 1)
    again = Client(site.urls[1], pid=a.pid)
    assert again.sid == a.sid
    assert raw.receive() == "41"
    other.call("open_gate", gate)
    assert again.call("load") == {}
    assert "Traceback" not in site.output
    for one in (other, again):
        one.stack.close()


def test_what_came_to_a_session_that_could_not_be_resumed_is_not_for_the_new_one(site, pair, redis_server, raw_client):
    a, b = pair
    gate = f"{a.sid} select"
    b.call("close_gate", gate)
    with redis.Redis.from_url(redis_server.url) as server:
        epoch = get_epochs(server, "logged")[get_keys("logged", "all").shard]
    a.cut()
    raw = raw_client(site.urls[1], join=False)
    raw.send("40" + json.dumps({"pid": a.pid, "offset": f"{epoch}.9999999999999999"}))
    wait_until(lambda: b.call("is_reached", gate), "the handler")
    b.call("emit", "early", 1, {})
    b.get(1, "early")  # so did the one that is coming back: it is in the room of all
    b.call("open_gate", gate)
    answer = raw.receive()
    assert answer.startswith("40")
    assert a.sid not in answer
    b.call("emit", "late", 1, {})
    received = []
    while not received or received[-1] != "late":
        received.append(json.loads(raw.receive()[2:])[0])
    assert received == ["welcome", "arrived", "late"]


def test_a_client_that_is_always_answered_first_is_in_its_users_room(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        site = start_workers(1, "tests.kit.log_handlers:app", ready=False, ALWAYS_CONNECT="1")
        wait_until(lambda: "Booting worker" in site.output, "the worker")
        client = Client(site.urls[0])
        client.get(1, "arrived")
        sid, room, *_ = client.call("enter", client.sid, "all")
        assert (sid, room[:11]) == (client.sid, "user:guest-")
        client.call("emit", "news", 1, {"room": room})
        assert client.get(1, "news")
        client.stack.close()


def test_a_worker_stores_what_its_handlers_emit(site, pair, redis_server):
    a, _ = pair
    a.call("emit", "kept", {"n": 1}, {"room": "all"})
    with redis.Redis.from_url(redis_server.url) as server:
        [(_, fields)] = server.xrevrange(get_keys("logged", "all").stream("/", "all"), count=1)
    assert fields[b"b"] == b'\n2["kept",{"n":1}]'


def test_who_is_skipped_by_all_messages_of_a_room_that_is_trimmed_is_recovered(redis_server):
    settings = {"WEBFARM_HISTORY_LENGTH": "10", "WEBFARM_RECOVERY_WINDOW_S": "4", "WEBFARM_PING_INTERVAL_S": "0.3"}
    with starting_workers(redis_server.url) as start_workers:
        site = start_workers(2, "tests.kit.log_handlers:app", ready=False, WEBFARM_PREFIX="skipped", **settings)
        wait_until(lambda: site.output.count("Booting worker") == 2, "the workers")
        a, b = map(Client, site.urls)
        a.get(2, "arrived")
        offset = a.events[-1][2]
        for number in range(30):
            b.call("emit", "secret", number, {"room": "all", "skip_sid": a.sid})
        newest = b.get(30, "secret")[-1][-1]
        session, room = get_keys("skipped", a.sid).session(a.sid), get_keys("skipped", "all")
        with redis.Redis.from_url(redis_server.url) as server:
            needed = read_offset(server, "skipped", newest)[room.shard]

            def get_received():
                received = (server.hget(session, "received") or b"0").split(b",")
                return int(received[room.shard]) if len(received) > 1 or not room.shard else 0

            while get_received() < needed:
                with contextlib.suppress(TimeoutError):
                    a.read(0.1)
        a.cut()
        again = Client(site.urls[1], pid=a.pid, offset=offset)
        assert again.sid == a.sid
        b.call("emit", "news", 1, {"room": "all"})
        assert again.get(1, "news")[0][0] == 1
        assert "secret" not in again.names()
        for one in (again, b):
            one.stack.close()


def test_a_batch_whose_answer_is_another_batchs_fails_alone_and_the_next_is_stored(site, pair, redis_server):
    a, _ = pair
    a.call("emit", "news", 1, {"room": "all"})
    with redis.Redis.from_url(redis_server.url) as server:
        names = server.scan_iter(get_keys("logged", "all").batch("*"))
        batches = {key: int(server.get(key).split()[0]) for key in names}
        for key, number in batches.items():
            server.set(key, f'{number + 1} ["epoch",["1",1],["2",1]]', px=60_000)
    a.number += 1
    a.socket.send(f"42{a.number}" + json.dumps(["emit", "news", 2, {"room": "all"}]))
    site.wait_for_line("Redis could not store it: the store script answered for 2 messages, not 1")
    assert a.call("emit", "news", 3, {"room": "all"}) == "done"
    assert [args[0] for args in a.get(2, "news")] == [1, 3]
