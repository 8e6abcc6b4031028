"""A Redis Cluster on this machine is made by commands, and found again with its data."""

import shutil

import pytest

from tests.kit.own_cluster import OwnCluster
from webfarm.errors import Error
from webfarm.run.programs import find_redis
from webfarm.run.redis_cluster import advance, create, describe, get_url, prepare
from webfarm.testing import get_free_ports, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster(tmp_path):
    cluster = OwnCluster(tmp_path)
    yield cluster
    cluster.close()


def get_ports(cluster, *numbers):
    return ", ".join(str(cluster.nodes[number].port) for number in numbers)


def test_it_is_whole_when_it_is_made_and_has_its_data_when_it_is_started_again(cluster):
    cluster.start()
    primaries, replicas = get_ports(cluster, 0, 1, 2), get_ports(cluster, 3, 4, 5)
    assert describe(cluster.nodes) == f"primaries on ports {primaries}, replicas on {replicas}"
    for number in range(6):
        info = cluster.ask(number, "CLUSTER INFO")
        assert (info["cluster_state"], info["cluster_slots_ok"], info["cluster_known_nodes"]) == ("ok", "16384", "6")
        bound = cluster.ask(number, "CONFIG GET", "bind", "cluster-port")
        assert bound == {"bind": "127.0.0.1", "cluster-port": str(cluster.nodes[number].bus_port)}
    with cluster.open() as client:
        for number in range(100):
            client.set(f"key{number}", number)
    cluster.close()
    cluster.start()
    assert describe(cluster.nodes) == f"primaries on ports {primaries}, replicas on {replicas}"
    with cluster.open() as client:
        assert [client.get(f"key{number}") for number in range(100)] == [str(number) for number in range(100)]


def test_a_replica_takes_over_and_the_killed_primary_comes_back_as_one(cluster):
    cluster.start()
    with cluster.open() as client:
        client.set("key", "kept")
        number = next(n for n, node in enumerate(cluster.nodes) if client.get_node_from_key("key").port == node.port)
    cluster.kill(number)
    assert not advance(cluster.nodes)
    wait_until(lambda: cluster.get_role(number + 3) == "master", "the replica to take over", 10)
    cluster.start()
    assert cluster.get_role(number) == "slave"
    with cluster.open() as client:
        assert client.get("key") == "kept"


def test_a_start_that_was_cut_short_is_taken_up_where_it_ended(cluster):
    """The first primary had its slots, then the others too, and some had met; no replica was one yet."""
    for number in range(6):
        cluster.start_node(number)
    wait_until(lambda: all(map(cluster.answers, range(6))), "all nodes")
    cluster.ask(0, "CLUSTER SET-CONFIG-EPOCH", 1)
    cluster.ask(0, "CLUSTER ADDSLOTSRANGE", 0, 5460)
    advance(cluster.nodes)
    for number in range(6):
        cluster.kill(number)
    cluster.start()
    assert [cluster.get_role(number) for number in range(6)] == ["master"] * 3 + ["slave"] * 3


def test_a_node_that_lost_its_data_comes_back_as_a_replica(cluster):
    cluster.start()
    cluster.kill(1)
    wait_until(lambda: cluster.get_role(4) == "master", "the replica to take over", 10)
    shutil.rmtree(cluster.nodes[1].folder)
    cluster.nodes[1].folder.mkdir()
    cluster.start()
    assert cluster.get_role(1) == "slave"


def test_what_does_not_become_whole_is_one_sentence(tmp_path):
    nodes = prepare(find_redis(), tmp_path, 3, get_free_ports(12))
    with pytest.raises(Error) as caught:
        create(nodes, timeout_s=0.2)
    assert str(caught.value) == f"the cluster of {get_url(nodes)} is not whole within 0.2 s."


def test_a_program_that_is_too_old_is_refused(tmp_path):
    (program := tmp_path / "redis-server").write_text(
        "#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0 bits=64'\n"
    )
    program.chmod(0o755)
    with pytest.raises(Error) as caught:
        prepare(str(program), tmp_path, 3)
    assert str(caught.value) == f"{program} is version 6.2.14, and a cluster needs 7.0 or later."
