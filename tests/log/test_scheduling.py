"""StoreScheduler in memory: what it pulls, when, and whom it tells. No Redis, no waiting."""

import gevent
import pytest
import redis

from webfarm.log import store_scheduler
from webfarm.log.batch import BYTES, MESSAGES, Batch
from webfarm.log.store_scheduler import StoreScheduler


class Recording:
    """A connection that keeps its calls; the test answers them."""

    def __init__(self):
        self.calls = []

    def describe_script(self, name, keys, arguments):
        assert (name, keys) == ("log/store", ())
        return tuple(arguments)

    def ask(self, command, on_answer):
        self.calls.append((command, on_answer))

    def ask_written(self, command, replicas, on_answer):
        self.calls.append((command, lambda answer, reached=replicas: on_answer(answer, reached)))

    def answer(self, *args):
        """Answer the oldest call."""
        _, on_answer = self.calls.pop(0)
        on_answer(*args)
        turn()


class Source:
    """A queue of texts: each is a message."""

    def __init__(self, name, connection, *texts, size=1, replicas=0):
        self.name, self.connection, self.texts, self.size, self.replicas = name, connection, list(texts), size, replicas
        self.answers, self.limits, self.taken, self.hurried = [], [], 0, 0

    def take_batch(self, most, most_bytes):
        self.limits.append((most, most_bytes))
        if self.connection is None:
            return None
        taken, self.texts = self.texts[:most], self.texts[most:]
        self.taken += 1
        arguments = [f"{self.name}{text}" for text in taken]
        return Batch(self.taken, taken, self.size * len(taken), arguments, self.replicas)

    def on_answer(self, batch, answer, reached):
        assert batch.number == self.taken
        self.answers.append(answer)
        return bool(self.texts)

    def hurry_replicas(self):
        self.hurried += 1


def turn():
    """Let the loop call what is due in this turn and in the next one."""
    for _ in range(3):
        gevent.sleep(0)


@pytest.fixture
def scheduler():
    return StoreScheduler()


@pytest.fixture
def connection():
    return Recording()


def get_commands(connection):
    return [command for command, _ in connection.calls]


def test_all_sources_of_a_connection_are_one_call(scheduler, connection):
    one, other = Source("a", connection, 1, 2), Source("b", connection, 1)
    scheduler.add(one)
    scheduler.add(other)
    assert not connection.calls  # what else is emitted in this turn is taken along
    turn()
    assert get_commands(connection) == [(2, "a1", "a2", "b1")]
    connection.answer(["x", "y"])
    assert (one.answers, other.answers) == (["x"], ["y"])
    assert not connection.calls


def test_a_source_with_more_is_pulled_again_and_has_one_batch_at_a_time(scheduler, connection):
    source = Source("a", connection, *range(2 * MESSAGES + 1))
    scheduler.add(source)
    turn()
    for left in (MESSAGES + 1, 1, 0):
        assert len(connection.calls) == 1
        assert len(source.texts) == left
        connection.answer(["stored"])
    assert not connection.calls
    assert source.answers == ["stored"] * 3


def test_a_call_has_a_limit_of_messages_and_bytes_and_the_next_begins_with_those_left(scheduler, connection):
    big = Source("a", connection, 1, size=BYTES)
    rest = [Source(name, connection, 1) for name in "bc"]
    for source in (big, *rest):
        scheduler.add(source)
    turn()
    assert get_commands(connection) == [(1, "a1")]
    assert big.limits == [(MESSAGES, BYTES)]
    scheduler.add(late := Source("d", connection, 1))
    connection.answer(["x"])
    assert get_commands(connection) == [(3, "b1", "c1", "d1")]
    assert late.limits == [(MESSAGES - 2, BYTES - 2)]


@pytest.mark.parametrize("answer", [redis.ConnectionError("lost"), "OK", ["too", "many"]])
def test_an_answer_that_is_none_is_an_error_for_all(scheduler, connection, answer):
    sources = [Source("a", connection, 1)]
    scheduler.add(sources[0])
    turn()
    connection.answer(answer)
    [[found]] = [source.answers for source in sources]
    assert isinstance(found, redis.RedisError)
    assert not connection.calls


def test_replicas_that_did_not_answer_are_an_error_for_all(scheduler, connection):
    source = Source("a", connection, 1, replicas=1)
    scheduler.add(source)
    turn()
    lost = redis.ConnectionError("lost")
    connection.answer(["stored"], lost)
    assert source.answers == [lost]


def test_replicas_are_hurried_unless_they_are_in_time(scheduler, connection, monkeypatch):
    monkeypatch.setattr(store_scheduler, "_LATE_S", 0.001)
    source = Source("a", connection, 1, 2, replicas=1)
    scheduler.add(source)
    with gevent.Timeout(10):
        while not source.hurried:
            gevent.sleep(0.001)
    assert source.hurried == 1
    connection.answer(["stored"])
    assert source.answers == ["stored"]
    gevent.sleep(0.005)
    assert source.hurried == 1


def test_a_source_without_a_connection_stores_by_itself_and_comes_back(scheduler, connection):
    source = Source("a", None, 1)
    scheduler.add(source)
    turn()
    assert len(source.limits) == 1
    source.connection = connection
    turn()
    assert not connection.calls
    scheduler.add(source)
    turn()
    assert get_commands(connection) == [(1, "a1")]


def test_a_round_waits_for_all_its_connections_but_not_for_long(scheduler, connection, monkeypatch):
    """A source with more to store goes on although another primary of its round is slow."""
    monkeypatch.setattr(store_scheduler, "_ROUND_S", 0.01)
    slow = Recording()
    source, held = Source("a", connection, *range(2 * MESSAGES)), Source("b", slow, 1, 2)
    scheduler.add(source)
    scheduler.add(held)
    turn()
    connection.answer(["stored"])
    assert not connection.calls  # soon the answers may come together
    gevent.sleep(0.02)
    assert len(connection.calls) == 1
    connection.answer(["stored"])
    assert source.answers == ["stored"] * 2
    assert len(slow.calls) == 1
    slow.answer(["stored"])
    assert held.answers == ["stored"]


def test_a_fault_of_one_source_is_no_others(scheduler, connection, caplog):
    faulty, sound = Source("a", connection, 1), Source("b", connection, 1)
    faulty.on_answer = lambda *_: 1 / 0
    for source in (faulty, sound):
        scheduler.add(source)
    turn()
    connection.answer(["x", "y"])
    assert sound.answers == ["y"]
    assert "could not be handed on" in caplog.text
    scheduler.add(faulty)
    turn()
    assert len(connection.calls) == 1
