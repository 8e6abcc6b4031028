"""Workers, HAProxy and stock clients on a Redis Cluster whose primaries die, stop, move and come back."""

import itertools
import signal
from dataclasses import replace

import pytest
import socketio

from faults.cluster import ROOMS
from faults.cluster_site import SHARDS, ClusterSite, move_by_keys
from faults.crowd import Crowd
from faults.oracle import judge
from faults.scenarios import CLUSTER_SCENARIOS
from tests.kit.commands import run_webfarm
from webfarm.run.redis_cluster import get_url
from webfarm.testing import wait_until

pytestmark = pytest.mark.cluster

SHORT = ("primary-killed", "cluster-shut-down", "primary-unreachable", "worker-killed-while-unreachable")
BY_NAME = {scenario.name: scenario for scenario in CLUSTER_SCENARIOS}
USERS = 8
first_users = itertools.count(0, USERS)  # others each time: what waits for a user is none of theirs


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    with ClusterSite("webfarm", tmp_path_factory.mktemp("farm")) as site:
        yield site


@pytest.fixture
def site(farm):
    """The farm, all of whose nodes run."""
    yield farm
    farm.start_redis()
    farm.wait_until_ready()


@pytest.fixture
def find_faults(site, tmp_path):
    """Has something happen while users talk, and returns what does not hold of a scenario then."""

    def find(scenario, happen):
        users = replace(scenario.users, count=USERS, first=next(first_users))
        with Crowd(users, [site.url], tmp_path / "events.jsonl") as crowd:
            crowd.tell("start")
            crowd.wait_for("acknowledged", 3 * USERS)
            happen(site, crowd)
            crowd.wait_for("acknowledged", 3 * USERS)
            events = crowd.finish()
        verdict = judge(events)
        return [*scenario.find_faults(site, events, verdict, is_timed=False), *verdict.examples]

    return find


@pytest.mark.parametrize("name", SHORT)
def test_what_is_promised_holds_when_a_cluster_changes(find_faults, name):
    assert find_faults(BY_NAME[name], BY_NAME[name].happen) == []


def test_a_shard_moves_to_another_primary_while_its_rooms_talk(find_faults):
    def happen(site, crowd):
        shard = site.get_shard("common")
        target = next(node for node in site.get_primaries() if node is not site.get_primary(shard))
        move_by_keys(site, shard, target)
        site.wait_until_ready()

    assert find_faults(BY_NAME["slot-moved-by-keys"], happen) == []


def test_what_a_primary_stores_that_was_replaced_is_delivered_to_nobody(find_faults):
    """It stood still, wakes, and still executes what it had been sent, before it knows."""

    def happen(site, crowd):
        node = site.get_primary(site.get_shard("common"))
        site.signal_node(node, signal.SIGSTOP)
        site.wait_for_takeover(node)
        crowd.wait_for("acknowledged", USERS)
        site.signal_node(node, signal.SIGCONT)
        site.wait_until_ready()

    assert find_faults(BY_NAME["primary-stopped"], happen) == []


def test_a_stock_emitter_may_know_any_node_of_a_cluster(site):
    """A primary of any shards, or a replica: who is in the room gets each event once."""
    received = []
    with socketio.SimpleClient() as client:
        client.connect(f"{site.url}?userId=anna", transports=["websocket"])
        client.client.on("news", lambda number, *_: received.append(number))
        for number, node in enumerate(site.nodes):
            manager = socketio.RedisManager(node.url, write_only=True)
            manager.emit("news", number, room="user:anna")
            manager.redis.close()
        wait_until(lambda: len(received) >= len(site.nodes), "what was emitted")
    assert sorted(received) == list(range(len(site.nodes)))


@pytest.mark.parametrize("shard", [0, 2])
def test_commands_say_in_one_sentence_that_a_primary_is_away(site, shard):
    node = site.get_primary(shard)
    lost = {shard for shard in range(SHARDS) if site.get_primary(shard) is node}
    gone, there = (next(room for room in ROOMS if (site.get_shard(room) in lost) is one) for one in (True, False))
    env = {"REDIS_URL": get_url(site.nodes), "WEBFARM_SHARDS": str(SHARDS)}
    with site.without_takeover():
        site.kill_node(node)
        for arguments in (["clients"], ["nodes"], ["rooms"], ["kick", "anna"], ["emit", "news", "{}", "--room", gone]):
            done = run_webfarm(*arguments, **env)
            assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
            assert str(node.port) in done.stderr
        assert run_webfarm("emit", "news", "{}", "--room", there, **env).returncode == 0
        site.start_redis()
