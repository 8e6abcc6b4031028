"""Who is where, and who hears of it: real workers, stock clients, and what becomes of them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import redis

from tests.kit.clients import Client
from tests.kit.commands import run_webfarm
from tests.kit.offsets import get_keys
from tests.kit.paths import ROOT
from webfarm.nodes.directory import Directory
from webfarm.redis.blocking import list_shards
from webfarm.settings import LEASE_S
from webfarm.testing import SHARDS, get_status, is_alive, starting_workers, wait_until

PREFIX = "presence"
WEBSOCKET = {"transports": ["websocket"]}
SLACK_S = 1.0

_MIX_S = float(os.environ.get("MIX_S", "10"))  # of joins, leaves, deaths and returns
_DEATHS_S = 3.0  # from the start, or the last one's successor, to the next death
_CROWD = 60


@pytest.fixture(scope="module")
def two_workers(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX=PREFIX)


@pytest.fixture
def directory(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        yield Directory(list_shards(client, PREFIX, SHARDS))


@pytest.fixture
def join(node):
    """Opens a client of a user on a worker, which then is in a room."""

    def join(name, url, user, room=None):
        node.connect(name, url, query={"userId": user}, **WEBSOCKET)
        if room is not None:
            assert node.call(name, "join", {"room": room})["ok"]

    return join


def get_presence(node, name, *users):
    """Return what a client has heard of some users, in order."""
    told = [args[0] for args in node.get(name, "presence")]
    return [(one["userId"], one["online"]) for one in told if one["userId"] in users]


def wait_for_presence(node, name, user, *expected):
    what = f"{user} to be {expected}"
    wait_until(lambda: get_presence(node, name, user) == [(user, one) for one in expected], what)


def chat(redis_server, *args):
    return run_webfarm(*args, REDIS_URL=redis_server.url, WEBFARM_PREFIX=PREFIX)


# Listings


def test_what_is_connected_is_listed_for_people_and_programs(two_workers, redis_server, node):
    urls = two_workers.urls
    a = node.connect("a", urls[0], query={"userId": "anna"}, **WEBSOCKET)
    b = node.connect("b", urls[1], query={"userId": "bob"}, transports=["polling"])
    assert node.call("b", "join", {"room": "listed"})["ok"]
    stored = node.call("b", "message", {"room": "listed"})
    assert stored["ok"]

    def get(name, *options):
        done = chat(redis_server, name, "--json", *options)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    nodes = get("nodes")
    assert [one["address"].rpartition(":")[2] for one in nodes] == [str(port) for port in two_workers.ports]
    assert all(one.keys() == {"node", "server", "address", "clients", "version", "since", "draining"} for one in nodes)
    [of_anna] = get("clients", "--user", "anna")
    [in_room] = get("clients", "--room", "listed")
    now = time.time() * 1000
    expected = {"sid": a["sid"], "userId": "anna", "node": nodes[0]["node"], "transport": "websocket"}
    assert of_anna == expected | {"rooms": ["*", "common", "user:anna"], "since": of_anna["since"]}
    assert now - 60_000 < of_anna["since"] <= now
    assert (in_room["sid"], in_room["transport"]) == (b["sid"], "polling")
    [room] = get("rooms", "--room", "listed")
    assert (room["room"], room["clients"], room["messages"]) == ("listed", 1, 1)
    assert room["bytes"] > 0
    assert {one["room"] for one in get("rooms", "--user", "bob")} == {"*", "common", "listed", "user:bob"}
    assert [one["node"] for one in get("nodes", "--user", "bob")] == [nodes[1]["node"]]
    assert {one["sid"] for one in get("clients", "--node", nodes[1]["address"])} == {b["sid"]}
    assert get("clients", "--node", "no such node") == []
    table = chat(redis_server, "clients", "--user", "anna").stdout.splitlines()
    assert table[0].split() == ["sid", "userId", "node", "transport", "rooms", "since"]
    assert a["sid"] in table[2]
    assert chat(redis_server, "rooms", "--user", "nobody").returncode == 0
    for name in "ab":
        node.close(name)
    wait_until(lambda: not get("clients"), "both to be gone")


def test_an_upgrade_is_a_change_of_transport(two_workers, directory, node):
    sid = node.connect("u", two_workers.urls[0], query={"userId": "upgraded"})["sid"]
    node.wait_for("u", "upgrade")
    wait_until(
        lambda: (
            [(c["sid"], c["transport"]) for c in directory.iterate_clients(user="upgraded")] == [(sid, "websocket")]
        ),
        "the upgrade to be listed",
    )


def test_what_haproxy_calls_a_worker_is_listed(farm, redis_server, node):
    site = farm(1, WEBFARM_PREFIX="named")
    node.connect("a", site.url)
    with redis.Redis.from_url(redis_server.url) as client:
        directory = Directory(list_shards(client, "named", SHARDS))
        wait_until(lambda: [one["server"] for one in directory.get_nodes()] == ["webserver01"], "its name")
        assert len(list(directory.iterate_clients(node="webserver01"))) == 1


def test_a_worker_that_stops_is_listed_as_draining_and_then_no_more(workers, redis_server, node):
    process = workers(1, WEBFARM_DRAIN_S="6", WEBFARM_PREFIX="draining")
    node.connect("a", process.urls[0], reconnection=False)
    with redis.Redis.from_url(redis_server.url) as client:
        directory = Directory(list_shards(client, "draining", SHARDS))
        assert [one["draining"] for one in directory.get_nodes()] == [False]
        process.kill()
        wait_until(lambda: [one["draining"] for one in directory.get_nodes()] == [True], "the drain")
        node.wait_for("a", "disconnect")
        process.wait()
        assert directory.get_nodes() == []
        assert not client.keys("{draining:*}:*:" + os.uname().nodename + "*clients*")


# Presence


def test_tabs_of_one_user_on_two_workers_are_one_online_and_one_offline(two_workers, node, join):
    urls = two_workers.urls
    for name, url in zip(("w0", "w1"), urls, strict=True):
        join(name, url, name, "tabs")
        assert node.call(name, "who", {"room": "tabs", "watch": True})["ok"]
    for name, url in zip(("t1", "t2", "t3"), (*urls, urls[0]), strict=True):
        join(name, url, "tabby", "tabs")
    assert {"userId": "tabby", "clients": 3} in node.call("w1", "who", {"room": "tabs"})["users"]
    for name in ("w0", "w1"):
        wait_for_presence(node, name, "tabby", True)
    assert node.get("w0", "presence")[-1] == [{"userId": "tabby", "online": True, "room": "tabs"}]
    for name in ("t1", "t2", "t3"):
        node.close(name)
    for name in ("w0", "w1"):
        wait_for_presence(node, name, "tabby", True, False)
    assert node.get("t1", "presence") == []
    assert [one["userId"] for one in node.call("w0", "who", {"room": "tabs"})["users"]] == ["w0", "w1"]


def test_a_reload_is_no_news(two_workers, node, join):
    urls = two_workers.urls
    join("w", urls[0], "watcher", "reload")
    assert node.call("w", "who", {"room": "reload", "watch": True})["ok"]
    join("r1", urls[0], "reloader", "reload")
    join("l", urls[0], "leaver", "reload")
    for user in ("reloader", "leaver"):
        wait_for_presence(node, "w", user, True)
    node.close("r1")
    wait_until(lambda: all(u["userId"] != "reloader" for u in node.call("w", "who", {"room": "reload"})["users"]), "it")
    join("late", urls[1], "late", "reload")  # will not be told that the reloader is back
    listed = {
        one["userId"]: one["clients"] for one in node.call("late", "who", {"room": "reload", "watch": True})["users"]
    }
    assert listed == {"watcher": 1, "leaver": 1, "late": 1, "reloader": 0}
    join("r2", urls[1], "reloader", "reload")
    node.close("l")
    wait_for_presence(node, "w", "leaver", True, False)  # who left later than the reload
    assert get_presence(node, "w", "reloader") == [("reloader", True)]


def test_a_watch_survives_a_lost_connection_and_ends_with_false_and_with_leave(two_workers, redis_server, node, join):
    url = two_workers.urls[0]
    for name in ("w1", "w2", "w3"):
        join(name, url, name, "watched")
        assert node.call(name, "who", {"room": "watched", "watch": True})["ok"]
    assert node.call("w1", "who", {"room": "watched", "watch": False})["ok"]
    assert node.call("w2", "leave", {"room": "watched"})["ok"]
    assert node.call("w2", "join", {"room": "watched"})["ok"]
    expect_news(two_workers, node, join, "first")
    for name in ("w1", "w2", "w3"):
        node.cut(name)
        assert node.wait_for(name, "connect", 2)[1]["recovered"] is True
    expect_news(two_workers, node, join, "second")
    with redis.Redis.from_url(redis_server.url) as client:
        channel = f"{get_keys(PREFIX, 'watched').present}/,watched"
        assert client.pubsub_numsub(channel) == [(channel.encode(), 1)]
        node.close("w3")
        wait_until(lambda: client.pubsub_numsub(channel) == [(channel.encode(), 0)], "nobody to listen any more")


def expect_news(process, node, join, user):
    """Have a user come, of which only ``w3`` hears."""
    join(user, process.urls[1], user, "watched")
    wait_for_presence(node, "w3", user, True)
    for name in ("w1", "w2"):
        assert node.call(name, "message", {"room": "watched", "to": user})["ok"]
        wait_until(lambda name=name: {"room": "watched", "to": user} in [m[0] for m in node.get(name, "message")], "it")
        assert get_presence(node, name, user) == []  # it would have come before


@pytest.mark.parametrize(
    ("data", "code"),
    [
        *((data, "bad_request") for data in (None, "common", [], {"room": ""}, {"room": 5}, {"watch": 1}, {"watch": None})),
        ({"room": "never joined"}, "not_in_room"),
        ({"room": "user:bob", "watch": True}, "forbidden"),
        ({"room": "*"}, "forbidden"),
    ],
)  # fmt: skip
def test_a_bad_who_is_refused(two_workers, node, data, code):
    node.connect("a", two_workers.urls[0], query={"userId": "asker"}, **WEBSOCKET)
    assert node.call("a", "who", data)["error"]["code"] == code
    assert {"userId": "asker", "clients": 1} in node.call("a", "who", {})["users"]


def test_who_lists_a_thousand_users_and_says_that_there_are_more(two_workers, redis_server, node, join):
    join("m", two_workers.urls[0], "member", "many")
    keys, name = get_keys(PREFIX, "many"), "another node"
    members = keys.members_of(name) + "/,many"
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(keys.leases + name, "{}", px=20_000)
        client.sadd(keys.nodes, name)
        client.hset(members, mapping={f"user {n}": 1 for n in range(999)})
        wait_until(lambda: len(node.call("m", "who", {"room": "many"})["users"]) == 1000, "all of them")
        assert "more" not in node.call("m", "who", {"room": "many"})
        client.hset(members, "one more", 1)
        wait_until(lambda: node.call("m", "who", {"room": "many"}).get("more"), "one more")
        listed = [one["userId"] for one in node.call("m", "who", {"room": "many"})["users"]]
        assert len(listed) == 1000
        assert listed == sorted(listed)
        client.srem(keys.nodes, name)
        client.delete(keys.leases + name, members)


# Faults


def test_what_a_killed_worker_had_is_gone_in_time_and_announced_once(two_workers, directory, node, join):
    urls, room = two_workers.urls, "killed"
    join("w", urls[0], "watcher", room)
    assert node.call("w", "who", {"room": room, "watch": True})["ok"]
    lost, back = Client(urls[1], "lost"), Client(urls[1], "back")
    for one in (lost, back):
        assert one.call("join", {"room": room})["ok"]
    for user in ("lost", "back"):
        wait_for_presence(node, "w", user, True)
    pid = two_workers.get_worker(two_workers.ports[1])
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    again = Client(urls[0], "back", pid=back.pid)
    assert again.sid == back.sid
    assert {"userId": "back", "clients": 1} in node.call("w", "who", {"room": room})["users"]
    wait_until(lambda: not list(directory.iterate_clients(user="lost")), "it to be listed no more", LEASE_S + SLACK_S)
    assert time.monotonic() - killed_at < LEASE_S + SLACK_S
    users = {one["userId"]: one["clients"] for one in node.call("w", "who", {"room": room})["users"]}
    assert users == {"watcher": 1, "back": 1}
    assert [one["clients"] for one in directory.get_rooms() if one["room"] == room] == [2]
    wait_for_presence(node, "w", "lost", True, False)
    again.call("leave", {"room": room})
    wait_for_presence(node, "w", "back", True, False)  # and not before
    assert get_presence(node, "w", "lost") == [("lost", True), ("lost", False)]
    wait_until(lambda: get_status(f"{urls[1]}/readyz") == 200, "its successor")


def test_a_worker_that_stood_still_beyond_its_lease_has_its_clients_again(two_workers, directory, node, join):
    urls, room = two_workers.urls, "stopped"
    join("w", urls[0], "watcher", room)
    assert node.call("w", "who", {"room": room, "watch": True})["ok"]
    away, there = Client(urls[1], "away"), Client(urls[1], "there")
    for one in (away, there):
        assert one.call("join", {"room": room})["ok"]
    pid = two_workers.get_worker(two_workers.ports[1])
    os.kill(pid, signal.SIGSTOP)
    try:
        again = Client(urls[0], "away", pid=away.pid)
        wait_until(lambda: not list(directory.iterate_clients(user="there")), "the lease's end")
        assert [one["sid"] for one in directory.iterate_clients(user="away")] == [again.sid]
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: list(directory.iterate_clients(user="there")), "it to be listed again")
    expected = {"watcher": 1, "away": 1, "there": 1}

    def get_users():
        return {one["userId"]: one["clients"] for one in node.call("w", "who", {"room": room})["users"]}

    wait_until(lambda: get_users() == expected, "each to be there once")
    assert sorted(one["userId"] for one in directory.iterate_clients(room=room)) == sorted(expected)
    there.call("leave", {"room": room})
    wait_for_presence(node, "w", "there", True, False)
    assert get_presence(node, "w", "away") == [("away", True)]


def test_who_is_answered_at_once_when_redis_has_stood_still(own_redis, workers, node, join):
    own_redis.start()
    process = workers(1, url=own_redis.url, WEBFARM_PREFIX=PREFIX)
    join("a", process.urls[0], "anna")
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    try:
        assert node.call("a", "who", {}, timeout_s=3) is None
    finally:
        os.kill(own_redis.process.pid, signal.SIGCONT)
    process.wait_until_ready()
    wait_until(lambda: node.call("a", "who", {}, timeout_s=1), "an answer", 4)


def test_redis_that_was_away_beyond_all_leases_finds_everybody_there(own_redis, workers, node, join):
    own_redis.start()
    process = workers(2, url=own_redis.url, WEBFARM_PREFIX=PREFIX)
    for number, url in enumerate(process.urls):
        join(f"s{number}", url, f"stays{number}", "away")
        join(f"g{number}", url, f"goes{number}", "away")
        assert node.call(f"s{number}", "who", {"room": "away", "watch": True})["ok"]
    with redis.Redis.from_url(own_redis.url) as client:
        directory = Directory(list_shards(client, PREFIX, SHARDS))
        own_redis.close()
        ends = time.monotonic() + LEASE_S
        node.close("g0")
        wait_until(lambda: any(": disconnect " in line and "user=goes0 " in line for line in process.lines), "its end")
        wait_until(lambda: time.monotonic() > ends, "the end of all leases")
        own_redis.start()
        expected = ["goes1", "stays0", "stays1"]
        wait_until(lambda: sorted(one["userId"] for one in directory.iterate_clients()) == expected, "all to be back")
        wait_until(lambda: sorted(directory.get_users("away")) == expected, "the room")
        for name in ("s0", "s1"):
            wait_until(lambda name=name: ("goes0", False) in get_presence(node, name, "goes0"), "its end", 30)
            for user in expected:
                assert (user, False) not in get_presence(node, name, user)
        own = f"{get_keys(PREFIX, 'user:goes0').present}/,user:goes0"
        wait_until(lambda: not client.exists(own), "its own room to be nobody's")


class Crowd:
    """Clients on some workers that do this and that, and a model of who is where."""

    def __init__(self, process, chance):
        self.process, self.chance = process, chance
        self.clients = {}  # by sid: user, connection, rooms

    def act(self):
        chance = self.chance.random()
        if (chance < 0.3 and len(self.clients) < _CROWD) or len(self.clients) < 5:
            self.come(f"u{self.chance.randint(0, 9)}")
            return
        sid = self.chance.choice(sorted(self.clients))
        _, client, rooms = self.clients[sid]
        if chance < 0.6:
            room = f"r{self.chance.randint(0, 4)}"
            assert client.call("join", {"room": room})["ok"]
            rooms.add(room)
        elif chance < 0.7 and rooms:
            room = self.chance.choice(sorted(rooms))
            assert client.call("leave", {"room": room})["ok"]
            rooms.remove(room)
        elif chance < 0.85:
            client.cut()
            self.come_back(sid)
        else:
            client.socket.send("41")  # goodbye
            client.cut()
            del self.clients[sid]

    def come(self, user):
        client = Client(self.chance.choice(self.process.urls), user)
        self.clients[client.sid] = user, client, set()

    def come_back(self, sid):
        user, client, rooms = self.clients.pop(sid)
        again = Client(self.chance.choice(self.process.urls), user, pid=client.pid)
        self.clients[again.sid] = user, again, rooms if again.sid == sid else set()

    def kill(self, port):
        """Kill a worker; some of its clients come back, at once or when it has a successor."""
        pid = self.process.get_worker(port)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "its end")
        if self.chance.random() < 0.5:
            self.process.wait_until_ready()
        for sid, (_, client, _) in list(self.clients.items()):
            if client.address.startswith(f"ws://127.0.0.1:{port}/"):
                if self.chance.random() < 0.7:
                    self.come_back(sid)
                else:
                    del self.clients[sid]
        self.process.wait_until_ready()

    def count(self):
        """Return who is there: users by room, with their clients."""
        rooms = {}
        for user, _, own in self.clients.values():
            for room in own:
                rooms.setdefault(room, Counter())[user] += 1
        return rooms


def test_what_redis_has_kept_though_it_has_gone_is_taken_away(own_redis, workers, node, join):
    own_redis.start()
    process = workers(1, url=own_redis.url, WEBFARM_PREFIX=PREFIX)
    join("a", process.urls[0], "anna", "x")
    of_client, in_shards = get_keys(PREFIX, "anna"), {f"/,{room}": get_keys(PREFIX, room) for room in ("gone", "x")}
    with redis.Redis.from_url(own_redis.url) as client:
        directory = Directory(list_shards(client, PREFIX, SHARDS))
        wait_until(lambda: directory.get_users("x") == {"anna": 1}, "anna")
        [name] = [one["node"] for one in directory.get_nodes()]
        [(sid, description)] = client.hgetall(of_client.of_node(name)[1]).items()
        client.hset(of_client.of_node(name)[1], "ghost", description)  # as if their going had been lost
        client.hset(in_shards["/,gone"].of_node(name)[2], "/,gone", 1)
        for room, keys in in_shards.items():
            client.hset(keys.members_of(name) + room, "ghost", 1)
            client.hset(keys.present + room, "ghost", 1)
        client.client_kill_filter(_type="pubsub")
        wait_until(lambda: directory.get_users("x") == {"anna": 1}, "the ghost to be gone")
        wait_until(lambda: [one["sid"].encode() for one in directory.iterate_clients()] == [sid], "its client, too")
        wait_until(lambda: "gone" not in [one["room"] for one in directory.get_rooms()], "its room, too")
        present = [keys.present + room for room, keys in in_shards.items()]
        wait_until(lambda: not any(client.hexists(key, "ghost") for key in present), "its end to be announced")


@pytest.mark.cluster
@pytest.mark.timeout(120 + _MIX_S)
def test_after_a_mix_of_everything_the_registry_is_what_is_connected(redis_server, workers):
    prefix = "mix"
    process = workers(3, WEBFARM_PREFIX=prefix)
    seed = int(os.environ.get("MIX_SEED", random.randrange(1_000_000)))
    print(f"MIX_SEED={seed}")
    crowd = Crowd(process, random.Random(seed))
    ends = time.monotonic() + _MIX_S
    next_death = time.monotonic() + _DEATHS_S
    steps = deaths = 0
    while time.monotonic() < ends:
        crowd.act()
        steps += 1
        if time.monotonic() > next_death:
            deaths += 1
            crowd.kill(crowd.chance.choice(process.ports))
            next_death = time.monotonic() + _DEATHS_S
    print(f"{steps} steps, {deaths} deaths")
    with redis.Redis.from_url(redis_server.url) as client:
        directory = Directory(list_shards(client, prefix, SHARDS))
        expected = {sid: (user, rooms) for sid, (user, _, rooms) in crowd.clients.items()}

        def list_clients():
            found = [
                (c["sid"], (c["userId"], {r for r in c["rooms"] if r[0] == "r"})) for c in directory.iterate_clients()
            ]
            return len(found) == len(expected) and dict(found) == expected

        wait_until(list_clients, "the listing to be right", 30)
        wait_until(
            lambda: all(client.scard(key) == 3 for key in client.keys("{mix:*}:nodes")), "the dead to be buried", 30
        )
        for room, users in crowd.count().items():
            present = client.hgetall(f"{get_keys(prefix, room).present}/,{room}")
            present = {u.decode(): int(n) for u, n in present.items()}
            assert {u: n for u, n in present.items() if n} == directory.get_users(room) == dict(users)
        totals = {row["room"]: row["clients"] for row in directory.get_rooms() if row["room"][0] == "r"}
        assert totals == {room: sum(users.values()) for room, users in crowd.count().items()}


def test_a_listing_without_redis_is_one_sentence(redis_server):
    done = subprocess.run(
        [sys.executable, "-m", "webfarm", "clients"], capture_output=True, text=True, cwd=ROOT, check=False,
        env={"PATH": "/usr/bin:/bin", "REDIS_URL": "redis://user:secret@127.0.0.1:1/0"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("webfarm: the Redis at redis://127.0.0.1:1/0 does not answer: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


def test_a_client_that_watches_its_own_room_leaves_nothing_behind(two_workers, redis_server):
    client = Client(two_workers.urls[0], "nina")
    assert client.call("who", {"room": client.sid, "watch": True})["ok"]
    channel = get_keys(PREFIX, client.sid).present + f"/,{client.sid}"
    with redis.Redis.from_url(redis_server.url) as server:
        assert server.pubsub_numsub(channel)[0][1] == 1
        client.cut()
        wait_until(lambda: server.pubsub_numsub(channel)[0][1] == 0, "the subscription to end")
    client.stack.close()
