"""A message that waits for a replica of Redis."""

import json
import signal

import pytest
import redis

from tests.kit.clients import Client, opening
from webfarm.run.programs import find_redis
from webfarm.testing import get_free_ports, wait_until


@pytest.fixture
def replica(own_redis, tmp_path, start):
    """A replica of ``own_redis``, in step with it."""
    own_redis.start()
    (tmp_path / "replica").mkdir()
    options = ("--port", str(get_free_ports()), "--dir", str(tmp_path / "replica"), "--repl-diskless-sync-delay", "0")
    process = start(find_redis(), *options, "--replicaof", f"127.0.0.1 {own_redis.port}")
    with redis.Redis(port=own_redis.port) as client:
        wait_until(lambda: client.wait(1, 100) == 1, "the replica")
    return process


@pytest.fixture
def client(own_redis, replica, workers):
    url = workers(1, url=own_redis.url, WEBFARM_WAIT_REPLICAS="1", WEBFARM_PREFIX="waiting").urls[0]
    with opening(Client) as open_client:
        yield open_client(url, "anna")


def count_calls(port, command):
    with redis.Redis(port=port) as server:
        return server.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


def test_each_batch_waits_once_behind_its_script(own_redis, client):
    scripts, waits = (count_calls(own_redis.port, name) for name in ("evalsha", "wait"))
    for number in range(20):
        assert client.call("message", {"n": number})["ok"]
    assert count_calls(own_redis.port, "wait") - waits == 20
    assert count_calls(own_redis.port, "evalsha") - scripts >= 20


def test_scripts_that_redis_has_lost_are_loaded_again_and_the_message_is_stored_once(own_redis, client):
    with redis.Redis(port=own_redis.port) as server:
        server.script_flush()
        assert client.call("message", {"n": 1})["ok"]
        assert server.xlen("{waiting:0}:log:/,common") == 1


def test_what_no_replica_has_is_not_acknowledged_until_one_has_a_repeat_of_it(replica, client):
    replica.kill(signal.SIGSTOP)
    client.number += 1
    client.socket.send(f"42{client.number}" + json.dumps(["message", {"id": "one"}]))
    client.get(1)  # everybody has it
    with pytest.raises(TimeoutError):  # after a second its sender knows that it was in vain
        client.read(1.5)
    replica.kill(signal.SIGCONT)
    assert client.call("message", {"id": "one"})["ok"]
    assert len(client.acks) == 1
    assert len(client.get(1)) == 1
