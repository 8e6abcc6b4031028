"""An app written for Flask-SocketIO gives the same answers on the engine, and there its clients recover."""

import json
import os
import re
import sys

import flask
import flask_socketio
import pytest
import requests
import socketio

from tests.kit.node_client import start_node
from tests.kit.paths import ROOT
from webfarm import RedisManager
from webfarm.flask import SocketIO
from webfarm.testing import Client, get_free_ports, get_status, starting_workers, wait_until

PAGE = ROOT / "docs" / "from-flask-socketio.md"
RUN = ("tests/kit/flask_handlers.py", "tests/farm/test_flask.py")
EXAMPLE = ROOT / "examples" / "flask_rooms.py"
STOCK = ["-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker", "-c", os.devnull]


@pytest.fixture
def engine(own_redis, workers):
    """The example on two workers, on the engine."""
    own_redis.start()
    return workers(2, app="examples.flask_rooms:app", url=own_redis.url)


@pytest.fixture
def stock(redis_server, start, tmp_path):
    """The URLs of the same on Flask-SocketIO: with what docs/from-flask-socketio.md says changed back."""
    [diff] = re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    before, after = ([line[1:] for line in diff.splitlines() if line[0] == sign] for sign in "-+")
    assert len(before) == len(after) <= 3
    source = EXAMPLE.read_text()
    for old, new in zip(after, before, strict=True):
        assert source.count(f"\n{old}\n") == 1
        source = source.replace(old, new)
    (tmp_path / "flask_rooms.py").write_text(source)
    urls = [f"http://127.0.0.1:{get_free_ports()}" for _ in range(2)]
    for url in urls:
        argv = [sys.executable, "-m", "gunicorn", *STOCK, "-b", url.removeprefix("http://"), "flask_rooms:app"]
        start(*argv, cwd=tmp_path, env={"REDIS_URL": redis_server.url})
    for url in urls:
        wait_until(lambda url=url: get_status(f"{url}/login/anna") == 200, url)
    return urls


def connect(node, name, url, **options):
    node.connect(name, url, transports=["websocket"], answers=True, **options)


def play(node, urls):
    """Yield what two clients of two workers, and some more, are answered and sent."""
    cookie = requests.get(f"{urls[0]}/login/anna", timeout=5).headers["set-cookie"].partition(";")[0]
    connect(node, "anna", urls[0], query={"userId": "7"}, extraHeaders={"cookie": cookie})
    connect(node, "ben", urls[1])
    wait_until(lambda: [node.emit("anna", "message", "heard?"), node.get("ben", "message")][1], "each other")
    wait_until(lambda: [node.emit("ben", "message", "heard?"), node.get("anna", "message")][1], "each other")
    node.open("carl", urls[0], auth={"ticket": "used"})
    yield node.wait_for("carl", "connect_error")
    yield [node.wait_for(name, "welcome") for name in ("anna", "ben")]

    yield [node.call("anna", "join", "red"), node.call("ben", "join", "red"), node.call("ben", "join", "blue")]
    yield node.wait_for("anna", "joined")
    yield [node.call("anna", "say", {"rooms": ["red", "blue"], "text": text}) for text in ("one", "two")]
    yield [node.wait_for(name, "said", 2) for name in ("anna", "ben")]
    yield node.call("anna", "leave", "red"), node.call("anna", "join", "green")
    yield node.call("ben", "say", {"rooms": "red", "text": "three"}), node.wait_for("ben", "said", 3)
    yield node.call("ben", "close", "red"), node.wait_for("ben", "closed")
    yield node.call("ben", "say", {"rooms": "red", "text": "to nobody"})
    yield node.call("anna", "join", "blue"), node.call("ben", "close", "blue")
    yield wait_until(lambda: (joined := node.call("anna", "leave", "none")) == ["green"] and joined, "all to be out")
    yield node.call("ben", "join", "blue")
    yield node.call("ben", "say", {"rooms": ["blue"], "text": "four"}), node.wait_for("ben", "said", 4)

    node.emit("ben", "message", {"last": [1, None]})
    wait_until(lambda: [{"last": [1, None]}] in node.get("anna", "message"), "what was sent to all others")
    yield [{"last": [1, None]}] in node.get("ben", "message")
    node.emit("ben", "json", {"mine": "alone"})
    yield node.wait_for("ben", "json"), node.get("anna", "json")
    node.emit("ben", "message", {"hex": "00ff"}, binary=True)
    wait_until(lambda: [{"hex": "00ff"}] in node.get("anna", "message"), "the bytes")

    yield node.call("anna", "context", 1, {"two": [3]}), node.call("ben", "context")
    yield node.call("anna", "quiz"), node.get("anna", "question")
    node.emit("anna", "poll")
    yield node.wait_for("anna", "noted")
    node.emit("anna", "count", 3)
    yield node.wait_for("anna", "counted", 3)
    yield node.call("anna", "fail", "value"), node.call("anna", "fail", "key")
    yield node.call("anna", "what?", 1, 2)

    node.open("nobody", f"{urls[0]}/desk")
    yield node.wait_for("nobody", "connect_error")
    for name, url in (("desk", urls[0]), ("other desk", urls[1])):
        connect(node, name, f"{url}/desk", auth={"desk": name})
    yield node.call("desk", "ring", 2), node.wait_for("desk", "ring"), node.call("desk", "break")
    yield node.call("desk", "nothing"), node.get("other desk", "ring")
    node.close("desk")
    yield node.wait_for("other desk", "gone")

    node.emit("ben", "leave_for_good")
    yield node.wait_for("ben", "disconnect"), node.wait_for("anna", "left")
    yield {
        event: [node.get(name, event) for name in ("anna", "ben")] for event in ("said", "joined", "welcome", "left")
    }


def test_an_app_for_flask_socketio_gives_the_same_answers_on_the_engine(stock, engine, start):
    expected = list(play(start_node(start), stock))
    answers = list(play(start_node(start), engine.urls))
    assert len(expected) > 20
    for one, other in zip(answers, expected, strict=True):
        assert one == other


def test_on_the_engine_its_clients_recover_after_the_kill_of_their_worker(engine, node):
    """With what they missed, their rooms and their session, in each of their namespaces."""
    connect(node, "ben", engine.urls[1])
    url = engine.urls[0]
    connect(node, "anna", url, forceNew=False)
    connect(node, "desk", f"{url}/desk", auth={"desk": "first"}, forceNew=False)
    assert [node.call(name, "join", "red") for name in ("anna", "ben")] == [["red"]] * 2
    assert node.call("anna", "say", {"rooms": "red", "text": "before"}) == "ok"
    engine.kill_worker(engine.ports[0])
    for number in range(10):
        assert node.call("ben", "say", {"rooms": "red", "text": str(number)}) == "ok"
    for name in ("anna", "desk"):
        first, second = node.wait_for(name, "connect", 2)
        assert second["recovered"]
        assert second["sid"] == first["sid"]
    texts = [said["text"] for said in node.wait_for("anna", "said", 11)]
    assert texts == ["before", *map(str, range(10))]
    assert node.call("desk", "ring", 1) == "first"
    assert node.call("anna", "leave", "red") == []


def test_all_that_is_said_to_carry_over_is_in_what_runs_here():
    table = PAGE.read_text().split("| feature |")[1].split("\n\n")[0]
    sources = " ".join((ROOT / name).read_text() for name in ("examples/flask_rooms.py", *RUN))
    named = re.findall("`([^`…]+)`", re.sub(r"\(`ping_interval`.*", "", table))
    assert len(named) > 40
    for piece in named:
        assert piece.partition("...")[0] in sources, piece


# What is another thing than on Flask-SocketIO


@pytest.fixture(scope="module")
def site(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, app="tests.kit.flask_handlers:app", expects_tracebacks=True, WEBFARM_PREFIX="flask")


@pytest.fixture
def connect_to(connect):
    """Connects clients to a worker of the site."""

    def connect_to(url, namespace="/", **options):
        return connect(url, namespace, path="ws/socket.io", **options)

    return connect_to


def test_a_lost_connection_is_told_to_the_handlers_which_can_ask_whether_a_client_is_back(site, connect_to):
    one = connect_to(site.urls[0])
    assert one.ask("get_log") == ["connected"]
    one.cut()
    wait_until(lambda: one.is_recovered, "the client to be back")
    assert one.ask("get_log") == ["connected", "gone", "recovered"]


def test_the_session_is_what_flasks_cookie_can_hold_and_survives_its_worker(site, connect_to):
    one = connect_to(site.urls[0])
    assert [one.ask("count") for _ in range(3)] == [1, 2, 3]
    one.ask("remember")
    site.kill_worker(site.ports[0])
    wait_until(lambda: one.is_recovered, "the client to be back")
    stored = "{'at': datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc), 'pair': (1, b'two'), 'nested': {'list': [3]}}"
    assert one.ask("recall") == stored
    assert one.ask("count") == 4
    one.ask("forget")
    one.cut()
    assert one.ask("count") == 1


def test_the_session_holds_nothing_that_can_not_be_kept(site, connect_to):
    one = connect_to(site.urls[0])
    assert one.ask("count") == 1
    assert one.ask("remember_object")["error"]["code"] == "internal"
    site.wait_for_line("TypeError: Object of type object is not JSON serializable")
    assert one.ask("count") == 2


def test_without_managed_sessions_it_is_that_of_the_cookie(workers, connect_to):
    [url] = workers(1, app="tests.kit.flask_handlers:app", MANAGE_SESSION="0").urls
    cookie = requests.get(f"{url}/count", timeout=5).headers["set-cookie"].partition(";")[0]
    one = connect_to(url, headers={"Cookie": cookie})
    assert [one.ask("count"), one.ask("count")] == [2, 2]


def test_what_runs_before_requests_does_not_run_for_events(site, connect_to):
    assert requests.get(f"{site.urls[0]}/marked", timeout=5).text == "True"
    assert connect_to(site.urls[0]).ask("is_marked") is False


def test_events_of_one_client_wait_for_each_other(site, connect_to):
    one = connect_to(site.urls[0])
    for seconds in (0.3, 0.1, 0.0):
        one.send_event("wait", seconds)
    assert one.wait_for("waited", 3) == [[0.3], [0.1], [0.0]]


def test_refusals_and_what_redis_could_not_take_are_not_for_the_apps_error_handlers(site, connect_to):
    for namespace, prefix in (("/", "on_error"), ("/guarded", "error")):
        one = connect_to(site.urls[0], namespace)
        assert one.ask("refuse", "client") == {"ok": False, "error": {"code": "forbidden", "message": "on purpose"}}
        with pytest.raises(socketio.exceptions.TimeoutError):
            one.ask("refuse", "redis", timeout_s=0.5)
        assert one.ask("refuse", "other") == f"{prefix}: on purpose"


def test_an_event_that_failed_is_acknowledged_as_that(site, connect_to):
    assert connect_to(site.urls[0], "/unguarded").ask("fail")["error"]["code"] == "internal"


def test_another_process_emits_with_flask_socketio_itself(site, connect_to, redis_server):
    one, other = map(connect_to, site.urls)
    outside = flask_socketio.SocketIO(message_queue=redis_server.url, channel="flask")
    outside.emit("news", {"for": "all"})
    outside.emit("news", {"for": "one"}, to=one.id)
    assert one.wait_for("news", 2) == [[{"for": "all"}], [{"for": "one"}]]
    assert other.wait_for("news") == [[{"for": "all"}]]
    other.ask("shout", "hey")
    assert one.wait_for("shouted")[0][0] == "hey"


def test_another_process_emits_with_this_socketio_on_the_farms_channel(site, connect_to, redis_server, monkeypatch):
    monkeypatch.setenv("WEBFARM_PREFIX", "flask")
    one = connect_to(site.urls[0])
    SocketIO(message_queue=redis_server.url).emit("news", {"for": "all"})
    assert one.wait_for("news") == [[{"for": "all"}]]


@pytest.mark.parametrize("prefix", [None, "webfarm", "own"])
@pytest.mark.parametrize("channel", [None, "given", "flask-socketio", "flask-socketio/1"])
@pytest.mark.parametrize("database", [0, 1])
def test_with_and_without_an_app_the_channel_is_one(monkeypatch, prefix, channel, database):
    options = {"message_queue": f"redis://localhost:1/{database}"} | ({"channel": channel} if channel else {})
    if prefix:
        monkeypatch.setenv("WEBFARM_PREFIX", prefix)
    emitting, serving = SocketIO(**options), SocketIO(flask.Flask("app"), **options)
    assert emitting.server.manager.channel == serving.server.manager.channel
    assert type(emitting.server.manager) is socketio.RedisManager
    expected = channel or {"own": "own"}.get(prefix, "flask-socketio") + ("/1" if database else "")
    assert serving.server.manager.channel == expected


def test_a_process_that_only_emitted_may_get_an_app_later():
    sio = SocketIO(message_queue="redis://localhost:1/1")
    sio.init_app(flask.Flask("app"))
    assert isinstance(sio.server.manager, RedisManager)
    assert sio.server.manager.channel == "flask-socketio/1"


def test_stocks_default_channel_is_no_prefix():
    manager = SocketIO(flask.Flask("app"), message_queue="redis://localhost:1/1", channel="x/1").server.manager
    assert manager.shards.home.keys.tag == "{x/1:0}:"
    manager = SocketIO(flask.Flask("app"), message_queue="redis://localhost:1/0", channel="socketio").server.manager
    assert manager.shards.home.keys.tag == "{webfarm:0}:"


@pytest.mark.parametrize("option", [{"async_mode": "eventlet"}, {"serializer": "msgpack"}, {"json": flask.json}])
def test_an_option_that_the_engine_lacks_is_refused(option):
    with pytest.raises(ValueError, match=rf"{next(iter(option))}=.*leave .* out"):
        SocketIO(flask.Flask("app"), **option)


def test_what_knows_another_server_only_says_what_to_do_instead():
    app = flask.Flask("app")
    with pytest.raises(RuntimeError, match="gunicorn"):
        SocketIO(app).run(app)
    with pytest.raises(RuntimeError, match=r"docs/testing\.md"):
        SocketIO(app).test_client(app)


def test_the_settings_of_a_farm_hold_and_arguments_win_over_them(workers):
    settings = {
        "WEBFARM_SECRET": "s" * 32,
        "WEBFARM_PING_INTERVAL_S": "7",
        "WEBFARM_ALLOWED_ORIGINS": "https://a.example",
        "WEBFARM_ADMIN_PASSWORD": "the password",
        "WEBFARM_API_KEY": "the key of the API",
    }
    process = workers(1, app="examples.flask_rooms:app", **settings)
    [url] = process.urls
    headers = {"Origin": "https://b.example"}  # the app says cors_allowed_origins="*"
    handshake = requests.get(f"{url}/socket.io/?EIO=4&transport=polling", headers=headers, timeout=5)
    assert json.loads(handshake.text[1:])["pingInterval"] == 7000
    with pytest.raises(socketio.exceptions.ConnectionError) as refused:
        Client(url, transports=("polling",))
    assert refused.value.args[0]["data"]["code"] == "unauthorized"
    paths = {"/healthz": 200, "/metrics": 200, "/socket.io/socket.io.js": 200, "/status": 401, "/none": 404}
    assert {path: requests.get(url + path, timeout=5).status_code for path in paths} == paths
    unused = [line.partition(" is set")[0].split()[-1] for line in process.lines if "does not use it" in line]
    assert unused == ["WEBFARM_ALLOWED_ORIGINS"]
