"""The structure: who may import whom, small files, nothing that belongs to one machine."""

import ast
import json
import re

import pytest

from tests.conftest import ROOT

MODULES = sorted((ROOT / "chat").rglob("*.py"))

# What a module may import of this package, beside what stands in its own folder `realtime/`.
LEAVES = {"webfarm.settings", "webfarm.errors", "webfarm.redis.url"}
ALLOWED = {
    "chat": set(),
    "webfarm.__main__": {"webfarm.cli"},
    "webfarm.settings": {"webfarm.errors", "webfarm.redis.url"},
    "webfarm.redis.url": set(),
    "webfarm.errors": set(),
    "webfarm.logs": set(),
    "webfarm.gunicorn": LEAVES | {"webfarm.logs"},
    "webfarm.auth": LEAVES,
    "webfarm.haproxy": LEAVES,
    "webfarm.rate_limits": LEAVES,
    "webfarm.web.proxies": LEAVES,
    "chat.event_arguments": LEAVES | {"webfarm.auth"},
    "chat.private_rooms": {"webfarm"},
    "webfarm.socketio.namespace": LEAVES,
    "chat.events": LEAVES
    | {
        "chat.event_arguments",
        "webfarm.auth",
        "webfarm.rate_limits",
        "webfarm.socketio.namespace",
        "chat.private_rooms",
        "webfarm",
    },
    "chat.demo": LEAVES | {"chat.events", "webfarm.web.proxies", "webfarm"},
    "chat.pages": set(),
    "chat.messages": LEAVES | {"webfarm.auth", "chat.events", "webfarm", "webfarm.protocol.strict_json"},
    "webfarm.web.api": LEAVES | {"chat.messages", "webfarm"},
    "webfarm.web.figures": LEAVES
    | {"webfarm", "webfarm.monitoring.counters", "webfarm.redis.client", "webfarm.monitoring.gauges"},
    "webfarm.web.admin_auth": LEAVES | {"webfarm.rate_limits", "webfarm.web.proxies", "webfarm"},
    "webfarm.web.admin_feed": LEAVES
    | {"webfarm.web.admin_auth", "webfarm.web.figures", "webfarm", "webfarm.protocol.strict_json"},
    "webfarm.web.admin": LEAVES
    | {
        "webfarm.web.admin_auth",
        "webfarm.web.admin_feed",
        "webfarm.auth",
        "webfarm.web.figures",
        "webfarm.socketio.namespace",
        "webfarm",
    },
    "webfarm.web.admin_views": LEAVES | {"webfarm.web.admin_auth", "webfarm.web.figures"},
    "chat.app": LEAVES
    | {"webfarm.web.admin", "webfarm.web.admin_auth", "webfarm.web.admin_views", "webfarm.web.figures"}
    | {
        "webfarm.web.api",
        "webfarm.auth",
        "chat.demo",
        "chat.events",
        "webfarm.rate_limits",
        "webfarm.web.proxies",
        "chat.pages",
        "webfarm",
    },
    "webfarm.run.programs": LEAVES | {"webfarm.redis.preflight"},
    "webfarm.run.processes": set(),
    "webfarm.run.redis_cluster": LEAVES | {"webfarm.redis.client"},
    "webfarm.run.farm": LEAVES
    | {"webfarm.run.redis_cluster", "webfarm.haproxy", "webfarm.run.processes", "webfarm.run.programs"},
    "webfarm.commands.remote": LEAVES | {"chat.messages", "webfarm"},
    "webfarm.commands.listing": LEAVES | {"webfarm.nodes.directory", "webfarm.redis.blocking", "webfarm.redis.client"},
    "webfarm.commands.migrate": LEAVES | {"webfarm.redis.keys", "webfarm.redis.blocking", "webfarm.redis.client"},
    "webfarm.doctor": {"webfarm.doctor.finding", "webfarm.doctor.report"},
    "webfarm.doctor.finding": set(),
    "webfarm.doctor.machine": LEAVES | {"webfarm.doctor.finding", "webfarm.run.programs"},
    "webfarm.doctor.store": LEAVES | {"webfarm.doctor.finding", "webfarm.redis.client", "webfarm.redis.preflight"},
    "webfarm.doctor.farm": LEAVES | {"webfarm.doctor.finding", "webfarm.haproxy"},
    "webfarm.doctor.report": LEAVES
    | {
        "webfarm.doctor.finding",
        "webfarm.doctor.machine",
        "webfarm.doctor.store",
        "webfarm.doctor.farm",
        "webfarm.haproxy",
    },
    "webfarm.testing": {"webfarm.testing.clients", "webfarm.testing.processes", "webfarm.testing.servers"},
    "webfarm.testing.processes": set(),
    "webfarm.testing.clients": {"webfarm.testing.processes"},
    "webfarm.testing.servers": {"webfarm.haproxy", "webfarm.run.programs", "webfarm.testing.processes"},
    "webfarm.cli": LEAVES
    | {
        "webfarm.auth",
        "webfarm.doctor",
        "webfarm.haproxy",
        "webfarm.run.farm",
        "webfarm.commands.listing",
        "webfarm.commands.migrate",
        "webfarm.commands.remote",
    },
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
    if name.startswith("webfarm"):
        assert all(module.startswith("webfarm") or module in LEAVES for module in get_imports(path))
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
