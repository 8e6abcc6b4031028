"""What is wrong with a Redis or a Redis Cluster is said in one sentence, by the doctor, the start and the worker."""

import signal
import sys

import pytest
import redis

from tests.kit.own_cluster import OwnCluster
from webfarm.doctor import examine
from webfarm.haproxy import parse_ranges
from webfarm.redis.keys import Keys
from webfarm.redis.preflight import find_faults, find_old_version
from webfarm.testing import get_free_ports, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = OwnCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture
def whole(cluster):
    """The module's cluster, whole at the beginning and at the end."""
    yield cluster
    cluster.start()
    assert get_sentences(cluster.url) == []


def find(url, **env):
    """Return what the doctor finds in Redis, by subject, but for what is good."""
    environ = {"REDIS_URL": url, "WEBFARM_SECRET": "x" * 32} | env
    found = examine(environ, parse_ranges(["127.0.0.1:1"]), None)
    return {one.subject: one for one in found if one.level != "ok" and not one.subject.startswith("worker")}


def get_sentences(url, **options):
    return list(map(str, find_faults(url, "webfarm", **{"shards": 8, "wait_replicas": 1} | options)))


def get_address(cluster, number):
    return f"127.0.0.1:{cluster.nodes[number].port}"


def test_each_primary_of_a_cluster_that_is_well_is_looked_at(whole):
    """Also if the first address that is given is dead."""
    url = whole.url.replace("//", f"//127.0.0.1:{get_free_ports()},")
    assert find(url) == {}
    assert get_sentences(url) == []
    found = {one.subject for one in examine({"REDIS_URL": url}, [], None) if one.level == "ok"}
    for kind in ("Redis' version", "persistence", "memory", "replicas", "clocks"):
        assert {f"{kind} of {get_address(whole, number)}" for number in range(3)} <= found


def test_what_one_primary_does_not_keep_is_said_of_it(whole):
    address = get_address(whole, 1)
    whole.ask(1, "CONFIG SET", "appendonly", "no")
    whole.ask(1, "CONFIG SET", "maxmemory-policy", "allkeys-lru")
    try:
        found = find(whole.url)
        assert set(found) == {f"persistence of {address}", f"memory of {address}"}
    finally:
        whole.ask(1, "CONFIG SET", "appendonly", "yes")
        whole.ask(1, "CONFIG SET", "maxmemory-policy", "noeviction")


def test_a_primary_without_a_replica_is_a_fault_or_a_warning_where_no_message_waits(whole):
    replica = next(number for number in range(6) if whole.get_role(number) == "slave")
    primary = f"127.0.0.1:{whole.ask(replica, 'ROLE')[2]}"
    whole.kill(replica)
    wait_until(lambda: find(whole.url), "the primary to notice")
    expected = (
        f"the cluster's primary {primary} has no working replica, and WEBFARM_WAIT_REPLICAS wants 1 for each message:"
        " start the missing ones, or lower WEBFARM_WAIT_REPLICAS."
    )
    assert get_sentences(whole.url) == [expected]
    found = find(whole.url)
    assert list(found) == [f"replicas of {primary}"]
    assert found[f"replicas of {primary}"].level == "fault"
    assert get_sentences(whole.url, wait_replicas=0) == []
    lonely = find(whole.url, WEBFARM_WAIT_REPLICAS="0")[f"replicas of {primary}"]
    assert (lonely.level, lonely.text) == ("warning", "None works: if this primary crashes, its data is unreachable.")


def test_a_replica_that_stands_still_does_not_work(whole):
    replica = next(number for number in range(6) if whole.get_role(number) == "slave")
    primary = f"127.0.0.1:{whole.ask(replica, 'ROLE')[2]}"
    whole.signal(replica, signal.SIGSTOP)
    try:
        wait_until(lambda: f"replicas of {primary}" in find(whole.url), "the others to take it for dead")
    finally:
        whole.signal(replica, signal.SIGCONT)


def test_a_slot_that_nobody_has(whole):
    owner = next(number for number in range(6) if whole.get_role(number) == "master")
    slot = next(row[0] for row in whole.ask(owner, "CLUSTER SLOTS") if row[2][1] == whole.nodes[owner].port)
    whole.ask(owner, "CLUSTER DELSLOTS", slot)
    try:
        [sentence] = get_sentences(whole.url)
        assert sentence == (
            f"1 of the cluster's 16384 slots belong to no primary, by the word of {get_address(whole, owner)}:"
            " give them to one (redis-cli --cluster fix)."
        )
        assert find(whole.url)["slots"].remedy == "Give them to one (redis-cli --cluster fix)."
    finally:
        whole.ask(owner, "CLUSTER ADDSLOTS", slot)


def test_slots_whose_primary_and_replica_are_dead(whole):
    replica = next(number for number in range(6) if whole.get_role(number) == "slave")
    port = whole.ask(replica, "ROLE")[2]
    primary = next(number for number, node in enumerate(whole.nodes) if node.port == port)
    whole.kill(replica)
    whole.kill(primary)
    [sentence] = get_sentences(whole.url, wait_replicas=0)
    assert sentence.startswith(f"the cluster's primary 127.0.0.1:{port} does not answer (")
    other = next(number for number in range(6) if number not in (primary, replica))
    wait_until(lambda: whole.ask(other, "CLUSTER INFO")["cluster_slots_fail"] != "0", "the others to take it for dead")
    assert get_sentences(whole.url, wait_replicas=0)
    assert find(whole.url)["slots"].level == "fault"


def test_a_cluster_that_nobody_has_made(tmp_path):
    cluster = OwnCluster(tmp_path)
    cluster.start_node(0)
    try:
        wait_until(lambda: cluster.answers(0), "the node")
        [sentence] = get_sentences(cluster.url, wait_replicas=0)
        assert sentence.startswith("16384 of the cluster's 16384 slots belong to no primary")
    finally:
        cluster.close()


def test_a_node_of_a_cluster_that_is_named_as_a_single_redis_and_the_reverse(whole, redis_server):
    address = get_address(whole, 1)
    wrong = f"redis://{address}/0"
    text = f"{wrong} is a node of a Redis Cluster, named as a single Redis"
    assert get_sentences(wrong) == [f"{text}: set REDIS_URL to redis+cluster://{address}."]
    assert (find(wrong)["Redis"].text, list(find(wrong))) == (f"{text}.", ["Redis"])
    wrong = redis_server.url.replace("redis:", "redis+cluster:").removesuffix("/0")
    text = f"{wrong} is a single Redis, named as a cluster"
    assert get_sentences(wrong) == [f"{text}: set REDIS_URL to {redis_server.url}."]
    assert (find(wrong)["Redis"].text, list(find(wrong))) == (f"{text}.", ["Redis"])


def test_another_number_of_shards(whole):
    key = Keys("webfarm", 0).clock
    with whole.open() as client:
        client.hset(key, "format", "1/4")
        try:
            assert get_sentences(whole.url, shards=4) == get_sentences(whole.url, shards=None) == []
            assert find(whole.url)["shards"].text == "WEBFARM_SHARDS is 8, and this farm has had 4 from its beginning."
            assert find(whole.url, WEBFARM_SHARDS="4") == {}
        finally:
            client.delete(key)


def test_another_format(redis_server, start):
    """A version that can't read what another one has stored is told so by the doctor, and before a farm starts."""
    url, key = redis_server.url, Keys("otherformat").clock
    text = "Redis holds what a farm of format 99 has stored, and this version has format 1"
    remedy = "use the version that stored it, or another WEBFARM_PREFIX for a new farm."
    with redis.Redis.from_url(url) as client:
        client.hset(key, "format", "99/1")
        try:
            for shards in (None, 1, 8):
                assert list(map(str, find_faults(url, "otherformat", shards=shards))) == [f"{text}: {remedy}"]
            found = find(url, WEBFARM_PREFIX="otherformat")["format"]
            assert (found.level, found.text, found.remedy) == ("fault", f"{text}.", f"{remedy[0].upper()}{remedy[1:]}")
            argv = ["-m", "webfarm", "run", "--no-haproxy", "--base-port", str(get_free_ports(2))]
            process = start(sys.executable, *argv, env={"REDIS_URL": url, "WEBFARM_PREFIX": "otherformat"})
            assert process.wait() == 1
            assert process.lines[-1] == f"webfarm: {text}: {remedy}"
        finally:
            client.delete(key)


def test_a_redis_that_is_too_old_for_a_cluster():
    assert str(find_old_version({"redis_version": "6.2.14"})) == (
        "the cluster is Redis 6.2.14: use 7.0 or later, or Valkey."
    )
    assert find_old_version({"redis_version": "7.2.4", "valkey_version": "9.1.2"}) is None


def test_nothing_that_answers(redis_server):
    url = f"redis+cluster://127.0.0.1:{get_free_ports()},127.0.0.1:{get_free_ports()}"
    with pytest.raises(redis.ConnectionError):
        get_sentences(url)
    assert "does not answer" in find(url)["Redis"].text


def test_a_start_is_refused_and_a_worker_says_why(whole, start, workers):
    wrong = f"redis://{get_address(whole, 1)}/0"
    port = get_free_ports(2)
    flags = ["--no-haproxy", "--base-port", str(port)]
    process = start(sys.executable, "-m", "webfarm", "run", *flags, env={"REDIS_URL": wrong})
    assert process.wait() == 1
    assert process.lines[-1] == f"webfarm: {get_sentences(wrong)[0]}"
    process = workers(1, url=wrong, ready=False)
    process.wait_for_line(get_sentences(wrong)[0])
