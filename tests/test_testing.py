"""The test kit, as somebody uses it who has an app of their own (docs/testing.md)."""

import os
import re
import sys

import pytest
import socketio

from tests.kit.paths import ROOT
from webfarm.testing import plugin, wait_until

PAGE = (ROOT / "docs" / "testing.md").read_text()
SHOWN = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path):
    """A folder with the files that the page shows."""
    for name, source in zip(("room.py", "test_room.py"), SHOWN, strict=True):
        (tmp_path / name).write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path


def run_tests(start, project):
    process = start(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    return process.wait(60), process.output


def test_the_test_that_is_shown_is_ten_lines_and_passes(start, project):
    assert len(SHOWN[-1].splitlines()) <= 10
    assert run_tests(start, project)[0] == 0


def test_it_fails_when_the_handler_does(start, project):
    """And says so twice: there is no answer as expected, and a traceback in the log."""
    room = project / "room.py"
    room.write_text(room.read_text().replace("(sid, text)", "(sid, txt)"))
    code, output = run_tests(start, project)
    assert code == 1
    assert "a worker's log has a traceback" in output
    assert "NameError: name 'txt' is not defined" in output


def test_a_worker_that_does_not_start_is_told_with_what_it_said(start, project):
    (project / "room.py").write_text("import a_module_that_is_not_there\n")
    code, output = run_tests(start, project)
    assert code == 1
    assert "No module named 'a_module_that_is_not_there'" in output


def test_a_conftest_may_name_the_plugin(start, project):
    (project / "conftest.py").write_text('pytest_plugins = ["webfarm.testing"]\n')
    assert run_tests(start, project)[0] == 0


def test_a_project_without_the_fixtures_does_not_load_gevent(start, tmp_path):
    (tmp_path / "test_alone.py").write_text(
        "import sys\n\ndef test_it():\n    assert not {'gevent', 'socketio', 'redis'} & {*sys.modules}\n"
    )
    code, output = run_tests(start, tmp_path)
    assert code == 0, output


@pytest.mark.parametrize("where", ["conftest.py", "other_plugin.py"])
def test_a_client_fixture_of_another_plugin_or_of_the_project_stays(start, tmp_path, where):
    """pytest-flask and pytest-django have one."""
    (tmp_path / where).write_text("import pytest\n\n@pytest.fixture\ndef client():\n    return 'its own'\n")
    (tmp_path / "test_it.py").write_text("def test_it(client):\n    assert client == 'its own'\n")
    names = ["-p", "other_plugin"] if where == "other_plugin.py" else []
    process = start(sys.executable, "-m", "pytest", "-q", *names, cwd=tmp_path, env={**os.environ, "PYTHONPATH": "."})
    assert process.wait(60) == 0, process.output


def test_every_fixture_stands_in_the_page():
    fixtures = {name for name, one in vars(plugin).items() if "FixtureFunctionDefinition" in type(one).__name__}
    table = PAGE[PAGE.index("| fixture |") :].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == fixtures


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_client_answers_and_is_answered(workers, connect, transport):
    one = connect(workers(1, app="tests.kit.handlers:app").urls[0], transports=(transport,))
    one.answers["question"] = lambda question: ("asked", question)
    assert one.ask("ask", "why?") == ("asked", "why?")
    assert one.get("early") == [["from the connect handler"]]


def test_a_refused_client_says_why(farm, connect):
    url = farm(2, WEBFARM_SECRET="s" * 32).url
    with pytest.raises(socketio.exceptions.ConnectionError) as refused:
        connect(url, query={"userId": "7"})
    assert refused.value.args[0]["data"]["code"] == "unauthorized"


def test_a_client_behind_haproxy_recovers_with_what_it_missed(farm, connect):
    site = farm(2)
    anna, ben = (connect(site.url, query={"userId": user}) for user in ("0", "1"))
    ben.cut()
    assert anna.ask("broadcast", "hello")["ok"]
    assert ben.wait_for("broadcast")[0][0] == "hello"
    assert (ben.is_recovered, ben.connections) == (True, 2)
    wait_until(lambda: anna.get("broadcast"), "its own")
