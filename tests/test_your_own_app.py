"""``docs/your-own-app.md`` does what it says: its files and commands run as they are shown, outside of this repository."""

import configparser
import os
import re
import shlex
import signal
import sys
import threading
from pathlib import Path

import pytest
import requests

from tests.kit.paths import ROOT
from tests.kit.your_own_app import PAGE, find_command, get_commands, get_files, write_files
from webfarm.run.programs import find_haproxy
from webfarm.testing import Client, Process, RedisServer, get_free_ports, starting_processes, wait_until

pytestmark = pytest.mark.cluster

# Each block of shell commands is run by a test here, under the name that is left of it.
BLOCKS = {
    "install": "pip install",
    "run": "webfarm run poll:app",
    "look": "webfarm nodes",
    "test": "pytest",
    "stop": "--timeout 0",
    "token": "webfarm token",
    "workers": "-w 2",
    "haproxy": "haproxy -db",
}


@pytest.fixture
def folder(tmp_path):
    """The reader's folder, with the page's files."""
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def environ(tmp_path_factory):
    """The reader's environment: a Redis at its REDIS_URL, and the virtual environment's commands on PATH."""
    redis, bin = RedisServer(tmp_path_factory.mktemp("redis")), tmp_path_factory.mktemp("bin")
    (bin / "haproxy").symlink_to(find_haproxy())
    redis.start()
    yield {"REDIS_URL": redis.url, "PATH": f"{Path(sys.executable).parent}:{bin}:{os.environ['PATH']}"}
    redis.close()


@pytest.fixture
def run(folder, environ):
    """Runs shell commands in the folder until they end; returns their output."""

    def run_commands(commands, **env):
        process = Process("bash", "-ec", commands, cwd=folder, env=environ | env)
        try:
            assert process.wait(90) == 0, process.output
        finally:
            process.close()
        return process.output

    return run_commands


@pytest.fixture
def start(folder, environ):
    """Starts a shell command in the folder, which ends with the test."""
    with starting_processes() as start_process:
        yield lambda command, **env: start_process("bash", "-ec", f"exec {command}", cwd=folder, env=environ | env)


@pytest.fixture
def connect():
    """Connects clients, which end with the test."""
    clients = []

    def connect_client(*args, **kwargs):
        clients.append(Client(*args, **kwargs))
        return clients[-1]

    yield connect_client
    for client in clients:
        client.disconnect()


def test_each_block_of_commands_is_run_here():
    assert [find_command(text) for text in BLOCKS.values()] == [block.rstrip() for block in get_commands()]


def test_the_extras_that_the_page_installs_are_there():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    [extras] = re.findall(r"\[([\w,]+)\]", find_command(BLOCKS["install"]))
    assert set(extras.split(",")) <= setup["options.extras_require"].keys()


def test_the_poll_runs_on_two_workers_behind_haproxy(start, run, connect):
    """Votes on both workers, results everywhere, one worker announces; killed, its clients recover and another does."""
    front, base = get_free_ports(), get_free_ports(2)
    url = f"http://127.0.0.1:{front}"
    farm = start(f"{find_command(BLOCKS['run'])} --bind 127.0.0.1:{front} --base-port {base}")
    farm.wait_for_line(url, 60)
    assert "<button>tea</button>" in requests.get(url, timeout=5).text
    anna, ben = (connect(url, query={"userId": user}) for user in ("anna", "ben"))
    assert anna.ask("vote", "tea") == "ok"
    assert ben.ask("vote", "coffee") == "ok"
    assert ben.ask("vote", "tea") == "ok"
    assert anna.wait_for("results", 3)[-1] == [{"tea": 2, "coffee": 0, "water": 0}]
    assert requests.get(f"{url}/results.json", timeout=5).json() == {"tea": 2, "coffee": 0, "water": 0}
    for path in ("/socket.io/socket.io.js", "/healthz", "/readyz"):
        assert requests.get(url + path, timeout=5).status_code == 200

    looked = run(find_command(BLOCKS["look"]).replace("http://127.0.0.1:3000", url))
    assert looked.count(f":{base}") >= 1 and looked.count(f":{base + 1}") >= 1
    assert "anna" in looked and '"tea":2' in looked.replace(" ", "")

    worker = wait_for_leader(anna, lambda leader: leader["choice"] == "tea")
    os.kill(worker, signal.SIGKILL)
    other = wait_for_leader(anna, lambda leader: leader["worker"] != worker)
    assert other != worker
    assert ben.ask("vote", "water") == "ok"
    assert anna.wait_for("results", 4)[-1] == [{"tea": 1, "coffee": 0, "water": 1}]


def wait_for_leader(client, is_wanted):
    """Return the worker of the first announcement that is wanted; before it all came from one worker."""

    def find():
        return next((leader for [leader] in client.get("leader") if is_wanted(leader)), None)

    leader = wait_until(find, "the announcement of the leader", 30)
    return leader["worker"]


def test_the_task_runs_once_per_farm(start, connect):
    front, base = get_free_ports(), get_free_ports(2)
    start(f"{find_command(BLOCKS['run'])} --bind 127.0.0.1:{front} --base-port {base}").wait_for_line(f":{front}", 60)
    anna = connect(f"http://127.0.0.1:{front}")
    announced = anna.wait_for("leader", 4)
    assert len({leader["worker"] for [leader] in announced}) == 1


@pytest.mark.browser
def test_every_open_page_shows_the_results(start, browser):
    """Two people, each at a worker: one votes, both see the result and the leader."""
    base = get_free_ports(2)
    gunicorn = start(f"env WEBFARM_BASE_PORT={base} {find_command(BLOCKS['workers'])}")
    contexts = [browser.new_context(), browser.new_context()]
    pages = [context.new_page() for context in contexts]
    for port, page in enumerate(pages, base):
        wait_until(lambda port=port: is_ready(port), "the worker", about=gunicorn)
        page.goto(f"http://127.0.0.1:{port}")
    pages[0].click("text=tea")
    for page in pages:
        page.wait_for_function("document.getElementById('tea').value === '1'")
        page.wait_for_function("document.getElementById('leader').textContent.startsWith('tea leads')")
    for context in contexts:
        context.close()


def test_the_pages_test_passes(run):
    ports = get_free_ports(200)  # beside those of this process
    own = {"TEST_PORTS": f"{ports}-{ports + 199}", "PYTEST_XDIST_WORKER": "gw0", "PYTEST_XDIST_WORKER_COUNT": "1"}
    assert "3 passed" in run(find_command(BLOCKS["test"]), **own)


def test_a_handler_stops_at_a_breakpoint(folder, start, connect):
    """In one more worker of the farm, whose terminal is the debugger's."""
    shown = get_files()["poll.py"]
    stopped = shown.replace("def vote(sid, choice):\n", "def vote(sid, choice):\n    breakpoint()\n")
    assert stopped != shown
    (folder / "poll.py").write_text(stopped)
    port = get_free_ports()
    worker = start(find_command(BLOCKS["stop"]).replace("PORT=3003", f"env PORT={port}"))
    wait_until(lambda: is_ready(port), "the worker", about=worker)
    answers = []
    anna = connect(f"http://127.0.0.1:{port}")
    asking = threading.Thread(target=lambda: answers.append(anna.ask("vote", "tea", timeout_s=30)))
    asking.start()
    wait_until(lambda: "poll.py" in worker.output and "vote()" in worker.output, "the debugger", about=worker)
    assert not answers
    worker.popen.stdin.write("print(choice * 2)\ncontinue\n")
    worker.popen.stdin.flush()
    asking.join(30)
    assert answers == ["ok"]
    assert "teatea" in worker.output


def is_ready(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=3).status_code == 200
    except requests.RequestException:
        return False


def test_with_a_secret_the_user_is_the_tokens(folder, start, run, connect):
    output = run(f"{find_command(BLOCKS['token'])}\necho $WEBFARM_SECRET")
    token, secret = output.splitlines()[-2:]
    port = get_free_ports()
    gunicorn = find_command(BLOCKS["workers"]).replace("-w 2 ", "")
    worker = start(f"env PORT={port} {gunicorn}", WEBFARM_SECRET=secret)
    wait_until(lambda: is_ready(port), "the worker", about=worker)
    assert connect(f"http://127.0.0.1:{port}", auth={"token": token}).ask("vote", "tea") == "ok"
    with pytest.raises(Exception, match="token"):
        connect(f"http://127.0.0.1:{port}", query={"userId": "anna"})
    read = "import sqlite3; print(sqlite3.connect('poll.db').execute('select * from votes').fetchall())"
    assert run(f'python3 -c "{read}"').strip() == "[('anna', 'tea')]"


def test_workers_and_haproxy_start_by_themselves(folder, start, connect):
    front, base = get_free_ports(), get_free_ports(2)
    start(f"env WEBFARM_BASE_PORT={base} {find_command(BLOCKS['workers'])}")
    for port in (base, base + 1):
        wait_until(lambda port=port: is_ready(port), f"the worker on {port}")
    shown = find_command(BLOCKS["haproxy"])
    for given, free in (("127.0.0.1:3001-3002", f"127.0.0.1:{base}-{base + 1}"), ("*:3000", f"127.0.0.1:{front}")):
        assert given in shown
        shown = shown.replace(given, free)
    start(f"bash -ec {shlex.quote(shown.replace('haproxy -db', 'exec haproxy -db'))}")
    wait_until(lambda: is_ready(front), "HAProxy")
    assert connect(f"http://127.0.0.1:{front}", query={"userId": "anna"}).ask("vote", "tea") == "ok"


def test_the_units_that_the_page_names_serve_the_poll(run, folder):
    [command] = re.findall(r"`(webfarm systemd-units [^`]+)`", PAGE.read_text())
    run(command.replace("/etc/systemd/system", str(folder)))
    unit = (folder / "webfarm@.service").read_text()
    assert "Environment=WEBFARM_APP=poll:app\n" in unit
    assert "WorkingDirectory=/srv/poll\n" in unit
    [state] = re.findall(r"^StateDirectory=(\w+)$", unit, re.MULTILINE)
    assert f"`POLL_DB=/var/lib/{state}/poll.db`" in PAGE.read_text()
