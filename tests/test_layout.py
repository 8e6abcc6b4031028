"""The structure: who may import whom, small parts, nothing that belongs to one machine.

``WINGS`` is the house, ground first. Imports that are only for types, and lazy ones, count.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.kit.paths import ROOT

PACKAGES = ("webfarm", "chat")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

LEAVES = {"errors", "defaults", "service", "names", "addresses"}
_BELOW_MANAGER = {"protocol", "monitoring", "loop", "http", "redis", "engineio", "log", "sessions", "nodes"}
#: Each wing of ``webfarm``, and what it may import beside the leaves. A wing stands below those after it.
WINGS: dict[str, set[str]] = {
    "protocol": set(),
    "monitoring": set(),
    "loop": {"monitoring"},
    "http": {"protocol", "monitoring", "loop"},
    "redis": {"loop", "monitoring"},
    "engineio": {"protocol", "monitoring", "loop", "http"},
    "log": {"protocol", "monitoring", "loop", "redis"},
    "sessions": {"protocol", "monitoring", "loop", "redis", "log"},
    "nodes": {"protocol", "monitoring", "loop", "redis", "log", "sessions"},
    "manager": _BELOW_MANAGER,
    "socketio": (_BELOW_MANAGER | {"manager"}) - {"redis", "log"},
    "worker": {"http", "monitoring"},
    "auth": {"monitoring"},
    "rate_limits": {"monitoring"},
    "settings": {"monitoring", "redis.url"},  # which rule what is a URL of Redis
    "web": {"monitoring", "redis", "nodes", "manager", "socketio", "auth", "settings", "rate_limits"},
}
_ALL_WINGS = {*WINGS}
WINGS["wiring"] = _ALL_WINGS - {"worker"}
_DOORS = {"flask", "emitter", "client"}
WINGS |= {door: _ALL_WINGS | {"wiring"} for door in _DOORS}
_OF_FARM = {"logs", "haproxy", "gunicorn", "run", "commands", "doctor", "testing", "cli", "__main__"}
_FOR_FARM = (
    _DOORS | _OF_FARM | {"wiring", "auth", "settings", "nodes", "redis", "socketio.external_events", "web.packages"}
)
WINGS |= {part: _FOR_FARM for part in _OF_FARM}

#: What does I/O, or waits for it.
IO = {"asyncio", "gevent", "geventwebsocket", "httptools", "redis", "select", "selectors", "socket", "_socket", "ssl"}
MAX_FILE_LINES, MAX_CLASS_LINES, MAX_METHODS = 400, 250, 35


def get_imports(name: str, source: str, modules: Iterable[str]) -> set[str]:
    """Return all that a module imports: modules of ours by their full names, of others as they are written."""
    known, found = set(modules), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one if one in known else node.module for one in names}
    return found - {name}


def get_wing(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def find_forbidden(name: str, imports: Iterable[str]) -> list[str]:
    """Return a sentence for each import that goes upward, or to a wing that is not for this one."""
    package, wing = name.split(".")[0], get_wing(name)
    found = []
    for module in sorted(one for one in imports if one.split(".")[0] in PACKAGES):
        its_package, its_wing = module.split(".")[0], get_wing(module)
        if package == "chat":
            allowed = its_package == "chat" or its_wing in ("", "flask", "testing")
        elif its_package == "chat" or not its_wing:
            allowed = name == "webfarm"  # nothing of webfarm takes a name from its door
        elif name == "webfarm":
            allowed = True
        else:
            may = WINGS.get(wing, set())
            of_wing = ".".join(module.split(".")[1:3])
            allowed = its_wing == wing or its_wing in LEAVES or its_wing in may or of_wing in may
        if not allowed:
            found.append(f"{name} imports {module}")
    return found


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle of imports, the first one at both ends; none if there is no circle."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for one in sorted(graph.get(module, ())):
            if circle := visit(one, [*path, module]):
                return circle
        done.add(module)
        return []

    return next(filter(None, (visit(module, []) for module in sorted(graph))), [])


def make_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return which modules each imports; the door stands at the top, and ``chat.__init__`` is empty."""
    graph = {name: get_imports(name, source, sources) & {*sources} for name, source in sources.items()}
    return {name: imports - {"webfarm", "chat"} for name, imports in graph.items()}


class Class:
    """A class of ours, and where its module has the names of its bases from."""

    def __init__(self, node: ast.ClassDef, origins: dict[str, str]) -> None:
        self.name = node.name
        self.lines = (node.end_lineno or 0) - node.lineno + 1
        self.methods = sum(isinstance(one, ast.FunctionDef) for one in node.body)
        names = [ast.unparse(base).partition("[")[0] for base in node.bases]
        self.bases = [origins[name] for name in names if name in origins]  # others are another package's


def find_fat_classes(sources: dict[str, str]) -> list[str]:
    """Return a sentence for each class that is too large, its own bases counted with it."""
    classes: dict[str, Class] = {}
    for module, source in sources.items():
        nodes = [*ast.walk(ast.parse(source))]
        origins = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        own = [node for node in nodes if isinstance(node, ast.ClassDef)]
        origins |= {node.name: f"{module}.{node.name}" for node in own}
        classes |= {f"{module}.{node.name}": Class(node, origins) for node in own}
    doors = {one.name: one for one in classes.values()}

    def list_all(one: Class) -> Iterator[Class]:
        yield one
        for base in one.bases:
            found = classes.get(base) or (doors.get(base[8:]) if base.startswith("webfarm.") else None)
            if found and found is not one:
                yield from list_all(found)

    found = []
    for one in classes.values():
        family = {id(member): member for member in list_all(one)}.values()
        lines, methods = sum(member.lines for member in family), sum(member.methods for member in family)
        if lines > MAX_CLASS_LINES or methods > MAX_METHODS:
            found.append(f"{one.name} has {lines} lines and {methods} methods, with its bases")
    return sorted(found)


SOURCES = {name: path.read_text() for name, path in FILES.items()}


@pytest.mark.parametrize("name", FILES)
def test_imports_go_downward_only(name: str) -> None:
    assert find_forbidden(name, get_imports(name, SOURCES[name], FILES)) == []


def test_each_file_stands_in_a_wing() -> None:
    assert {get_wing(name) for name in FILES if name.startswith("webfarm.")} <= {*WINGS} | LEAVES


def test_no_circle_of_imports() -> None:
    assert " -> ".join(find_circle(make_graph(SOURCES))) == ""


@pytest.mark.parametrize("name", [name for name in FILES if get_wing(name) == "protocol"])
def test_the_protocol_does_no_io(name: str) -> None:
    assert not {module.split(".")[0] for module in get_imports(name, SOURCES[name], FILES)} & IO


def test_no_class_is_large() -> None:
    assert find_fat_classes(SOURCES) == []


@pytest.mark.parametrize("name", FILES)
def test_files_hold_one_thing_and_say_which(name: str) -> None:
    assert len(SOURCES[name].splitlines()) <= MAX_FILE_LINES
    assert ast.get_docstring(ast.parse(SOURCES[name]))


def test_a_planted_upward_import_is_named() -> None:
    """Also one that is for types alone, one in a function, and one of the app's."""
    planted = (
        "from webfarm.manager import redis_manager\n"
        "if TYPE_CHECKING:\n    from webfarm.socketio.server import Server\n"
        "def later():\n    import chat.events\n    from webfarm import Farm\n"
        "from webfarm.redis.keys import Keys\n"
    )
    assert find_forbidden("webfarm.log.writer", get_imports("webfarm.log.writer", planted, FILES)) == [
        "webfarm.log.writer imports chat.events",
        "webfarm.log.writer imports webfarm",
        "webfarm.log.writer imports webfarm.manager.redis_manager",
        "webfarm.log.writer imports webfarm.socketio.server",
    ]
    assert find_forbidden("chat.events", ["webfarm", "webfarm.redis.keys"]) == [
        "chat.events imports webfarm.redis.keys"
    ]


def test_a_planted_circle_is_named() -> None:
    planted = "import typing\nif typing.TYPE_CHECKING:\n    from webfarm.log.writer import Writer\n"
    sources = SOURCES | {"webfarm.log.entry": planted}
    circle = find_circle(make_graph(sources))
    assert circle[0] == circle[-1]
    assert {"webfarm.log.entry", "webfarm.log.writer"} <= {*circle}


def test_a_planted_large_class_is_named() -> None:
    """What a class inherits from one of ours counts as its own."""
    methods = "\n".join(f"    def method_{number}(self): ..." for number in range(20))
    planted = f"class Half:\n{methods}\nclass Whole(Half, socketio.Server):\n{methods}\n"
    assert find_fat_classes({"webfarm.planted": planted}) == ["Whole has 42 lines and 40 methods, with its bases"]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.stem)
def test_tests_share_by_the_kit(path: Path) -> None:
    """No module of tests imports another one: what they share lies in ``tests/kit``."""
    modules = re.findall(r"^\s*(?:from|import) (tests\.\S+)", path.read_text(), re.MULTILINE)
    assert [module for module in modules if not module.startswith(("tests.kit", "tests.conftest"))] == []


def test_the_lock_files_record_no_download_addresses() -> None:
    assert "resolved" not in (ROOT / "package-lock.json").read_text()
    assert not re.search(r"https?:|@ ", (ROOT / "constraints.txt").read_text())


def test_what_the_browser_gets_is_pinned() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
