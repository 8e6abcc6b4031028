"""A function that runs on one node of the farm at a time; the nodes here are in one process, on a real Redis."""

import contextlib
import os
import signal
from contextlib import contextmanager
from time import monotonic

import gevent
import pytest
import redis

import webfarm
from webfarm.nodes import run_once
from webfarm.nodes.run_once import RunOnce
from webfarm.redis.client import connect
from webfarm.redis.keys import Keys
from webfarm.redis.pipeline import Pipeline
from webfarm.settings import Settings

HELD_S = 2.0


@pytest.fixture(autouse=True)
def short_lease(monkeypatch):
    """A lease that the tests need not wait long for; the proportions stay."""
    monkeypatch.setattr(run_once, "_HELD_S", HELD_S)
    monkeypatch.setattr(run_once, "_RENEW_S", 0.3)
    monkeypatch.setattr(run_once, "_TRY_S", 0.2)
    monkeypatch.setattr(run_once, "_ANSWER_S", 0.5)
    monkeypatch.setattr(run_once, "_END_S", 0.2)
    monkeypatch.setattr(run_once, "_STOP_S", 1.0)
    monkeypatch.setattr(run_once, "_AGAIN_S", 0.1)


class Farm:
    """Nodes that have one function to run; it tells which node it is on."""

    def __init__(self, url, prefix):
        self.commands, self.keys = Pipeline(connect(url)), Keys(prefix)
        self.running, self.most, self.begun = set(), 0, []
        self.redis = connect(url)
        self.nodes = {}

    def start(self, name, body=lambda: gevent.sleep(3600)):
        def function():
            self.begun.append(name)
            self.running.add(name)
            self.most = max(self.most, len(self.running))
            try:
                body()
            finally:
                self.running.discard(name)

        self.nodes[name] = node = RunOnce(self.commands, self.keys, "job", function)
        node.start(name)

    def crash(self, name):
        """Nothing of the node goes on, and nothing of it is given up."""
        node = self.nodes.pop(name)
        gevent.killall([one for one in (node._watcher, node._job) if one is not None])

    def take_lease(self, lease_s):
        """Another process has the lease from now on, as after a stall of its holder."""
        self.redis.set(self.keys.run_lease("job"), "another", px=int(lease_s * 1000))

    def get_holder(self):
        return self.redis.get(self.keys.run_lease("job"))

    def close(self):
        self.redis.close()
        for name in list(self.nodes):
            self.crash(name)
        if self.commands._wire is not None:
            self.commands._wire.lose(redis.ConnectionError("the test has ended"))


@contextmanager
def open_farm(url, prefix):
    farm = Farm(url, prefix)
    try:
        yield farm
    finally:
        farm.close()


@pytest.fixture
def farm(redis_server, request):
    with open_farm(redis_server.url, request.node.name[:20]) as farm:
        yield farm


def wait_for(condition, timeout_s=15.0):
    with gevent.Timeout(timeout_s):
        while not condition():
            gevent.sleep(0.01)


def test_one_node_runs_the_function_and_the_others_wait(farm):
    for name in ("a", "b", "c"):
        farm.start(name)
    wait_for(lambda: farm.running)
    gevent.sleep(HELD_S + 0.5)  # longer than a lease that nobody renews
    assert (len(farm.begun), farm.most) == (1, 1)


def test_another_node_starts_the_function_within_a_lease_of_the_holders_death(farm):
    farm.start("a")
    wait_for(lambda: farm.running)
    farm.start("b")
    gevent.sleep(0.5)
    farm.crash("a")
    died_at = monotonic()
    wait_for(lambda: farm.running == {"b"})
    assert 0.5 < monotonic() - died_at < 2 * HELD_S  # a busy machine is allowed its time
    assert farm.most == 1


def test_a_node_that_stops_gives_the_function_to_another_at_once(farm):
    farm.start("a")
    wait_for(lambda: farm.running)
    farm.start("b")
    farm.nodes["a"].stop()
    stopped_at = monotonic()
    wait_for(lambda: farm.running == {"b"})
    assert monotonic() - stopped_at < HELD_S


def test_a_function_that_fails_is_logged_and_starts_again_on_the_same_node(farm, caplog):
    def fail():
        raise RuntimeError("not today")

    farm.start("a", fail)
    farm.start("b", fail)
    wait_for(lambda: len(farm.begun) >= 3)
    assert len(set(farm.begun)) == farm.most == 1
    assert "not today" in caplog.text


def test_a_function_that_has_returned_is_done_while_its_node_lives(farm):
    farm.start("a", lambda: None)
    wait_for(lambda: farm.begun)
    farm.start("b", lambda: None)
    gevent.sleep(HELD_S + 0.5)
    assert farm.begun == ["a"]
    farm.crash("a")
    wait_for(lambda: farm.begun == ["a", "b"])


def test_a_function_that_has_returned_stays_done_after_its_node_lost_the_lease(farm):
    farm.start("a", lambda: None)
    wait_for(lambda: farm.begun)
    farm.take_lease(0.8)
    wait_for(lambda: farm.get_holder() == b"a")
    gevent.sleep(0.5)
    assert farm.begun == ["a"]


def test_a_function_that_lost_the_lease_ends_and_starts_again_with_it(farm):
    farm.start("a")
    wait_for(lambda: farm.running)
    farm.take_lease(0.8)
    wait_for(lambda: not farm.running)
    assert farm.get_holder() == b"another"
    wait_for(lambda: farm.running == {"a"})
    assert farm.begun == ["a", "a"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_function_that_was_killed_has_ended_before_it_starts_again(farm, fails):
    def tidy_up():
        try:
            gevent.sleep(3600)
        finally:
            gevent.sleep(0.8)
            if fails and len(farm.begun) == 1:
                raise RuntimeError("untidy")

    farm.start("a", tidy_up)
    wait_for(lambda: farm.running)
    farm.take_lease(0.3)
    wait_for(lambda: len(farm.begun) == 2)
    assert farm.most == 1


def test_a_node_that_stops_waits_for_the_functions_end_before_another_starts_it(farm):
    def tidy_up():
        try:
            gevent.sleep(3600)
        finally:
            gevent.sleep(0.5)

    running_at_begin = []
    farm.start("a", tidy_up)
    wait_for(lambda: farm.running)
    farm.start("b", lambda: running_at_begin.append({*farm.running}))
    farm.nodes["a"].stop()
    wait_for(lambda: running_at_begin)
    assert running_at_begin == [{"b"}]


def test_a_function_that_does_not_end_keeps_its_lease_and_delays_a_stop_by_a_second(farm, caplog):
    def go_on():
        with contextlib.suppress(gevent.GreenletExit):
            gevent.sleep(3600)
        gevent.sleep(30)

    farm.start("a", go_on)
    wait_for(lambda: farm.running)
    stopped_at = monotonic()
    farm.nodes["a"].stop()
    assert 0.9 < monotonic() - stopped_at < 2.0
    assert farm.get_holder() == b"a"
    assert "has not ended" in caplog.text


def test_the_functions_of_a_worker_stop_all_at_a_time(farm):
    def go_on():
        with contextlib.suppress(gevent.GreenletExit):
            gevent.sleep(3600)
        gevent.sleep(30)

    worker = webfarm.Farm(settings=Settings())
    for name in ("a", "b", "c"):
        worker._runs[name] = RunOnce(farm.commands, farm.keys, name, go_on)
        worker._runs[name].start("node")
    wait_for(lambda: all(run._job is not None for run in worker._runs.values()))
    gevent.sleep(0.05)
    stopped_at = monotonic()
    worker.stop()
    assert 0.9 < monotonic() - stopped_at < 2.0
    gevent.killall([run._job for run in worker._runs.values()])


def test_a_node_that_stops_before_it_started_does_nothing(farm):
    RunOnce(farm.commands, farm.keys, "job", lambda: None).stop()


def test_a_holder_that_redis_left_without_one_answer_goes_on(own_redis, monkeypatch):
    for name, seconds in (("HELD", 2.5), ("RENEW", 1.0), ("TRY", 0.5), ("ANSWER", 0.5), ("END", 0.25)):
        monkeypatch.setattr(run_once, f"_{name}_S", seconds)  # half of what they are
    own_redis.start()
    with open_farm(own_redis.url, "one-answer") as farm:
        farm.start("a")
        wait_for(lambda: farm.running)
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        gevent.sleep(1.7)  # a renewal begins after 1 s
        os.kill(own_redis.process.pid, signal.SIGCONT)
        gevent.sleep(2.0)
        assert farm.begun == ["a"]
        assert farm.running == {"a"}


def test_a_node_that_cannot_renew_kills_the_function_before_others_may_start_it(own_redis):
    own_redis.start()
    with open_farm(own_redis.url, "cut-off") as farm:
        farm.start("a")
        wait_for(lambda: farm.running)
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            stalled_at = monotonic()
            wait_for(lambda: not farm.running)
            assert monotonic() - stalled_at < HELD_S
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        wait_for(lambda: farm.running == {"a"})
