"""Eight shards on one Redis: what holds of one room holds of rooms in all of them, and what breaks in one stays there."""

import contextlib
import itertools
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import requests
from websockets.exceptions import ConnectionClosed

from tests.kit.clients import AnsweringClient as LogClient
from tests.kit.clients import Client, get_refusals, name, opening
from tests.kit.commands import run_webfarm
from tests.kit.offsets import get_keys
from webfarm.log.entry import Body, make_messages
from webfarm.log.offset import Vector, decode_offset
from webfarm.nodes.directory import Directory
from webfarm.redis.blocking import list_shards
from webfarm.redis.keys import find_shard
from webfarm.sessions.replay import Replay
from webfarm.testing import get_status, starting_workers, wait_until

SHARDS = 8
PREFIX, LOG_PREFIX = "shards", "shardslog"
SETTINGS = {"WEBFARM_SHARDS": str(SHARDS), "WEBFARM_PING_INTERVAL_S": "0.3"}


@pytest.fixture(scope="module")
def site(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX=PREFIX, **SETTINGS)


@pytest.fixture(scope="module")
def log_site(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        site = start_workers(2, "tests.kit.log_handlers:app", ready=False, WEBFARM_PREFIX=LOG_PREFIX, **SETTINGS)
        wait_until(lambda: site.output.count("Booting worker") == 2, "the workers")
        yield site


@pytest.fixture
def client():
    """Opens clients, which end with the test."""
    with opening(Client) as open_client:
        yield open_client


@pytest.fixture
def log_client():
    with opening(LogClient) as open_client:
        yield open_client


@pytest.fixture
def server(redis_server):
    with redis.Redis.from_url(redis_server.url) as server:
        yield server


def shard_of(name):
    return find_shard(name, SHARDS)


def name_in(is_right):
    """Return a new name whose shard is right."""
    return next(one for one in iter(name, None) if is_right(shard_of(one)))


def create_rooms(count=SHARDS):
    """Return new rooms, one in each shard."""
    return [name_in(number.__eq__) for number in range(count)]


def create_user():
    """Return a new user, whose inbox is in another shard than the sessions."""
    user = name()
    assert shard_of(user) != shard_of(f"user:{user}")
    return user


def is_ended(one):
    """Wait until the connection of a client ends."""
    with pytest.raises(ConnectionClosed):
        one.wait(lambda: False)


def group_by_room(messages):
    """Return what came in each room, in order."""
    groups = {}
    for data, *_ in messages:
        groups.setdefault(data["room"], []).append(data["n"])
    return groups


# Offsets of what is sent to a client that joins


def create_messages(shard, id, shown):
    event = Body(f'2["message",{id}]')
    return make_messages(event, shard, id, Vector(["a", "b"], shown).encode())


def test_an_offset_never_shows_what_comes_behind_it():
    """What came live had been delivered later than what is replayed, though it was stored before."""
    held = create_messages(0, 10, (10, 20)) + create_messages(1, 30, (10, 30)) + create_messages(0, 25, (25, 30))
    replayed = create_messages(1, 15, (5, 15)) + create_messages(1, 20, (5, 20))
    sent, ids = Replay(replayed, (5, 20), (5, 5), ["a", "b"]).merge(held), [5, 5]
    assert [message.id for message in sent] == [10, 15, 20, 25, 30]
    for message in sent:
        ids[message.shard] = message.id
        assert decode_offset(json.loads(message.packet[2:])[-1], ["a", "b"]) == tuple(ids)
        assert json.loads(message.packet[2:])[:-1] == ["message", message.id]


# Emits


def test_an_emit_to_rooms_in_several_shards_comes_once_to_each(log_site, log_client):
    rooms = create_rooms()
    a, b, outside = (log_client(log_site.urls[number % 2]) for number in range(3))
    for room in rooms:
        a.call("enter", a.sid, room)
    b.call("enter", b.sid, rooms[3])
    b.call("enter", b.sid, rooms[5])
    for number in range(20):
        outside.call("emit", "news", number, {"room": [*rooms, b.sid]})
    outside.call("emit", "end", None, {"room": "all"})
    for one in (a, b):
        one.get(1, "end")
        one.get(20, "news")
        assert sorted(args[0] for args in one.get(20, "news")) == list(range(20))
    assert "news" not in outside.names()


def test_an_emit_to_rooms_in_several_shards_comes_once_to_who_was_away(log_site, log_client):
    rooms = create_rooms()
    a, b, outside = (log_client(log_site.urls[number % 2]) for number in range(3))
    for room in rooms:
        a.call("enter", a.sid, room)
    for room in rooms[4:]:
        b.call("enter", b.sid, room)
    outside.call("emit", "news", "before", {"room": rooms})
    offsets = [one.get(1, "news")[0][-1] for one in (a, b)]
    for one in (a, b):
        one.cut()
    for number in range(5):
        outside.call("emit", "news", number, {"room": rooms[::-1]})
    for one, offset, url in zip((a, b), offsets, reversed(log_site.urls), strict=True):
        again = log_client(url, pid=one.pid, offset=offset)
        assert again.sid == one.sid
        outside.call("emit", "news", "after", {"room": rooms})
        again.get(6, "news")
        outside.call("emit", "end", None, {"room": again.sid})
        again.get(1, "end")
        assert [args[0] for args in again.get(6, "news")] == [*range(5), "after"]
        outside.call("emit", "end", None, {"room": rooms})


def test_of_an_emit_to_several_rooms_a_copy_comes_to_who_has_entered_one_of_them_meanwhile(log_site, log_client):
    """The copies in two shards are stored one after the other: who was in the second room all the time gets one."""
    first, second = create_rooms(2)
    a, outside = (log_client(url) for url in log_site.urls)
    a.call("enter", a.sid, second)
    for number in range(60):
        a.number += 1
        a.socket.send(f"42{a.number}" + json.dumps(["enter", a.sid, first]))
        outside.call("emit", "news", number, {"room": [first, second]})
        a.wait(lambda number=a.number: number in a.acks)
        a.call("leave", a.sid, first)
    outside.call("emit", "end", None, {"room": second})
    a.get(1, "end")
    assert sorted({args[0] for args in a.get(0, "news")}) == list(range(60))


def test_each_room_has_one_order_for_all(site, client):
    rooms = create_rooms()
    everybody = [client(site.urls[number % 2], name()) for number in range(4)]
    for one, room in itertools.product(everybody, rooms):
        assert one.call("join", {"room": room})["ok"]

    def talk(one):
        for number, room in itertools.product(range(10), rooms):
            assert one.call("message", {"room": room, "n": f"{one.sid} {number}"})["ok"]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(talk, everybody))
    count = 4 * 10 * SHARDS
    orders = [group_by_room(one.get(count)) for one in everybody]
    assert all(order == orders[0] for order in orders)
    assert sorted(map(len, orders[0].values())) == [40] * SHARDS
    ids = {}
    for data, meta, _ in everybody[0].get(count):
        ids.setdefault(data["room"], []).append(int(meta["id"]))
    assert all(of_room == sorted(of_room) for of_room in ids.values())


# Resuming


def test_who_comes_back_gets_what_it_missed_in_all_shards_each_once_and_in_order(site, client):
    """Cut again and again at whatever it had, while others go on talking in rooms of all shards."""
    rooms, user = create_rooms(), create_user()
    a, b = client(site.urls[0], user), client(site.urls[1], name())
    for one, room in itertools.product((a, b), rooms):
        assert one.call("join", {"room": room})["ok"]
    got, number, offset = [], 0, ""
    for life in range(8):
        for room in rooms + rooms:
            assert b.call("message", {"room": room, "n": number})["ok"]
            number += 1
        a.get(1 + life * 2)  # not all of it, and then it is cut
        seen = a.get(0)
        got += seen
        offset = seen[-1][-1]
        a.cut()
        for room in reversed(rooms):
            assert b.call("message", {"room": room, "n": number})["ok"]
            number += 1
        again = client(site.urls[life % 2], user, pid=a.pid, offset=offset)
        assert again.sid == a.sid
        a = again
    a.wait(lambda: len(got) + len(a.get(0)) >= number)
    got += a.get(0)
    expected = {}
    for data, *_ in b.get(number):
        expected.setdefault(data["room"], []).append(data["n"])
    assert group_by_room(got) == expected


def test_an_inbox_in_another_shard_than_the_session_keeps_what_waits(site, client, server):
    user, a = create_user(), client(site.urls[0], name())
    for number in range(3):
        assert a.call("privateMessage", {"toUser": user, "n": number})["ok"]
    b = client(site.urls[1], user)
    assert [args[0]["n"] for args in b.get(3, "privateMessage")] == [0, 1, 2]
    keys = get_keys(PREFIX, f"user:{user}", SHARDS)
    pointer = keys.pointer(keys.stream("/", f"user:{user}"))
    while not server.exists(pointer):
        with contextlib.suppress(TimeoutError):
            b.read(0.1)
    b.cut()
    site.wait_for_line(f"disconnect sid={b.sid}")
    assert a.call("privateMessage", {"toUser": user, "n": "missed"})["ok"]
    again = client(site.urls[0], user, pid=b.pid, offset=b.events[-1][-1])
    assert again.sid == b.sid
    new = client(site.urls[1], user)
    for one in (again, new):
        one.call("message", "x")
        assert [args[0]["n"] for args in one.get(1, "privateMessage")] == ["missed"]


def test_who_is_resumed_elsewhere_after_a_kill_counts_once(redis_server, server, client):
    room, user = name(), create_user()
    other_room = name_in(lambda shard: shard not in (shard_of(user), shard_of(room)))
    with starting_workers(redis_server.url) as start_workers:
        site = start_workers(2, WEBFARM_PREFIX="shardskill", **SETTINGS)
        a, b = client(site.urls[0], user), client(site.urls[1], name())
        for one, where in itertools.product((a, b), (room, other_room)):
            assert one.call("join", {"room": where})["ok"]

        def count(where):
            users = b.call("who", {"room": where})["users"]
            return next((one["clients"] for one in users if one["userId"] == user), 0)

        for where in (room, other_room):
            wait_until(lambda where=where: count(where) == 1, "the client to be listed")
        [row] = Directory(list_shards(server, "shardskill", SHARDS)).iterate_clients(user=user)
        os.kill(site.get_worker(site.ports[0]), signal.SIGKILL)
        marks = [get_keys("shardskill", where, SHARDS).marks + row["node"] for where in (room, other_room, user)]
        wait_until(lambda: not any(n for _, n in server.pubsub_numsub(*marks)), "Redis to see that it is dead")
        again = client(site.urls[1], user, pid=a.pid)
        assert again.sid == a.sid
        for where in (room, other_room):
            wait_until(lambda where=where: count(where) == 1, "one client, before the dead one is buried", 4)
        nodes = [get_keys("shardskill", where, SHARDS).nodes for where in (room, other_room, user)]
        wait_until(lambda: not any(server.sismember(key, row["node"]) for key in nodes), "the burial", 30)
        for where in (room, other_room):
            assert count(where) == 1


# What is done to users and rooms


def test_a_kick_ends_a_users_sessions_and_nobody_elses(site, client, redis_server, server):
    user = create_user()
    clients, other = [client(site.urls[number % 2], user) for number in range(4)], client(site.urls[0], name())
    away = clients.pop()
    away.cut()
    key = get_keys(PREFIX, user, SHARDS).session(away.sid)
    wait_until(lambda: server.hget(key, "is_open") == b"0", "the client to be away")
    done = run(redis_server, "kick", user)
    assert done.stdout == "3 clients disconnected, 1 away; 2 nodes told\n"
    for one in clients:
        one.get(1, "disconnect")
    for one in (away, *clients):
        assert client(site.urls[1], user, pid=one.pid).sid != one.sid
    assert other.call("message", "still here")["ok"]


def run(redis_server, *args, **env):
    return run_webfarm(
        *args, REDIS_URL=redis_server.url, WEBFARM_PREFIX=PREFIX, **{"WEBFARM_SHARDS": str(SHARDS)} | env
    )


def test_what_is_erased_is_gone_in_whichever_shard_it_was(site, client, redis_server):
    user, rooms = create_user(), create_rooms()
    a, b = client(site.urls[0], user), client(site.urls[1], name())
    for one, room in itertools.product((a, b), rooms):
        assert one.call("join", {"room": room})["ok"]
    for room in rooms:
        assert b.call("message", {"room": room})["ok"]
    for target in ({"toUser": user}, {"to": a.sid}):
        assert b.call("privateMessage", target)["ok"]
    for room in rooms:
        assert run(redis_server, "erase", "--room", room).stdout == "1 message erased\n"
        for one in (a, b):  # a command takes a second or more: both must answer their pings meanwhile
            assert one.call("history", {"room": room})["messages"] == []
    assert run(redis_server, "erase", "--user", user).stdout == "2 messages erased\n"
    a.get(1, "disconnect")
    again = client(site.urls[0], user, pid=a.pid)
    assert again.sid != a.sid
    assert again.call("message", "hello")["ok"]
    assert again.get(0, "privateMessage") == []


def test_of_21_connections_at_once_20_are_let_in(site, raw_client):
    user = create_user()

    def join(number):
        raw = raw_client(site.urls[number % 2], join=False, query=f"&userId={user}")
        raw.send("40")
        return json.loads(raw.receive()[2:]).get("data", {}).get("code", "in")

    with ThreadPoolExecutor(21) as pool:
        codes = list(pool.map(join, range(21)))
    assert sorted(codes) == ["in"] * 20 + ["too_many_connections"]


# What breaks in one shard


def find_free_shard(*names):
    """Return a shard that is needed for none of the names, and for nobody that just connects."""
    used = {shard_of(one) for one in ("/", "common", "*", *names)} | {0}
    return next(number for number in range(SHARDS) if number not in used)


def test_an_epoch_that_begins_anew_in_one_shard_ends_only_who_has_a_room_there(site, client, server):
    users = name(), name()
    shard = find_free_shard(*users, *(f"user:{one}" for one in users))
    room = name_in(shard.__eq__)
    a, b = (client(url, user) for url, user in zip(site.urls, users, strict=True))
    assert a.call("join", {"room": room})["ok"]
    for one in (a, b):
        assert one.call("message", "before")["ok"]
    before = [one.get(1)[0][-1] for one in (a, b)]
    server.delete(get_keys(PREFIX, room, SHARDS).clock)
    is_ended(a)
    again = client(site.urls[0], users[0], pid=a.pid, offset=before[0])
    assert again.sid != a.sid
    assert get_refusals(site.urls[0])["unknown"] >= 1  # its end was written at once
    assert again.call("join", {"room": room})["ok"]
    assert again.call("message", {"room": room, "n": 1})["ok"]
    assert b.call("message", "after")["ok"]
    b.wait(lambda: any(event[:2] == ["message", "after"] for event in b.events))
    b.cut()
    assert again.call("message", "missed")["ok"]
    resumed = client(site.urls[0], users[1], pid=b.pid, offset=b.get(0)[-1][-1])
    assert resumed.sid == b.sid
    assert [args[0] for args in resumed.get(1)] == ["missed"]


def test_only_the_rooms_of_a_shard_that_is_broken_wait(workers, client, server):
    """Its clock can't be read: nothing is stored there, nobody joins; all else goes on, and this does once it is mended."""
    site = workers(2, WEBFARM_PREFIX="shardsbroken", **SETTINGS)
    users = name(), name()
    shard = find_free_shard(*users, *(f"user:{one}" for one in users))
    broken, whole = name_in(shard.__eq__), name_in(lambda other: other not in (shard, 0))
    a, b = (client(url, user) for url, user in zip(site.urls, users, strict=True))
    for one in (a, b):
        for room in (broken, whole):
            assert one.call("join", {"room": room})["ok"]
    assert a.call("message", {"room": broken, "n": 1})["ok"]
    clock = get_keys("shardsbroken", broken, SHARDS).clock
    server.rename(clock, f"{clock}:kept")
    server.set(clock, "no hash")
    reason = f"not ready: redis (shard {shard})"
    for url in site.urls:
        wait_until(lambda url=url: requests.get(f"{url}/readyz", timeout=5).text.strip() == reason, reason)
    a.socket.send(f'429999["message",{{"room":"{broken}","n":"lost"}}]')
    for n in range(10):
        assert a.call("message", {"room": whole, "n": n})["ok"]
        assert a.call("message", f"to all {n}")["ok"]
    assert group_by_room([args for args in b.get(21) if isinstance(args[0], dict)])[whole] == list(range(10))
    offset = b.events[-1][-1]
    b.cut()
    somebody = next(one for one in iter(name, None) if shard not in (shard_of(one), shard_of(f"user:{one}")))
    new = client(site.urls[1], somebody)
    assert new.call("join", {"room": whole})["ok"]
    assert a.call("message", {"room": whole, "n": "for all"})["ok"]
    assert new.get(1)[0][0]["n"] == "for all"
    assert 9999 not in a.acks
    server.rename(f"{clock}:kept", clock)
    for url in site.urls:
        wait_until(lambda url=url: get_status(f"{url}/readyz") == 200, "all to be well")
    assert a.call("message", {"room": broken, "n": 2})["ok"]
    again = client(site.urls[0], users[1], pid=b.pid, offset=offset)
    assert again.sid == b.sid
    rooms = group_by_room(again.get(2))
    assert rooms[whole] == ["for all"]
    assert rooms[broken] == [2]


# Another number of shards


@pytest.mark.parametrize(
    ("first", "then", "sentence"),
    [
        ("1", "8", "a farm with one shard has stored; set WEBFARM_SHARDS=1, or change WEBFARM_PREFIX"),
        ("8", "1", "a farm with 8 shards has stored; set WEBFARM_SHARDS=8, or change WEBFARM_PREFIX"),
        ("4", "8", "a farm with 4 shards has stored; set WEBFARM_SHARDS=4, or change WEBFARM_PREFIX"),
    ],
)
def test_a_farm_with_another_number_of_shards_is_refused_and_told_which(
    redis_server, workers, raw_client, first, then, sentence
):
    prefix = f"number{first}-{then}"
    workers(1, WEBFARM_PREFIX=prefix, WEBFARM_SHARDS=first)
    other = workers(1, ready=False, WEBFARM_PREFIX=prefix, WEBFARM_SHARDS=then)
    other.wait_for_line(sentence)
    wait_until(lambda: get_status(f"{other.urls[0]}/readyz") == 503, "a worker that is not ready")
    raw = raw_client(other.urls[0], join=False)
    raw.send("40")
    assert raw.receive_until_closed(15)
    environ = {"REDIS_URL": redis_server.url, "WEBFARM_PREFIX": prefix, "WEBFARM_SHARDS": then}
    for command in (["clients"], ["emit", "news", "1", "--all"], ["kick", "anna"], ["erase", "--room", "x"]):
        done = run_webfarm(*command, **environ)
        assert done.returncode == 1
        assert sentence in done.stderr
