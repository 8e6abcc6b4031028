"""What is installed: the wheel in an empty environment, without this repository, runs the poll of docs/your-own-app.md."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import webfarm
from tests.kit.paths import ROOT
from tests.kit.your_own_app import write_files
from webfarm.testing import RedisServer, get_free_ports, starting_processes

pytestmark = pytest.mark.timeout(300)

NOT_COPIED = shutil.ignore_patterns(".*", "node_modules", "*.egg-info", "build", "__pycache__")
#: What the wheel has of other packages' files: one of each.
PACKAGES = (
    "socket.io-client/dist/socket.io.min.js",
    "@socket.io/admin-ui/ui/dist/index.html",
    "@mdi/font/css/materialdesignicons.min.css",
    "uplot/dist/uPlot.esm.js",
)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment that has the wheel, its dependencies and the page's extras, and nothing else."""
    copy, made = tmp_path_factory.mktemp("copy") / "project", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_COPIED)
    (copy / "node_modules").symlink_to(ROOT / "node_modules")
    environ = os.environ | {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    home = tmp_path_factory.mktemp("environment")
    python = home / "bin" / "python"
    for argv in (
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(made), str(copy)],
        [sys.executable, "-m", "venv", str(home)],
    ):
        subprocess.run(argv, check=True, env=environ)
    [wheel] = made.glob("*.whl")
    wanted = f"{wheel}[run,embedded,testing]"
    subprocess.run([str(python), "-m", "pip", "install", "-q", wanted, "mypy", "types-gevent"], check=True, env=environ)
    return python


def run(python, folder, *argv, code=0, **env):
    done = subprocess.run(
        [str(python), *argv], cwd=folder, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]} | env
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_has_webfarm_alone_with_all_that_it_reads(python, tmp_path):
    package = Path(run(python, tmp_path, "-c", "import webfarm; print(webfarm.__file__)").strip()).parent
    assert python.parent.parent in package.parents
    assert not (package.parent / "chat").exists() and not (package.parent / "tests").exists()
    files = subprocess.run(["git", "ls-files", "webfarm"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    missing = [name for name in files.split() if not (package.parent / name).is_file()]
    assert missing == []
    assert [name for name in PACKAGES if not (package / "web/packages" / name).is_file()] == []


def test_the_poll_runs_with_nothing_but_the_wheel(python, tmp_path):
    write_files(tmp_path)
    redis = RedisServer(tmp_path)
    redis.start()
    front, base = get_free_ports(), get_free_ports(2)
    url, env = f"http://127.0.0.1:{front}", {"REDIS_URL": redis.url}
    try:
        with starting_processes() as start:
            argv = ["-m", "webfarm", "run", "poll:app", "--bind", f"127.0.0.1:{front}", "--base-port", str(base)]
            start(str(python), *argv, cwd=tmp_path, env=env).wait_for_line("webfarm is ready", 60)
            for path in ("/", "/results.json", "/socket.io/socket.io.js", "/readyz"):
                assert requests.get(url + path, timeout=5).status_code == 200, path
            doctor = ["-m", "webfarm", "doctor", "--root", "/nowhere", "--json", "--url", url]
            found = json.loads(run(python, tmp_path, *doctor, WEBFARM_BASE_PORT=str(base), **env))
            assert [one for one in found if one["level"] == "fault"] == []
            nodes = json.loads(run(python, tmp_path, "-m", "webfarm", "nodes", "--json", **env))
            assert len(nodes) == 2
    finally:
        redis.close()


def test_an_app_with_types_passes_a_strict_check(python, tmp_path):
    shutil.copy(ROOT / "tests" / "kit" / "typed_app.py", tmp_path)
    mypy = ["-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "typed_app.py"]
    assert "Success" in run(python, tmp_path, *mypy)
    app = tmp_path / "typed_app.py"
    app.write_text(app.read_text().replace("str(stored.id)", "stored.id"))
    assert 'got "int", expected "str"' in run(python, tmp_path, *mypy, code=1)


def test_the_app_with_types_uses_every_public_name():
    tree = ast.parse((ROOT / "tests" / "kit" / "typed_app.py").read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(webfarm.__all__) <= names


def test_the_link_in_the_package_leads_to_where_people_edit():
    assert (ROOT / "webfarm" / "haproxy.cfg.j2").resolve() == ROOT / "haproxy" / "haproxy.cfg.j2"
