"""``webfarm run``: everything with one command, and nothing left after it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import requests

from tests.kit.paths import ROOT
from webfarm.redis.keys import Keys
from webfarm.testing import get_children, get_free_ports, get_status, is_alive, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def run(start, redis_server):
    """Starts ``webfarm run`` with ports of its own; returns the process, HAProxy's port and the first worker's."""

    def start_run(*flags, ready=True, cwd=ROOT, **env):
        port, base = get_free_ports(), get_free_ports(2)
        env = {"REDIS_URL": redis_server.url, "WEBFARM_PREFIX": f"run{port}"} | env
        command = [
            sys.executable,
            "-m",
            "webfarm",
            "run",
            "--bind",
            f"127.0.0.1:{port}",
            "--base-port",
            str(base),
            *flags,
        ]
        process = start(*command, env=env, cwd=cwd)
        if ready:
            process.wait_for_line("webfarm is ready: ", 40)
        return process, port, base

    return start_run


def get_descendants(pid):
    children = get_children(pid)
    return children + [found for child in children for found in get_descendants(child)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_line_with_the_url_and_after_ctrl_c_nothing_is_left(run, signum):
    process, port, base = run()
    assert process.lines[-1].endswith(f"webfarm is ready: http://127.0.0.1:{port}  (Ctrl-C stops it)")
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 200
    assert get_status(f"http://127.0.0.1:{base + 1}/readyz") == 200
    started = get_descendants(process.pid)
    assert len(started) == 4  # gunicorn's master, two workers, HAProxy
    process.kill(signum)
    assert process.wait(10) == 0
    assert [pid for pid in started if is_alive(pid)] == []


def test_killed_outright_it_still_leaves_nothing(run):
    process, _, _ = run()
    started = get_descendants(process.pid)
    process.kill(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, started)), "the end of all parts")


@pytest.mark.parametrize("part", ["gunicorn", "haproxy"])
def test_if_a_part_ends_the_rest_is_stopped_and_said(run, part):
    process, _, _ = run()
    started = get_descendants(process.pid)
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in get_children(process.pid)}
    os.kill(next(pid for pid, command in commands.items() if f"{part}\0" in command), signal.SIGKILL)
    assert process.wait() == 1
    name = {"gunicorn": "workers"}.get(part, part)
    assert (
        process.lines[-1] == f"webfarm: the part {name} ended by itself; the lines above say why. The rest was stopped."
    )
    assert not any(map(is_alive, started))


def test_without_haproxy(run):
    process, port, base = run("--no-haproxy", "--workers", "1", ready=False)
    process.wait_for_line(f"webfarm is ready, without HAProxy: http://127.0.0.1:{base}  (Ctrl-C stops it)", 40)
    assert get_status(f"http://127.0.0.1:{port}/") is None


def test_port_is_ignored_with_a_warning(run):
    process, _, _ = run(PORT="5")
    process.wait_for_line("webfarm: PORT is ignored here")


@pytest.fixture
def copy(tmp_path):
    """A copy of the project, for a test that changes a file or writes data."""
    path = tmp_path / "copy"
    shutil.copytree(ROOT, path, ignore=shutil.ignore_patterns(".*", "node_modules", "tests"))
    return path


def test_a_source_file_that_changes_restarts_the_workers(run, copy):
    process, _, base = run("--reload", cwd=copy)
    before = set(get_descendants(process.pid))
    events = copy / "chat" / "events.py"
    events.write_text(events.read_text() + "\n# changed\n")
    process.wait_for_line("events.py modified")
    wait_until(lambda: set(get_descendants(process.pid)) - before, "a new worker")
    wait_until(lambda: get_status(f"http://127.0.0.1:{base}/readyz") == 200, "the new worker's readiness")
    good = events.read_text()
    events.write_text("import a_module_that_is_not_there\n")
    wait_until(lambda: get_status(f"http://127.0.0.1:{base}/readyz") == 500, "the broken file to be met")
    events.write_text(good)
    wait_until(lambda: get_status(f"http://127.0.0.1:{base}/readyz") == 200, "the mended file to be met")


@pytest.mark.parametrize("moment", ["load", "start"])
def test_a_source_file_that_changes_while_it_is_loaded_or_the_servers_start_is_met_too(run, copy, moment):
    process, _, base = run("--reload", "--workers", "1", cwd=copy)
    events = copy / "chat" / "events.py"
    saves_itself = f"""

from pathlib import Path

from webfarm.service import Service

SAVED = Path(__file__).with_name("saved")
start = Service.start


def save(*args):
    if not SAVED.exists():
        SAVED.touch()
        Path(__file__).touch()
    if args:
        start(*args)


if SAVED.exists():
    print("loaded anew")
elif "{moment}" == "load":
    save()
Service.start = save
"""
    events.write_text(events.read_text() + saves_itself)
    process.wait_for_line("events.py modified while it was loaded")
    process.wait_for_line("loaded anew")
    wait_until(lambda: get_status(f"http://127.0.0.1:{base}/readyz") == 200, "what was saved last to be met")


def test_clients_come_back_recovered_to_handlers_that_were_edited_also_after_a_syntax_error(run, copy, node):
    process, port, _ = run("--reload", cwd=copy)
    events = copy / "chat" / "events.py"
    good = events.read_text()
    for name, transport in (("anna", "websocket"), ("ben", "polling")):
        node.connect(name, f"http://127.0.0.1:{port}", transports=[transport], query={"userId": name})
        assert node.call(name, "join", {"room": "lobby"})["ok"]

    def edit(answer, imported="ClientError"):
        handler = f"def on_shout(self, sid: str, text: str) -> str:\n        return {answer}\n\n    def on_leave("
        changed = good.replace("def on_leave(", handler).replace(
            "import time\n", f"import time\nfrom webfarm.errors import {imported}\n", 1
        )
        events.write_text(changed)

    edit("text.upper(")
    process.wait_for_line("'(' was never closed")
    errors = copy / "webfarm" / "errors.py"
    errors.write_text(errors.read_text() + '\n\nclass TooLoud(ClientError):\n    code = "too_loud"\n')
    edit("text.upper() if TooLoud.code else None", "TooLoud")
    for name in ("anna", "ben"):
        wait_until(
            lambda name=name: node.call(name, "shout", "hey", timeout_s=2) == "HEY",
            "the new handler",
            40,
            about=process,
        )
    assert "graceful timeout" not in process.output
    assert node.call("ben", "message", {"room": "lobby", "text": "hello"})["ok"]
    for name in ("anna", "ben"):
        first, *others = node.get(name, "connect")
        assert others
        assert [(one["recovered"], one["sid"]) for [one] in others] == [(True, first[0]["sid"])] * len(others)
        assert node.wait_for(name, "message")[0][0]["text"] == "hello"


@pytest.mark.parametrize(("which", "option"), [(0, "--bind"), (1, "--base-port")])
def test_a_taken_port_is_one_sentence(redis_server, start, which, option):
    ports = [get_free_ports(), get_free_ports(2)]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[which]))
        taken.listen()
        flags = ["--bind", f"127.0.0.1:{ports[0]}", "--base-port", str(ports[1])]
        process = start(sys.executable, "-m", "webfarm", "run", *flags, env={"REDIS_URL": redis_server.url})
        assert process.wait() == 1
    hint = f"is a farm running already? Else choose another with {option}"
    expected = f"webfarm: port {ports[which]} on 127.0.0.1 is in use: {hint}."
    assert process.lines == [expected]


def test_a_redis_that_was_named_must_answer(run):
    url = f"redis://:secret@127.0.0.1:{get_free_ports()}/0"
    process, _, _ = run(ready=False, REDIS_URL=url)
    assert process.wait() == 1
    assert process.lines[-1].startswith(f"webfarm: REDIS_URL {url.replace(':secret@', '')} does not answer: ")
    assert "secret" not in process.output


def test_a_redis_of_its_own_is_started_where_the_default_url_points(start, copy):
    """In a network namespace of its own, where nothing else can answer at that URL."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make a network namespace")
    command = f"ip link set lo up && exec {sys.executable} -m webfarm run"
    process = start("unshare", "--net", "sh", "-c", command, cwd=copy)
    process.wait_for_line("webfarm is ready: http://127.0.0.1:3000", 40)
    process.wait_for_line("on port 6379, its data in")
    assert list((copy / ".run").glob("*-server/appendonlydir/*.aof"))
    started = get_descendants(process.pid)
    assert len(started) == 5
    process.kill(signal.SIGINT)
    assert process.wait(10) == 0
    assert not any(map(is_alive, started))


def test_a_cluster_of_its_own_in_which_a_node_may_die(start, copy):
    """In a network namespace of its own, with an app that needs no Redis: it is the farm that is looked at."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make a network namespace")
    (copy / "wsgi.py").write_text(READY)
    command = f"ip link set lo up && exec {sys.executable} -m webfarm run --cluster 3 --no-haproxy"

    def start_run():
        process = start("unshare", "--net", "sh", "-c", command, cwd=copy)
        process.wait_for_line("webfarm is ready, without HAProxy", 40)
        return process

    process = start_run()
    addresses = ",".join(f"127.0.0.1:{port}" for port in range(6401, 6407))
    nodes = "primaries on ports 6401, 6402, 6403, replicas on 6404, 6405, 6406"
    assert process.wait_for_line("Redis Cluster: primaries").endswith(f"{nodes}; REDIS_URL=redis+cluster://{addresses}")
    assert len(list((copy / ".run").glob("*-server-cluster-3/640?/nodes.conf"))) == 6
    started = get_descendants(process.pid)
    assert len(started) == 9  # six nodes, gunicorn's master, two workers
    children = {Path(f"/proc/{pid}/cmdline").read_text(): pid for pid in get_children(process.pid)}
    os.kill(next(pid for command, pid in children.items() if "127.0.0.1:6401 " in command), signal.SIGKILL)
    process.wait_for_line("redis-6401 ended by itself; the farm goes on, and the next webfarm run starts it again.")
    assert sum(map(is_alive, started)) == 8
    process.kill(signal.SIGINT)
    assert process.wait(10) == 0
    assert not any(map(is_alive, started))
    start_run().wait_for_line("; REDIS_URL=redis+cluster://")


READY = """
from webfarm import EngineServer, WSGIApp

app = WSGIApp(EngineServer())
"""


def test_a_cluster_of_its_own_and_a_redis_that_was_named_are_one_too_many(run):
    process, _, _ = run("--cluster", "3", ready=False)
    assert process.wait() == 2
    expected = "webfarm: --cluster starts a Redis Cluster, and REDIS_URL names a Redis: leave one of them out."
    assert process.lines == [expected]


def test_a_farm_that_has_had_another_number_of_shards_is_refused(run, redis_server):
    prefix = "other-shards"
    with redis.Redis.from_url(redis_server.url) as client:
        client.hset(Keys(prefix, 0).clock, "format", "1/3")
        process, _, _ = run(ready=False, WEBFARM_PREFIX=prefix, WEBFARM_SHARDS="2")
        assert process.wait() == 1
        client.delete(Keys(prefix, 0).clock)
    assert process.lines[-1] == (
        "webfarm: WEBFARM_SHARDS is 2, and this farm has had 3 from its beginning: set WEBFARM_SHARDS to 3, or another"
        " WEBFARM_PREFIX for a new farm."
    )
