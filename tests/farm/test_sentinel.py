"""Redis by Sentinel: workers are where the sentinels say."""

import redis

from webfarm.run.programs import find_redis
from webfarm.testing import get_free_ports, wait_until


def count_subscribers(port):
    with redis.Redis(port=port, decode_responses=True) as client:
        return sum(int(row["sub"]) > 1 for row in client.client_list(_type="pubsub"))  # a sentinel has one


def test_workers_leave_a_primary_that_was_replaced_though_it_lives(own_redis, tmp_path, start, workers, node):
    """It would take writes, to be lost, for ten seconds more, until the sentinels make it a replica.

    The sentinel that is named first is cut off from the other, and goes on naming the old primary.
    """
    own_redis.start()
    port, deaf_port, replica_port = get_free_ports(), get_free_ports(), get_free_ports()
    (tmp_path / "replica").mkdir()
    options = ("--port", str(replica_port), "--dir", str(tmp_path / "replica"), "--repl-diskless-sync-delay", "0")
    start(find_redis(), *options, "--replicaof", f"127.0.0.1 {own_redis.port}")
    with redis.Redis(port=own_redis.port) as client:
        wait_until(
            lambda: client.wait(1, 100) == 1, "the replica"
        )  # a sentinel that is there before sees it 10 s later
    for data_port in (own_redis.port, replica_port):
        with redis.Redis(port=data_port) as client:
            client.execute_command("ACL", "SETUSER", "deaf", "on", ">word", "~*", "+@all", "resetchannels")
    deaf = "sentinel auth-user farm deaf\nsentinel auth-pass farm word\n"
    for own_port, more in ((deaf_port, deaf), (port, "")):
        config = tmp_path / f"sentinel-{own_port}.conf"
        monitor = f"sentinel monitor farm 127.0.0.1 {own_redis.port} 1"
        config.write_text(f"port {own_port}\nbind 127.0.0.1\n{monitor}\n{more}")
        start(find_redis(), str(config), "--sentinel")
    url = f"redis+sentinel://127.0.0.1:{deaf_port},127.0.0.1:{port}/farm/0"
    process = workers(2, url=url, WEBFARM_WAIT_REPLICAS="0")
    node.connect("a", process.urls[0])
    assert count_subscribers(own_redis.port) == 2
    with redis.Redis(port=port) as sentinel:
        wait_until(lambda: sentinel.execute_command("SENTINEL", "REPLICAS", "farm"), "the sentinel to know the replica")
        sentinel.execute_command("SENTINEL", "FAILOVER", "farm")
    wait_until(lambda: count_subscribers(replica_port) == 2, "the workers to come to the new primary", 8)
    assert count_subscribers(own_redis.port) == 0
    process.wait_until_ready()
    wait_until(lambda: (node.call("a", "message", "hi", timeout_s=2) or {}).get("ok"), "an answer")
