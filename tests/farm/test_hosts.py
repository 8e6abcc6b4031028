"""A farm over three machines (network namespaces): HAProxy and Redis on one, two workers each on the others."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from faults.crowd import Crowd, Users
from faults.oracle import judge
from tests.kit.clients import TRANSPORTS, get_server
from tests.kit.commands import run_webfarm
from tests.kit.hosts import Hosts
from tests.kit.node_client import start_node
from webfarm.haproxy import parse_ranges, render
from webfarm.run.programs import find_haproxy
from webfarm.testing import (
    RedisServer,
    get_free_ports,
    get_status,
    is_alive,
    starting_processes,
    starting_workers,
    wait_until,
)

pytestmark = pytest.mark.cluster

SERVED_S = 15.0  # until everybody is served elsewhere: 6 on an idle machine, 45 if only the heartbeat told
SILENT_S = 3.0  # until a connection is given up
STOCK_DELAYS = (1000, 5000)  # of the JavaScript client
PREFIX = "hosts"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    with Hosts("abc") as hosts, starting_processes() as start, contextlib.ExitStack() as stack:
        redis_server = RedisServer(folder, hosts["a"])
        redis_server.start()
        stack.callback(redis_server.close)
        with starting_workers(redis_server.url) as start_workers:
            options = {"WEBFARM_PREFIX": PREFIX, "WEBFARM_TRUSTED_PROXIES": hosts["a"].address}
            workers = {name: start_workers(2, host=hosts[name], **options) for name in "bc"}
            bind = f"{hosts['a'].address}:{get_free_ports()}"
            ranges = [f"{hosts[name].address}:{one.ports[0]}-{one.ports[-1]}" for name, one in workers.items()]
            config = folder / "haproxy.cfg"
            config.write_text(render(parse_ranges(ranges), bind=bind, heartbeat_s=45, source_rate=0))
            start(*hosts["a"].command, find_haproxy(), "-db", "-f", str(config))
            url = f"http://{bind}"
            wait_until(lambda: get_status(f"{url}/readyz") == 200, "HAProxy")
            yield SimpleNamespace(
                hosts=hosts, workers=workers, url=url, redis_url=redis_server.url, redis=redis_server.process
            )


def get_host(connection):
    """Return on which machine a client is, by what it told of its connection."""
    server = connection["server"] if "server" in connection else get_server(connection)
    return "b" if server in ("webserver01", "webserver02") else "c"


def connect_on(host, node, site, prefix, **options):
    """Connect users until one is on a machine; return its name and connection."""
    for number in range(50):
        name = f"{prefix}{number}"
        connection = node.connect(name, site.url, query={"userId": name}, **options)
        if get_host(connection) == host:
            return name, connection
        node.close(name)
    pytest.fail(f"nobody came to {host}")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_private_message_crosses_machines_on_every_transport(site, node, transport):
    options = {"transports": TRANSPORTS[transport]}
    (a, on_b), (b, on_c) = (connect_on(host, node, site, f"{transport}-{host}-", **options) for host in "bc")
    for sender, recipient, sid in ((a, b, on_c["sid"]), (b, a, on_b["sid"])):
        assert node.call(sender, "privateMessage", {"to": sid, "text": "hi"})["nodes"] == 1
        [[data, meta]] = node.wait_for(recipient, "privateMessage")
        assert (data["text"], meta["from"]) == ("hi", sender)


def test_a_room_has_one_order_on_all_machines(site, node):
    names = [connect_on(host, node, site, f"order-{host}-")[0] for host in "bcbc"]
    for name in names:
        assert node.call(name, "join", {"room": "order"})["ok"]
    for number in range(50):
        for name in names:
            node.emit(name, "message", {"room": "order", "text": f"{name} {number}"})
    orders = [[args[0]["text"] for args in node.wait_for(name, "message", 200)] for name in names]
    assert orders[1:] == orders[:1] * 3


def test_after_kill_9_on_one_machine_its_clients_are_recovered_and_have_missed_nothing(site, node):
    name, before = connect_on("b", node, site, "killed-")
    sender, _ = connect_on("c", node, site, "sender-")
    for one in (name, sender):
        assert node.call(one, "join", {"room": "killed"})["ok"]
    workers = site.workers["b"]
    port = workers.ports[int(get_server(before)[-1]) - 1]
    os.kill(pid := workers.get_worker(port), signal.SIGKILL)
    for number in range(5):
        assert node.call(sender, "message", {"room": "killed", "n": number})["ok"]
    after = node.wait_for(name, "connect", 2)[1]
    assert (after["recovered"], after["sid"]) == (True, before["sid"])
    assert [args[0]["n"] for args in node.wait_for(name, "message", 5)] == list(range(5))
    wait_until(lambda: not is_alive(pid), "the worker's end")
    workers.wait_until_ready()


def test_who_is_on_a_worker_that_stands_still_or_has_no_redis_stays_there(site, node):
    """Only a machine that is silent loses its clients, not one whose kernel answers."""
    stopped, before = connect_on("b", node, site, "stopped-")
    other, _ = connect_on("c", node, site, "other-", transports=["polling"])
    workers = site.workers["b"]
    pid = workers.get_worker(workers.ports[int(get_server(before)[-1]) - 1])
    for one in (pid, site.redis.pid):
        os.kill(one, signal.SIGSTOP)
    try:
        wait_until(lambda: get_status(f"{site.workers['c'].urls[0]}/readyz") == 503, "no worker to be ready")
        time.sleep(SILENT_S + 1)
    finally:
        for one in (pid, site.redis.pid):
            os.kill(one, signal.SIGCONT)
    for one in workers, site.workers["c"]:
        one.wait_until_ready()
    for one in (stopped, other):
        assert node.call(one, "message", "still here")["ok"]
        assert node.get(one, "disconnect") == []


def ask_from(host, url):
    """Return the status that ``url`` has for somebody on a machine."""
    script = "import requests, sys; print(requests.get(sys.argv[1], timeout=3).status_code)"
    found = subprocess.run([*host.command, sys.executable, "-c", script, url], capture_output=True, check=False)
    return int(found.stdout or 0)


def find_served(site, crowd, since):
    """Return which of the crowd came to machine C after a moment, and how long after, in seconds."""
    events = [event for event in crowd.get("connect") if event["at"] > since and get_host(event) == "c"]
    return {event["client"]: event["at"] - since for event in events}


def list_users(site, *users):
    """Return who of these is in ``webfarm clients``, sorted, as often as there."""
    listed = json.loads(run_webfarm("clients", "--json", REDIS_URL=site.redis_url, WEBFARM_PREFIX=PREFIX).stdout)
    return sorted(client["userId"] for client in listed if client["userId"] in users)


def test_a_machine_that_is_cut_off_and_comes_back(site, start, tmp_path):
    """Its clients are served elsewhere within 6 s, their sessions recovered; nothing is lost or doubled."""
    hosts, workers = site.hosts, site.workers["b"]
    watcher, own = start_node(start), start_node(start, hosts["b"])
    watcher.connect("watcher", site.workers["c"].urls[0], query={"userId": "watcher"})
    own.connect("own", workers.urls[0], query={"userId": "own"})  # from machine B itself, not through HAProxy
    assert watcher.call("watcher", "join", {"room": "red"})["ok"]
    assert watcher.call("watcher", "who", {"room": "red", "watch": True})["ok"]
    users = Users(count=18, delays=STOCK_DELAYS, retries=40)
    with Crowd(users, [site.url], tmp_path / "events.jsonl") as crowd:
        others = sorted([*crowd.names, "watcher"])
        victims = {name for name, event in crowd.connections.items() if get_host(event) == "b"}
        assert len(victims) > 3
        crowd.tell("start")
        crowd.wait_for("acknowledged", 50)
        with hosts.cut_off("b"):
            cut_at = time.time()
            wait_until(lambda: find_served(site, crowd, cut_at).keys() >= victims, "everybody to be served elsewhere")
            served = find_served(site, crowd, cut_at)
            assert served.keys() == victims
            assert max(served.values()) < SERVED_S
            assert ask_from(hosts["b"], f"{workers.urls[0]}/readyz") == 503
            crowd.wait_for("acknowledged", 50)
            wait_until(lambda: not list_users(site, "own"), "the end of the leases of B's workers")
            assert list_users(site, *others) == others
        back_at = time.monotonic()
        workers.wait_until_ready()
        assert time.monotonic() - back_at < 5
        wait_until(lambda: list_users(site, *others, "own") == sorted([*others, "own"]), "each to be listed once")
        verdict = judge(crowd.finish())
    assert verdict.faults == {}, verdict.examples
    assert (verdict.recovered, verdict.not_recovered) == (len(victims), 0)
    told = [args[0] for args in watcher.get("watcher", "presence")]
    assert [one for one in told if not one["online"]] == []
    assert own.call("own", "message", "still here")["ok"]
    assert own.get("own", "disconnect") == []
