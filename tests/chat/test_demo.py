"""What the demo's page needs of a worker: when a message went through it, and a way to kill it, for nobody else."""

import re
from urllib.parse import urlsplit

import pytest
import requests

from tests.kit.run import Run
from webfarm.auth import create_token
from webfarm.testing import is_alive, starting_processes, wait_until

pytestmark = pytest.mark.cluster

SECRET = "a secret of the tests, of thirty-two bytes and more"
KNOWN = "a key that somebody else knows"
AWAY = "203.0.113.9"


@pytest.fixture(scope="module")
def site(redis_server):
    with starting_processes(Run) as start:
        yield start(redis_server.url, WEBFARM_RUN_KEY=KNOWN)


def get_page(url, **headers):
    return requests.get(f"{url}/demo", headers=headers, timeout=5)


def find_key(url, **headers):
    """Return the key that the page has, if any."""
    found = re.search('<meta name="run-key" content="([^"]+)">', get_page(url, **headers).text)
    return found and found[1]


def connect(node, name, url):
    """Connect a client; return the sid of its Engine.IO connection."""
    return node.connect(name, url, query={"userId": name}, transports=["websocket"])["engine"]


def kill(url, sid, **changes):
    """Ask as the page does; ``changes`` are headers, ``None`` leaves one out. Return the status."""
    headers = {"Origin": url, "X-Run-Key": find_key(url)} | {
        name.replace("_", "-"): text for name, text in changes.items()
    }
    headers = {name: text for name, text in headers.items() if text is not None}
    return requests.post(f"{url}/demo/kill", params={"sid": sid}, headers=headers, timeout=5).status_code


def test_a_browser_on_this_machine_gets_a_key_of_this_run_alone(site):
    key = find_key(site.url)
    assert key
    assert key != KNOWN
    assert get_page(site.url).headers["Cache-Control"] == "no-store"
    assert find_key(site.url.replace("127.0.0.1", "localhost")) == key
    assert find_key(f"http://127.0.0.1:{site.ports[0]}") == key


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": AWAY},
        {"X-Forwarded-For": f"127.0.0.1, {AWAY}"},
        {"X-Forwarded-For": f"{AWAY}, 127.0.0.1"},
        {"X-Forwarded-For": "nonsense"},
        {"Host": "chat.example.org"},
        {"Host": "127.0.0.1.example.org:3000"},
        {"Host": "[::1"},
    ],
    ids=str,
)
def test_nobody_else_gets_the_key_or_kills_with_it(site, node, headers):
    """Through HAProxy, and on a worker's own port."""
    sid, before = connect(node, "a", site.url), site.find_workers()
    for url in (site.url, *(f"http://127.0.0.1:{port}" for port in site.ports)):
        assert find_key(url, **headers) is None
        assert kill(url, sid, **headers) in (400, 403)
        if "Host" in headers:  # as a site whose name leads here would ask
            assert kill(url, sid, **headers, Origin=f"http://{headers['Host']}") in (400, 403)
    assert site.find_workers() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"Origin": "http://evil.example.org"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": None},
        {"X_Run_Key": None},
        {"X_Run_Key": ""},
        {"X_Run_Key": KNOWN},
        {"X_Run_Key": "\N{LATIN SMALL LETTER E WITH ACUTE}".encode()},
    ],
    ids=str,
)
def test_another_origin_or_another_key_kills_nothing(site, node, changes):
    sid, before = connect(node, "a", site.url), site.find_workers()
    assert kill(site.url, sid, **changes) == 403
    assert site.find_workers() == before


def test_a_get_a_link_or_an_unknown_connection_kills_nothing(site, node):
    sid, before = connect(node, "a", site.url), site.find_workers()
    headers = {"Origin": site.url, "X-Run-Key": find_key(site.url)}
    url = f"{site.url}/demo/kill"
    assert requests.get(url, params={"sid": sid}, headers=headers, timeout=5).status_code == 405
    assert requests.post(url, data={"sid": sid, "X-Run-Key": headers["X-Run-Key"]}, timeout=5).status_code == 403
    assert [kill(site.url, one) for one in ("", "webserver01.x", "nowhere.x")] == [404, 404, 404]
    assert site.find_workers() == before


def test_without_chat_run_there_is_no_key_and_nothing_to_kill_with(workers, node):
    [url] = workers(1).urls
    sid = connect(node, "a", url)
    assert find_key(url) is None
    for method in ("GET", "POST"):
        headers = {"Origin": url, "X-Run-Key": ""}
        answer = requests.request(method, f"{url}/demo/kill", params={"sid": sid}, headers=headers, timeout=5)
        assert answer.status_code == 404


@pytest.mark.parametrize("way", ["HAProxy", "direct"])
def test_the_worker_of_a_connection_is_killed_and_its_client_recovers(site, node, way):
    before = site.find_workers()
    url = site.url if way == "HAProxy" else f"http://127.0.0.1:{site.ports[1]}"
    sid = connect(node, f"user-{way}", url)
    number = int(sid.partition(".")[0].removeprefix("webserver")) - 1 if way == "HAProxy" else 1
    assert kill(url, sid) == 202
    wait_until(lambda: not is_alive(before[site.ports[number]]), "the end of the worker")
    assert node.wait_for(f"user-{way}", "connect", 2)[1]["recovered"]
    after = site.find_workers()
    assert [port for port in site.ports if after[port] != before[port]] == [site.ports[number]]


def test_each_worker_tells_when_a_message_went_through_it(workers, node):
    for name, url in zip("ab", workers(2).urls, strict=True):
        node.connect(name, url, query={"userId": name})
    unasked = node.call("a", "broadcast", "before anybody asks")["id"]
    clocks = [node.call(name, "trace", {})["now"] for name in "ab"]
    assert node.call("a", "trace", {"id": unasked}).keys() == {"ok", "now"}
    id = node.call("a", "privateMessage", {"toUser": "b"})["id"]
    node.wait_for("b", "privateMessage")
    first, last = (node.call(name, "trace", {"id": id}) for name in "ab")
    assert first.keys() == {"ok", "now", "handled", "acknowledged", "shard", "shards"}
    assert last.keys() == {"ok", "now", "delivered"}
    assert max(clocks) <= first["handled"] <= int(id) <= first["acknowledged"] <= first["now"]
    assert int(id) <= last["delivered"] <= last["now"]


@pytest.mark.parametrize("data", [None, "1", [], 7])
def test_a_trace_takes_an_object(workers, node, data):
    node.connect("a", workers(1).urls[0])
    assert node.call("a", "trace", data)["error"]["code"] == "bad_request"
    assert node.call("a", "trace", {"id": {"no": "text"}}).keys() == {"ok", "now"}


def test_with_tokens_there_is_no_trace(workers, node):
    node.connect("a", workers(1, WEBFARM_SECRET=SECRET).urls[0], auth={"token": create_token("a", SECRET, 60)})
    assert node.call("a", "trace", {})["error"]["code"] == "bad_request"


def test_in_a_cluster_the_primary_is_told_to_who_runs_the_farm(workers, node, redis_cluster):
    for name, env in (("own", {"WEBFARM_RUN_KEY": KNOWN}), ("public", {})):
        [url] = workers(1, url=redis_cluster.url, WEBFARM_SHARDS="8", WEBFARM_WAIT_REPLICAS="0", **env).urls
        node.connect(name, url)
        node.call(name, "trace", {})
        told = node.call(name, "trace", {"id": node.call(name, "broadcast", "hi")["id"]})
        assert told["shards"] == 8
        assert ("primary" in told) == (name == "own")
        assert urlsplit(f"//{told.get('primary', '127.0.0.1:1')}").port
