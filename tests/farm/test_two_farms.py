"""Two farms on one Redis, in two databases or with two prefixes: each is as alone as on a Redis of its own."""

import json
import time
import uuid

import pytest
import redis
import socketio
from websockets.exceptions import ConnectionClosed

from tests.kit.clients import Client, opening
from tests.kit.commands import run_webfarm
from webfarm import RedisManager
from webfarm.testing import starting_workers, wait_until

NAMES = {"databases": (("two", 0), ("two", 1)), "prefixes": (("two-a", 0), ("two-b", 0))}
CHANNELS = {("two", 0): "two", ("two", 1): "two/1", ("two-a", 0): "two-a", ("two-b", 0): "two-b"}


class Site:
    """A farm of two workers."""

    def __init__(self, start_workers, server, prefix, database):
        self.prefix, self.channel = prefix, CHANNELS[prefix, database]
        self.redis_url = server.url.removesuffix("/0") + f"/{database}"
        self.env = {"REDIS_URL": self.redis_url, "WEBFARM_PREFIX": prefix}
        self.workers = start_workers(2, url=self.redis_url, WEBFARM_PREFIX=prefix, WEBFARM_PING_INTERVAL_S="0.3")
        self.urls = self.workers.urls

    def run(self, *args):
        """Return what a command prints for this farm."""
        done = run_webfarm(*args, **self.env)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def list_keys(self):
        """Return the farm's keys, with the database that each is in."""
        with redis.Redis.from_url(self.redis_url) as client:
            return {(self.redis_url, key) for key in client.scan_iter(f"*{self.prefix}*")}

    def list_ours(self, names):
        return {name for name in names if f"{{{self.channel}:".encode() in name or name == self.channel.encode()}


@pytest.fixture(scope="module", params=NAMES)
def farms(request, redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield [Site(start_workers, redis_server, *names) for names in NAMES[request.param]]


@pytest.fixture
def client():
    """Opens clients, which end with the test."""
    with opening(Client) as open_client:
        yield open_client


def name():
    return uuid.uuid4().hex[:11]


def test_a_message_reaches_the_clients_of_its_own_farm_alone(farms, client):
    room = name()
    clients = [client(url, name()) for site in farms for url in site.urls]
    for one in clients:
        assert one.call("join", {"room": room})["ok"]
    for farm in (0, 1):
        assert clients[2 * farm].call("message", {"room": room, "farm": farm})["ok"]
        assert clients[2 * farm].call("typing", {"room": room})["ok"]
    for number, one in enumerate(clients):
        [[data, *_]] = one.get(1)
        assert data["farm"] == number // 2
        wait_until(lambda one=one: len(one.call("who", {"room": room})["users"]) >= 2, "presence to be written")
        assert len(one.call("who", {"room": room})["users"]) == 2
        assert len(one.get(1)) == 1
    logs = [line for site in farms for line in site.workers.lines]
    assert not [line for line in logs if "was dropped" in line or "is missing" in line]


def test_what_happens_to_one_farm_ends_no_session_of_the_other(farms, client):
    room, user, (one, other) = name(), name(), farms
    a = client(one.urls[0], user)
    assert a.call("join", {"room": room})["ok"]
    first = a.call("message", {"room": room, "n": 1})["id"]
    offset = a.get(1)[0][-1]
    theirs = [client(url, name()) for url in other.urls]
    with redis.Redis.from_url(other.redis_url) as server:
        server.delete(*(key for _, key in other.list_keys() if key.endswith(b":clock")))
    for their in theirs:  # a new epoch begins, and ends their sessions
        with pytest.raises(ConnectionClosed):
            their.wait(lambda: False)
    a.cut()
    sender = client(one.urls[1], name())
    assert sender.call("join", {"room": room})["ok"]
    second = sender.call("message", {"room": room, "n": 2})["id"]
    again = client(one.urls[1], user, pid=a.pid, offset=offset)
    assert again.sid == a.sid
    assert [data["n"] for data, *_ in again.get(1)] == [2]
    assert int(first) < int(second)


def test_no_key_and_no_channel_is_both_farms(farms, client, redis_server):
    room = name()
    for site in farms:
        for url in site.urls:
            one = client(url, name())
            assert one.call("join", {"room": room})["ok"]
            assert one.call("who", {"room": room, "watch": True})["ok"]
    with redis.Redis.from_url(redis_server.url) as server:
        channels = server.pubsub_channels()
    ours = [site.list_ours(channels) for site in farms]
    assert all(len(names) > 10 for names in ours)
    assert not ours[0] & ours[1]
    assert ours[0] | ours[1] == set(channels)
    assert not farms[0].list_keys() & farms[1].list_keys()


def test_stock_emitters_reach_the_farm_whose_channel_they_name(farms, client):
    clients = [client(site.urls[0], name()) for site in farms]
    for number, site in enumerate(farms):
        stock = socketio.RedisManager(site.redis_url, channel=site.channel, write_only=True)
        stock.emit("news", number)
        stock.redis.close()
    for number, one in enumerate(clients):
        assert one.get(1, "news") == [[number]]
    time.sleep(0.2)
    for one in clients:
        assert one.call("message", "hello")["ok"]
        assert len(one.get(1, "news")) == 1


def test_commands_see_and_change_their_own_farm_alone(farms, client):
    user = name()
    clients = [client(site.urls[0], user) for site in farms]
    for one, site in zip(clients, farms, strict=True):
        assert [row["sid"] for row in json.loads(site.run("clients", "--json")) if row["userId"] == user] == [one.sid]
        nodes = {row["address"].rpartition(":")[2] for row in json.loads(site.run("nodes", "--json"))}
        assert nodes == {url.rpartition(":")[2] for url in site.urls}
    answer = json.loads(farms[1].run("emit", "news", "1", "--user", user, "--json"))
    assert answer["nodes"] == 1
    clients[1].get(1, "news")
    assert farms[1].run("kick", user).endswith("; 2 nodes told\n")
    clients[1].get(1, "disconnect")
    assert clients[0].call("message", "still here")["ok"]
    assert clients[0].get(0, "news") == []


@pytest.mark.parametrize(
    ("prefix", "database", "channel"),
    [("webfarm", 0, "socketio"), ("webfarm", 1, "socketio/1"), ("b", 0, "b"), ("b", 2, "b/2")],
)
def test_the_channel_follows_from_prefix_and_database(redis_server, prefix, database, channel):
    url = redis_server.url.removesuffix("/0") + f"/{database}"
    assert RedisManager(url, prefix=prefix).channel == channel
