"""The commands on farms whose clients are in another namespace than ``/``, or in no room of their user."""

import json

import pytest

from tests.kit.commands import run_webfarm
from webfarm.testing import starting_workers, wait_until

GAME = """
from webfarm import Farm, Namespace


class Game(Namespace):
    def on_connect(self, sid, environ):
        self.enter_room(sid, "table")


farm = Farm(namespace=Game("/game"))
farm.server.on("connect", lambda sid, environ: None)
"""
FLASK = """
from flask import Flask

from webfarm.flask import SocketIO

app = Flask(__name__)
socketio = SocketIO(app, identify=lambda environ, auth: auth["id"])
socketio.on_event("connect", lambda auth: None, namespace="/desk")
socketio.on_event("connect", lambda auth: None)
"""


class Site:
    """Two workers, and the commands on their farm."""

    def __init__(self, start, redis_url, folder, app):
        self.env = {"WEBFARM_PREFIX": app.replace(":", "."), "REDIS_URL": redis_url}
        workers = start(2, "--chdir", str(folder), app=app, WEBFARM_PING_INTERVAL_S="0.3", **self.env)
        self.urls, self.wait_for_line = workers.urls, workers.wait_for_line

    def run(self, *args):
        done = run_webfarm(*args, **self.env)
        assert done.returncode == 0, done.stderr
        return done

    def list(self, *args):
        return json.loads(self.run(*args, "--json").stdout)


@pytest.fixture(scope="module")
def start(redis_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("apps")
    (folder / "game.py").write_text(GAME)
    (folder / "desk.py").write_text(FLASK)
    with starting_workers(redis_server.url) as start_workers:
        yield lambda app: Site(start_workers, redis_server.url, folder, app)


@pytest.fixture(scope="module")
def game(start):
    return start("game:farm")


@pytest.fixture(scope="module")
def desk(start):
    return start("desk:app")


def wait_for_clients(site, count, *args):
    wait_until(lambda: len(site.list("clients", *args)) == count, "the clients of the farm")


def test_clients_and_rooms_of_a_namespace_are_listed(game, connect):
    one = connect(game.urls[0], "/game", query={"userId": "lister"})
    wait_for_clients(game, 1, "--namespace", "/game", "--user", "lister")
    [client] = game.list("clients", "--namespace", "/game", "--user", "lister")
    assert list(client) == ["sid", "userId", "node", "transport", "rooms", "since"]
    assert (client["sid"], client["userId"], client["rooms"]) == (one.id, "lister", ["table", "user:lister"])
    rooms = game.list("rooms", "--namespace", "/game", "--user", "lister")
    assert [(room["room"], room["clients"]) for room in rooms] == [("table", 1), ("user:lister", 1)]
    for listing in ("clients", "rooms"):
        done = game.run(listing, "--json")
        assert json.loads(done.stdout) == []
        assert done.stderr == "webfarm: other namespaces have clients, too: --namespace /game.\n"
        assert game.run(listing, "--namespace", "/game").stderr == ""
    assert game.run("nodes").stderr == ""


def test_an_emit_reaches_the_clients_of_a_namespace(game, connect):
    one = connect(game.urls[1], "/game", query={"userId": "hearer"})
    other = connect(game.urls[1], query={"userId": "hearer"})
    game.run("emit", "news", "1", "--user", "hearer", "--namespace", "/game")
    game.run("emit", "news", "2", "--room", "table", "--namespace", "/game")
    game.run("emit", "news", "3", "--all")
    assert [data for data, _ in one.wait_for("news", 2)] == [1, 2]
    assert [data for data, _ in other.wait_for("news")] == [3]


@pytest.mark.parametrize("command", [["kick", "anna"], ["erase", "--user", "anna"]], ids=["kick", "erase"])
def test_a_user_is_disconnected_in_all_namespaces(game, connect, raw_client, command):
    clients = [connect(url, name, query={"userId": "anna"}) for url in game.urls for name in ("/", "/game")]
    sids = [one.id for one in clients]
    other = connect(game.urls[0], "/game", query={"userId": "ben"})
    away = raw_client(game.urls[1], join=False, query="&userId=anna")
    away.send("40/game,")
    sid = json.loads(away.receive().removeprefix("40/game,"))["sid"]
    away.close()
    game.wait_for_line(f"disconnect sid={sid}")
    wait_for_clients(game, 2, "--namespace", "/game", "--user", "anna")
    printed = game.run(*command).stdout
    for sid in sids:
        assert "server disconnect" in game.wait_for_line(f"disconnect sid={sid}")
    if command[0] == "kick":
        assert printed == "4 clients disconnected, 1 away; 2 nodes told\n"
    assert game.run("kick", "anna").stdout.startswith("0 clients disconnected, 0 away")
    assert other.connected


def test_what_a_user_was_sent_in_another_namespace_is_erased(game):
    game.run("emit", "news", "1", "--user", "absent", "--namespace", "/game")
    game.run("emit", "news", "1", "--user", "absent")
    assert game.run("erase", "--user", "absent").stdout == "2 messages erased\n"


def test_a_user_without_a_room_is_disconnected(desk, connect):
    clients = [connect(url, name, auth={"id": 7}) for url in desk.urls for name in ("/", "/desk")]
    sids = [one.id for one in clients]
    other = connect(desk.urls[0], auth={"id": 8})
    wait_for_clients(desk, 2, "--user", "7")
    assert desk.run("kick", "7").stdout == "4 clients disconnected, 0 away; 2 nodes told\n"
    for sid in sids:
        assert "server disconnect" in desk.wait_for_line(f"disconnect sid={sid}")
    assert other.connected


@pytest.mark.parametrize("command", [["clients"], ["rooms"], ["emit", "news", "1", "--all"]])
def test_a_namespace_begins_with_a_slash(command):
    done = run_webfarm(*command, "--namespace", "game")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "webfarm: 'game' is no namespace, like /game.\n")
