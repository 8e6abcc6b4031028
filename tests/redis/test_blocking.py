"""What processes without a worker ask: of a single Redis, and of a cluster's shards."""

import pytest
import redis

from tests.kit.batches import list_stored, store
from webfarm.redis.blocking import BlockingCommands
from webfarm.redis.client import connect
from webfarm.redis.keys import Keys
from webfarm.redis.preflight import find_faults
from webfarm.testing import wait_until

SHARDS = [Keys("plain", number, 8) for number in range(8)]


@pytest.fixture
def client(redis_cluster):
    with connect(redis_cluster.url) as client:
        yield client


@pytest.fixture(params=["single", "cluster"])
def url(request, redis_server):
    return redis_server.url if request.param == "single" else request.getfixturevalue("redis_cluster").url


def insist(commands, *command):
    """Ask until there is an answer; every error on the way must say that Redis is away just now."""
    errors = []

    def ask():
        try:
            return [commands.execute(*command)]
        except (redis.ConnectionError, redis.TimeoutError) as error:
            errors.append(error)

    return wait_until(ask, "an answer")[0], errors


def test_each_shard_is_asked_where_it_is(url):
    with connect(url) as client:
        for keys in SHARDS:
            commands, room = BlockingCommands(client, keys), keys.stream("/", "room")
            commands.execute("DEL", room, keys.room_of(room), keys.clock, keys.batch("test"))
            assert store(commands, keys, "one", "two")
            assert commands.execute("XLEN", room) == 2
            _, found = commands.execute("SCAN", 0, "MATCH", f"{keys.tag}clock", "COUNT", 10_000)
            assert found == [keys.clock.encode()]
            assert commands.publish(keys.requests, "nobody hears it") == 0
            assert commands.execute("INFO", "server")
            commands.close()


def test_what_was_written_is_waited_for_over_the_connection_that_has_written_it(client):
    for keys in SHARDS:
        commands = BlockingCommands(client, keys)
        store(commands, keys, "one")
        assert commands.execute("WAIT", 1, 5000) == 1
        commands.close()


def test_a_moved_slot_is_followed(redis_cluster, client):
    keys = Keys("plainly", 1, 8)
    commands = BlockingCommands(client, keys)
    store(commands, keys, "before")
    target = redis_cluster.get_others(redis_cluster.get_owner(keys.slot))[0]
    with redis_cluster.moving_slot(keys.slot, target) as move_keys:
        move_keys(1)
        with pytest.raises(redis.ConnectionError):
            store(commands, keys, "during")
    store(commands, keys, "after")
    assert list_stored(target, keys) == ["before", "after"]
    commands.close()


def test_a_primary_that_was_killed_is_replaced(redis_cluster, client):
    keys = SHARDS[0]
    commands = BlockingCommands(client, keys)
    commands.execute("SET", keys.note("a"), "b")
    commands.execute("WAIT", 1, 5000)
    redis_cluster.get_owner(keys.slot).kill()
    answer, errors = insist(commands, "GET", keys.note("a"))
    assert answer == b"b"
    assert errors
    commands.close()


def test_passwords_are_for_every_node(redis_cluster):
    bare = redis_cluster.get_url("ra", "a")
    with redis_cluster.guarded("se%cret"):
        url = bare.replace("//", "//default:se%25cret@")
        with connect(url) as client:
            for keys in SHARDS:
                commands = BlockingCommands(client, keys)
                assert commands.execute("PING")
                commands.close()
        assert find_faults(url, "webfarm") == []
        for look in (connect, lambda bare: find_faults(bare, "webfarm")):
            with pytest.raises(redis.AuthenticationError):
                look(bare)
