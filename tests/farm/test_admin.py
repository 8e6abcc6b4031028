"""The namespace ``/admin`` and the admin's pages, on two workers, with the stock Python client."""

import contextlib
import json
import os
import queue
import signal
import uuid

import pytest
import redis
import requests
import socketio
from websockets.sync.client import connect

from tests.kit.clients import SECRET, Client, opening
from tests.kit.offsets import get_keys
from webfarm.testing import starting_workers, wait_until
from webfarm.web.admin_feed import MAX_CLIENTS, Page

PASSWORD = "the admin's passw\N{LATIN SMALL LETTER O WITH DIAERESIS}rd"
LOGIN = {"username": "admin", "password": PASSWORD}


@pytest.fixture(scope="module")
def two_workers(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(2, WEBFARM_PREFIX="admin", WEBFARM_ADMIN_PASSWORD=PASSWORD)


@pytest.fixture
def client():
    """Opens webfarm clients, which end with the test."""
    with opening(Client) as open_client:
        yield open_client


class Admin:
    """The stock client, in the namespace ``/admin``; ``shown`` is what the Admin UI would show."""

    def __init__(self, url, **auth):
        self.stack = contextlib.ExitStack()
        self.config, self.session, self.servers, self.sockets, self.lists = None, None, {}, {}, 0
        self.events = []
        self.client = client = socketio.Client(reconnection=False)
        self.refusals = queue.Queue()
        client.on("*", self._on_event, namespace="/admin")
        client.on("connect_error", self.refusals.put, namespace="/admin")
        self.stack.callback(client.disconnect)
        with contextlib.suppress(socketio.exceptions.ConnectionError):
            client.connect(url, auth=auth, namespaces=["/admin"], transports=["websocket"], wait_timeout=10)

    def _on_event(self, event, *args):
        self.events.append(event)
        if event == "config":
            [self.config] = args
        elif event == "session":
            [self.session] = args
        elif event == "server_stats":
            self.servers[args[0]["serverId"]] = args[0]
        elif event == "all_sockets":
            self.lists += 1
            self.sockets = {one["id"]: one for one in args[0]}
        elif event == "socket_connected":
            self.sockets[args[0]["id"]] = args[0]
        elif event == "socket_disconnected":
            self.sockets.pop(args[1])
        elif event == "socket_updated":
            self.sockets[args[0]["id"]] |= args[0]
        elif event == "room_joined":
            self.sockets[args[2]]["rooms"].append(args[1])
        elif event == "room_left":
            self.sockets[args[2]]["rooms"].remove(args[1])

    def emit(self, event, *args):
        self.client.emit(event, args, namespace="/admin")

    def call(self, event, *args):
        return self.client.call(event, args, namespace="/admin")

    def wait_for_room(self, room, sids):
        """Wait until exactly these are shown in a room."""
        wait_until(
            lambda: {sid for sid, one in list(self.sockets.items()) if room in one["rooms"]} == set(sids),
            f"{sids} in {room}",
        )


@pytest.fixture
def admin():
    with opening(Admin) as open_admin:
        yield open_admin


def name():
    return uuid.uuid4().hex[:11]


def test_an_admin_sees_the_nodes_the_clients_and_the_rooms_of_the_farm(two_workers, client, admin):
    users = [name(), name()]
    clients = [client(url, user) for url, user in zip(two_workers.urls, users, strict=True)]
    page = admin(two_workers.urls[0], **LOGIN)
    wait_until(lambda: {one.sid for one in clients} <= page.sockets.keys(), "both clients")
    wait_until(lambda: len(page.servers) == 2, "both nodes")
    assert page.events[:2] == ["session", "config"]
    assert {"JOIN", "LEAVE", "DISCONNECT", "ALL_EVENTS", "AGGREGATED_EVENTS"} <= set(page.config["supportedFeatures"])
    for one, user, url in zip(clients, users, two_workers.urls, strict=True):
        shown = page.sockets[one.sid]
        assert (shown["nsp"], shown["transport"], shown["data"]["userId"]) == ("/", "websocket", user)
        assert set(shown["rooms"]) == {one.sid, f"user:{user}", "common", "*"}
        assert f"{shown['data']['node']}#".split("#")[0].endswith(url.rpartition(":")[2])
    servers = page.servers.values()
    assert {one["pid"] for one in servers} == {two_workers.get_worker(port) for port in two_workers.ports}
    assert sum(one["clientsCount"] for one in servers) >= 3
    assert all({"name": "/", "socketsCount": 1} in one["namespaces"] for one in servers)


def test_what_changes_is_told_and_the_list_is_not_sent_again(two_workers, client, admin):
    page = admin(two_workers.urls[0], **LOGIN)
    wait_until(lambda: page.lists, "the list")
    room, one = name(), client(two_workers.urls[1], name())
    one.call("join", {"room": room})
    page.wait_for_room(room, [one.sid])
    one.call("leave", {"room": room})
    page.wait_for_room(room, [])
    one.stack.close()
    wait_until(lambda: one.sid not in page.sockets, "the client to be gone")
    assert page.lists == 1
    kinds = {
        event["type"] for server in page.servers.values() for event in server["aggregatedEvents"] if event["count"] > 0
    }
    assert kinds <= {"rawConnection", "rawDisconnection", "bytesIn", "bytesOut"}


def test_join_leave_and_kick_reach_a_client_on_the_other_worker(two_workers, client, admin):
    room, one = name(), client(two_workers.urls[1], name())
    page = admin(two_workers.urls[0], **LOGIN)
    wait_until(lambda: one.sid in page.sockets, "the client")
    page.emit("join", "/", room, one.sid)
    page.wait_for_room(room, [one.sid])
    assert one.call("message", {"room": room})["ok"]
    page.emit("leave", "/", room, one.sid)
    page.wait_for_room(room, [])
    assert one.call("message", {"room": room})["error"]["code"] == "not_in_room"
    page.emit("_disconnect", "/", False, one.sid)
    one.get(1, "disconnect")
    wait_until(lambda: one.sid not in page.sockets, "the client to be gone")
    again = client(two_workers.urls[1], None, pid=one.pid)
    assert again.sid != one.sid, "who was kicked must not be back by its session"


def test_whole_rooms_are_moved_emptied_and_kicked(two_workers, client, admin):
    room, other = name(), name()
    members = [client(url, name()) for url in two_workers.urls]
    stranger = client(two_workers.urls[0], name())
    sids = [one.sid for one in members]
    for one in members:
        one.call("join", {"room": room})
    page = admin(two_workers.urls[0], **LOGIN)
    page.emit("join", "/", other, room)
    page.wait_for_room(other, sids)
    page.emit("leave", "/", other)
    page.wait_for_room(other, [])
    page.wait_for_room(room, sids)
    page.emit("_disconnect", "/", False, room)
    for one in members:
        one.get(1, "disconnect")
    wait_until(lambda: not page.sockets.keys() & set(sids), "the members to be gone")
    assert stranger.sid in page.sockets


@pytest.mark.parametrize(
    ("event", "arguments", "code"),
    [
        ("leave", ("/", "*"), "forbidden"),
        ("leave", ("/", "user:somebody"), "forbidden"),
        ("join", ("/", "user:somebody", "common"), "forbidden"),
        ("join", ("/", None), "bad_request"),
        ("join", (None, "room"), "bad_request"),
        ("join", ("/",), "bad_request"),
        ("join", ("/", "room", ["a"]), "bad_request"),
        ("_disconnect", (1, False, "room"), "bad_request"),
        ("_disconnect", ("/", False, {}), "bad_request"),
        ("_disconnect", ("/", False, "\ud800"), "bad_request"),
        ("_disconnect", ("/\udfff", False, "room"), "bad_request"),
        ("emit", ("/", "room", "event"), "bad_request"),
        ("nothing", (), "bad_request"),
    ],
)
def test_what_cannot_be_done_is_refused(two_workers, admin, event, arguments, code):
    page = admin(two_workers.urls[0], **LOGIN)
    assert page.call(event, *arguments)["error"]["code"] == code


def test_a_session_stands_for_the_password_on_every_worker(two_workers, admin):
    first = admin(two_workers.urls[0], **LOGIN)
    session = wait_until(lambda: first.session, "a session")
    page = admin(two_workers.urls[1], sessionId=session)
    wait_until(lambda: page.config, "its configuration")
    assert page.session is None, "one session is enough"
    assert admin(two_workers.urls[1], sessionId=session[:-3] + "AAA").config is None


WRONG = [
    {},
    {"username": "admin"},
    {"username": "admin", "password": "wrong"},
    {"username": "Admin", "password": PASSWORD},
    {"username": "admin", "password": [PASSWORD]},
    {"username": "admin", "password": "\ud800"},
    {"sessionId": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsImV4cCI6OTk5OTk5OTk5OTl9."},
    {"sessionId": [1]},
]  # fmt: skip


@pytest.fixture(scope="module")
def guarded(redis_server):
    """A worker of its own, as wrong passwords are counted; its chat needs tokens, and takes each user once."""
    settings = {"WEBFARM_SECRET": SECRET, "WEBFARM_MAX_CONNECTIONS_PER_USER": "1", "WEBFARM_LOG_LEVEL": "debug"}
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(1, WEBFARM_ADMIN_PASSWORD=PASSWORD, **settings)


def test_an_admin_needs_no_token_and_is_no_user(guarded, admin):
    pages = [admin(guarded.urls[0], **LOGIN) for _ in range(3)]
    for page in pages:
        wait_until(lambda page=page: page.config, "its configuration")
        wait_until(lambda page=page: len(page.sockets) == 3, "all admins")
        assert {one["nsp"] for one in page.sockets.values()} == {"/admin"}


def test_no_log_has_the_password_or_a_session(guarded, admin):
    page = admin(guarded.urls[0], **LOGIN)
    wait_until(lambda: page.servers, "what comes after the session")
    guarded.wait_for_line("server_stats")
    assert not [line for line in guarded.lines if page.session in line or PASSWORD in line]


def test_wrong_credentials_are_refused(guarded, admin):
    for auth in WRONG:
        page = admin(guarded.urls[0], **auth)
        assert page.refusals.get(timeout=10)["message"] == "invalid credentials", auth
        assert page.config is None


def test_who_guesses_is_not_listened_to_any_more(guarded, admin):
    first = admin(guarded.urls[0], **LOGIN)
    session = wait_until(lambda: first.session, "a session")
    answers = [
        admin(guarded.urls[0], username="admin", password=f"guess {number}").refusals.get(timeout=10)
        for number in range(20)
    ]
    codes = [one["data"]["code"] for one in answers]
    assert codes == sorted(codes, reverse=True), "unauthorized, then rate_limited"
    assert 1 <= codes.count("unauthorized") <= 11
    assert admin(guarded.urls[0], **LOGIN).refusals.get(timeout=10)["data"]["code"] == "rate_limited"
    assert get(guarded.urls[0], "/status", ("admin", PASSWORD)).status_code == 429
    again = admin(guarded.urls[0], sessionId=session)
    wait_until(lambda: again.config, "who has a session to be let in")


def test_who_guesses_over_http_is_in_the_log(workers):
    process = workers(1, WEBFARM_ADMIN_PASSWORD=PASSWORD)
    assert get(process.urls[0], "/status", ("admin", "hunter2")).status_code == 401
    line = process.wait_for_line("admin: wrong password")
    assert "WARNING" in line and "address=127.0.0.1" in line and "hunter2" not in line


def test_without_a_password_there_is_nothing(workers, admin):
    process = workers(1)
    assert admin(process.urls[0], **LOGIN).refusals.get(timeout=10) == {"message": "Invalid namespace"}
    for path in PATHS:
        assert get(process.urls[0], path, ("admin", "")).status_code == 404


def test_the_log_says_what_an_admin_did(two_workers, client, admin):
    room, one = name(), client(two_workers.urls[1], name())
    admin(two_workers.urls[0], **LOGIN).call("join", "/", room, one.sid)
    [line] = [line for line in two_workers.lines if room in line]
    assert "admin: join" in line


class RawAdmin(Client):
    """An admin by hand: its connection can be lost, and it can come back."""

    def __init__(self, url, **auth):
        self.stack = contextlib.ExitStack()
        self.socket = self.stack.enter_context(
            connect(url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket")
        )
        self.events = []
        self.socket.recv(10)
        self.socket.send("40/admin," + json.dumps(auth))
        self.answer = json.loads(str(self.socket.recv(10)).removeprefix("40/admin,"))


def test_once_no_admin_is_there_nothing_is_asked_of_the_nodes(two_workers, redis_server):
    with redis.Redis.from_url(redis_server.url) as store, store.pubsub() as asked, opening(RawAdmin) as open_admin:
        asked.subscribe(get_keys("admin").requests)
        first = open_admin(two_workers.urls[0], **LOGIN)
        again = open_admin(two_workers.urls[1], pid=first.answer["pid"], **LOGIN)
        assert again.answer["sid"] == first.answer["sid"], "it is back on the other worker, without having left"
        for _ in range(3):  # the subscription's answer, and a question of each worker
            assert asked.get_message(timeout=5)
        again.stack.close()
        wait_until(
            lambda: asked.get_message(timeout=4) is None, "nothing to be asked for longer than between two looks"
        )


# A page is told what has changed, in pieces


def create_client(sid, rooms=(), **changes):
    row = {
        "sid": sid,
        "userId": "anna",
        "namespace": "/",
        "node": "a",
        "server": "a",
        "transport": "polling",
        "since": 1,
    }
    return row | {"rooms": list(rooms)} | changes


def test_very_many_clients_are_told_in_pieces():
    page, clients = Page(100_000), {f"s{number}": create_client(f"s{number}", ["x"]) for number in range(MAX_CLIENTS)}
    sizes, shown = [], set()
    while len(shown) < len(clients):
        events = list(page.update(clients, "now"))
        for event, arguments in events:
            shown |= {one["id"] for one in (arguments[0] if event == "all_sockets" else arguments[:1])}
        sizes.append(len(json.dumps(events)))
    assert max(sizes) < 120_000
    assert list(page.update(clients, "now")) == []


def test_a_page_is_told_each_change_once():
    page = Page(100_000)
    list(page.update({"s": create_client("s", ["x"]), "gone": create_client("gone", ["y"])}, "now"))
    events = list(page.update({"s": create_client("s", ["z"], transport="websocket")}, "then"))
    assert events[-3:] == [
        ("socket_updated", ({"id": "s", "nsp": "/", "transport": "websocket"},)),
        ("room_joined", ("/", "z", "s", "then")),
        ("room_left", ("/", "x", "s", "then")),
    ]
    assert {arguments[1] for event, arguments in events[:2] if event == "room_left"} == {"y", "gone"}
    assert events[2] == ("socket_disconnected", ("/", "gone", "", "then"))


# The pages

PATHS = ("/status", "/status.json", "/status/uPlot.esm.js", "/admin-ui", "/admin-ui/", "/admin-ui/favicon.png")


def get(url, path, auth=None, **options):
    credentials = None if auth is None else tuple(part.encode() for part in auth)
    return requests.get(url + path, auth=credentials, allow_redirects=False, timeout=10, **options)


@pytest.mark.parametrize("path", [*PATHS, "/admin-ui/nothing"])
def test_the_pages_need_the_password(two_workers, path):
    for auth in (None, ("admin", "wrong")):
        answer = get(two_workers.urls[0], path, auth)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert PASSWORD not in answer.text
    answer = get(two_workers.urls[1], path, ("admin", PASSWORD))
    assert answer.status_code == {"/admin-ui": 302, "/admin-ui/nothing": 404}.get(path, 200)
    assert "public" not in answer.headers.get("Cache-Control", "")


@pytest.mark.parametrize("header", ["", "Basic", "Basic !", "Bearer abc", "Basic YWRtaW4", "Basic \xff"])
def test_a_bad_authorization_is_refused(two_workers, header):
    answer = get(two_workers.urls[0], "/status.json", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/admin-ui/../index.html", "/admin-ui/..%2f..%2f..%2fpackage.json", "/admin-ui/icons/%2e%2e/package.json/../../x"])  # fmt: skip
def test_nothing_else_is_served(two_workers, path):
    session = requests.Session()
    request = requests.Request("GET", two_workers.urls[0], auth=("admin", PASSWORD.encode())).prepare()
    request.url = two_workers.urls[0] + path
    assert session.send(request, timeout=10).status_code == 404


def test_the_admin_ui_loads_nothing_from_elsewhere(two_workers):
    answer = get(two_workers.urls[0], "/admin-ui/", ("admin", PASSWORD))
    assert "://" not in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy


def test_the_figures_of_all_nodes_move(two_workers, client):
    one = client(two_workers.urls[0], name())
    before = fetch_nodes(two_workers.urls[1])
    assert [node["address"].rpartition(":")[2] for node in before] == [str(port) for port in two_workers.ports]
    for _ in range(3):
        one.call("message", {"text": "hello"})

    def get_growth():
        after = fetch_nodes(two_workers.urls[1])
        return [b["figures"]["stored"] - a["figures"]["stored"] for a, b in zip(before, after, strict=True)] == [3, 0]

    wait_until(get_growth, "what was stored on the first node, and there alone")


def fetch_nodes(url):
    return get(url, "/status.json", ("admin", PASSWORD)).json()["nodes"]


def test_a_node_that_stands_still_is_named_and_not_waited_for(two_workers):
    pid = two_workers.get_worker(two_workers.ports[1])
    os.kill(pid, signal.SIGSTOP)
    try:
        nodes = fetch_nodes(two_workers.urls[0])
    finally:
        os.kill(pid, signal.SIGCONT)
    assert [bool(node["figures"]) for node in nodes] == [True, False]
    assert nodes[1]["problem"] == "it has not answered"
    wait_until(lambda: all(node["figures"] for node in fetch_nodes(two_workers.urls[0])), "both to answer")


def test_while_redis_is_away_the_figures_are_503(workers, own_redis):
    own_redis.start()
    process = workers(1, url=own_redis.url, WEBFARM_ADMIN_PASSWORD=PASSWORD)
    own_redis.close()
    answer = get(process.urls[0], "/status.json", ("admin", PASSWORD))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert get(process.urls[0], "/status", ("admin", PASSWORD)).status_code == 200
    own_redis.start()
    wait_until(lambda: get(process.urls[0], "/status.json", ("admin", PASSWORD)).ok, "figures again")
