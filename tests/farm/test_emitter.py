"""The way in from outside by commands: ``webfarm emit``, ``webfarm kick``, ``webfarm erase``, on two workers."""

import json
import os
import signal
import time
import uuid

import pytest
import redis

from tests.kit.clients import Client, get_refusals, opening
from tests.kit.commands import run_webfarm
from tests.kit.offsets import get_keys, read_offset
from webfarm.redis.scripts import get_source
from webfarm.testing import starting_workers, wait_until

PREFIX = "outside"
TOO_DEEP = "[" * 300 + "]" * 300


@pytest.fixture(scope="module")
def two_workers(redis_server):
    settings = {"WEBFARM_MAX_MESSAGE_BYTES": "200000", "WEBFARM_PING_INTERVAL_S": "0.3"}
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX=PREFIX, **settings)


@pytest.fixture
def client():
    """Opens clients, which end with the test."""
    with opening(Client) as open_client:
        yield open_client


@pytest.fixture
def command(redis_server):
    """Runs a command that succeeds; returns what it prints."""

    def run(*args):
        done = run_webfarm(*args, REDIS_URL=redis_server.url, WEBFARM_PREFIX=PREFIX)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def name():
    return uuid.uuid4().hex[:11]


def disconnected(one):
    one.wait(lambda: ["disconnect"] in one.events, timeout_s=20)


# webfarm emit


def test_an_emit_from_outside_is_stored_and_reaches_all_nodes(two_workers, client, command, redis_server):
    room, clients = name(), [client(url, name()) for url in two_workers.urls]
    for one in clients:
        one.call("join", {"room": room})
    answer = json.loads(command("emit", "message", '{"text": "grüße"}', "--room", room, "--json"))
    assert answer["nodes"] == 2
    for one in clients:
        [[data, meta, offset]] = one.get(1)
        assert data == {"text": "grüße"}
        assert meta == {"from": None, "sid": None, "room": room, "at": meta["at"], "id": answer["id"]}
        assert abs(meta["at"] / 1000 - time.time()) < 30
        with redis.Redis.from_url(redis_server.url) as server:
            assert read_offset(server, PREFIX, offset)[get_keys(PREFIX, room).shard] == int(answer["id"])
    [message] = clients[0].call("history", {"room": room})["messages"]
    assert (message["id"], message["event"]) == (answer["id"], "message")


def test_who_was_away_gets_what_was_emitted_from_outside(two_workers, client, command):
    user, room = name(), name()
    a = client(two_workers.urls[0], user)
    a.call("join", {"room": room})
    before = a.call("message", {"room": room})
    offset = a.get(1)[0][-1]
    a.cut()
    command("emit", "news", "1", "--room", room)
    command("emit", "news", "2", "--user", user)
    command("emit", "news", "3", "--all")
    again = client(two_workers.urls[1], user, pid=a.pid, offset=offset)
    assert again.answer == a.answer
    assert [args[0] for args in again.get(3, "news")] == [1, 2, 3]
    ids = [int(args[1]["id"]) for args in again.get(3, "news")]
    assert [int(before["id"]), *ids] == sorted({int(before["id"]), *ids})


def test_the_json_may_come_over_standard_input(redis_server, two_workers, client):
    a = client(two_workers.urls[0], name())
    text = "x" * 150_000
    env = {"REDIS_URL": redis_server.url, "WEBFARM_PREFIX": PREFIX}
    done = run_webfarm("emit", "news", "-", "--room", a.sid, stdin=f'"{text}"', **env)
    assert (done.returncode, done.stderr) == (0, "")
    assert a.get(1, "news")[0][0] == text


def test_an_absent_user_gets_it_on_the_next_connection(two_workers, client, command):
    user = name()
    assert command("emit", "news", "null", "--user", user).endswith(", 0 nodes\n")
    [[data, meta, _]] = client(two_workers.urls[0], user).get(1, "news")
    assert data is None
    assert "room" not in meta


def test_what_is_emitted_before_the_first_worker_starts_is_there(redis_server, workers, client):
    env = {"WEBFARM_PREFIX": "early", "REDIS_URL": redis_server.url}
    id = json.loads(run_webfarm("emit", "news", "1", "--user", "anna", "--json", **env).stdout)["id"]
    site = workers(1, WEBFARM_PREFIX="early")
    a = client(site.urls[0], "anna")
    [[_, meta, offset]] = a.get(1, "news")
    assert meta["id"] == id
    a.cut()
    run_webfarm("emit", "news", "2", "--user", "anna", **env)
    again = client(site.urls[0], "anna", pid=a.pid, offset=offset)
    assert (again.sid, again.get(1, "news")[0][0]) == (a.sid, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["message", "1"], "Exactly one of room, user and all is needed."),
        (["message", "1", "--room", "a", "--user", "b"], "Exactly one of room, user and all is needed."),
        (["message", "1", "--room", "a", "--all"], "Exactly one of room, user and all is needed."),
        (["message", "1", "--room", ""], "A room or a user is a text of 1 to 128 characters"),
        (["message", "1", "--user", "a\nb"], "A room or a user is a text of 1 to 128 characters"),
        (["message", "{", "--all"], "That is no JSON, or too deep."),
        (["message", "NaN", "--all"], "That is no JSON, or too deep."),
        (["message", "[" * 100_000, "--all"], "That is no JSON, or too deep."),
        (["message", TOO_DEEP, "--all"], "The data is nested too deeply."),
        (["message", f"[{'[],' * 22_000}0]", "--all"], "The data has more than 65536 values."),
        (["disconnect", "1", "--all"], "An event's name is a text"),
        (["connect", "1", "--all"], "An event's name is a text"),
        (["", "1", "--all"], "An event's name is a text"),
    ],
    ids=range(13),
)
def test_wrong_usage_is_one_sentence_and_exits_with_2(redis_server, arguments, sentence):
    done = run_webfarm("emit", *arguments, REDIS_URL=redis_server.url, WEBFARM_PREFIX=PREFIX)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"webfarm: {sentence}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [["emit", "message", "1", "--all"], ["kick", "anna"], ["erase", "--user", "anna"], ["erase", "--room", "a"]],
)
def test_redis_away_is_one_sentence_and_exits_with_1(command):
    done = run_webfarm(*command, REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("webfarm: Redis does not answer: ")
    assert done.stderr.count("\n") == 1


def test_a_full_redis_is_one_sentence_with_its_own_words(own_redis):
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", "1")
    done = run_webfarm("emit", "message", "1", "--all", REDIS_URL=own_redis.url)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("webfarm: Redis refused it: ") and "maxmemory" in done.stderr


# webfarm kick


def test_a_kick_ends_all_clients_of_a_user_and_the_sessions_of_those_that_are_away(
    two_workers, client, command, redis_server
):
    user = name()
    clients = [client(url, user) for url in two_workers.urls * 2]
    other = client(two_workers.urls[0], name())
    away = clients.pop()
    away.cut()
    with redis.Redis.from_url(redis_server.url) as server:
        key = get_keys(PREFIX, away.sid).session(away.sid)
        wait_until(lambda: server.hget(key, "is_open") == b"0", "the client to be away")
    assert command("kick", name()).startswith("0 clients")
    assert command("kick", user) == "3 clients disconnected, 1 away; 2 nodes told\n"
    for one in clients:
        disconnected(one)
        two_workers.wait_for_line(f"disconnect sid={one.sid}")
    for one in (away, *clients):
        assert client(two_workers.urls[1], user, pid=one.pid).sid != one.sid
    assert other.call("message", "still here")["ok"]


def test_a_kick_reaches_the_clients_of_a_worker_that_stands_still(redis_server, client):
    env = {"WEBFARM_PREFIX": "kicked", "REDIS_URL": redis_server.url}
    with starting_workers(redis_server.url) as start_workers:
        site = start_workers(2, WEBFARM_PREFIX="kicked")
        a, away = client(site.urls[0], "anna"), client(site.urls[0], "anna")
        pid = site.get_worker(site.ports[0])
        os.kill(pid, signal.SIGSTOP)
        try:
            away.cut()
            assert run_webfarm("kick", "anna", **env).stdout == "2 clients disconnected, 0 away; 2 nodes told\n"
            assert client(site.urls[1], "anna", pid=away.pid).sid != away.sid
        finally:
            os.kill(pid, signal.SIGCONT)
        disconnected(a)
        for one in (a, away):
            assert client(site.urls[1], "anna", pid=one.pid).sid != one.sid


def test_a_kick_that_the_worker_has_not_heard_holds_once_redis_is_back(workers, own_redis, client):
    """The worker learns it from the session's end, as it does of one that was taken."""
    own_redis.start()
    site = workers(1, url=own_redis.url, WEBFARM_PREFIX="deaf", WEBFARM_RECOVERY_WINDOW_S="4")
    a = client(site.urls[0], "anna")
    keys = get_keys("deaf", a.sid)
    with redis.Redis.from_url(own_redis.url) as server:
        ended = server.eval(get_source("sessions/end"), 1, keys.session(a.sid), "/", "floor:user:anna", keys.users)
    assert ended == [1]
    disconnected(a)
    site.wait_for_line(f"disconnect sid={a.sid} user=anna")


def test_whose_session_was_ended_joins_no_room_any_more(two_workers, client, redis_server):
    user, room = name(), name()
    a = client(two_workers.urls[0], user)
    with redis.Redis.from_url(redis_server.url) as server:
        keys = get_keys(PREFIX, a.sid)
        server.eval(get_source("sessions/end"), 1, keys.session(a.sid), "/", "", keys.users)
    a.socket.send(f'420["join",{{"room":"{room}"}}]')
    disconnected(a)
    two_workers.wait_for_line(f"disconnect sid={a.sid}")


# webfarm erase


def test_an_erased_room_is_empty_and_who_missed_something_is_not_recovered(two_workers, client, command, redis_server):
    room, urls = name(), two_workers.urls
    user = name()
    misses, there = client(urls[0], user), client(urls[1], name())
    for one in (misses, there):
        one.call("join", {"room": room})
    there.call("message", {"room": room, "n": 0})
    seen = misses.get(1)[0][-1]
    misses.cut()
    there.call("message", {"room": room, "n": 1})
    assert command("erase", "--room", room) == "2 messages erased\n"
    assert there.call("history", {"room": room})["messages"] == []
    there.call("message", {"room": room, "n": 2})
    assert there.get(3)[2][0]["n"] == 2
    refused = get_refusals(urls[1]).get("incomplete", 0)
    assert client(urls[1], user, pid=misses.pid, offset=seen).sid != misses.sid
    assert get_refusals(urls[1])["incomplete"] == refused + 1
    with redis.Redis.from_url(redis_server.url) as server:
        stream = get_keys(PREFIX, room).stream("/", room)
        assert server.xlen(stream) == 1
        assert server.pttl(stream) > 0


def test_who_had_everything_is_recovered_behind_an_erased_room(two_workers, client, command):
    user, room, urls = name(), name(), two_workers.urls
    a, b = client(urls[0], user), client(urls[1], name())
    for one in (a, b):
        one.call("join", {"room": room})
    b.call("message", {"room": room, "n": 1})
    offset = a.get(1)[0][-1]
    a.cut()
    command("erase", "--room", room)
    b.call("message", {"room": room, "n": 2})
    again = client(urls[1], user, pid=a.pid, offset=offset)
    assert again.sid == a.sid
    assert [args[0]["n"] for args in again.get(1)] == [2]


def test_an_erased_user_has_no_messages_and_no_session(two_workers, client, command, redis_server):
    user, urls = name(), two_workers.urls
    a, b = client(urls[0], user), client(urls[1], name())
    b.call("privateMessage", {"toUser": user, "text": "psst"})
    offset = a.get(1, "privateMessage")[0][-1]
    assert command("erase", "--user", user) == "1 message erased\n"
    disconnected(a)
    again = client(urls[0], user, pid=a.pid, offset=offset)
    assert again.sid != a.sid
    assert again.call("message", "hello")["ok"]
    assert again.get(0, "privateMessage") == []
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as server:
        assert server.hgetall(get_keys(PREFIX, a.sid).session(a.sid)) == {"generation": "0"}
        assert not server.exists(get_keys(PREFIX, f"user:{user}").stream("/", f"user:{user}"))
    again.cut()  # before its first heartbeat: what was erased is not held against it
    assert client(urls[1], user, pid=again.pid).sid == again.sid


def test_an_erased_user_has_nothing_left_of_what_was_sent_to_its_sockets_and_no_invitation(
    two_workers, client, command, redis_server
):
    user, urls, room = name(), two_workers.urls, f"private:{name()}"
    gone, away, b = client(urls[0], user), client(urls[1], user), client(urls[0], name())
    for text, one in (("word1", gone), ("word2", away), ("word3", b)):
        assert b.call("privateMessage", {"to": one.sid, "text": f"{user} {text}"})["ok"]
    gone.socket.send("41")
    two_workers.wait_for_line(f"disconnect sid={gone.sid}")
    away.cut()
    with redis.Redis.from_url(redis_server.url) as server:
        keys = get_keys(PREFIX, user)  # its sessions are there, too
        server.delete(keys.session(gone.sid))  # as when it has gone for long
        server.zrem(keys.user_sessions("/", user), gone.sid)
        server.eval(get_source("nodes/grant"), 1, keys.notes(user), f"invitation:{room}", 60_000, 1, 1_000)
        assert command("erase", "--user", user) == "2 messages erased\n"
        assert not server.exists(keys.notes(user), keys.user_sids("/", user))
        for one, count in ((gone, 0), (away, 0), (b, 1)):
            assert server.xlen(get_keys(PREFIX, one.sid).stream("/", one.sid)) == count
    assert b.call("history", {"room": gone.sid})["error"]["code"] == "forbidden"  # it stays a socket's
    assert client(urls[0], user, pid=away.pid).sid != away.sid


def test_a_kick_looks_through_the_users_sessions_alone(two_workers, client, command, redis_server):
    user = name()
    a = client(two_workers.urls[0], user)
    with redis.Redis.from_url(redis_server.url) as server:
        before = server.info("commandstats").get("cmdstat_scan", {}).get("calls", 0)
        assert command("kick", user).startswith("1 client disconnected, 0 away")
        assert server.info("commandstats").get("cmdstat_scan", {}).get("calls", 0) == before
    disconnected(a)


@pytest.mark.parametrize("arguments", [[], ["--user", "a", "--room", "b"]])
def test_to_erase_takes_one_of_a_user_and_a_room(redis_server, arguments):
    done = run_webfarm("erase", *arguments, REDIS_URL=redis_server.url)
    assert (done.returncode, done.stderr) == (2, "webfarm: Exactly one of --user and --room is needed.\n")


def test_nothing_is_known_of_what_is_not_there(command):
    assert command("erase", "--room", name()) == "0 messages erased\n"
    assert command("erase", "--user", name()) == "0 messages erased\n"
