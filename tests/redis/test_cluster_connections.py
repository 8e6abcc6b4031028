"""A worker's connections to a cluster: three primaries and their replicas, which move, stop and die."""

import contextlib
import gc
import itertools
import signal

import gevent
import gevent.socket
import pytest
import redis
import redis.connection

from tests.kit.batches import create_batch, list_stored, store
from webfarm import Emitter
from webfarm.errors import Error, Unavailable
from webfarm.log.batch import join_batches
from webfarm.redis.blocking import BlockingCommands
from webfarm.redis.client import connect
from webfarm.redis.connections import open_connections
from webfarm.redis.keys import Keys, find_shard
from webfarm.testing import get_free_ports

# A greenlet that is killed while it connects leaves its socket to the collector, which comes by at the end of the test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FAILOVER_S = 15.0  # 2 until it is seen, 1 for the election; more on a busy machine
SHARDS = 8


@pytest.fixture(autouse=True)
def others_run_meanwhile(monkeypatch):
    """Who waits for a connection holds up nobody else, as in a worker."""
    monkeypatch.setattr(redis.connection, "socket", gevent.socket)
    yield
    gc.collect()


@pytest.fixture
def shards(request):
    return [Keys(request.node.name[:24], number, SHARDS) for number in range(SHARDS)]


@pytest.fixture
def connections(redis_cluster, shards):
    with opened(redis_cluster.url, shards) as connections:
        yield connections


@contextlib.contextmanager
def opened(url, shards):
    connections = open_connections(url, has_writing=True)
    connections.listeners = [Listener(connections.create_subscription(keys)) for keys in shards]
    connections.start()
    yield connections
    for listener in connections.listeners:
        listener.stop()
    connections._topology.stop()
    for node in connections._nodes.values():
        node.close()
    gevent.sleep(0.01)


class Listener:
    """Listens for ever, as a ``Follower`` does."""

    def __init__(self, subscription):
        self.subscription = subscription
        self.heard, self.errors, self.opened = [], [], 0
        self.job = None

    def start(self, *names):
        for name in names:
            self.subscription.add(name)
        self.job = self.job or gevent.spawn(self._run)

    def stop(self):
        if self.job:
            self.job.kill()

    def _run(self):
        while True:
            try:
                self.subscription.open()
                self.opened += 1
                self.heard.extend(self.subscription.read())
            except redis.RedisError as error:
                self.errors.append(error)
            finally:
                self.subscription.close()
            gevent.sleep(0.05)


def wait_for(condition, what, timeout_s=10.0):
    """Wait until ``condition``, while everything else goes on."""
    with gevent.Timeout(timeout_s, AssertionError(f"waited {timeout_s:g} s in vain for {what}")):
        while not (value := condition()):
            gevent.sleep(0.01)
    return value


def insist(ask, what, timeout_s=FAILOVER_S):
    """Ask until there is an answer; every error on the way must say that Redis is away just now."""
    errors = []

    def answer():
        try:
            return [ask()]
        except (redis.ConnectionError, redis.TimeoutError) as error:
            errors.append(error)

    return wait_for(answer, what, timeout_s)[0], errors


def listen(connections, shards):
    for listener, keys in zip(connections.listeners, shards, strict=True):
        listener.start(keys.requests)
    wait_until_heard(connections, shards)


def wait_until_heard(connections, shards, timeout_s=FAILOVER_S):
    for keys in shards:
        insist_on_heard(connections, keys, timeout_s)


def insist_on_heard(connections, keys, timeout_s=FAILOVER_S):
    def is_heard():
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return connections.get_commands(keys).publish(keys.requests, b"there?")

    wait_for(is_heard, f"a subscription at the primary of slot {keys.slot}", timeout_s)


def list_heard(listener):
    return [data.split(b" ", 3)[3].lstrip(b"0123456789").decode() for _, data in listener.heard if b" " in data]


def test_each_shard_is_asked_where_it_is(redis_cluster, connections, shards):
    for keys in shards:
        commands = connections.get_commands(keys)
        store(commands, keys, "one", "two")
        assert commands.execute("XLEN", keys.stream("/", "room")) == 2
        assert list_stored(redis_cluster.get_owner(keys.slot), keys) == ["one", "two"]
    assert len({redis_cluster.get_owner(keys.slot).name for keys in shards}) == 3


def test_scripts_that_a_primary_has_lost_are_loaded_again(redis_cluster, connections, shards):
    for keys in shards:
        store(connections.get_commands(keys), keys, "one")
    for node in redis_cluster.primaries:
        node.ask("SCRIPT", "FLUSH")
    for keys in shards:
        store(connections.get_commands(keys), keys, "two")
        assert list_stored(redis_cluster.get_owner(keys.slot), keys) == ["one", "two"]


def test_one_connection_for_each_primary_is_shared_by_its_shards(redis_cluster, connections, shards):
    for keys in shards:
        connections.get_commands(keys).execute("PING")
        connections.get_writing(keys).execute("PING")
    listen(connections, shards)
    for node in redis_cluster.primaries:
        kinds = [one["flags"] for one in node.client.client_list() if one["name"] == ""]
        assert kinds.count("P") == 1
    assert all(connections.get_commands(keys).list_channels(keys.tag) == [keys.requests] for keys in shards)
    lives = {connections.get_commands(keys).life for keys in shards}
    assert len(lives) == 3
    assert lives.isdisjoint({connections.get_writing(keys).life for keys in shards})


def test_what_was_written_is_waited_for_over_the_connection_that_has_written_it(connections, shards):
    for keys in shards:
        writing = connections.get_writing(keys)
        writing.execute("PING")
        life = writing.life
        store(writing, keys, "one")
        assert writing.life is life
        assert writing.execute("WAIT", 1, 5000) == 1
        assert connections.count_replicas(keys) == 1


def test_what_is_written_together_waits_for_its_replica_once(redis_cluster, connections, shards):
    keys, answers = shards[0], []
    writing, primary = connections.get_writing(keys), redis_cluster.get_owner(keys.slot).client
    writing.execute("PING")
    waits = primary.info("commandstats").get("cmdstat_wait", {}).get("calls", 0)
    for name in ("one", "two"):
        command = ("SET", f"{keys.tag}{name}", "written", "PX", 5000)
        writing.connection.ask_written(command, 1, lambda *both: answers.append(both))
    wait_for(lambda: answers == [(b"OK", 1)] * 2, "the answers")
    assert primary.info("commandstats")["cmdstat_wait"]["calls"] == waits + 1


def test_nothing_is_lost_while_it_is_connected(redis_cluster, connections, shards):
    for listener, keys in zip(connections.listeners, shards, strict=True):
        listener.subscription.add(keys.stream("/", "room"))
    listen(connections, shards)
    texts = [f"t{number}" for number in range(1000)]

    def store_all(keys):
        for first in range(0, len(texts), 10):
            store(connections.get_commands(keys), keys, *texts[first : first + 10])

    gevent.joinall([gevent.spawn(store_all, keys) for keys in shards], timeout=60, raise_error=True)
    wait_for(lambda: all(len(one.heard) >= 1001 for one in connections.listeners), "all messages")
    for listener in connections.listeners:
        assert [text for text in list_heard(listener) if text in {*texts}] == texts
        assert listener.opened == 1


def test_the_classic_channel_is_heard_from_every_node(redis_cluster, connections, shards):
    first = connections.listeners[0]
    first.subscription.add("classic")
    listen(connections, shards)
    first.subscription.wait_until_confirmed("classic")
    for node in redis_cluster.nodes.values():
        node.client.publish("classic", node.name)
    for keys in shards:
        connections.get_commands(keys).publish("classic", str(keys.slot))
    expected = {*(name.encode() for name in redis_cluster.nodes), *(str(keys.slot).encode() for keys in shards)}
    wait_for(lambda: {data for name, data in first.heard if name == "classic"} == expected, "what was published")
    assert all(name != "classic" for one in connections.listeners[1:] for name, _ in one.heard)


def test_channels_are_left_and_joined_again(connections, shards):
    listen(connections, shards)
    keys, listener = shards[0], connections.listeners[0]
    commands, channel = connections.get_commands(keys), keys.stream("/", "late")
    for number in range(3):
        listener.subscription.add(channel)
        listener.subscription.wait_until_confirmed(channel)
        assert commands.publish(channel, f"in {number}") == 1
        listener.subscription.remove(channel)
        wait_for(lambda: commands.publish(channel, "out") == 0, "the end of the subscription")
        listener.subscription.add(channel)
        listener.subscription.remove(channel)
    wait_for(lambda: (channel, b"in 2") in listener.heard, "the last message")
    assert listener.opened == 1


def test_a_moved_slot_is_followed(redis_cluster, connections, shards):
    """By commands at once, by the subscription as soon as the cluster says so; other shards notice nothing."""
    listen(connections, shards)
    keys, listener = shards[0], connections.listeners[0]
    commands = connections.get_commands(keys)
    store(commands, keys, "before")
    target = redis_cluster.get_others(redis_cluster.get_owner(keys.slot))[0]
    redis_cluster.move_slot(keys.slot, target)
    assert store(commands, keys, "after")
    assert list_stored(target, keys) == ["before", "after"]
    insist_on_heard(connections, keys)
    assert listener.opened > 1
    assert [one.opened for one in connections.listeners[1:]] == [1] * (SHARDS - 1)
    assert keys.requests in {name.decode() for name in target.ask("PUBSUB", "SHARDCHANNELS")}


def test_a_slot_that_is_being_moved_refuses_scripts_until_it_is_there(redis_cluster, connections, shards):
    keys = shards[1]
    commands = connections.get_commands(keys)
    store(commands, keys, "before")
    target = redis_cluster.get_others(redis_cluster.get_owner(keys.slot))[0]
    with redis_cluster.moving_slot(keys.slot, target) as move_keys:
        for count in (0, 1, 1, 100):
            move_keys(count) if count else None
            for text in ("during", "meanwhile"):
                with pytest.raises(redis.ConnectionError, match=r"^(ASK|TRYAGAIN) "):
                    store(commands, keys, text)
        job = gevent.spawn(insist, lambda: store(commands, keys, "after"), "the slot to be moved")
        gevent.sleep(0.1)
        assert not job.ready()
    _, errors = job.get(timeout=FAILOVER_S)
    assert errors
    assert list_stored(target, keys) == ["before", "after"]


def test_batches_of_all_shards_of_a_primary_are_stored_by_one_call_but_for_one_that_is_being_moved(
    redis_cluster, connections, shards
):
    owner = redis_cluster.get_owner(shards[0].slot)
    here = [keys for keys in shards if redis_cluster.get_owner(keys.slot) is owner]
    writing = connections.get_writing(shards[0])
    writing.execute("PING")
    stored = writing.connection.run("log/store", (), join_batches([create_batch(keys, "one", "two") for keys in here]))
    assert [len(answers) for _, *answers in stored] == [2] * len(here)
    with redis_cluster.moving_slot(here[1].slot, redis_cluster.get_others(owner)[0]) as move_keys:
        assert move_keys(1) == 1
        answers = writing.connection.run("log/store", (), join_batches([create_batch(keys, "three") for keys in here]))
        assert [isinstance(answer, redis.RedisError) for answer in answers] == [keys is here[1] for keys in here]
    for keys in here:
        texts = ["one", "two"] if keys is here[1] else ["one", "two", "three"]
        assert list_stored(redis_cluster.get_owner(keys.slot), keys) == texts


def test_a_primary_that_was_killed_is_replaced(redis_cluster, connections, shards):
    listen(connections, shards)
    dead = redis_cluster.get_owner(shards[2].slot)
    is_dead = {keys.slot: redis_cluster.get_owner(keys.slot) is dead for keys in shards}
    for keys in shards:
        writing = connections.get_writing(keys)
        store(writing, keys, "before")
        assert writing.execute("WAIT", 1, 5000) == 1
    dead.kill()
    for keys in shards:
        insist(lambda keys=keys: store(connections.get_writing(keys), keys, "after"), "the replica to take over")
    wait_until_heard(connections, shards)
    for keys, listener in zip(shards, connections.listeners, strict=True):
        if is_dead[keys.slot]:
            assert list_stored(get_live_owner(redis_cluster, dead, keys), keys) == ["before", "after"]
            wait_for(lambda keys=keys: connections.count_replicas(keys) == 0, "the lost replica to be noticed")
        else:
            assert listener.opened == 1
    redis_cluster.heal()
    for keys in shards:
        wait_for(lambda keys=keys: connections.count_replicas(keys) == 1, "the replica")


def test_a_primary_that_hands_over_is_left_at_once(redis_cluster, connections, shards):
    listen(connections, shards)
    keys = shards[0]
    commands, old = connections.get_commands(keys), redis_cluster.get_owner(keys.slot)
    replica = next(node for node in redis_cluster.nodes.values() if node.is_replica_of(old))
    stored, is_over = [], []

    def store_all():
        while not is_over:
            stored.append(f"t{len(stored)}")
            store(commands, keys, stored[-1])
            gevent.sleep(0.01)

    job = gevent.spawn(store_all)
    replica.ask("CLUSTER", "FAILOVER")
    wait_for(lambda: keys.requests.encode() in replica.ask("PUBSUB", "SHARDCHANNELS"), "the subscription to move")
    wait_for(lambda: replica.client.info("replication")["role"] == "master", "the replica to take over")
    is_over.append(True)
    job.get(timeout=5)
    assert list_stored(replica, keys) == stored
    insist_on_heard(connections, keys)


def test_a_primary_that_stands_still_is_left(redis_cluster, connections, shards):
    """Nobody says that the connections are broken: only the cluster knows that a replica has taken over."""
    listen(connections, shards)
    still = redis_cluster.get_owner(shards[0].slot)
    stuck = [keys for keys in shards if redis_cluster.get_owner(keys.slot) is still]
    for keys in stuck:
        store(connections.get_commands(keys), keys, "before")
    still.kill(signal.SIGSTOP)
    for keys in stuck:
        insist(lambda keys=keys: connections.get_commands(keys).execute("PING"), "the replica to take over")
    wait_until_heard(connections, stuck)
    for keys in stuck:
        replaced = get_live_owner(redis_cluster, still, keys)
        assert keys.requests in {name.decode() for name in replaced.ask("PUBSUB", "SHARDCHANNELS")}
    still.kill(signal.SIGCONT)
    redis_cluster.heal()
    assert all(connections.get_commands(keys).execute("PING") for keys in shards)


def get_live_owner(cluster, gone, keys):
    """Return the primary of a shard, as another node than the one that has gone sees it."""
    asked = next(node for node in cluster.nodes.values() if node is not gone and node.process.popen.poll() is None)
    ranges = asked.ask("CLUSTER", "SLOTS")
    port = next(primary[1] for first, last, primary, *_ in ranges if first <= keys.slot <= last)
    return next(node for node in cluster.nodes.values() if node.port == port)


def test_one_shard_that_listens_anew_disturbs_no_other(redis_cluster, connections, shards):
    listen(connections, shards)
    by_primary = {}
    for keys, listener in zip(shards, connections.listeners, strict=True):
        by_primary.setdefault(redis_cluster.get_owner(keys.slot).name, []).append((keys, listener))
    (keys, first), *others = max(by_primary.values(), key=len)
    assert others
    for number in range(2, 5):
        first.subscription.interrupt()
        wait_for(lambda number=number: first.opened == number, "another connection")
        insist_on_heard(connections, keys)
        first.subscription.wait_until_confirmed()
    assert all(one.opened == 1 for _, one in others)
    commands = connections.get_commands(keys)
    wait_for(lambda: commands.publish(keys.requests, "once") == 1, "the old subscription's end")
    wait_for(lambda: (keys.requests, b"once") in first.heard, "the message")
    assert first.heard.count((keys.requests, b"once")) == 1


def test_who_does_not_read_holds_up_the_connection_and_no_more(redis_cluster, shards):
    with opened(redis_cluster.url, shards) as connections:
        listen(connections, shards)
        slow = connections.listeners[0]
        slow.job.kill()  # and with it the reading; what it was attached to is given up
        slow.subscription.open()
        commands = connections.get_commands(shards[0])
        wait_for(lambda: commands.publish(shards[0].requests, "x") == 1, "the subscription")
        for number in range(24):
            commands.publish(shards[0].requests, str(number % 10) * 1_000_000)
        wire = slow.subscription._subscriber._wire
        wait_for(lambda: not wire._readable.active, "the wire to be held up")
        slow.job = gevent.spawn(lambda: slow.heard.extend(slow.subscription.read()))
        wait_for(lambda: sum(len(data) == 1_000_000 for _, data in slow.heard) == 24, "what was held up")
        slow.job.kill()
        slow.subscription.close()


@pytest.mark.parametrize("names", ["a", "ra"])
def test_addresses_that_are_dead_or_a_replicas_are_no_obstacle(redis_cluster, shards, names):
    dead = get_free_ports(2)
    url = redis_cluster.get_url(names).replace("//", f"//127.0.0.1:{dead},127.0.0.1:{dead + 1},")
    with opened(url, shards) as connections:
        assert all(connections.get_commands(keys).execute("PING") == b"PONG" for keys in shards)
        listen(connections, shards)
    plain = BlockingCommands(connect(url), shards[0])
    assert plain.execute("PING")
    plain.close()


def test_a_password_is_for_every_node(redis_cluster, shards):
    with redis_cluster.guarded("se%cret"):
        url = redis_cluster.url.replace("//", "//default:se%25cret@")
        with opened(url, shards) as connections:
            assert all(connections.get_commands(keys).execute("PING") for keys in shards)
            listen(connections, shards)


def test_a_cluster_that_is_away_is_a_connection_error(shards):
    dead = get_free_ports()
    with opened(f"redis+cluster://127.0.0.1:{dead}", shards) as connections:
        commands = connections.get_commands(shards[0])
        with pytest.raises(redis.ConnectionError):
            commands.execute("PING")
        with pytest.raises(redis.ConnectionError):
            connections.listeners[0].subscription.open()
        assert commands.life is None
        assert connections.count_replicas(shards[0]) == 0
    with pytest.raises(redis.ConnectionError):
        connect(f"redis+cluster://127.0.0.1:{dead}")


def test_a_primary_that_joins_later_is_found(redis_cluster, connections, shards):
    keys = shards[3]
    commands = connections.get_commands(keys)
    store(commands, keys, "before")
    home = redis_cluster.get_owner(keys.slot)
    listen(connections, shards)
    late = redis_cluster.add_node("d")
    try:
        redis_cluster.move_slot(keys.slot, late)
        store(commands, keys, "after")
        assert list_stored(late, keys) == ["before", "after"]
        insist_on_heard(connections, keys)
    finally:
        redis_cluster.move_slot(keys.slot, home)
        redis_cluster.remove_node("d")
    insist_on_heard(connections, keys)
    assert list_stored(home, keys) == ["before", "after"]


@contextlib.contextmanager
def outside_of(cluster, shards):
    """A farm of these shards, which have all begun, as another process sees it."""
    with opened(cluster.url, shards) as connections:
        for keys in shards:
            store(connections.get_commands(keys), keys, "before")
    prefix = shards[0].tag[1:].partition(":")[0]
    with contextlib.closing(Emitter(cluster.url, prefix, shards=SHARDS, wait_replicas=1)) as outside:
        yield outside


def find_room(cluster, shards, node, *, is_there):
    """Return a room that is, or is not, on a primary."""
    numbers = [number for number, keys in enumerate(shards) if (cluster.get_owner(keys.slot) is node) is is_there]
    return next(room for room in map(str, itertools.count()) if find_shard(room, SHARDS) in numbers)


def test_who_stores_from_outside_waits_for_no_replica_that_is_dead(redis_cluster, shards):
    primary = redis_cluster.get_owner(shards[0].slot)
    next(node for node in redis_cluster.nodes.values() if node.is_replica_of(primary)).kill()
    wait_for(lambda: count_replicas(primary) == 0, "its end to be noticed")
    with outside_of(redis_cluster, shards) as outside:
        assert outside.store("news", None, find_room(redis_cluster, shards, primary, is_there=True)).id


def count_replicas(primary):
    rows = primary.ask("CLUSTER", "SLOTS")
    return sum(len(replicas) for _, _, (_, port, *_), *replicas in rows if port == primary.port)


@pytest.mark.parametrize("which", ["first shard", "first slot"])
def test_who_stores_from_outside_needs_a_primary_only_for_what_is_there(redis_cluster, shards, which):
    home = redis_cluster.get_owner(shards[0].slot if which == "first shard" else 0)
    replica = next(node for node in redis_cluster.nodes.values() if node.is_replica_of(home))
    room, lost = (find_room(redis_cluster, shards, home, is_there=one) for one in (False, True))
    with outside_of(redis_cluster, shards), without_full_coverage(redis_cluster):
        for node in (replica, home):
            node.kill()
        prefix = shards[0].tag[1:].partition(":")[0]
        with contextlib.closing(Emitter(redis_cluster.url, prefix, shards=SHARDS)) as outside:
            assert outside.store("news", None, room).id
            with pytest.raises(Unavailable):
                outside.store("news", None, lost)
        with pytest.raises(Error, match=f"set WEBFARM_SHARDS={SHARDS}"):
            Emitter(redis_cluster.url, prefix, shards=SHARDS + 1)


@contextlib.contextmanager
def without_full_coverage(cluster):
    """What is lost with one primary is not lost with all, for the block's time."""
    for node in cluster.nodes.values():
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    yield
    cluster.heal()
    for node in cluster.nodes.values():
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
