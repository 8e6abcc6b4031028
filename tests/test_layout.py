"""The structure: who may import whom, small files, nothing that belongs to one machine."""

import ast
import json
import re

import pytest

from tests.conftest import ROOT

MODULES = sorted((ROOT / "chat").rglob("*.py"))

# What a module may import of this package, beside what stands in its own folder `realtime/`.
LEAVES = {"chat.settings", "chat.errors", "chat.redis_url"}
ALLOWED = {
    "chat": set(),
    "chat.__main__": {"chat.cli"},
    "chat.settings": {"chat.errors", "chat.redis_url"},
    "chat.redis_url": set(),
    "chat.errors": set(),
    "chat.logs": set(),
    "chat.gunicorn": LEAVES | {"chat.logs"},
    "chat.auth": LEAVES,
    "chat.haproxy": LEAVES,
    "chat.limits": LEAVES,
    "chat.proxies": LEAVES,
    "chat.arguments": LEAVES | {"chat.auth"},
    "chat.private": {"chat.realtime"},
    "chat.namespaces": LEAVES,
    "chat.events": LEAVES
    | {"chat.arguments", "chat.auth", "chat.limits", "chat.namespaces", "chat.private", "chat.realtime"},
    "chat.views": set(),
    "chat.outside": LEAVES | {"chat.auth", "chat.events", "chat.realtime", "chat.realtime.strict_json"},
    "chat.api": LEAVES | {"chat.outside", "chat.realtime"},
    "chat.figures": LEAVES
    | {"chat.realtime", "chat.realtime.metrics", "chat.realtime.redis_client", "chat.realtime.vitals"},
    "chat.admin_auth": LEAVES | {"chat.limits", "chat.proxies", "chat.realtime"},
    "chat.admin_feed": LEAVES | {"chat.admin_auth", "chat.figures", "chat.realtime", "chat.realtime.strict_json"},
    "chat.admin": LEAVES
    | {"chat.admin_auth", "chat.admin_feed", "chat.auth", "chat.figures", "chat.namespaces", "chat.realtime"},
    "chat.admin_views": LEAVES | {"chat.admin_auth", "chat.figures"},
    "chat.app": LEAVES
    | {"chat.admin", "chat.admin_auth", "chat.admin_views", "chat.figures"}
    | {"chat.api", "chat.auth", "chat.events", "chat.limits", "chat.proxies", "chat.views", "chat.realtime"},
    "chat.programs": LEAVES | {"chat.realtime.redis_faults"},
    "chat.parts": set(),
    "chat.embedded_cluster": LEAVES | {"chat.realtime.redis_client"},
    "chat.farm": LEAVES | {"chat.embedded_cluster", "chat.haproxy", "chat.parts", "chat.programs"},
    "chat.remote": LEAVES | {"chat.outside", "chat.realtime"},
    "chat.listing": LEAVES | {"chat.realtime.directory", "chat.realtime.plain", "chat.realtime.redis_client"},
    "chat.migrate": LEAVES | {"chat.realtime.keys", "chat.realtime.plain", "chat.realtime.redis_client"},
    "chat.doctor": {"chat.doctor.finding", "chat.doctor.report"},
    "chat.doctor.finding": set(),
    "chat.doctor.machine": LEAVES | {"chat.doctor.finding", "chat.programs"},
    "chat.doctor.store": LEAVES | {"chat.doctor.finding", "chat.realtime.redis_client", "chat.realtime.redis_faults"},
    "chat.doctor.farm": LEAVES | {"chat.doctor.finding", "chat.haproxy"},
    "chat.doctor.report": LEAVES
    | {"chat.doctor.finding", "chat.doctor.machine", "chat.doctor.store", "chat.doctor.farm", "chat.haproxy"},
    "chat.testing": {"chat.testing.clients", "chat.testing.processes", "chat.testing.servers"},
    "chat.testing.processes": set(),
    "chat.testing.clients": {"chat.testing.processes"},
    "chat.testing.servers": {"chat.haproxy", "chat.programs", "chat.testing.processes"},
    "chat.cli": LEAVES
    | {"chat.auth", "chat.doctor", "chat.haproxy", "chat.farm", "chat.listing", "chat.migrate", "chat.remote"},
}


def get_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def get_imports(path):
    """Return the modules of this package that the file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()}
            found |= modules or {str(node.module)}
    return {name for name in found if name.split(".")[0] == "chat"}


@pytest.mark.parametrize("path", MODULES, ids=get_name)
def test_imports_go_downward_only(path):
    name = get_name(path)
    if name.startswith("chat.realtime"):
        assert all(module.startswith("chat.realtime") or module in LEAVES for module in get_imports(path))
    else:
        assert get_imports(path) <= ALLOWED[name]


@pytest.mark.parametrize("path", MODULES, ids=get_name)
def test_files_hold_one_thing_and_say_which(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))


def test_the_lock_files_record_no_download_addresses():
    assert "resolved" not in (ROOT / "package-lock.json").read_text()
    assert not re.search(r"https?:|@ ", (ROOT / "constraints.txt").read_text())


def test_what_the_browser_gets_is_pinned():
    package = json.loads((ROOT / "package.json").read_text())
    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
