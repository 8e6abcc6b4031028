"""An app outside this repository, a poll of a few lines: ``Farm`` gives it each setting and each page."""

import json
import signal
import subprocess
import sys
import time
import urllib.parse

import pytest
import redis
import requests
import socketio

from tests.kit.offsets import get_epochs, get_keys
from webfarm.auth import create_token
from webfarm.testing import starting_workers, wait_until

POLL = '''
"""A poll."""

import os
import time

from flask import Flask

from webfarm import Farm

app = Flask(__name__)
farm = Farm(app)
sio = farm.server


@app.get("/")
def page():
    return "<h1>Tea or coffee?</h1>"


@app.get("/metrics")
def own_metrics():
    return "never"


@app.post("/status/of-my-own")
def own_status():
    return "mine"


@sio.event
def connect(sid, environ, auth):
    sio.enter_room(sid, "poll")


@sio.event
def vote(sid, choice):
    stored = farm.manager.store("voted", {"user": farm.get_user(sid), "choice": choice}, room="poll")
    return str(stored.id)


@sio.event
def count(sid):
    return len(farm.manager.history.read("poll", most=100, most_bytes=10_000))


@sio.event
def flood(sid):
    for _ in range(300):
        sio.emit("flood", "x" * 100_000, to=sid, volatile=True)


@farm.run_once
def tell_time():
    while True:
        sio.emit("time", os.getpid(), to="poll", volatile=True)
        time.sleep(0.2)
'''

SECRET, PASSWORD, KEY = "s" * 32, "the password", "the key of the API"
SETTINGS = {
    "WEBFARM_SECRET": SECRET,
    "WEBFARM_ALLOWED_ORIGINS": "https://a.example",
    "WEBFARM_TRUSTED_PROXIES": "10.0.0.0/8",
    "WEBFARM_PREFIX": "polls",
    "WEBFARM_SHARDS": "2",
    "WEBFARM_RECOVERY_WINDOW_S": "30",
    "WEBFARM_HISTORY_LENGTH": "5",
    "WEBFARM_HISTORY_TTL_S": "1000",
    "WEBFARM_RATE_LIMIT": "10",
    "WEBFARM_RATE_LIMIT_BYTES": "0",
    "WEBFARM_MAX_CONNECTIONS_PER_USER": "2",
    "WEBFARM_MAX_ROOMS_PER_CLIENT": "3",
    "WEBFARM_MAX_MESSAGE_BYTES": "20000",
    "WEBFARM_MAX_OUTBOX_BYTES": "300000",
    "WEBFARM_CONNECT_TIMEOUT_S": "1",
    "WEBFARM_PING_INTERVAL_S": "7",
    "WEBFARM_PING_TIMEOUT_S": "3",
    "WEBFARM_DRAIN_S": "2",
    "WEBFARM_ADMIN_PASSWORD": PASSWORD,
    "WEBFARM_API_KEY": KEY,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("somewhere else")
    (path / "poll.py").write_text(POLL)
    return path


@pytest.fixture(scope="module")
def start(redis_server, folder):
    """Starts the poll on two workers."""
    with starting_workers(redis_server.url) as start_workers:
        yield lambda **env: start_workers(2, "--chdir", str(folder), app="poll:app", **env)


@pytest.fixture(scope="module")
def poll(start):
    return start(**SETTINGS)


@pytest.fixture(scope="module")
def plain(start):
    """The poll with the defaults."""
    return start(WEBFARM_PREFIX="plain")


@pytest.fixture(scope="module")
def limited(start):
    """The poll with limits of bytes alone."""
    limits = {"WEBFARM_HISTORY_BYTES": "2000", "WEBFARM_RATE_LIMIT_BYTES": "10000", "WEBFARM_RATE_LIMIT": "0"}
    return start(WEBFARM_PREFIX="limited", **limits)


@pytest.fixture
def server(redis_server):
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as server:
        yield server


@pytest.fixture
def join(connect, poll):
    """Connects a user, with a token, to a worker."""

    def connect_user(user, number=0, **options):
        auth = {"token": create_token(user, SECRET, 60)}
        return connect(poll.urls[number], auth=auth, transports=POLLING, **options)

    return connect_user


def get_status(url, path, method="GET", **options):
    return requests.request(method, url + path, timeout=10, **options).status_code


POLLING = ("polling",)  # on a websocket the client names an origin
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


# Settings


def test_with_a_secret_a_client_without_a_token_is_refused(poll, connect):
    with pytest.raises(socketio.exceptions.ConnectionError) as refused:
        connect(poll.urls[0], query={"userId": "anna"}, transports=POLLING)
    assert refused.value.args[0]["data"]["code"] == "unauthorized"


def test_a_token_names_the_user_on_all_workers(join):
    anna, ben = join("anna"), join("ben", 1)
    anna.ask("vote", "tea")
    assert ben.wait_for("voted")[0] == [{"user": "anna", "choice": "tea"}]


def test_without_a_secret_the_user_id_is_believed(plain, connect):
    connect(plain.urls[0], query={"userId": "anna"}).ask("vote", "tea")
    other = connect(plain.urls[1], query={"userId": "carl"})
    other.ask("vote", "coffee")
    assert other.wait_for("voted")[-1] == [{"user": "carl", "choice": "coffee"}]


def test_origins_are_those_of_the_setting(poll):
    url = poll.urls[0]
    assert get_status(url, HANDSHAKE, headers={"Origin": "https://a.example"}) == 200
    assert get_status(url, HANDSHAKE, headers={"Origin": url}) == 400


def test_proxies_are_those_of_the_setting(poll, plain, connect, join):
    headers = {"X-Forwarded-For": "7.7.7.7"}
    for workers, one, address in (
        (poll, join("proxied", headers=headers), "127.0.0.1"),
        (plain, connect(plain.urls[0], headers=headers), "7.7.7.7"),
    ):
        assert f"address={address} " in workers.wait_for_line(f"connect sid={one.id}")


def test_a_rooms_history_has_the_length_of_the_setting(join):
    one = join("historian")
    for number in range(8):
        one.ask("vote", number)
    assert one.ask("count") == 5


def test_a_rooms_history_has_the_bytes_of_the_setting(limited, plain, connect):
    for site, fewest, most in ((limited, 1, 4), (plain, 10, 100)):
        one = connect(site.urls[0], query={"userId": "writer"})
        for _ in range(10):
            one.ask("vote", "x" * 500)
        assert fewest <= one.ask("count") <= most


def test_a_rooms_history_lives_as_long_as_the_setting_says(join, server):
    join("archivist").ask("vote", "tea")
    stream = get_keys("polls", "poll", 2).stream("/", "poll")
    assert 900 < server.ttl(stream) <= 1200


def test_a_session_outlives_its_connection_by_the_window(poll, raw_client, server):
    one = raw_client(poll.urls[0], join=False)
    one.send("40" + json.dumps({"token": create_token("late", SECRET, 60)}))
    sid = json.loads(one.receive()[2:])["sid"]
    session = get_keys("polls", sid, 2).session(sid)
    one.close()
    wait_until(lambda: 25 < server.ttl(session) <= 30 + 12, "the session's last life")


def test_without_a_window_there_is_no_session_to_resume(start, connect):
    one = connect(start(WEBFARM_RECOVERY_WINDOW_S="0").urls[0])
    one.cut()
    one.wait_until_connected()
    assert one.connections == 2
    assert not one.is_recovered


def test_the_log_has_as_many_shards_as_the_setting_says(poll, server):
    with redis.Redis.from_url(f"redis://localhost:{server.connection_pool.connection_kwargs['port']}") as raw:
        assert len(set(get_epochs(raw, "polls", 2))) == 2


@pytest.mark.parametrize(("url", "replicas"), [("redis+sentinel://a:1/farm", 1), ("redis://a:1", 0)])
def test_replicas_are_waited_for_where_the_url_says_that_there_are_some(folder, url, replicas):
    code = "import poll; print(poll.farm.settings.wait_replicas)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={"REDIS_URL": url}, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == replicas


def test_without_the_settings_replica_nothing_is_acknowledged(start, connect):
    """The Redis of the tests has none."""
    site = start(WEBFARM_WAIT_REPLICAS="1", WEBFARM_API_KEY=KEY)
    one, answers = connect(site.urls[0]), []
    one.emit("vote", "tea", callback=answers.append)
    body, headers = {"event": "news", "data": 1, "all": True}, {"Authorization": f"Bearer {KEY}"}
    done = requests.post(site.urls[1] + "/api/emit", json=body, headers=headers, timeout=20)
    assert (done.status_code, done.json()["error"]["code"]) == (503, "unavailable")
    site.wait_for_line("not acknowledged")
    assert answers == []


def test_all_keys_begin_with_the_prefix(poll, server):
    assert list(server.scan_iter("{polls*:log:/,poll"))
    assert not list(server.scan_iter("{webfarm*:log:/,poll"))  # other tests' farms have the default prefix


def test_stock_emitters_reach_the_farm_on_the_prefixs_channel(poll, join, redis_server):
    one = join("listener")
    stock = socketio.RedisManager(redis_server.url, channel="polls", write_only=True)
    stock.emit("news", "tea is out", room="poll")
    assert one.wait_for("news")[0][0] == "tea is out"


def send_at_once(one, count, *event):
    """Return the answers to ``count`` events; over a websocket, as the Python client takes 16 packets a poll."""
    answers = []
    for _ in range(count):
        one.emit(*event, callback=answers.append)
    wait_until(lambda: len(answers) == count, "all answers")
    return answers


def test_who_votes_too_often_is_refused(start, connect):
    limits = {"WEBFARM_RATE_LIMIT": "10", "WEBFARM_RATE_LIMIT_BYTES": "0"}
    one = connect(start(WEBFARM_PREFIX="hasty", **limits).urls[0], query={"userId": "hasty"})
    answers = send_at_once(one, 30, "count")  # twice the limit is let through at once
    assert isinstance(answers[0], int)
    assert answers[-1]["error"]["code"] == "rate_limited"


def test_who_votes_too_much_is_refused(limited, connect):
    one = connect(limited.urls[0], query={"userId": "bulky"})
    answers = send_at_once(one, 60, "vote", "x" * 1000)  # four times the limit is let through at once
    assert isinstance(answers[0], str)
    assert answers[-1]["error"]["code"] == "rate_limited"


def test_a_user_has_as_many_connections_as_the_setting_says(join):
    join("many"), join("many", 1)
    with pytest.raises(socketio.exceptions.ConnectionError) as refused:
        join("many")
    assert refused.value.args[0]["data"]["code"] == "too_many_connections"


def test_the_handshake_has_the_intervals_and_the_largest_message(poll):
    text = requests.get(poll.urls[0] + HANDSHAKE, timeout=10).text
    handshake = json.loads(text[1:])
    assert (handshake["pingInterval"], handshake["pingTimeout"]) == (7000, 3000)
    assert handshake["maxPayload"] == 20_000


def test_a_slow_client_is_closed_at_the_settings_outbox(poll, raw_client):
    one = raw_client(poll.urls[0], join=False)
    one.send("40" + json.dumps({"token": create_token("slow", SECRET, 60)}))
    one.wait_for('"sid"')
    one.send('42["flood"]')
    assert "unread=300000" in poll.wait_for_line("closed: slow client")


def test_who_joins_nothing_is_closed_after_the_settings_time(poll, raw_client):
    one, began = raw_client(poll.urls[0], join=False), time.monotonic()
    assert one.receive_until_closed()
    assert time.monotonic() - began < 6


def test_a_setting_that_the_app_leaves_unused_is_a_warning_once(poll):
    lines = [line for line in poll.lines if "this app does not use it" in line]
    assert len(lines) == 1
    assert "WEBFARM_MAX_ROOMS_PER_CLIENT is set" in lines[0]


def test_a_route_at_a_path_of_the_farm_is_a_warning_once(poll):
    [line] = [line for line in poll.lines if "which webfarm serves" in line]
    assert "The app's route /metrics is never called at /metrics" in line


# Pages


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/socket.io/socket.io.js", 200),
        ("/socket.io/socket.io.min.js", 200),
        ("/socket.io/socket.io.esm.min.js", 200),
        ("/socket.io/other.js", 404),
        ("/status", 401),
        ("/status.json", 401),
        ("/admin-ui/", 401),
        ("/none", 404),
    ],
)
def test_the_farms_pages_stand_beside_the_apps(poll, path, status):
    assert get_status(poll.urls[0], path) == status


@pytest.mark.parametrize("path", ["/status", "/status.json", "/status/static/status.js", "/admin-ui/"])
def test_the_admin_sees_the_farm(poll, path):
    assert get_status(poll.urls[0], path, auth=("admin", PASSWORD)) == 200


def test_the_status_page_leads_to_the_app(poll):
    page = requests.get(poll.urls[0] + "/status", auth=("admin", PASSWORD), timeout=10).text
    assert '<a href="/">App</a>' in page
    assert "demo" not in page.lower()


def test_pages_that_are_off_are_the_apps(plain):
    for path in ("/status", "/admin-ui/", "/api/emit"):
        assert get_status(plain.urls[0], path) == 404
    assert get_status(plain.urls[0], "/status/of-my-own", "POST") == 200


def test_a_program_emits_to_a_user_with_the_key(poll, join):
    one = join("reader", 1)
    body = {"event": "news", "data": 1, "user": "reader"}
    assert get_status(poll.urls[0], "/api/emit", "POST", json=body) == 401
    headers = {"Authorization": f"Bearer {KEY}"}
    assert get_status(poll.urls[0], "/api/emit", "POST", json=body, headers=headers) == 200
    assert one.wait_for("news")[0][0] == 1


def test_the_apps_own_pages_have_no_header_of_the_farm(poll):
    assert "Content-Security-Policy" not in requests.get(poll.urls[0], timeout=10).headers
    assert "Content-Security-Policy" in requests.get(poll.urls[0] + "/status", timeout=10).headers


# Once a farm


def get_times(one, count):
    return [pid for [pid] in one.wait_for("time", count)]


def test_what_runs_once_runs_on_one_worker_and_moves_when_that_is_killed(start, connect):
    poll = start()
    by_pid = {poll.get_worker(port): url for port, url in zip(poll.ports, poll.urls, strict=True)}
    one = connect(poll.urls[0])
    [first] = set(get_times(one, 5))
    assert first in by_pid
    [other] = set(by_pid) - {first}
    watcher = connect(by_pid[other])
    killed_at = time.monotonic()
    poll.kill_worker(urllib.parse.urlsplit(by_pid[first]).port)
    wait_until(lambda: [pid for [pid] in watcher.get("time") if pid != first], "another worker to take over")
    assert time.monotonic() - killed_at < 12
    watcher.wait_for("time", len(watcher.get("time")) + 10)
    assert len({pid for [pid] in watcher.get("time")} - {first}) == 1


# The end


def test_a_drain_takes_as_long_as_the_setting_says(poll, join):
    for number in range(4):
        join(f"last {number}")
    began = time.monotonic()
    poll.kill(signal.SIGTERM)
    assert "over_s=2.0" in poll.wait_for_line("drain begins")
    poll.wait(20)
    assert time.monotonic() - began > 1.5
