"""The connection for all commands: one at a time, answers in order, and what happens when it breaks."""

import time

import gevent
import pytest
import redis

from webfarm.redis.client import connect
from webfarm.redis.pipeline import Pipeline


@pytest.fixture
def commands(redis_server):
    commands = Pipeline(connect(redis_server.url))
    commands.execute("PING")
    yield commands
    commands._wire.lose(redis.ConnectionError("the test has ended"))


def ask(commands, *command):
    try:
        return commands.execute(*command)
    except redis.RedisError as error:
        return error


def test_what_is_asked_in_one_turn_is_answered_to_each(commands):
    jobs = [gevent.spawn(commands.execute, "ECHO", str(number)) for number in range(50)]
    gevent.joinall(jobs, timeout=10)
    assert [job.value for job in jobs] == [str(number).encode() for number in range(50)]


def test_what_can_not_be_sent_is_its_askers_fault_alone(commands):
    jobs = [gevent.spawn(ask, commands, "ECHO", text) for text in ("a", "\ud800", object(), "b")]
    gevent.joinall(jobs, timeout=10)
    first, surrogate, thing, last = (job.value for job in jobs)
    assert (first, last) == (b"a", b"b")
    assert isinstance(surrogate, redis.DataError)
    assert isinstance(thing, redis.DataError)


def test_a_connection_that_breaks_in_the_turn_of_a_question_is_replaced_by_one(commands, monkeypatch):
    made = []
    get_connection = commands._pool.get_connection
    monkeypatch.setattr(commands._pool, "get_connection", lambda: made.append(1) or get_connection())

    def break_it():
        asked = gevent.spawn(ask, commands, "ECHO", "lost")
        gevent.get_hub().loop.run_callback(commands._wire.lose, redis.ConnectionError("broken"))
        return asked

    asked = break_it()
    gevent.joinall([asked], timeout=5)
    assert isinstance(asked.value, redis.ConnectionError) or asked.value == b"lost"
    answers = [gevent.spawn(ask, commands, "ECHO", str(number)) for number in range(20)]
    gevent.joinall(answers, timeout=5)
    assert [job.value for job in answers] == [str(number).encode() for number in range(20)]
    assert len(made) == 1


def test_who_asked_before_the_connection_broke_asks_again_over_one(commands, monkeypatch):
    made = []
    get_connection = commands._pool.get_connection
    monkeypatch.setattr(commands._pool, "get_connection", lambda: made.append(1) or get_connection())
    answers = []

    def again(answer):
        assert isinstance(answer, redis.ConnectionError)
        commands.ask(("ECHO", "again"), answers.append)

    def turn():
        commands.ask(("ECHO", "first"), again)  # sent at the end of this turn
        commands._wire.lose(redis.ConnectionError("broken"))

    gevent.get_hub().loop.run_callback(turn)
    with gevent.Timeout(5):
        while not answers:
            gevent.sleep(0.005)
    assert answers == [b"again"]
    assert len(made) == 1


def test_answers_that_came_while_the_process_stood_still_count(commands):
    text = "x" * 10_000
    jobs = [gevent.spawn(ask, commands, "ECHO", text) for _ in range(100)]
    gevent.sleep(0)  # all is asked
    gevent.sleep(0.001)
    time.sleep(3)  # nothing runs here, as after SIGSTOP
    gevent.joinall(jobs, timeout=10)
    assert {type(job.value) for job in jobs} == {bytes}
