"""What processes without a worker ask: of a single Redis, and of a cluster's shards."""

import pytest
import redis

from chat.realtime.keys import Keys
from chat.realtime.redis_client import PlainCommands, connect, list_addresses
from chat.realtime.redis_faults import find_fault, find_lonely_primary
from tests.conftest import get_free_ports, wait_until
from tests.test_cluster_connections import list_stored, store

SHARDS = [Keys("plain", number) for number in range(8)]


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
            commands, room = PlainCommands(client, keys), keys.stream("/", "room")
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
        commands = PlainCommands(client, keys)
        store(commands, keys, "one")
        assert commands.execute("WAIT", 1, 5000) == 1
        commands.close()


def test_a_moved_slot_is_followed(redis_cluster, client):
    keys = Keys("plainly", 1)
    commands = PlainCommands(client, keys)
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
    commands = PlainCommands(client, keys)
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
                commands = PlainCommands(client, keys)
                assert commands.execute("PING")
                commands.close()
        assert find_fault(url) is None
        with pytest.raises(redis.AuthenticationError):
            connect(bare)
        with pytest.raises(redis.AuthenticationError):
            find_fault(bare)


def test_addresses_are_read_from_the_url():
    assert list_addresses("redis+cluster://u:p@a:1,[::1]:2,c") == [("a", 1), ("::1", 2), ("c", 6379)]


def test_what_is_sound_has_no_fault(url):
    assert find_fault(url) is None


def test_a_single_redis_is_no_cluster(redis_server):
    fault = find_fault(f"redis+cluster://127.0.0.1:{redis_server.port}")
    assert fault == (
        f"The Redis at 127.0.0.1:{redis_server.port} is a single one, no node of a cluster: "
        f"write redis://127.0.0.1:{redis_server.port}/0."
    )


def test_a_clusters_node_is_no_single_redis(redis_cluster):
    port = redis_cluster["a"].port
    fault = find_fault(f"redis://127.0.0.1:{port}/0")
    assert fault == f"The Redis at 127.0.0.1:{port} is a node of a cluster: write redis+cluster://127.0.0.1:{port}."


def test_a_cluster_that_is_away_says_why(redis_cluster):
    dead = get_free_ports()
    with pytest.raises(redis.ConnectionError, match=str(dead)):
        find_fault(f"redis+cluster://127.0.0.1:{dead}")
    assert find_fault(redis_cluster.url.replace("//", f"//127.0.0.1:{dead},")) is None


def test_slots_without_a_primary_are_a_fault(redis_cluster):
    node, slots = redis_cluster["b"], range(6000, 6003)
    nodes = [one for one in redis_cluster.nodes.values()]
    owner = redis_cluster.get_owner(6000)
    for one in nodes:
        one.ask("CLUSTER", "DELSLOTS", *slots)
    try:
        fault = find_fault(redis_cluster.get_url(node.name))
        assert fault == "The cluster is not complete: 3 of 16384 slots have no primary (CLUSTER ADDSLOTS)."
    finally:
        owner.ask("CLUSTER", "ADDSLOTS", *slots)


def test_what_is_lost_with_a_primary_is_said(redis_cluster):
    """First that it has no replica, then, once it is away, that nobody has its slots."""
    assert find_lonely_primary(redis_cluster.url) is None
    owner = redis_cluster.get_owner(SHARDS[0].slot)
    replica = next(node for node in redis_cluster.nodes.values() if node.is_replica_of(owner))
    replica.kill()
    other = redis_cluster.get_url(redis_cluster.get_others(owner)[0].name)
    lonely = wait_until(lambda: find_lonely_primary(other), "the replica's end to be noticed")
    assert lonely.startswith(f"127.0.0.1:{owner.port} has no replica that works")
    owner.kill()
    fault = wait_until(lambda: find_fault(other), "the primary's end to be noticed")
    assert "of the cluster's slots is away, and no replica has taken over" in fault
