"""The README's tables are held to the code."""

import dataclasses
import re

import pytest

from chat import cli, errors
from chat.events import ChatNamespace
from chat.settings import Settings
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def get_rows(heading):
    """Return the cells of the first table whose head begins with ``heading``."""
    table = README[README.index(f"| {heading} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def test_every_setting_stands_in_the_table_with_its_default():
    documented = {row[0]: row[1] for row in get_rows("variable")}
    expected = {}
    for field in dataclasses.fields(Settings):
        if field.metadata:
            mark = " °" if field.metadata["pending"] else ""
            expected[f"`{field.metadata['env']}`{mark}"] = show(field.default)
    assert documented == expected


def show(default):
    if default is None:
        return "\N{EN DASH}"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{default:g}`" if isinstance(default, float) and default < 1e5 else f"`{default}`"


def test_every_event_stands_in_the_table():
    documented = {row[0].strip("`") for row in get_rows("from the client")}
    handlers = {name.removeprefix("on_") for name in vars(ChatNamespace) if name.startswith("on_")}
    assert documented == handlers - {"connect", "disconnect"}


def test_every_error_code_stands_in_the_table():
    assert {row[0].strip("`") for row in get_rows("code")} == {
        error.code for error in errors.ClientError.__subclasses__()
    }


@pytest.mark.parametrize("name", sorted(cli.main.commands))
def test_every_command_stands_in_the_table_with_its_options(name):
    [row] = [row for row in get_rows("command") if f"chat {name}" in row[0]]
    options = {
        option for parameter in cli.main.commands[name].params for option in parameter.opts if option.startswith("--")
    }
    assert options == set(re.findall(r"--[a-z-]+", row[1]))


def test_every_file_that_the_readme_names_is_there():
    for path in re.findall(r"`((?:chat|haproxy|systemd|templates|tests)/[\w./@-]+|gunicorn\.conf\.py)`", README):
        assert (ROOT / path).exists(), path
