"""The prose check names what is planted, at its line, and is silent about good English."""

import subprocess
import sys

import pytest

from tests.kit.paths import ROOT
from tests.kit.prose import MAX_WORDS, check, find_files

LONG = "word " * MAX_WORDS + "end."


def find(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return [fault.removeprefix(f"{path}:") for fault in check(path)]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("page.md", f"# Title\n\nShort. {LONG}\n", 3),
        ("page.md", f"# Title\n\n- Short.\n- {LONG}\n", 4),
        ("page.md", f"| a | b |\n|---|---|\n| `a|b` | {LONG} |\n", 3),
        ("page.md", f"1. Step:\n\n    {LONG}\n", 3),
        ("page.md", f"```sh\nls\n```\n\n> {LONG}\n", 5),
        ("module.py", f'"""Title.\n\n{LONG}\n"""\n', 3),
        ("module.py", f'def f():\n    """Title.\n\n    Args:\n        a: {LONG}\n    """\n', 5),
        ("module.py", f'class A:\n    """{LONG}"""\n', 2),
        ("module.py", f"x = 1\n# Short.\n# {LONG}\n", 3),
        ("module.py", f"x = 1  # {LONG}\n", 1),
        ("module.py", f'f(\n    help="{LONG}"\n)\n', 2),
        ("script.lua", f"-- Title.\n-- KEYS: a, b\n-- {LONG}\n", 2),
        ("script.lua", f"local a = 1 -- {LONG}\n", 1),
        ("script.js", f"const a = 'http://b'; // {LONG}\n", 1),
        ("script.js", f"/**\n * Short.\n * {LONG}\n */\n", 3),
        ("proxy.cfg.j2", f"{{#- Short. -#}}\nglobal\n    # {LONG}\n", 3),
        ("farm.env", f"# {LONG}\n#NAME=value\n", 1),
    ],
)
def test_a_long_sentence_is_named_with_its_line_and_its_words(tmp_path, name, text, line):
    [fault] = find(tmp_path, name, text)
    assert fault.startswith(f"{line}: sentence has {MAX_WORDS + 1} words: ") or "-- KEYS" in text
    assert fault.startswith(f"{line}: sentence has ")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("It starts anew.", "anew"),
        ("That was mended.", "mended"),
        ("A worker stands still.", "stands still"),
        ("It stood\nstill.", "stood still"),
        ("The worker has gone.", "has gone"),
        ("Redis is away.", "is away"),
        ("`clients` and its kin.", "kin"),
        ("Whoever asks is answered.", "Whoever"),
        ("An event of one's own.", "one's"),
        ("It can't be had.", "be had"),
        ("The parts thereof.", "thereof"),
        ("Who is kicked may connect again.", '"Who" without a question'),
    ],
)
@pytest.mark.parametrize("form", ["page.md", "module.py", "script.lua"])
def test_a_banned_word_is_named_with_what_to_write(tmp_path, form, text, word):
    planted = {
        "page.md": text,
        "module.py": f'"""{text}"""',
        "script.lua": "\n".join(f"-- {line}" for line in text.split("\n")),
    }
    [fault] = find(tmp_path, form, planted[form] + "\n")
    assert word in fault
    assert fault.startswith("1: ")


@pytest.mark.parametrize(
    "text",
    [
        "word " * 23 + "`a span of many words`, https://example.org/a/page.",
        "word " * 20 + "e.g. this one, i.e. that. " + "word " * 20 + "end.",
        "word " * 20 + "(see above.) " + "word " * 20 + "end.",
        "[" + "word " * 20 + "](docs/page.md). " + "word " * 20 + "end.",
        "- " + "word " * 20 + "\n- " + "word " * 20,
        "| " + "word " * 20 + " | " + "word " * 20 + " |",
        "    def an_example(): " + "word " * 30,
        "```python\n" + "word " * 30 + "\n```",
        "We recommend and amend it; a kind reader, a kindred akin to it.",
        "`anew` is a name, and so is ``mend``.",
        "The packet has gone through HAProxy. The room is far away from it.",
        "Who reads it? The operator. No one's clock is asked, nor everyone's.",
        "Who may join which room.",
        "A worker that is 2.3 s away.",
        "The value is 1.5, 10,000 or 20 %.",
    ],
)
def test_good_english_raises_no_alarm(tmp_path, text):
    assert find(tmp_path, "page.md", text + "\n") == []


@pytest.mark.parametrize(
    "source",
    [
        'x = "anew"  # noqa: E501\n',
        '"""Title::\n\n  ' + "word " * 30 + '\n\nEnd.\n"""\n',
        '"""Title.\n\nArgs:\n    ' + ", ".join(f"name{i}" for i in range(5)) + ": what\n        they are.\n" + '"""\n',
        f'def f():\n    """Title.\n\n    \b\n    {"word " * 30}\n\n    End.\n    """\n',
        '"""Title:\n\n=====  =====\n'
        + ("word " * 20 + " " + "word " * 20 + "\n") * 2
        + "=====  =====\n\nEnd.\n"
        + '"""\n',
        "#!/usr/bin/env python\n# " + "word " * 20 + "\n\n# " + "word " * 20 + "\n",
        "def mend(anew):\n    return anew\n",
    ],
)
def test_code_raises_no_alarm(tmp_path, source):
    assert find(tmp_path, "module.py", source) == []


def test_the_command_looks_at_paths_or_at_the_whole_tree_but_its_tests(tmp_path):
    (tmp_path / "page.md").write_text("Start anew.\n")
    for argument in (tmp_path, tmp_path / "page.md"):
        run = subprocess.run(
            [sys.executable, "-m", "tests.kit.prose", argument], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (run.returncode, run.stdout) == (1, f'{tmp_path / "page.md"}:1: "anew": write again\n')
    looked_at = {str(path.relative_to(ROOT)) for path in find_files(["*.md", "docs", "webfarm", "chat"], ROOT)}
    assert {"README.md", "docs/delivery.md", "webfarm/cli.py", "webfarm/redis/scripts/log/store.lua"} <= looked_at
    assert not any("node_modules" in name for name in looked_at)
