"""StoreScheduler on a real Redis: which batches one call stores, and how long a round waits for an answer."""

import gevent
import gevent.socket
import pytest
import redis.connection

from webfarm.log import store_scheduler as rounds_module
from webfarm.log.batch import MESSAGES, Batch, Outgoing, describe_batch
from webfarm.log.retention import Retention
from webfarm.log.store_scheduler import StoreScheduler
from webfarm.redis.client import connect
from webfarm.redis.keys import Keys
from webfarm.redis.pipeline import Pipeline

SHARDS = 3


class Shard:
    """A source with as many messages as it is asked for, as a writer that has much to do."""

    def __init__(self, number, connection, answered, size=1, replicas=0):
        self.keys = Keys("rounds", number, SHARDS)
        self.connection, self.insisted, self.hurried, self.fault = connection, 0, 0, None
        self.has_more = False
        self._batches, self._answered, self._size, self._replicas = 0, answered, size, replicas

    def take_batch(self, most, most_bytes):
        assert most > 0 < most_bytes
        if self.connection is None:
            self.insisted += 1
            return None
        self._batches += 1
        clock = (self.keys.format, "epoch", "", 0)
        messages = [Outgoing("/", "room", (b"text", b""))] * min(self._size, most)
        arguments = describe_batch(self.keys, Retention(), clock, self.keys.batch("node"), self._batches, messages)
        return Batch(self._batches, messages, 4 * len(messages), arguments, self._replicas)

    def hurry_replicas(self):
        self.hurried += 1

    def on_answer(self, batch, answer, reached):
        assert batch.number == self._batches
        self._answered.append((self.keys.shard, answer))
        if self.fault:
            raise self.fault
        return self.has_more


@pytest.fixture
def client(redis_server, monkeypatch):
    monkeypatch.setattr(redis.connection, "socket", gevent.socket)
    client = connect(redis_server.url)
    yield client
    for key in client.scan_iter("{rounds:*"):
        client.delete(key)
    client.close()


@pytest.fixture
def opened(client):
    pipelines = []

    def open_pipeline():
        pipelines.append(Pipeline(client))
        pipelines[-1].execute("PING")
        return pipelines[-1]

    yield open_pipeline
    for pipeline in pipelines:
        pipeline.close("the test is over")
    gevent.sleep(0.01)


def wait_for(condition):
    with gevent.Timeout(10):
        while not condition():
            gevent.sleep(0.001)


def occupy(pipeline, seconds):
    """Have what is asked next wait."""
    pipeline.ask(("BLPOP", "rounds-nothing", seconds), lambda _: None)


def get_numbers(answered):
    return [number for number, _ in answered]


def count_calls(client):
    return client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)


def test_the_shards_of_one_redis_are_stored_by_one_call(client, opened):
    rounds, answered, pipeline = StoreScheduler(), [], opened()
    calls = count_calls(client)
    for number in range(SHARDS):
        rounds.add(Shard(number, pipeline, answered))
    wait_for(lambda: len(answered) == SHARDS)
    assert count_calls(client) == calls + 1
    assert get_numbers(answered) == [0, 1, 2]
    assert all(answer[0] == b"epoch" and answer[1][0] for _, answer in answered)


def test_what_is_emitted_in_the_same_turn_of_the_loop_is_taken_along(client, opened):
    rounds, answered, pipeline = StoreScheduler(), [], opened()
    calls = count_calls(client)
    rounds.add(Shard(0, pipeline, answered))
    gevent.get_hub().loop.run_callback(rounds.add, Shard(1, pipeline, answered))
    wait_for(lambda: len(answered) == 2)
    assert count_calls(client) == calls + 1


def test_a_call_has_so_many_messages_and_who_is_left_comes_with_the_next(client, opened):
    rounds, answered, pipeline = StoreScheduler(), [], opened()
    calls = count_calls(client)
    for number, size in enumerate((MESSAGES - 1, 3, 2)):
        rounds.add(Shard(number, pipeline, answered, size))
    wait_for(lambda: len(answered) == 3)
    assert [len(answer) - 1 for _, answer in answered] == [MESSAGES - 1, 1, 2]
    assert count_calls(client) == calls + 2


def test_replicas_that_are_late_are_hurried_once(opened):
    rounds, answered = StoreScheduler(), []
    shard = Shard(0, opened(), answered, replicas=1)  # there is none, which is known after a second
    rounds.add(shard)
    wait_for(lambda: shard.hurried)
    assert not answered
    wait_for(lambda: answered)
    assert shard.hurried == 1


def test_replicas_that_are_in_time_are_not_hurried(opened, monkeypatch):
    monkeypatch.setattr(rounds_module, "_LATE_S", 1.2)
    rounds, answered = StoreScheduler(), []
    shard = Shard(0, opened(), answered, replicas=1)
    for count in (1, 2):
        rounds.add(shard)
        wait_for(lambda count=count: len(answered) == count)
    assert not shard.hurried


def test_the_next_round_begins_when_all_have_answered(opened, monkeypatch):
    monkeypatch.setattr(rounds_module, "_ROUND_S", 5)
    rounds, answered, quick, slow = StoreScheduler(), [], opened(), opened()
    quick_shard = Shard(0, quick, answered)
    occupy(slow, 0.1)
    rounds.add(quick_shard)
    rounds.add(Shard(1, slow, answered))
    wait_for(lambda: answered)
    rounds.add(quick_shard)
    wait_for(lambda: len(answered) == 3)
    assert get_numbers(answered) == [0, 1, 0]


@pytest.mark.parametrize("is_alone", [True, False])
def test_who_takes_long_holds_up_only_its_own(opened, is_alone):
    rounds, answered, quick, slow = StoreScheduler(), [], opened(), opened()
    quick_shard, slow_shard = Shard(0, quick, answered), Shard(1, slow, answered)
    occupy(slow, 1)
    rounds.add(slow_shard)
    if is_alone:
        gevent.sleep(0.005)  # its round has begun without the other
    rounds.add(quick_shard)
    for count in range(1, 5):
        wait_for(lambda count=count: len(answered) == count)
        rounds.add(quick_shard)
        rounds.add(slow_shard)
    wait_for(lambda: get_numbers(answered).count(1) == 2)
    assert get_numbers(answered)[:4] == [0, 0, 0, 0]


def test_a_connection_that_breaks_is_told_to_its_shards_and_the_next_round_begins(opened):
    rounds, answered, one, other = StoreScheduler(), [], opened(), opened()
    shard = Shard(0, one, answered)
    occupy(one, 5)
    rounds.add(shard)
    rounds.add(Shard(1, other, answered))
    wait_for(lambda: len(answered) == 1)
    one.close("it has gone")
    wait_for(lambda: len(answered) == 2)
    assert isinstance(answered[1][1], redis.ConnectionError)
    rounds.add(shard)
    wait_for(lambda: len(answered) == 3)
    assert answered[2][0] == 0
    assert answered[2][1][0] == b"epoch"


def test_a_shard_is_stored_where_it_is_when_the_round_begins(opened):
    rounds, answered, before, after = StoreScheduler(), [], opened(), opened()
    moving, homeless = Shard(0, before, answered), Shard(1, None, answered)
    occupy(before, 1)
    rounds.add(Shard(2, before, answered))
    gevent.sleep(0.005)
    rounds.add(moving)
    rounds.add(homeless)
    moving.connection = after
    wait_for(lambda: answered)
    assert get_numbers(answered) == [0]
    assert homeless.insisted == 1
    wait_for(lambda: len(answered) == 2)


def test_a_fault_of_one_shard_is_no_others(opened, caplog):
    rounds, answered, pipeline = StoreScheduler(), [], opened()
    faulty, sound = Shard(0, pipeline, answered), Shard(1, pipeline, answered)
    faulty.fault = RuntimeError("a fault")
    for count in (2, 4):
        rounds.add(faulty)
        rounds.add(sound)
        wait_for(lambda count=count: len(answered) == count)
    assert get_numbers(answered) == [0, 1, 0, 1]
    assert "could not be handed on" in caplog.text
