"""Scripts are named by their folder, and only the wing of that name calls them."""

import ast
import re

import pytest

from tests.kit.paths import ROOT
from webfarm.redis.scripts import NAMES, get_source

FOLDERS = "log", "sessions", "nodes"
WEBFARM = ROOT / "webfarm"


def list_called(source):
    """Return the names of scripts in a module's source."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/\w+", text)}


def find_faults(wing, source):
    return [name for name in list_called(source) if name not in NAMES or name.split("/")[0] != wing]


@pytest.mark.parametrize("path", sorted(WEBFARM.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_wing_of_its_folder_calls_a_script(path):
    if path.parent != WEBFARM / "redis" / "scripts":
        assert find_faults(path.relative_to(WEBFARM).parts[0], path.read_text()) == []


def test_a_call_from_another_wing_is_found():
    planted = 'def end(shard):\n    return shard.commands.run("sessions/end", [], [])\n'
    assert find_faults("nodes", planted) == ["sessions/end"]
    assert find_faults("sessions", planted) == []
    assert find_faults("log", planted.replace("sessions/end", "log/misspelt")) == ["log/misspelt"]


def test_every_script_has_a_name_and_is_called():
    files = {str(path.relative_to(WEBFARM / "redis" / "scripts")) for path in WEBFARM.rglob("*.lua")}
    assert {f"{name}.lua" for name in NAMES} == {name for name in files if not name.startswith("shared/")}
    paths = [path for folder in FOLDERS for path in (WEBFARM / folder).rglob("*.py")]
    assert set().union(*(list_called(path.read_text()) for path in paths)) == {*NAMES}


def test_a_script_gets_only_the_functions_that_it_needs():
    assert "open_clock" not in get_source("log/confirm")
    assert "local function open_clock" in get_source("log/mark")
    assert "read_inbox" not in get_source("log/mark")
