"""Two workers behind HAProxy, with the stock clients."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import socketio

from tests.kit.clients import TRANSPORTS, get_server
from tests.kit.node_client import start_node
from webfarm.testing import get_children, get_status, is_alive, wait_until

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_private_message_crosses_workers_on_every_transport(farm, node, transport):
    site = farm(2)
    options = {"transports": TRANSPORTS[transport]}
    a, b = (node.connect(user, site.url, query={"userId": user}, **options) for user in "01")
    assert {get_server(a), get_server(b)} == {"webserver01", "webserver02"}
    if transport == "upgrade":
        assert node.wait_for("0", "upgrade") == node.wait_for("1", "upgrade") == ["websocket"]
    for sender, recipient, sid in (("0", "1", b["sid"]), ("1", "0", a["sid"])):
        assert node.call(sender, "privateMessage", {"to": sid, "text": "hi"})["nodes"] == 1
        [[data, meta]] = node.wait_for(recipient, "privateMessage")
        assert (data["text"], meta["from"]) == ("hi", sender)


def test_a_burst_before_the_upgrade_arrives_whole_and_in_order(farm, node):
    site = farm(2)
    node.connect("a", site.url, transports=["polling"])
    for number in range(300):
        node.emit("a", "message", number)
    assert [args[0] for args in node.wait_for("a", "message", 300)] == list(range(300))


def test_the_python_client(farm):
    site = farm(2)
    received = threading.Event()
    clients = [socketio.Client(), socketio.Client()]
    for client, user, transports in zip(clients, "01", (["polling"], ["websocket"]), strict=True):
        client.connect(f"{site.url}?userId={user}", transports=transports)
    try:
        clients[1].on(
            "privateMessage",
            lambda data, meta, offset: (
                received.set() if data == {"to": clients[1].get_sid(), "b": b"\x00\xff"} else None
            ),
        )
        answer = clients[0].call("privateMessage", {"to": clients[1].get_sid(), "b": b"\x00\xff"})
        assert answer["ok"]
        assert received.wait(10)
    finally:
        for client in clients:
            client.disconnect()


STOCK_EMITTER = """
import socketio, sys
manager = socketio.RedisManager(sys.argv[1], write_only=True)
manager.emit("news", {"n": 1}, room="common")
manager.emit("news", {"n": 2, "b": b"bytes"})
manager.emit("news", ("two", "arguments"), room="user:0")
"""


def test_a_stock_emitter_in_another_process(farm, node, redis_server):
    """With nothing of this project: a channel and rooms are all it needs to know."""
    site = farm(2, WEBFARM_PREFIX="webfarm")
    for user in "01":
        node.connect(user, site.url, query={"userId": user})
    subprocess.run([sys.executable, "-c", STOCK_EMITTER, redis_server.url], check=True, cwd="/", timeout=20)
    first, second = {"n": 1}, {"n": 2, "b": {"hex": b"bytes".hex()}}
    # A last argument that is a text would be taken for an offset, so there is one more.
    assert node.wait_for("0", "news", 3) == [first, second, ["two", "arguments", {}]]
    assert node.wait_for("1", "news", 2) == [first, second]


def test_farms_with_other_prefixes_do_not_hear_each_other(farm, node, workers):
    site, other = farm(1, WEBFARM_PREFIX="one"), workers(1, WEBFARM_PREFIX="two")
    node.connect("a", site.url)
    node.connect("b", other.urls[0])
    assert node.call("a", "broadcast", "for farm one")["ok"]
    assert node.call("b", "broadcast", "for farm two")["ok"]
    assert [args[0] for args in node.wait_for("b", "broadcast")] == ["for farm two"]


def poll_once_more_after_joining(url):
    """One polling client by hand, each request on a connection of its own; return the bad answers."""
    faults = []

    def ask(method, query="", **kwargs):
        answer = requests.request(method, f"{url}/socket.io/?EIO=4&transport=polling{query}", timeout=60, **kwargs)
        if answer.status_code != 200:
            faults.append(f"{answer.status_code} {answer.text}")
        return answer.text

    sid = json.loads(ask("GET")[1:])["sid"]
    for text in ("40", '420["message",1]'):
        ask("POST", f"&sid={sid}", data=text)
    polled = ""
    while not faults and "430[" not in polled:
        polled += ask("GET", f"&sid={sid}")
        if polled.endswith("2"):
            ask("POST", f"&sid={sid}", data="3")
    ask("POST", f"&sid={sid}", data="41\x1e1")
    return faults


def test_a_thousand_polling_clients_without_user_id_meet_no_invalid_session(farm):
    site = farm(2)
    with ThreadPoolExecutor(50) as pool:
        faults = [
            fault
            for found in pool.map(lambda _: poll_once_more_after_joining(site.url), range(1000))
            for fault in found
        ]
    assert faults == []
    logged = site.workers.output
    assert "Invalid session" not in logged
    for port in site.workers.ports:  # both had their share, or the test would prove nothing
        assert sum(": connect " in line and f":{port} " in line for line in logged.splitlines()) > 300


def test_after_kill_9_the_port_answers_again_and_the_other_workers_clients_see_nothing(farm, start):
    site = farm(2)
    clients = [start_node(start) for _ in range(2)]
    names = [str(number) for number in range(200)]
    for name in names:
        clients[int(name) % 2].open(name, site.url, query={"userId": name}, transports=["websocket"])
    servers = {name: get_server(clients[int(name) % 2].wait_for(name, "connect")[0]) for name in names}
    victims = [name for name in names if servers[name] == "webserver01"]
    others = [name for name in names if servers[name] == "webserver02"]
    assert len(victims) > 50 and len(others) > 50
    port = site.workers.ports[0]
    os.kill(pid := site.workers.get_worker(port), signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the worker's end")
    wait_until(lambda: get_status(f"http://127.0.0.1:{port}/readyz") == 200, "the port to answer again")
    for name in victims:
        clients[int(name) % 2].wait_for(name, "connect", 2)
    assert len(get_children(site.workers.pid)) == 2
    for name in others:
        assert clients[int(name) % 2].get(name, "disconnect") == []
    assert clients[int(others[0]) % 2].call(others[0], "privateMessage", {"toUser": victims[0]})["ok"]
    clients[int(victims[0]) % 2].wait_for(victims[0], "privateMessage")


def test_without_redis_pages_are_served_and_new_clients_wait(own_redis, farm, node):
    own_redis.start()
    site = farm(2, url=own_redis.url)
    node.connect("a", site.url, query={"userId": "0"})
    own_redis.close()
    wait_until(lambda: get_status(f"{site.url}/readyz") == 503, "HAProxy to notice", 5)
    assert get_status(f"{site.url}/") == 200
    node.open("b", site.url, query={"userId": "1"})
    own_redis.start()
    node.wait_for("b", "connect")
    assert node.get("a", "disconnect") == node.get("b", "connect_error") == []
    wait_until(lambda: get_status(f"{site.url}/readyz") == 200, "HAProxy to come back", 5)
    assert node.call("a", "privateMessage", {"toUser": "1"})["ok"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/haproxy?stats", 200),
        ("/socket.io/?EIO=4&transport=polling&j=0", 403),  # JSONP
        ("/socket.io/socket.io.js", 200),
        ("/nowhere", 404),
    ],
)
def test_paths_through_haproxy(farm, path, status):
    assert get_status(farm(1).url + path) == status


def test_no_upgrade_to_http_2_passes_haproxy(farm):
    """The versions differ: one denies it, another takes the header out."""
    headers = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAMAAABkAAQAAP__",
    }
    assert requests.get(farm(1).url, headers=headers, timeout=10).status_code in (200, 403)


def test_another_origin_is_refused_and_the_own_one_is_not(farm):
    site = farm(1)
    url = f"{site.url}/socket.io/?EIO=4&transport=polling"
    assert requests.get(url, headers={"Origin": "https://evil.example"}, timeout=10).status_code == 400
    assert requests.get(url, headers={"Origin": site.url}, timeout=10).status_code == 200
