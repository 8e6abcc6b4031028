"""Rounds: what is stored in one of them, and who is waited for."""

import gevent
import gevent.socket
import pytest
import redis.connection

from chat.realtime import batches
from chat.realtime.batches import Batch, Outgoing, Rounds, describe_batch
from chat.realtime.keys import Keys
from chat.realtime.log import Limits
from chat.realtime.pipeline import Pipeline
from chat.realtime.redis_client import connect

SHARDS = 3


class Shard:
    """Stores a message whenever it is asked for a batch, as a writer does that has one."""

    def __init__(self, number, answered):
        self.keys = Keys("batches", number, SHARDS)
        self._batches, self._answered = 0, answered

    def take_batch(self, most, most_bytes):
        assert most > 0 < most_bytes
        self._batches += 1
        clock = (self.keys.format, "epoch", "", 0)
        messages = [Outgoing("/", "room", (b"text", b""))]
        arguments = describe_batch(self.keys, Limits(), clock, self.keys.batch("node"), self._batches, messages)
        return Batch(1, 4, arguments, 0, self._on_answer)

    def _on_answer(self, answer, reached):
        self._answered.append((self.keys.shard, answer))


@pytest.fixture
def client(redis_server, monkeypatch):
    monkeypatch.setattr(redis.connection, "socket", gevent.socket)
    client = connect(redis_server.url)
    yield client
    for key in client.scan_iter("{batches:*"):
        client.delete(key)
    client.close()


@pytest.fixture
def opened(client):
    pipelines = []

    def open_pipeline(rounds):
        pipelines.append(Pipeline(client, rounds=rounds))
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


def count_calls(client):
    return client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)


def test_the_shards_of_one_redis_are_stored_by_one_call(client, opened):
    rounds, answered = Rounds(), []
    pipeline = opened(rounds)
    calls = count_calls(client)
    for number in range(SHARDS):
        rounds.add(pipeline, Shard(number, answered))
    wait_for(lambda: len(answered) == SHARDS)
    assert count_calls(client) == calls + 1
    assert [number for number, _ in answered] == [0, 1, 2]
    assert all(answer[0] == b"epoch" and answer[1][0] for _, answer in answered)


def test_the_next_round_begins_when_all_have_answered(opened, monkeypatch):
    monkeypatch.setattr(batches, "_ROUND_S", 5)
    rounds, answered = Rounds(), []
    quick, slow = opened(rounds), opened(rounds)
    quick_shard, slow_shard = Shard(0, answered), Shard(1, answered)
    slow.ask(("BLPOP", "batches-nothing", 0.1), lambda _: None)  # what is asked next waits behind it
    rounds.add(quick, quick_shard)
    rounds.add(slow, slow_shard)
    wait_for(lambda: answered)
    rounds.add(quick, quick_shard)
    wait_for(lambda: len(answered) == 3)
    assert [number for number, _ in answered] == [0, 1, 0]


def test_who_takes_long_holds_up_only_its_own(opened):
    rounds, answered = Rounds(), []
    quick, slow = opened(rounds), opened(rounds)
    quick_shard, slow_shard = Shard(0, answered), Shard(1, answered)
    slow.ask(("BLPOP", "batches-nothing", 1), lambda _: None)
    rounds.add(slow, slow_shard)
    rounds.add(quick, quick_shard)
    for count in range(1, 5):
        wait_for(lambda count=count: len(answered) == count)
        rounds.add(quick, quick_shard)
        rounds.add(slow, slow_shard)
    wait_for(lambda: [number for number, _ in answered].count(1) == 2)
    assert [number for number, _ in answered][:4] == [0, 0, 0, 0]


def test_a_connection_that_breaks_is_told_to_its_shards_and_the_next_round_begins(opened):
    rounds, answered = Rounds(), []
    one, other = opened(rounds), opened(rounds)
    one.ask(("BLPOP", "batches-nothing", 5), lambda _: None)
    rounds.add(one, Shard(0, answered))
    rounds.add(other, Shard(1, answered))
    wait_for(lambda: len(answered) == 1)
    one.close("it has gone")
    wait_for(lambda: len(answered) == 2)
    assert isinstance(answered[1][1], redis.ConnectionError)
    rounds.add(one, Shard(0, answered))
    wait_for(lambda: len(answered) == 3)
    assert answered[2][0] == 0
    assert answered[2][1][0] == b"epoch"
