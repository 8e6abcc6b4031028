"""The registry: who is where, written by nodes, read by anybody, taken away after their death."""

import random
from collections import Counter
from types import SimpleNamespace

import gevent
import orjson
import pytest
import redis

from webfarm.nodes.directory import Directory
from webfarm.nodes.registry import Registry
from webfarm.redis.blocking import list_shards
from webfarm.redis.client import connect
from webfarm.redis.keys import Keys, name_room
from webfarm.redis.pipeline import Pipeline
from webfarm.redis.scripts import get_source

GRACE_US = 5_000_000


class Node:
    """A node as its registry would write it, by the scripts alone."""

    def __init__(self, client, name):
        self.client, self.keys, self.name = client, Keys("r"), name
        self.enlist()

    def run(self, script, keys, *args):
        return self.client.eval(get_source(script), len(keys), *keys, *args)

    def enlist(self):
        description = {"server": f"web-{self.name}", "address": f"host:{self.name}", "since": 1}
        description |= {"version": "1", "draining": False}
        keys = [self.keys.leases + self.name, self.keys.nodes]
        self.run("nodes/enlist", keys, self.name, orjson.dumps(description), 60_000)

    def die(self):
        self.client.delete(self.keys.leases + self.name)

    def register(self, clients=(), members=(), rooms=None):
        """Write clients ``(sid, user)``, gone if the user is None, and members ``(room, user, clients)``."""
        pairs = [(name_room("/", room), user, count) for room, user, count in members]
        names = [key for room, _, _ in pairs for key in (self.members(room), self.keys.present + room)]
        described = [
            part
            for sid, user in clients
            for part in (sid, orjson.dumps({"userId": user, "namespace": "/", "since": 1}) if user else "")
        ]
        totals = [part for room, n in (rooms or {}).items() for part in (name_room("/", room), n)]
        return self.run(
            "nodes/register",
            [*self.keys.of_node(self.name), self.keys.leaving, *names],
            *(GRACE_US, self.keys.members_of(self.name), len(clients), *described),
            *(part for pair in pairs for part in pair),
            *totals,
        )

    def members(self, room):
        return self.keys.members_of(self.name) + room

    def bury(self, other, most=500):
        keys = [*self.keys.of_node(other.name), self.keys.leaving, self.keys.nodes]
        return self.run(
            "nodes/bury", keys, other.name, GRACE_US, most, self.keys.members_of(other.name), self.keys.present
        )

    def take(self, sid):
        """Take a client's session, which has an open connection elsewhere; return why not."""
        keys = self.keys
        kinds = keys.sessions, keys.leases, keys.marks, keys.users
        registry = keys.clients, keys.rooms_of_nodes, keys.members, keys.present
        who = "p", "", self.name, 60_000, sid, "/", 0, 100, GRACE_US
        return self.run(
            "sessions/take", [keys.clock, keys.session(sid), keys.leaving], "1", "e", "", 0, *who, *kinds, *registry
        )[0]

    def open(self, sid, user, rooms):
        """Write the session of a client that is in some rooms, as if it had been resumed some time ago."""
        fields = {"pid": "p", "owner": "", "namespace": "/", "user": user, "node": self.name, "is_open": 1}
        floors = {f"floor:{room}": 1 for room in (sid, *rooms)} | {"floor": 1}
        self.client.hset(self.keys.clock, mapping={"format": 1, "epoch": "e"})
        self.client.delete(self.keys.session(sid))
        self.client.hset(self.keys.session(sid), mapping=fields | floors | {"generation": 1, "epoch": "e"})

    def announce(self):
        return self.run("nodes/announce", [self.keys.leaving], 100, self.keys.present)

    def let_grace_pass(self):
        pairs = self.client.zrange(self.keys.leaving, 0, -1)
        if pairs:
            self.client.zadd(self.keys.leaving, dict.fromkeys(pairs, 1))

    def get_present(self, room):
        """Return who has clients in a room; who is about to be announced as gone stands there with 0."""
        found = self.client.hgetall(self.keys.present + name_room("/", room))
        return {user.decode(): int(count) for user, count in found.items() if int(count)}


@pytest.fixture
def client(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        yield client
        for key in client.scan_iter("{r:*"):
            client.delete(key)


@pytest.fixture
def directory(client):
    return Directory(list_shards(client, "r"))


@pytest.fixture
def hear(client):
    """Returns what was published of the room ``x``, as texts."""
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(Keys("r").present + "/,x")
        pubsub.get_message(timeout=5)

        def hear():
            client.publish(Keys("r").present + "/,x", "end")
            heard = []
            while (message := pubsub.get_message(timeout=5)) is None or message["data"] != b"end":
                heard += [message["data"].decode()] if message else []
            return heard

        yield hear


@pytest.fixture
def registry(redis_server, client):
    """A node's registry, by the name ``n``, with a connection of its own."""
    Node(client, "n")
    commands = Pipeline(connect(redis_server.url))
    commands.execute("PING")
    yield Registry(commands, Keys("r"), SimpleNamespace(node="n", renew_soon=lambda: None))
    commands._wire.lose(redis.ConnectionError("the test has ended"))


def wait_for(condition):
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0.01)


def test_a_room_whose_name_can_not_be_written_loses_no_other(registry, directory):
    for number in range(3):
        registry.add(f"s{number}", "/", "anna", "websocket")
        for room in ("x", "\ud800", f"room{number}"):
            registry.enter("/", room, "anna")
    wait_for(lambda: directory.get_users("x") == {"anna": 3} and len(directory.get_rooms()) == 4)
    assert sorted(one["sid"] for one in directory.iterate_clients()) == ["s0", "s1", "s2"]
    registry.add("guest", "/", None, "websocket")
    wait_for(lambda: len(list(directory.iterate_clients())) == 4)
    registry.leave("/", "x", "anna")
    registry.enter("/", "\ud800", None)
    wait_for(lambda: directory.get_users("x") == {"anna": 2})
    registry.enter("/", "x", "anna")
    registry.leave("/", "\ud800", None)
    registry.remove("guest")
    for number in range(3):
        for room in ("x", "\ud800", f"room{number}"):
            registry.leave("/", room, "anna")
        registry.remove(f"s{number}")
    wait_for(lambda: directory.get_users("x") == {} and directory.get_rooms() == [])
    assert list(directory.iterate_clients()) == []


def test_a_script_that_redis_has_lost_is_loaded_again(registry, client, directory):
    client.script_flush()
    registry.add("s1", "/", "anna", "websocket")
    registry.enter("/", "x", "anna")
    wait_for(lambda: directory.get_users("x") == {"anna": 1})


def test_what_is_written_twice_counts_once(client, directory, hear):
    a, b = Node(client, "a"), Node(client, "b")
    for _ in range(2):
        assert a.register([("s1", "anna"), ("s2", "anna")], [("x", "anna", 2)], {"x": 2}) == 1
    b.register([("s3", "anna")], [("x", "anna", 1)], {"x": 1})
    assert a.get_present("x") == directory.get_users("x") == {"anna": 3}
    assert [node["clients"] for node in directory.get_nodes()] == [2, 1]
    assert directory.get_rooms() == [{"room": "x", "clients": 3, "messages": 0, "bytes": 0}]
    assert hear() == ["1 anna"]


def test_a_node_without_a_lease_writes_nothing(client, directory):
    a = Node(client, "a")
    a.die()
    assert a.register([("s1", "anna")], [("x", "anna", 1)], {"x": 1}) == 0
    assert a.get_present("x") == {}
    assert directory.get_nodes() == list(directory.iterate_clients()) == directory.get_rooms() == []


def test_who_goes_is_announced_once_after_the_grace_period_by_whichever_node(client, hear):
    a, b = Node(client, "a"), Node(client, "b")
    for node in (a, b):
        node.register([], [("x", "anna", 1)], {"x": 1})
    a.register([], [("x", "anna", 0)], {"x": 0})
    assert client.zcard(a.keys.leaving) == 0
    b.register([], [("x", "anna", 0)], {"x": 0})
    assert a.announce() == 0
    a.let_grace_pass()
    assert (a.announce(), b.announce()) == (1, 0)
    assert hear() == ["1 anna", "0 anna"]
    assert not client.exists(*a.keys.of_node("a")[1:], a.members("/,x"), a.keys.present + "/,x")


def test_who_is_back_within_the_grace_period_has_never_gone(client, hear):
    a = Node(client, "a")
    for count in (1, 0, 1):
        a.register([], [("x", "anna", count)], {"x": count})
    a.let_grace_pass()
    assert a.announce() == 0
    assert hear() == ["1 anna"]


def test_rooms_and_users_may_have_any_name(client, hear):
    a = Node(client, "a")
    names = ["1 x", "x:y", "ü\n", "{x}", ",", "12"]
    members = [(room, user, 1) for room in names for user in names]
    a.register([], members, dict.fromkeys(names, 6))
    a.register([], [(room, user, 0) for room, user, _ in members], dict.fromkeys(names, 0))
    for room in names:
        assert a.get_present(room) == {}
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.psubscribe(a.keys.present + "*")
        pubsub.get_message(timeout=5)
        a.let_grace_pass()
        assert a.announce() == 36
        heard = Counter()
        while sum(heard.values()) < 36:
            if message := pubsub.get_message(timeout=5):
                heard[message["channel"].decode(), message["data"].decode()] += 1
    expected = {(a.keys.present + name_room("/", room), f"0 {user}"): 1 for room in names for user in names}
    assert heard == expected


def test_the_dead_are_in_no_answer_and_buried_step_by_step_by_anybody(client, directory):
    a, b, c = (Node(client, name) for name in "abc")
    clients = [(f"s{n}", f"u{n}") for n in range(1000)]
    for node in (a, b):
        node.register(clients, [("x", user, 1) for _, user in clients] + [("own", "anna", 1)], {"x": 1000, "own": 1})
    assert b.bury(a) == 0  # it lives
    assert directory.get_users("own") == {"anna": 2}
    a.die()
    assert [node["node"] for node in directory.get_nodes()] == ["b", "c"]
    assert {one["node"] for one in directory.iterate_clients()} == {"b"}
    assert directory.get_rooms(node="a") == []
    assert directory.get_users("own") == {"anna": 1}
    steps = 0
    while b.bury(a, 100) or c.bury(a, 100):  # either of them may go on
        steps += 1
    assert steps > 2
    assert b.get_present("x") == {user: 1 for _, user in clients}
    assert client.zcard(b.keys.leaving) == 0
    assert not any(key for key in client.scan_iter("{r:*") if b":a" in key)
    assert client.smembers(a.keys.nodes) == {b"b", b"c"}


def test_a_dead_node_with_thousands_of_rooms_is_buried_to_the_last(client):
    a, b = Node(client, "a"), Node(client, "b")
    users = [f"u{n}" for n in range(3_000)]
    for first in range(0, len(users), 500):
        some = users[first : first + 500]
        members = [(room, user, 1) for user in some for room in ("x", f"user:{user}")]
        a.register([], members, dict.fromkeys([f"user:{user}" for user in some], 1) | {"x": first + 500})
    a.die()
    while b.bury(a):
        pass
    assert b.get_present("x") == {}
    assert client.zcard(b.keys.leaving) == 6_000
    b.let_grace_pass()
    while b.announce():
        pass
    assert not any(key for key in client.scan_iter("{r:*") if b":a" in key or b"present" in key)


def test_a_node_that_dies_in_the_middle_of_leaving_a_room_leaves_nobody_behind(client):
    a, b = Node(client, "a"), Node(client, "b")
    a.register([], [("x", f"u{n}", 1) for n in range(10)], {"x": 10})
    a.register([], [("x", f"u{n}", 0) for n in range(5)], {"x": 0})  # the others would be written next
    a.die()
    while b.bury(a):
        pass
    assert b.get_present("x") == {}


def test_a_client_that_was_resumed_elsewhere_is_listed_there_alone(client, directory):
    a, b = Node(client, "a"), Node(client, "b")
    for node in (a, b):
        node.register([("s1", "anna")], [], {})
    client.hset(a.keys.session("s1"), mapping={"node": "b", "floor": 5, "floor:s1": 5, "floor:x": 7, "pid": "p"})
    assert list(directory.iterate_clients()) == [
        {"sid": "s1", "userId": "anna", "namespace": "/", "node": "b", "since": 1, "rooms": ["x"]}
    ]


def test_a_client_whose_session_is_taken_from_the_dead_counts_once_and_the_burial_takes_nothing_more(
    client, directory, hear
):
    a, b, c = (Node(client, name) for name in "abc")
    a.register([("s1", "anna"), ("s2", "anna")], [("x", "anna", 2)], {"x": 2})
    a.open("s1", "anna", ["x"])
    a.die()
    for node in (b, c, b):  # to and fro, before anybody has written that it is there
        assert node.take("s1") == b""
        client.hset(a.keys.session("s1"), "resumed", 1)
    assert b.get_present("x") == {"anna": 1}
    assert client.hgetall(a.keys.of_node("a")[2]) == {b"/,x": b"1"}
    b.register([("s1", "anna")], [("x", "anna", 1)], {"x": 1})
    assert b.get_present("x") == {"anna": 2}
    assert b.bury(a) == 0
    assert b.get_present("x") == directory.get_users("x") == {"anna": 1}
    assert (client.zcard(a.keys.leaving), hear()) == (0, ["1 anna"])


def test_a_node_that_lives_and_has_not_heard_that_a_session_was_taken_is_right_in_the_end(client, directory, hear):
    a, b = Node(client, "a"), Node(client, "b")
    a.register([("s1", "anna"), ("s2", "bob")], [("x", "anna", 1), ("x", "bob", 1)], {"x": 2})
    a.open("s1", "anna", ["x"])
    assert b.take("s1") == b""
    a.register([], [("x", "anna", 1)], {"x": 2})  # it has not heard
    b.register([("s1", "anna")], [("x", "anna", 1)], {"x": 1})
    a.register([("s1", None)], [("x", "anna", 0)], {"x": 1})
    assert a.get_present("x") == directory.get_users("x") == {"anna": 1, "bob": 1}
    assert [room["clients"] for room in directory.get_rooms()] == [2]
    assert hear() == ["1 anna", "1 bob"]


def test_what_the_registry_does_not_have_yet_is_not_taken_out(client):
    a, b = Node(client, "a"), Node(client, "b")
    a.register([("s1", "anna")], [("x", "bob", 1)], {"x": 1})
    a.open("s1", "anna", ["x", "y"])
    a.open("s2", "bob", ["x"])
    assert b.take("s1") == b.take("s2") == b""
    assert (a.get_present("x"), a.get_present("y")) == ({"bob": 1}, {})
    a.die()
    while b.bury(a):
        pass
    assert a.get_present("x") == {}


def test_who_watches_is_told_of_all_whose_return_will_be_no_news(client, directory, hear):
    a, b = Node(client, "a"), Node(client, "b")
    a.register([], [("x", "lost", 1), ("other", "other", 1)], {"x": 1, "other": 1})
    a.register([], [("other", "other", 0)], {"other": 0})
    b.register([], [("x", "left", 1), ("x", "there", 1)], {"x": 2})
    b.register([], [("x", "left", 0)], {"x": 1})
    a.die()  # and is not buried yet
    assert directory.get_users("x") == {"there": 1}
    assert directory.get_users("x", is_watched=True) == {"there": 1, "lost": 0, "left": 0}
    assert len(directory.get_users("x", is_watched=True, most=2)) == 2
    assert hear() == ["1 lost", "1 left", "1 there"]
    b.register([], [("x", "lost", 1), ("x", "left", 1)], {"x": 3})
    while b.bury(a):
        pass
    b.let_grace_pass()
    assert b.announce() == 1  # of the other room
    assert hear() == []
    assert directory.get_users("x", is_watched=True) == {"there": 1, "lost": 1, "left": 1}


def test_who_watches_a_room_does_not_read_who_leaves_others(client, directory):
    a = Node(client, "a")
    a.register([], [("x", "anna", 1)], {"x": 1})
    client.zadd(a.keys.leaving, {f"5 /,any{n}": n for n in range(10_000)})
    commands = client.info("commandstats")
    assert directory.get_users("x", is_watched=True) == {"anna": 1}
    after = client.info("commandstats")
    assert after.get("cmdstat_zrange") == commands.get("cmdstat_zrange")


def test_of_very_many_users_so_many_are_listed_each_with_all_clients(client, directory):
    a, b = Node(client, "a"), Node(client, "b")
    for first in range(0, 3000, 500):
        a.register([], [("x", f"u{n}", 1) for n in range(first, first + 500)], {"x": first + 500})
    b.register([], [("x", f"u{n}", 2) for n in range(0, 3000, 3)], {"x": 2000})
    all_of_them = directory.get_users("x")
    assert all_of_them == {f"u{n}": 1 if n % 3 else 3 for n in range(3000)}
    for most in (1, 1001, 2999):
        some = directory.get_users("x", most=most)
        assert len(some) == most
        assert some.items() <= all_of_them.items()
    assert directory.get_users("x", most=3000) == all_of_them


def test_thousands_are_listed_page_by_page_each_once(client, directory):
    nodes = [Node(client, name) for name in "abc"]
    expected = {f"s{n}": nodes[n % 3].name for n in range(6000)}
    for node in nodes:
        sids = [sid for sid, name in expected.items() if name == node.name]
        for first in range(0, 2000, 500):
            some = sids[first : first + 500]
            node.register([(sid, f"u{sid}") for sid in some], [], {sid: 1 for sid in some})
    answers = []
    [shard] = list_shards(client, "r")

    def run(*script):
        answers.append(script[0])
        return shard.commands.run(*script)

    asked = Directory([SimpleNamespace(keys=shard.keys, commands=SimpleNamespace(run=run))])
    listing = asked.iterate_clients()
    next(listing)
    assert len(answers) == 2  # the nodes, and a page of one
    found = [(one["sid"], one["node"]) for one in asked.iterate_clients()]
    assert len(found) == 6000
    assert dict(found) == expected
    assert [room["clients"] for room in directory.get_rooms()] == [1] * 6000
    assert [one["sid"] for one in directory.iterate_clients(user="us77")] == ["s77"]
    assert {one["node"] for one in directory.iterate_clients(node="web-b")} == {"b"}


@pytest.mark.parametrize("seed", range(5))
def test_joins_leaves_deaths_burials_and_returns_in_any_order_end_with_what_is_there(client, directory, seed):
    chance = random.Random(seed)
    nodes = {name: Node(client, name) for name in "abc"}
    model = {name: Counter() for name in nodes}  # clients by room and user
    dead = set()
    for _ in range(400):
        name = chance.choice("abc")
        node, counts = nodes[name], model[name]
        step = chance.random()
        if step < 0.05:
            node.die()
            dead.add(name)
        elif step < 0.2 and dead:
            nodes[chance.choice("abc")].bury(nodes[chance.choice(sorted(dead))], chance.randint(1, 5))
        elif step < 0.3 and name in dead:
            node.enlist()
            dead.discard(name)
            write(node, counts, counts)
        else:
            member = chance.choice("xyz"), f"u{chance.randint(0, 5)}"
            counts[member] = max(0, counts[member] + chance.choice((-1, 1)))
            write(node, counts, [member])
    for name in dead:
        while nodes["a"].bury(nodes[name]):
            pass
    for room in "xyz":
        expected = Counter()
        for name in nodes.keys() - dead:
            expected.update({user: count for (one, user), count in model[name].items() if one == room and count})
        assert nodes["a"].get_present(room) == directory.get_users(room) == dict(expected)
    totals = {room["room"]: room["clients"] for room in directory.get_rooms()}
    everything = Counter()
    for name in nodes.keys() - dead:
        for (room, _), count in model[name].items():
            everything[room] += count
    assert totals == {room: count for room, count in everything.items() if count}


@pytest.mark.parametrize("seed", range(5))
def test_clients_that_come_go_and_are_taken_are_counted_once_at_every_moment(client, directory, seed):
    chance = random.Random(seed)
    nodes = {name: Node(client, name) for name in "abc"}
    model = {name: {} for name in nodes}  # user and rooms by sid, as far as Redis has them
    dead = set()

    def write_client(name, sid, user, rooms):
        """Write a client of a node, or (without a user) that it has left."""
        before = model[name].pop(sid, ("", []))
        if user:
            model[name][sid] = user, rooms
            nodes[name].open(sid, user, rooms)
        members = {(room, one) for one, its in (before, (user, rooms)) for room in its if one}
        there = Counter((room, one) for one, its in model[name].values() for room in its)
        totals = {room: sum(n for (one, _), n in there.items() if one == room) for room, _ in members}
        nodes[name].register([(sid, user)], [(*member, there[member]) for member in members], totals)

    for step in range(300):
        name, kind = chance.choice("abc"), chance.random()
        others = [(other, sid) for other in nodes if other != name for sid in model[other]]
        if kind < 0.03 and len(dead) < 2:
            nodes[name].die()
            dead.add(name)
        elif kind < 0.1 and dead:
            buried = dead.pop()
            while nodes[name].bury(nodes[buried], 3):
                pass
            model[buried].clear()
            nodes[buried].enlist()  # as another generation
        elif name in dead:
            continue
        elif kind < 0.5 and others:
            other, sid = chance.choice(others)
            user, rooms = model[other].pop(sid)
            client.hset(nodes[name].keys.session(sid), "resumed", 1)
            assert nodes[name].take(sid) == b""
            check_totals(nodes, directory, model, dead)
            write_client(name, sid, user, rooms)
        else:
            sid = chance.choice([*model[name], f"s{step}"])
            user = model[name].get(sid, (f"u{chance.randint(0, 3)}",))[0]
            write_client(name, sid, chance.choice((user, user, "")), chance.sample("xyz", chance.randint(0, 3)))
        check_totals(nodes, directory, model, dead)


def check_totals(nodes, directory, model, dead):
    """Compare who is present, and what the living nodes list, with the model."""
    all_clients = [one for clients in model.values() for one in clients.values()]
    living = [one for name, clients in model.items() if name not in dead for one in clients.values()]
    for room in "xyz":
        assert nodes["a"].get_present(room) == Counter(user for user, rooms in all_clients if room in rooms)
        assert directory.get_users(room) == Counter(user for user, rooms in living if room in rooms)
    expected = Counter(room for _, rooms in living for room in rooms)
    assert {room["room"]: room["clients"] for room in directory.get_rooms()} == expected


def write(node, counts, members):
    rooms = {room: sum(n for (one, _), n in counts.items() if one == room) for room, _ in members}
    node.register([], [(room, user, counts[room, user]) for room, user in members], rooms)
