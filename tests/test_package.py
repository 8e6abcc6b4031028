"""What is installed: the package as a wheel, without the project's folder around it."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import webfarm as realtime
from tests.kit.paths import ROOT


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with the wheel, and all else as here."""
    copy, made = tmp_path_factory.mktemp("copy") / "project", tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".*", "node_modules", "*.egg-info", "build")
    )
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(made), str(copy)]
    subprocess.run(pip, check=True, env=os.environ | {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")})
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    packages = next(home.glob("lib/python3*/site-packages"))
    with zipfile.ZipFile(next(made.glob("*.whl"))) as wheel:
        wheel.extractall(packages)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "python"


def run(python, folder, *argv, code=0):
    done = subprocess.run(
        [str(python), *argv], cwd=folder, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_has_all_that_the_package_reads(python, tmp_path):
    """Every file beside the modules, and it is the wheel's that counts here."""
    package = Path(run(python, tmp_path, "-c", "import chat; print(chat.__file__)").strip()).parent
    assert python.parent.parent in package.parents
    folders = [ROOT / "chat", *(path for path in (ROOT / "chat").iterdir() if path.is_symlink() and path.is_dir())]
    here = {
        path.relative_to(ROOT / "chat")
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path.relative_to(package) for path in package.rglob("*") if path.is_file()} >= here
    assert {"py.typed", "haproxy.cfg.j2", "templates/index.html", "static/chat.js"} <= set(map(str, here))


def test_the_commands_and_the_page_work_without_the_projects_folder(python, tmp_path):
    assert "use-server" in run(python, tmp_path, "-m", "webfarm", "haproxy-config")
    sentence = run(python, tmp_path, "-m", "webfarm", "run", code=1)
    assert sentence.startswith("webfarm: webfarm run is for the project's folder;")
    assert "Traceback" not in sentence
    (tmp_path / "alone.py").write_text("from webfarm import Server, WSGIApp\napp = WSGIApp(Server())\n")
    run(python, tmp_path, "-m", "gunicorn", "--check-config", "-c", "python:webfarm.gunicorn", "alone:app")
    page = "from chat.app import create_app; from webfarm.settings import Settings\n"
    page += "print(create_app(Settings()).test_client().get('/demo').text)"
    assert "<html" in run(python, tmp_path, "-c", page)


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
    assert set(realtime.__all__) <= names


def test_the_links_in_the_package_lead_to_where_people_edit():
    assert (ROOT / "chat" / "templates").resolve() == ROOT / "templates"
    assert (ROOT / "chat" / "haproxy.cfg.j2").resolve() == ROOT / "haproxy" / "haproxy.cfg.j2"
