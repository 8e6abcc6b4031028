"""``webfarm migrate``: a farm's log and sessions move to another Redis, in one shard or more."""

import contextlib
import json

import pytest
import redis

from tests.kit.clients import Client, name, opening
from tests.kit.commands import run_webfarm
from webfarm import Emitter
from webfarm.commands.migrate import migrate
from webfarm.errors import Error
from webfarm.redis.blocking import BlockingCommands, list_shards
from webfarm.settings import Settings

PREFIX = "moved"


@pytest.fixture
def client():
    with opening(Client) as open_client:
        yield open_client


@pytest.fixture
def target(redis_server, own_redis):
    """Another Redis than the session's."""
    own_redis.start()
    return own_redis.url


def start(workers, url, **env):
    return workers(1, url=url, WEBFARM_PREFIX=PREFIX, **env)


@contextlib.contextmanager
def cleaned(url):
    with redis.Redis.from_url(url) as server:
        yield server
        for key in server.scan_iter(f"{{{PREFIX}:*"):
            server.delete(key)


@pytest.mark.parametrize("shards", ["1", "8"])
def test_a_farm_moves_and_its_clients_recover(redis_server, target, workers, client, shards):
    with cleaned(redis_server.url):
        before = start(workers, redis_server.url, WEBFARM_SHARDS="1")
        a, b = (client(before.urls[0], one) for one in ("anna", "ben"))
        for room in ("x", "y", "z"):
            a.call("join", {"room": room})
            b.call("join", {"room": room})
        b.call("message", {"room": "x", "n": "received"})
        a.get(1)
        a.cut()
        before.wait_for_line(f"disconnect sid={a.sid}")
        for number, room in enumerate("xyzxyz"):
            assert b.call("message", {"room": room, "n": number, "id": f"id{number}"})["ok"]
        assert b.call("privateMessage", {"toUser": "carl", "text": "waits"})["ok"]
        refused = run_webfarm("migrate", redis_server.url, target, WEBFARM_PREFIX=PREFIX)
        assert refused.returncode == 1
        assert "the farm still runs" in refused.stderr
        before.close()
        done = run_webfarm("migrate", redis_server.url, target, "--shards", shards, WEBFARM_PREFIX=PREFIX)
        assert done.returncode == 0, done.stderr
        assert "8 messages, 2 sessions, copied and compared." in done.stdout
        after = start(workers, target, WEBFARM_SHARDS=shards)
        offset = a.events[-1][-1]
        back = client(after.urls[0], "anna", pid=a.pid, offset=offset)
        assert back.sid == a.sid
        found = back.get(6)
        assert sorted(args[0]["n"] for args in found) == [0, 1, 2, 3, 4, 5]
        for room in "xyz":
            own = [args[0]["n"] for args in found if args[0]["room"] == room]
            assert own == sorted(own)
        again = client(after.urls[0], "ben", pid=b.pid, offset=b.events[-1][-1])
        assert again.sid == b.sid
        repeat = again.call("message", {"room": "x", "n": 0, "id": "id0"})
        assert int(repeat["id"]) < int(again.call("message", {"room": "x", "n": 7})["id"])
        history = again.call("history", {"room": "x"})["messages"]
        assert [message["data"]["n"] for message in history] == ["received", 0, 3, 7]  # and the repeat only once
        [waiting] = client(after.urls[0], "carl").get(1, "privateMessage")
        assert waiting[0]["text"] == "waits"
        assert (
            "there is no farm"
            not in run_webfarm("nodes", REDIS_URL=target, WEBFARM_PREFIX=PREFIX, WEBFARM_SHARDS=shards).stdout
        )


def test_what_is_there_is_not_written_over(redis_server, target, workers):
    with cleaned(redis_server.url):
        start(workers, redis_server.url).close()
        start(workers, target).close()
        done = run_webfarm("migrate", redis_server.url, target, WEBFARM_PREFIX=PREFIX)
        assert done.returncode == 1
        assert "has a farm with this WEBFARM_PREFIX already" in done.stderr


@pytest.mark.parametrize(
    ("source", "target_url", "sentence", "code"),
    [
        ("redis://127.0.0.1:1", "{target}", "Redis does not answer", 1),
        ("{source}", "redis://127.0.0.1:1", "Redis does not answer", 1),
        ("{source}", "{target}", f"no farm whose WEBFARM_PREFIX is {name()!r}"[:24], 1),
        ("nonsense", "{target}", "expected a URL", 2),
        ("{source}", "nonsense", "expected a URL", 2),
    ],
)
def test_what_can_not_be_migrated_is_one_sentence(redis_server, target, source, target_url, sentence, code):
    urls = [one.format(source=redis_server.url, target=target) for one in (source, target_url)]
    with redis.Redis.from_url(redis_server.url) as server:
        home = list_shards(server, "half")[0].keys
        server.hset(home.clock, mapping={"format": "1", "epoch": "e", "id": 5})
        prefix = "nobody" if "no farm" in sentence else "half"
        done = run_webfarm("migrate", *urls, WEBFARM_PREFIX=prefix)
        server.delete(home.clock)
    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_farm_of_more_shards_moves_to_another_number_without_its_sessions(redis_server, target):
    with cleaned(redis_server.url) as server:
        for part in list_shards(server, PREFIX, 2):
            server.hset(part.keys.clock, mapping={"format": part.keys.format, "epoch": "e", "id": 5 + part.keys.shard})
        room = list_shards(server, PREFIX, 2).get_of_room("/", "x")
        stream = room.keys.stream("/", "x")
        server.xadd(stream, {"p": 0, "n": 0, "b": "\n2[]"}, id="5-0")
        server.hset(room.keys.room_of(stream), mapping={"id": 5})
        server.hset(room.keys.session("s"), mapping={"pid": "s.1"})
        done = run_webfarm("migrate", redis_server.url, target, "--shards", "3", WEBFARM_PREFIX=PREFIX)
        assert "1 rooms, 1 messages, 0 sessions" in done.stdout
        with redis.Redis.from_url(target) as there:
            clocks = [there.hgetall(part.keys.clock) for part in list_shards(there, PREFIX, 3)]
        assert [json.loads(clock[b"id"]) for clock in clocks] == [6, 6, 6]
        assert len({clock[b"epoch"] for clock in clocks}) == 3


@pytest.fixture
def stopped(redis_server):
    """A stopped farm of one shard: a room with a message."""
    with cleaned(redis_server.url) as server:
        [part] = list_shards(server, PREFIX)
        stream = part.keys.stream("/", "x")
        server.hset(part.keys.clock, mapping={"format": part.keys.format, "epoch": "e", "id": 5})
        server.xadd(stream, {"p": 0, "n": 0, "b": "\n2[]"}, id="5-0")
        server.hset(part.keys.room_of(stream), mapping={"id": 5})
        yield server


def settle(url, shards):
    return Settings.from_env({"REDIS_URL": url, "WEBFARM_PREFIX": PREFIX, "WEBFARM_SHARDS": str(shards)})


def test_what_was_stored_once_is_known_whatever_colons_are_in_its_names(stopped, redis_server, target):
    [part] = list_shards(stopped, PREFIX)
    stored = [("user:anna", "order:17"), ("x", "a"), ("a:b:c", "")]
    for room, key in stored:
        stopped.set(part.keys.once(part.keys.stream("/", room), key), "5 1", px=60_000)
    migrate(redis_server.url, target, settle(target, 8), lambda copied: None)
    with redis.Redis.from_url(target) as there:
        for room, key in stored:
            to = list_shards(there, PREFIX, 8).get_of_room("/", room).keys
            once = to.once(to.stream("/", room), key)
            assert there.get(once) == b"5 1"
            assert there.pttl(once) > 0


def test_what_ends_meanwhile_does_not_live_for_ever_there(stopped, redis_server, target, monkeypatch):
    [part] = list_shards(stopped, PREFIX)
    keys = [part.keys.note("gone"), part.keys.notes("gone"), part.keys.session("gone")]
    stopped.set(keys[0], "anna")
    stopped.zadd(keys[1], {"name": 1})
    stopped.hset(keys[2], mapping={"pid": "gone.1"})
    execute_all = BlockingCommands.execute_all

    def end_first(self, commands):
        ended = [command[1] for command in commands if command[0] in ("GET", "ZRANGE", "HGETALL")]
        stopped.delete("nothing", *{*ended} & {*keys})
        return execute_all(self, commands)

    monkeypatch.setattr(BlockingCommands, "execute_all", end_first)
    migrate(redis_server.url, target, settle(target, 1), lambda copied: None)
    with redis.Redis.from_url(target) as there:
        assert not there.exists(*keys)


def test_what_is_about_to_end_and_what_is_large_arrive(stopped, redis_server, target):
    [part] = list_shards(stopped, PREFIX)
    stream = part.keys.stream("/", "x")
    for id in range(6, 600):
        stopped.xadd(stream, {"p": id - 1, "n": 0, "b": "\n2[]"}, id=f"{id}-0")
    for number in range(1000):
        stopped.set(part.keys.note(f"n{number}"), "anna", px=1 + number)
    assert migrate(redis_server.url, target, settle(target, 1), lambda copied: None).messages == 595
    with redis.Redis.from_url(target) as there:
        assert there.xrange(stream) == stopped.xrange(stream)
        assert all(there.pttl(key) != -1 for key in there.scan_iter(part.keys.note("*")))


def test_what_was_interrupted_is_begun_again_and_nothing_is_left_of_it(stopped, redis_server, target):
    def interrupt(copied):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(redis_server.url, target, settle(target, 8), interrupt)
    with redis.Redis.from_url(target) as there:
        home, *others = list_shards(there, PREFIX, 8)
        for part in others:
            there.hset(part.keys.clock, mapping={"format": part.keys.format, "epoch": "e", "id": 5})
        there.set(home.keys.note("erased meanwhile"), "anna")
        done = migrate(redis_server.url, target, settle(target, 8), lambda copied: None)
        assert (done.rooms, done.messages) == (1, 1)
        assert there.exists(home.keys.clock)
        assert [key for key in there.scan_iter(f"{{{PREFIX}:*") if b"erased" in key or b"migrating" in key] == []


def test_a_farm_that_has_lost_its_first_shard_is_not_written_over(stopped, redis_server, target):
    with redis.Redis.from_url(target) as there:
        there.hset(list_shards(there, PREFIX, 8)[3].keys.clock, "format", "1/8")
        with pytest.raises(Error, match="has a farm with this WEBFARM_PREFIX already"):
            migrate(redis_server.url, target, settle(target, 8), lambda copied: None)


def test_what_is_stored_in_the_source_meanwhile_is_not_left_out_silently(stopped, redis_server, target):
    outside = Emitter(redis_server.url, PREFIX)
    with contextlib.closing(outside), pytest.raises(Error, match="a message was stored in the source during the copy"):
        migrate(redis_server.url, target, settle(target, 8), lambda copied: outside.store("late", None, "y"))
    with redis.Redis.from_url(target) as there:
        assert not there.exists(list_shards(there, PREFIX, 8).home.keys.clock)


def test_a_farm_moves_to_a_cluster_and_back(stopped, redis_server, target, redis_cluster):
    stream = list_shards(stopped, PREFIX)[0].keys.stream("/", "x")
    for url, source in ((redis_cluster.url, redis_server.url), (target, redis_cluster.url)):
        done = migrate(source, url, settle(url, 8), lambda copied: None)
        assert (done.rooms, done.messages) == (1, 1)
    with redis.Redis.from_url(target) as there:
        moved = list_shards(there, PREFIX, 8).get_of_room("/", "x").keys.stream("/", "x")
        assert there.xrange(moved) == stopped.xrange(stream)
