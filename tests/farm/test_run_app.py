"""``webfarm run`` and gunicorn with an app of any folder: found, looked at, and refused with one sentence."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.kit.paths import ROOT
from webfarm.testing import get_free_ports, get_status, wait_until

pytestmark = pytest.mark.cluster

POLL = """
import data
from flask import Flask
from webfarm import Farm

app = Flask(__name__)
farm = Farm(app)
number = 3


def create_app(name="poll", greeting=None):
    return app


@app.get("/own")
def show():
    return data.VALUE
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "poll.py").write_text(POLL)
    (tmp_path / "data.py").write_text('VALUE = "one"\n')
    (tmp_path / "plain.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    (tmp_path / "slow.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nwhile True: time.sleep(60)\n"
    )
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there\n")
    return tmp_path


@pytest.fixture
def run(start, folder, redis_server):
    """Starts ``webfarm run`` in the folder, with one worker; returns the process and the worker's URL."""

    def start_run(*flags, **env):
        base = get_free_ports()
        argv = ["-m", "webfarm", "run", *flags, "--no-haproxy", "--workers", "1", "--base-port", str(base)]
        env = {"REDIS_URL": redis_server.url, "WEBFARM_PREFIX": f"run{base}"} | env
        return start(sys.executable, *argv, env=env, cwd=folder), f"http://127.0.0.1:{base}"

    return start_run


@pytest.mark.parametrize("is_setting", [False, True])
def test_an_app_is_run_from_its_folder(run, folder, is_setting):
    process, url = run(WEBFARM_APP="poll:app") if is_setting else run("poll:app")
    process.wait_for_line("webfarm is ready", 40)
    assert get_status(f"{url}/own") == 200
    assert (folder / ".run").is_dir()


def test_a_module_of_the_app_that_changes_is_loaded_again_also_if_the_master_has_loaded_it(run, folder):
    (folder / "gunicorn.conf.py").write_text("from webfarm.gunicorn import *\nimport data\n")
    process, url = run("poll:app", "--reload")
    process.wait_for_line("webfarm is ready", 40)
    (folder / "data.py").write_text('VALUE = "two"\n')

    def is_new():
        try:
            return requests.get(f"{url}/own", timeout=2).text == "two"
        except requests.RequestException:
            return False

    wait_until(is_new, "the module that has changed", 40, about=process)


@pytest.mark.parametrize(
    ("app", "code", "sentence"),
    [
        ("nothing:app", 1, "webfarm: there is no module 'nothing' in {folder}: go to the folder of the app, and name the app as MODULE:APP."),
        ("poll:other", 1, "webfarm: the module 'poll' has no 'other': name the WSGI application that it has (MODULE:APP)."),
        ("poll:number", 1, "webfarm: poll:number is no WSGI application, as it can't be called: name a Flask app, or a webfarm.Farm."),
        ("poll:create_app", 1, "webfarm: poll:create_app does not take (environ, start_response): a factory is named with parentheses, 'poll:create_app()'."),
        ("plain:app", 1, "webfarm: plain:app has no Farm: write farm = Farm(app)."),
        ("poll", 2, "webfarm: WEBFARM_APP has value 'poll': expected a module and its WSGI application like wsgi:app."),
    ],
)  # fmt: skip
def test_an_app_that_is_not_there_is_one_sentence(run, folder, app, code, sentence):
    process, _ = run(app)
    assert process.wait() == code
    assert process.lines == [sentence.format(folder=folder)]


@pytest.mark.parametrize("name", ["board", "echo_engineio", "echo_socketio", "echo_websocket", "flask_rooms"])
def test_an_app_on_a_part_of_the_farm_is_one(redis_server, name):
    """A bare ``Server``, an ``EngineServer``, websockets, or ``SocketIO(app)``."""
    argv = [sys.executable, "-m", "webfarm.run.app", f"examples.{name}:app"]
    done = subprocess.run(
        argv, cwd=ROOT, env=os.environ | {"REDIS_URL": redis_server.url}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_the_look_at_an_app_ends_with_the_command(run, folder, signum):
    """Also while the app is being imported, and also if the command is killed."""
    process, _ = run("slow:app")
    pid = int(wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text(), "the import"))
    os.kill(process.pid, signum)
    assert process.wait() == (-signum if signum == signal.SIGKILL else 0)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the import")


def test_a_state_that_is_a_file_is_one_sentence(run, folder):
    (folder / ".run").touch()
    process, _ = run("poll:app")
    assert process.wait() == 1
    assert process.lines == [
        f"webfarm: the folder {folder}/.run can't be made (File exists):"
        " move away what is there, change its owner, or run from another folder."
    ]


def test_an_app_that_fails_to_import_shows_its_traceback_and_then_a_sentence(run):
    process, _ = run("broken:app")
    assert process.wait() == 1
    assert process.lines[0] == "Traceback (most recent call last):"
    assert process.lines[-2] == "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    assert process.lines[-1] == "webfarm: broken:app can't be imported: fix the error above, and start again."


def test_gunicorn_alone_says_the_same_sentence(start, folder, redis_server):
    env = {"REDIS_URL": redis_server.url, "PORT": str(get_free_ports())}
    process = start(
        sys.executable, "-m", "gunicorn", "-c", "python:webfarm.gunicorn", "broken:app", env=env, cwd=folder
    )
    assert process.wait() != 0
    assert "webfarm: broken:app can't be imported: fix the error above, and start again." in process.lines


@pytest.mark.parametrize("app", ["plain:app", "poll:create_app"])
def test_gunicorn_alone_logs_that_an_app_can_not_be_served(start, folder, redis_server, app):
    env = {"REDIS_URL": redis_server.url, "PORT": str(get_free_ports())}
    process = start(sys.executable, "-m", "gunicorn", "-c", "python:webfarm.gunicorn", app, env=env, cwd=folder)
    text = "plain:app has no Farm" if app == "plain:app" else "a factory is named with parentheses"
    assert "ERROR" in process.wait_for_line(text)


def test_a_configuration_of_other_workers_is_one_sentence(run, folder):
    (folder / "gunicorn.conf.py").write_text("workers = 4\n")
    process, _ = run("poll:app")
    assert process.wait() == 1
    config = folder / "gunicorn.conf.py"
    assert process.lines == [f"webfarm: {config} starts other workers: begin it with 'from webfarm.gunicorn import *'."]
