"""Makes ``docs/api.md`` from the docstrings of what an app imports: ``python -m tests.kit.api_docs [--check]``.

griffe reads the sources, without importing them. The doors are ``webfarm``, ``webfarm.flask`` and ``webfarm.testing``. ``--check`` writes nothing, and exits with 1 if the page is not what the docstrings say.
"""

import functools
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

from tests.kit.generated import write_or_check

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "api.md"
_HIDDEN_BASES = ("Service",)  # what a worker starts and stops by itself
_DOORS = ("webfarm", "webfarm.flask", "webfarm.testing")
_HEAD = """\
# The public API

`python -m tests.kit.api_docs` makes this page from the docstrings. An app imports these names, and no others. Methods that python-socketio
documents are not repeated here: see [its reference](https://python-socketio.readthedocs.io/).
"""


def render() -> str:
    """Return the page."""
    package = _load()
    lines = [_HEAD]
    for door in _DOORS:
        module = package if door == "webfarm" else package[door.removeprefix("webfarm.")]
        lines += [f"## {door}\n", *_render_docstring(module.docstring)]
        for name in _get_names(module):
            lines += _render_member(module[name])
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _get_names(module: griffe.Module) -> list[str]:
    """Return the names that a module exports, and pytest's fixtures; without an ``__all__`` all names of its own."""
    own = [member for member in module.members.values() if not member.is_alias and not member.name.startswith("_")]
    if not module.exports:
        return [member.name for member in own if not isinstance(member, griffe.Module)]
    fixtures = [member.name for member in own if isinstance(member, griffe.Function) and member.decorators]
    return [*fixtures, *sorted((str(name) for name in module.exports), key=str.lower)]


def _render_member(member: griffe.Object | griffe.Alias) -> Iterator[str]:
    """Yield a door's section; what another package defines has only its name."""
    target = _resolve(member)
    if target is None:
        return
    if not isinstance(target, griffe.Class):
        yield f"### `{target.name}{_get_arguments(target)}`\n"
        yield from _render_docstring(target.docstring) if target.docstring else [_get_comment(target)]
        return
    yield f"### `{target.name}{_get_arguments(target.all_members.get('__init__'))}`\n"
    bases = ", ".join(str(base) for base in target.bases if str(base) not in ("Any", "object"))
    if bases:
        yield f"Base: `{bases}`.\n"
    yield from _render_docstring(target.docstring)
    if "code" in target.members and (code := re.fullmatch(r"[\"'](\w+)[\"']", str(target.members["code"].value))):
        yield f"Code: `{code[1]}`.\n"
    for name, member in target.all_members.items():
        found = _resolve(member)
        if found is not None and not name.startswith("_") and _is_shown(found, target):
            found = _get_delegate(found) or found
            if not found.docstring:
                continue
            yield f"#### `{target.name}.{name}{_get_arguments(found)}`\n"
            yield from _render_docstring(found.docstring)


def _is_shown(member: griffe.Object, target: griffe.Class) -> bool:
    """Return whether a member stands with a class: its own, or one of a base that has no place on the page."""
    owner = member.parent.name if member.parent else ""
    return owner == target.name or owner not in (*_HIDDEN_BASES, *_get_exports())


@functools.cache
def _get_exports() -> tuple[str, ...]:
    return tuple(map(str, _load().exports or ()))


@functools.cache
def _load() -> griffe.Module:
    loaded = griffe.load("webfarm", search_paths=[str(ROOT)], docstring_parser="google", resolve_aliases=True)
    assert isinstance(loaded, griffe.Module)
    return loaded


def _get_delegate(member: griffe.Object) -> griffe.Object | None:
    """Return the method of a part that ``delegate("part", Part.method)`` stands for."""
    named = re.fullmatch(r"delegate\([^,]+, (\w+)\.(\w+)\)", str(getattr(member, "value", "")))
    if named is None:
        return None
    part = _resolve(member.module.members[named[1]])
    return None if part is None else _resolve(part.all_members[named[2]])


def _get_comment(constant: griffe.Object) -> str:
    """Return the comment (``#:``) above a constant."""
    lines = constant.filepath.read_text().splitlines()[: (constant.lineno or 1) - 1]
    above = list(itertools.takewhile(lambda line: line.startswith("#:"), reversed(lines)))
    return _convert(" ".join(line.removeprefix("#: ") for line in reversed(above))) + "\n"


def _resolve(member: griffe.Object | griffe.Alias) -> griffe.Object | None:
    """Return the definition in this package, ``None`` where it lies in another one."""
    try:
        return member.final_target if isinstance(member, griffe.Alias) else member
    except (griffe.AliasResolutionError, griffe.CyclicAliasError):
        return None


def _get_arguments(function: object) -> str:
    """Return a function's arguments as they are defined: names and defaults; nothing for anything else."""
    if not isinstance(function, griffe.Function):
        return ""
    if any(re.match(r"_\w+\(", str(parameter.default)) for parameter in function.parameters):
        return "(...)"  # a dataclass, whose defaults are made by a function of its own
    written, is_keyword_only = [], False
    for parameter in function.parameters:
        kind = parameter.kind
        if parameter.name in ("self", "cls"):
            continue
        if kind is griffe.ParameterKind.keyword_only and not is_keyword_only:
            written.append("*")
        is_keyword_only = kind in (griffe.ParameterKind.keyword_only, griffe.ParameterKind.var_positional)
        stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(kind, "")
        constant = function.module.members.get(str(parameter.default))
        value = constant.value if isinstance(constant, griffe.Attribute) else parameter.default
        default = f"={value}" if value is not None and not stars else ""
        written.append(f"{stars}{parameter.name}{default}")
    return f"({', '.join(written)})"


def _render_docstring(docstring: griffe.Docstring | None) -> Iterator[str]:
    """Yield a docstring as Markdown: its arguments and errors are lists, its literal blocks are fenced."""
    if docstring is None:
        return
    for section in docstring.parse("google", warnings=False):
        match section.kind:
            case griffe.DocstringSectionKind.text:
                yield _convert(str(section.value)) + "\n"
            case griffe.DocstringSectionKind.parameters | griffe.DocstringSectionKind.attributes:
                yield "\n".join(f"- `{item.name}`: {_join(item.description)}" for item in section.value) + "\n"
            case griffe.DocstringSectionKind.raises:
                raised = (f"- `{item.annotation}`: {_join(item.description)}" for item in section.value)
                yield "Raises:\n\n" + "\n".join(raised) + "\n"
            case griffe.DocstringSectionKind.returns | griffe.DocstringSectionKind.yields:
                yield "\n".join(f"Returns: {_join(item.description)}" for item in section.value) + "\n"
            case _:
                yield _convert(str(getattr(section.value, "description", ""))) + "\n"


def _join(text: str) -> str:
    return _convert(" ".join(text.split()))


def _convert(text: str) -> str:
    """Return reStructuredText's few marks as Markdown's."""

    def fence(found: re.Match[str]) -> str:
        lines = found["code"].rstrip().split("\n")
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        language = "" if "\N{BOX DRAWINGS LIGHT VERTICAL AND RIGHT}" in found["code"] else "python"
        introduction = ":" if found["before"] else ""
        return (
            f"{found['before']}{introduction}\n\n```{language}\n"
            + "\n".join(line[indent:] for line in lines)
            + "\n```\n\n"
        )

    text = re.sub(r"(?P<before>[^\n]*?)::\n\n(?P<code>(?:[ ]+[^\n]*\n?|\n)+)", fence, text + "\n")
    return re.sub(r"(?<!`)``(?!`)(.+?)``(?!`)", r"`\1`", text, flags=re.DOTALL).strip()


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), sys.argv[1:], "tests.kit.api_docs"))
