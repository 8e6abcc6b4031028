"""Makes the map of all files in ``docs/engine.md``: ``python -m tests.kit.engine_map [--check]``.

from tests.kit.generated import write_or_check

A package's line is the first sentence of its docstring, and so is a module's. What stands around the map is written by hand.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.kit.generated import write_or_check

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "engine.md"
_BEGIN, _END = "<!-- map -->\n", "<!-- end of map -->\n"

# The wings from the ground up: each may import only those before it.
WINGS = (
    *("protocol", "monitoring", "loop", "http", "redis", "engineio", "log", "sessions", "nodes", "manager"),
    *("socketio", "worker", "web", "run", "commands", "doctor", "testing"),
)


def render() -> str:
    """Return the page with a new map."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    return before + _BEGIN + "\n".join(_render_map()) + "\n" + _END + rest.partition(_END)[2]


def _render_map() -> Iterator[str]:
    for wing in WINGS:
        yield from _render_folder(ROOT / "webfarm" / wing, f"webfarm/{wing}/")
    yield from _render_folder(ROOT / "webfarm", "webfarm/")
    yield from _render_folder(ROOT / "chat", "chat/")


def _render_folder(folder: Path, name: str) -> Iterator[str]:
    yield f"### {name}\n\n{_get_sentence(folder / '__init__.py')}\n\n| file | what it is for |\n|---|---|"
    for path in sorted(folder.glob("*.py")):
        if not path.stem.startswith("__"):
            yield f"| `{path.name}` | {_get_sentence(path)} |"
    scripts = sorted(folder.glob("scripts/*/*.lua"))
    for kind in dict.fromkeys(path.parent.name for path in scripts):
        names = ", ".join(f"`{path.name}`" for path in scripts if path.parent.name == kind)
        yield f"| `scripts/{kind}/` | {names} |"
    yield ""


def _get_sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring, as Markdown."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = " ".join(text.split("\n\n")[0].split()).replace("``", "`").replace("|", "/")
    return first.split(". ")[0].rstrip(".:") + "."


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), sys.argv[1:], "tests.kit.engine_map"))
