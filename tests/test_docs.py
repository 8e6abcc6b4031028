"""The README's tables and the pages in ``docs/`` are held to the code, and what they show is run."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import textwrap

import pytest
import requests
import yaml

import chat
from chat import events
from chat.events import ChatNamespace
from tests.kit import engine_map, glossary
from tests.kit.paths import ROOT
from webfarm import Namespace, RedisManager, Server, cli, errors
from webfarm.run.programs import find_haproxy
from webfarm.settings import Settings
from webfarm.testing import wait_until

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def get_rows(heading):
    """Return the cells of the first table whose head begins with ``heading``."""
    table = README[README.index(f"| {heading} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def test_every_setting_stands_in_the_table_with_its_default():
    documented = {row[0]: row[1] for row in get_rows("variable")}
    fields = [field for field in dataclasses.fields(Settings) if field.metadata]
    expected = {f"`{field.metadata['env']}`": show(getattr(Settings(), field.name)) for field in fields}
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
    hooks = {name.removeprefix("on_") for name in vars(Namespace) if name.startswith("on_")}
    assert documented == handlers - hooks - {"connect", "disconnect"}


def test_every_error_code_stands_in_the_table():
    assert {row[0].strip("`") for row in get_rows("code")} == {
        error.code for error in errors.ClientError.__subclasses__()
    }


@pytest.mark.parametrize("name", sorted(cli.main.commands))
def test_every_command_stands_in_the_table_with_its_options(name):
    [row] = [row for row in get_rows("command") if f"webfarm {name}" in row[0]]
    parameters = [one for one in cli.main.commands[name].params if not getattr(one, "hidden", False)]
    options = {option for parameter in parameters for option in parameter.opts if option.startswith("--")}
    assert options == set(re.findall(r"--[a-z-]+", row[1]))


def test_every_command_in_the_table_is_one():
    named = {name for row in get_rows("command") for name in re.findall(r"`webfarm ([a-z-]+)", row[0])}
    assert named == set(cli.main.commands)


def test_every_file_that_the_readme_names_is_there():
    for path in re.findall(
        r"`((?:benchmarks|chat|docs|examples|grafana|haproxy|systemd|templates|tests|webfarm)/[\w./@-]+|gunicorn\.conf\.py)`",
        README + read("engine.md").split("## All files")[0],
    ):
        assert (ROOT / path).exists(), path


def test_each_place_to_change_has_the_name_that_the_map_gives():
    """A row names a part in brackets behind its file: ``file`` (``Part``)."""
    rows = read("engine.md").split("## All files")[0]
    named = re.findall(r"`((?:webfarm|chat)/[\w./]+\.py)` \(`(\w+)`\)", rows)
    assert len(named) > 5
    for path, name in named:
        assert re.search(rf"^(class {name}|def {name}|{name}\b)", (ROOT / path).read_text(), re.MULTILINE), (path, name)


def test_every_module_stands_in_the_map():
    """If it fails: python -m tests.kit.engine_map."""
    assert read("engine.md") == engine_map.render()
    wings = {path.parent.name for path in (ROOT / "webfarm").glob("*/__init__.py")}
    assert wings == set(engine_map.WINGS)


def test_every_module_of_the_chat_stands_in_its_own_map():
    named = set(re.findall(r"``(\w+)``", chat.__doc__))
    assert named == {path.stem for path in (ROOT / "chat").glob("*.py")} - {"__init__"}


def test_the_readme_and_the_file_to_edit_show_the_same_handler():
    [shown] = [block for block in get_blocks(README, "python") if "def on_shout" in block]
    assert textwrap.indent(shown, "    ") in inspect.cleandoc(events.__doc__) + "\n"


def get_figures():
    """Return the figures of each row of the comparison in RESULTS.md: of Node, stock python-socketio and webfarm."""
    rows, script = {}, ""
    for line in (ROOT / "benchmarks" / "RESULTS.md").read_text().split("## How they are taken")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7:
            script = cells[0] or script
            rows[f"`{script}`: {cells[1]}".removesuffix(" ▲")] = cells[2:5]
    return rows


def test_the_readmes_comparison_has_the_figures_of_the_results():
    figures = get_figures()
    compared = get_rows("row")
    assert {row[0]: row[1:] for row in compared} == {row[0]: figures[row[0]] for row in compared}
    lost = [row for row in compared if any(float(row[n].replace(",", "")) < float(row[3]) for n in (1, 2))]
    assert len(lost) >= 5


def test_the_readme_names_the_paths_that_a_worker_answers(workers):
    """With both keys set, none of them is unknown."""
    [url] = workers(1, WEBFARM_ADMIN_PASSWORD="secret", WEBFARM_API_KEY="x" * 16).urls
    paths = [path for row in get_rows("path") for path in re.findall(r"`(?:POST )?(/[\w./-]*)`", row[0])]
    assert {"/healthz", "/readyz", "/metrics", "/api/emit", "/status", "/admin-ui"} <= set(paths)
    for path in paths:
        query = {"EIO": "4", "transport": "polling"} if path == "/socket.io/" else {}
        method = requests.post if path == "/api/emit" else requests.get
        assert method(url + path, params=query, timeout=5).status_code in (200, 401), path


def test_the_app_of_the_readme_runs(own_redis, workers, connect, tmp_path):
    [source] = [block for block in get_blocks(README, "python") if "def vote" in block]
    (tmp_path / "shown.py").write_text(source)
    own_redis.start()
    one, other = map(connect, workers(2, "--pythonpath", str(tmp_path), app="shown:app", url=own_redis.url).urls)
    assert one.ask("vote", "tea") == "ok"
    assert other.wait_for("voted") == [["tea"]]


def read(name):
    return (ROOT / "docs" / name).read_text()


def get_blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def get_anchors(path):
    """Return the anchors of a page: its own, and those that GitHub makes of its headings."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    named = re.findall(r'<a id="([\w-]+)">', prose)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_page_or_file_and_a_heading_that_are_there(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor in get_anchors(path), f"{target}#{anchor}"


def test_the_glossary_has_each_term_once():
    terms = glossary.get_terms()
    assert len(terms) == len(set(terms)) >= 20


@pytest.mark.parametrize("page", glossary.PAGES, ids=lambda page: page.name)
def test_the_first_use_of_a_term_links_to_the_glossary(page):
    """If it fails: python -m tests.kit.glossary."""
    assert not glossary.find_first_uses(page.read_text())


def test_every_page_stands_in_the_index():
    assert set(re.findall(r"\]\((\w[\w-]*\.md)\)", read("README.md"))) >= {page.name for page in PAGES} - {"README.md"}


def get_python(name):
    """Return the Python that a page shows: its blocks, and what stands in its tables of ``sio`` and ``manager``."""
    inline = re.findall(r"`((?:sio|manager)\.\w[^`]*)`", read(name))
    return [ast.parse(source) for source in (*get_blocks(read(name), "python"), *inline)]


@pytest.mark.parametrize("name", ["clients.md", "from-flask-socketio.md", "from-node.md"])
def test_every_method_that_a_page_calls_is_there_and_takes_those_arguments(name):
    owners = {"sio": Server, "manager": RedisManager("redis://localhost")}
    for node in (node for tree in get_python(name) for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners:
            assert hasattr(owners[node.value.id], node.attr), ast.unparse(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("sio."):
            names = [keyword.arg for keyword in node.keywords]
            method = inspect.signature(getattr(Server, node.func.attr))
            method.bind(None, *node.args, **dict.fromkeys(names))


@pytest.fixture
def run(own_redis, workers, tmp_path):
    """Starts the app that a page shows, on two workers; returns their URLs."""

    def run_app(name):
        [source] = [block for block in get_blocks(read(name), "python") if "import Farm" in block]
        (tmp_path / "shown.py").write_text(source)
        own_redis.start()
        process = workers(2, "--pythonpath", str(tmp_path), app="shown:app", url=own_redis.url)
        return process.urls

    return run_app


def test_the_app_for_those_who_come_from_flask_socketio_runs(run, node):
    """A room over two workers; who has not joined is refused, who was cut off is recovered."""
    for name, url in zip("ab", run("from-flask-socketio.md"), strict=True):
        node.connect(name, url, transports=["websocket"])
    assert node.call("a", "say", {"room": "lobby"})["error"]["code"] == "not_in_room"
    assert [node.call(name, "join", "lobby") for name in "ab"] == ["ok", "ok"]
    [joined] = node.wait_for("a", "joined")
    assert joined["sid"] == node.get("b", "connect")[0][0]["sid"]
    node.cut("b")
    assert node.call("a", "say", {"room": "lobby", "text": "hi"}) == "ok"
    assert node.wait_for("b", "said") == [{"room": "lobby", "text": "hi"}]
    assert node.wait_for("b", "connect", 2)[1]["recovered"]


def test_the_app_for_those_who_come_from_node_runs(run, node):
    """A refusal by token, a room over two workers, and the count of its clients."""
    urls = run("from-node.md")
    for name, url in zip("ab", urls, strict=True):
        node.connect(name, url, auth={"token": "secret"}, transports=["websocket"])
    node.open("c", urls[0], auth={"token": "wrong"}, transports=["websocket"])
    assert node.wait_for("c", "connect_error")[0]["data"]["code"] == "unauthorized"
    assert node.call("a", "say", "hi") == "ok"
    assert [node.wait_for(name, "said")[0]["text"] for name in "ab"] == ["hi", "hi"]
    assert node.call("b", "online") == 2


def test_the_python_client_takes_what_the_page_says(workers, capsys):
    shown = {}
    for block in get_blocks(read("clients.md"), "python"):
        exec(compile(block, "clients.md", "exec"), shown)
    handler = shown["message"]
    client = shown["client"]
    client.on("message", handler)
    shown["run"](workers(1).urls[0])
    try:
        assert client.call("message", {"id": "1", "text": "hello"})["ok"]
        wait_until(lambda: "{'id': '1', 'text': 'hello'}" in capsys.readouterr().out, "the message")
    finally:
        client.disconnect()


def get_texts():
    """Return all texts in the project's source, each piece of an f-string by itself."""
    for path in [*(ROOT / "webfarm").rglob("*.py"), *(ROOT / "chat").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                yield node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value


def test_every_error_that_troubleshooting_quotes_is_one_of_this_project():
    texts = set(get_texts())
    own = read("troubleshooting.md").split("## From elsewhere")[0]
    quoted = re.findall(r"^\| (`.*?) \|", own, re.MULTILINE)
    assert len(quoted) > 50
    for piece in [piece for row in quoted for text in re.findall("`([^`]+)`", row) for piece in text.split("\u2026")]:
        if len(piece.strip(" .:")) > 2 and " " in piece.strip():
            assert any(piece.strip() in text for text in texts), piece


def test_the_kubernetes_manifest_is_yaml_and_gives_a_drain_its_time():
    [manifest] = get_blocks(read("kubernetes.md"), "yaml")
    objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(manifest)}
    pod = objects["StatefulSet", "webfarm"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    environ = {one["name"]: one["value"] for one in container["env"]}
    assert Settings.from_env(environ | {"WEBFARM_SECRET": "x" * 32}).warnings == ()
    pre_stop_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pre_stop_s + Settings().drain_s + 8  # webfarm/gunicorn.py's
    assert objects["Service", "webfarm"]["spec"]["ports"][0]["port"] == int(environ["PORT"])


def test_haproxy_takes_its_configuration_for_kubernetes(tmp_path):
    [script] = [block for block in get_blocks(read("kubernetes.md"), "sh") if "haproxy-config" in block]
    script = script.split("kubectl")[0].replace(".venv/bin/webfarm", f"{sys.executable} -m webfarm")
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, check=True)
    checked = subprocess.run(
        [find_haproxy(), "-c", "-f", "haproxy.cfg"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "webfarm-9.webfarm.default.svc.cluster.local:3001 check" in (tmp_path / "haproxy.cfg").read_text()
