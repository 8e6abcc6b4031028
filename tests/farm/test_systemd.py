"""The systemd units and `make install`, on a machine of their own that has really been booted."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import requests

from faults.crowd import Crowd, Users
from faults.oracle import judge
from tests.kit.machine import booting
from tests.kit.paths import ROOT
from tests.kit.your_own_app import get_files
from webfarm.commands.systemd_units import UNITS, join_units, render_units
from webfarm.errors import Error
from webfarm.haproxy import parse_ranges, render
from webfarm.run.programs import find_haproxy, find_redis
from webfarm.settings import Settings
from webfarm.testing import get_free_ports, get_status, starting_processes, wait_until

SETTINGS = "/etc/webfarm/webfarm.env"
INSTALL = ("make", "-C", "/tmp/clone", "install")
WATCHDOG_S, TIMEOUT_S, STOP_S = 5, 4, 2  # instead of 20, 30 and 30; a stop takes longer than that

# The units as they are in the repository


@pytest.fixture
def units(tmp_path):
    """Copies of the units with paths and a user that this machine has."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    for name, text in render_units("wsgi:app", ROOT).items():
        text = re.sub(r"/\S*/bin/gunicorn", f"{sys.executable} -m gunicorn", text)
        (tmp_path / name).write_text(re.sub(r"^(User|Group)=webfarm$", r"\1=root", text, flags=re.M))
    return tmp_path


def analyze(folder, *args):
    return subprocess.run(
        ["systemd-analyze", *args], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_systemd_finds_nothing_wrong_with_the_units(units):
    done = analyze(units, "verify", "./webfarm@3001.service", "./webfarm.service", "./webfarm.target")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_units_of_an_app_name_it_and_its_folder(tmp_path):
    """Each under a line with its path; an app without a virtual environment of its own runs in this one."""
    units = render_units("poll:create_app()", Path("/srv/poll"))
    assert tuple(units) == UNITS
    for name in UNITS[:2]:
        assert "Environment=WEBFARM_APP=poll:create_app()\nEnvironmentFile=/etc/webfarm/webfarm.env\n" in units[name]
        assert "WorkingDirectory=/srv/poll\n" in units[name]
        assert "/srv/poll/.venv/bin/gunicorn -c python:webfarm.gunicorn\n" in units[name]
        assert f"# /etc/systemd/system/{name}\n{units[name]}" in join_units(units)
    (tmp_path / "gunicorn.conf.py").write_text("from webfarm.gunicorn import *\n")
    assert f"ExecStart={sys.prefix}/bin/gunicorn\n" in render_units("poll:app", tmp_path)["webfarm.service"]


def test_no_unit_is_made_for_a_configuration_that_starts_other_workers(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("workers = 4\n")
    with pytest.raises(Error, match="starts other workers: begin it with"):
        render_units("poll:app", tmp_path)


@pytest.mark.parametrize("unit", ["webfarm@3001.service", "webfarm.service"])
def test_hardened(units, unit):
    shutil.copy(units / "webfarm@.service", units / "webfarm@3001.service")
    done = analyze(units, "security", "--offline=true", f"./{unit}")
    level = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert level and float(level[1]) <= 2.0


def test_the_settings_file_shows_defaults():
    text = (ROOT / "systemd/webfarm.env").read_text()
    defaults = {field.metadata["env"]: field.default for field in fields(Settings) if field.metadata}
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, flags=re.M))
    assert not re.search(r"^[^#\n]", text, flags=re.M)
    assert {"WEBFARM_SECRET", "REDIS_URL"} <= shown.keys() <= defaults.keys()
    for name, value in shown.items():
        default = defaults[name]
        default = default[0] if isinstance(default, tuple) else default
        assert value == ("" if default is None else str(default).removesuffix(".0")), name


# On the machine


@pytest.fixture(scope="module")
def machine():
    with booting() as booted:
        yield booted


@pytest.fixture(scope="module")
def files_before(machine):
    return list_files(machine)


def list_files(machine):
    """Return all paths that an installation could leave something at; the lists of users are not told by their backups."""
    found = machine.run("find", "/etc", "/opt", "/usr/local", "/var/lib", "/srv", "/run/systemd/system")
    users = machine.run("cut", "-d:", "-f1", "/etc/passwd", "/etc/group").splitlines()
    return {path for path in found.splitlines() if not path.endswith("-")} | {f"user {user}" for user in users}


@pytest.fixture(scope="module")
def installed(machine, files_before, redis_server):
    """The machine with `make install` done, what it said, and times that a test can wait for."""
    machine.said = machine.run(*INSTALL)
    machine.template = machine.run("cat", SETTINGS)
    machine.write(SETTINGS, f"REDIS_URL={redis_server.url}\nWEBFARM_PREFIX='systemd'\nWEBFARM_DRAIN_S=1\nPORT=1\n")
    for unit in ("webfarm@.service.d", "webfarm.service.d"):
        options = f"WatchdogSec={WATCHDOG_S}\nTimeoutStopSec={STOP_S}\nEnvironment=GUNICORN_CMD_ARGS='--timeout={TIMEOUT_S}'\n"
        machine.write(f"/etc/systemd/system/{unit}/override.conf", f"[Service]\n{options}")
    machine.run("systemctl", "daemon-reload")
    return machine


@pytest.fixture(scope="module")
def ports(installed):
    """Three units that serve, as the machine's start would begin them."""
    first = get_free_ports(3)
    ports = [first, first + 1, first + 2]
    installed.run("systemctl", "enable", "webfarm.target", *map(name, ports))
    installed.run("systemctl", "isolate", "multi-user.target")
    wait_until(lambda: all(map(is_ready, ports)), "the units")
    return ports


def name(port):
    return f"webfarm@{port}.service"


def is_ready(port):
    return get_status(f"http://127.0.0.1:{port}/readyz") == 200


def get_units(machine):
    return machine.run("sh", "-c", f"cd /etc/systemd/system && cat {' '.join(UNITS)}")


def test_an_installation_is_complete(installed):
    assert "systemctl enable --now webfarm.target webfarm@3001 webfarm@3002" in installed.said
    assert installed.template == (ROOT / "systemd/webfarm.env").read_text().strip()
    assert installed.run("stat", "-c", "%a %U %G", SETTINGS) == "640 root webfarm"
    assert installed.run("sh", "-c", f"set -a; . {SETTINGS}; /opt/webfarm/.venv/bin/webfarm nodes") != ""
    assert installed.run("readlink", "-f", "/opt/webfarm/.venv/bin/python").startswith("/usr/bin/python3")
    not_roots_alone = ("(", "-not", "-user", "root", "-or", "-perm", "/022", ")", "-not", "-type", "l")
    assert installed.run("find", "/opt/webfarm/", *not_roots_alone) == ""
    assert int(installed.run("id", "-u", "webfarm")) < 1000
    units = get_units(installed)
    assert "ExecStart=/opt/webfarm/.venv/bin/gunicorn\n" in units  # with the clone's own gunicorn.conf.py
    assert "/opt/webfarm-releases" not in units


def test_a_unit_has_started_when_it_serves(installed, ports):
    """``systemctl start`` returns no sooner. Without settings it does not start: everybody would be believed."""
    unit = name(ports[0])
    installed.run("systemctl", "stop", unit)
    assert installed.get(unit, "Result") == "success"  # it was given the time that it needed
    installed.run("mv", SETTINGS, "/run/webfarm.env")
    try:
        assert "Assertion failed" in installed.run("systemctl", "start", unit, code=1)
        assert f"AssertPathExists={SETTINGS} was not met" in installed.run("systemctl", "status", unit, code=3)
    finally:
        installed.run("mv", "/run/webfarm.env", SETTINGS)
    assert not is_ready(ports[0])
    installed.run("systemctl", "start", unit)
    assert is_ready(ports[0])
    for path in ("/", "/demo", "/static/chat/chat.js", "/socket.io/socket.io.js"):
        assert get_status(f"http://127.0.0.1:{ports[0]}{path}") == 200, path


def test_an_app_can_write_its_own_files(installed, ports):
    """To the folder that systemd makes for it, and nowhere else."""
    assert installed.run("stat", "-c", "%a %U %G", "/var/lib/webfarm") == "750 webfarm webfarm"
    inside = ("nsenter", "--mount", "--target", installed.get(name(ports[0]), "MainPID"))
    as_user = ("setpriv", "--reuid=webfarm", "--regid=webfarm", "--clear-groups", "touch")
    installed.run(*inside, *as_user, "/var/lib/webfarm/poll.db")
    assert "Read-only" in installed.run(*inside, "touch", "/opt/webfarm/poll.db", code=1)
    installed.run("rm", "/var/lib/webfarm/poll.db")


def test_the_doctor_finds_the_units_that_run_and_no_others(installed, ports):
    command = f"set -a; . {SETTINGS}; unset PORT; exec /opt/webfarm/.venv/bin/webfarm doctor --no-haproxy --json"
    servers = [f"--server=127.0.0.1:{port}" for port in ports]
    found = json.loads(installed.run("sh", "-c", f"{command} {' '.join(servers)}", code=None))
    levels = {one["subject"]: one["level"] for one in found if one["subject"].startswith("webfarm")}
    assert levels == dict.fromkeys(map(name, ports), "ok")


@pytest.fixture
def own_unit(installed):
    """Makes a unit beside the others, with settings of its own; it isn't started."""
    units = []

    def make_unit(settings):
        units.append(name(get_free_ports()))
        folder = f"/etc/systemd/system/{units[-1]}.d"
        installed.write(f"{folder}/own.env", settings)
        installed.write(f"{folder}/own.conf", f"[Service]\nEnvironmentFile={folder}/own.env\n")
        installed.run("systemctl", "daemon-reload")
        return units[-1]

    yield make_unit
    for unit in units:
        installed.run("systemctl", "kill", "--signal=KILL", unit)
        installed.run("systemctl", "stop", unit)
        installed.run("rm", "-r", f"/etc/systemd/system/{unit}.d")
    installed.run("systemctl", "daemon-reload")


def test_the_poll_of_the_docs_keeps_its_votes(installed, own_unit):
    """In the sandbox, with the database where ``docs/your-own-app.md`` puts it."""
    unit = own_unit("POLL_DB=/var/lib/webfarm/poll.db\nWEBFARM_APP=poll:app\n")
    command = "/usr/bin/env PORT=%i /opt/webfarm/.venv/bin/gunicorn -c python:webfarm.gunicorn"
    own = f"[Service]\nWorkingDirectory=/srv/poll\nExecStart=\nExecStart={command}\n"
    installed.write(f"/etc/systemd/system/{unit}.d/poll.conf", own)
    for path, text in get_files().items():
        installed.write(f"/srv/poll/{path}", text)
    try:
        installed.run("systemctl", "daemon-reload")
        installed.run("systemctl", "start", unit)
        port = re.sub(r"[^0-9]", "", unit)
        assert requests.get(f"http://127.0.0.1:{port}/results.json", timeout=5).json()["tea"] == 0
        assert installed.run("stat", "-c", "%U", "/var/lib/webfarm/poll.db") == "webfarm"
    finally:
        installed.run("rm", "-rf", "/srv/poll", "/var/lib/webfarm/poll.db")


def test_frozen_and_killed_processes_are_replaced(installed, ports, own_unit):
    """A frozen worker by its master, a frozen master by systemd, a killed one too; and by systemd a frozen worker whose
    master can't, as it waits for that worker's end after a reload."""
    units = [*map(name, ports), own_unit("WEBFARM_DRAIN_S=60")]
    installed.run("systemctl", "start", units[3])
    [worker], [stuck] = installed.get_workers(units[0]), installed.get_workers(units[3])
    masters = [installed.get(unit, "MainPID") for unit in units]
    installed.run("kill", "-STOP", worker, masters[1], stuck)
    installed.run("kill", "-KILL", masters[2])
    installed.run("systemctl", "reload", units[3])
    restarts = ["0", "1", "1", "1"]
    wait_until(lambda: worker not in installed.get_workers(units[0]), "another worker")
    wait_until(lambda: [installed.get(unit, "NRestarts") for unit in units] == restarts, "other masters", 40)
    wait_until(lambda: all(map(is_ready, ports)), "all to serve")
    assert "WORKER TIMEOUT" in installed.get_journal(units[0])
    assert "gives no sign of life" in installed.get_journal(units[3])
    for unit in (units[1], units[3]):
        assert "Failed with result 'watchdog'" in installed.get_journal(unit)


def test_a_reload_replaces_the_worker_and_not_the_master(installed, ports):
    unit = name(ports[0])
    master, [worker] = installed.get(unit, "MainPID"), installed.get_workers(unit)
    installed.run("systemctl", "reload", unit)
    wait_until(lambda: installed.get_workers(unit) not in ([worker], []), "the new worker")
    wait_until(lambda: worker not in installed.get_workers(unit), "the old one's end")
    assert is_ready(ports[0])
    assert installed.get(unit, "MainPID") == master


def test_one_restart_after_the_other_loses_nothing(installed, ports, tmp_path):
    """Under stock clients on all transports, by ``systemctl restart``: nothing lost, doubled, out of order."""
    proxy = get_free_ports()
    config = tmp_path / "haproxy.cfg"
    servers = parse_ranges([f"127.0.0.1:{ports[0]}-{ports[-1]}"])
    config.write_text(render(servers, bind=f"127.0.0.1:{proxy}", heartbeat_s=45, source_rate=0))
    with starting_processes() as start:
        start(find_haproxy(), "-db", "-f", str(config))
        wait_until(lambda: is_ready(proxy), "HAProxy")
        with Crowd(Users(count=12), [f"http://127.0.0.1:{proxy}"], tmp_path / "events.jsonl") as crowd:
            crowd.tell("start")
            crowd.wait_for("got", 100)
            for port in ports:
                installed.run("systemctl", "restart", name(port))
            crowd.wait_for("got", 100)
            verdict = judge(crowd.finish())
    assert verdict.faults == {}, verdict.examples
    assert verdict.recovered >= 12 and not verdict.not_recovered
    for port in ports:
        assert "timed out" not in installed.get_journal(name(port))  # while its clients were sent away


def test_a_wrong_port_is_one_sentence_and_not_tried_again(installed):
    unit = name(99999)
    installed.run("systemctl", "start", unit, code=1)
    sentences = [line for line in installed.get_journal(unit).splitlines() if line.startswith("webfarm:")]
    assert sentences == ["webfarm: PORT has value '99999': expected a whole number from 1 to 65535."]
    assert installed.get(unit, "ActiveState") == "failed"
    assert installed.get(unit, "NRestarts") == "0"


def test_a_redis_that_wants_a_password_is_one_sentence_and_the_unit_starts_after_5_s(installed, own_unit, tmp_path):
    port = get_free_ports()
    unit = own_unit(f"REDIS_URL=redis://127.0.0.1:{port}/0")
    url = f"http://127.0.0.1:{re.sub(r'[^0-9]', '', unit)}"
    with starting_processes() as start:
        start(find_redis(), "--port", str(port), "--dir", str(tmp_path), "--save", "", "--requirepass", "secret")
        installed.run("systemctl", "start", "--no-block", unit)
        wait_until(lambda: "Authentication required" in installed.get_journal(unit), "the sentence")
        assert "Authentication required" in installed.run("journalctl", "--priority", "err", "--unit", unit)
        assert installed.get(unit, "ActiveState") == "activating"
        assert get_status(f"{url}/healthz") == 200
        wait_until(lambda: installed.get(unit, "ActiveState") == "active", "the start")
        assert get_status(f"{url}/readyz") == 503


@pytest.mark.timeout(300)  # it installs twice
def test_an_upgrade_that_fails_changes_nothing_and_one_that_succeeds_nothing_that_runs(installed, ports):
    before, settings = installed.run("readlink", "-f", "/opt/webfarm"), installed.run("cat", SETTINGS)
    units = get_units(installed)
    masters = [installed.get(name(port), "MainPID") for port in ports]
    said = installed.run(*INSTALL, code=2, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert "the set-up failed (above); the version before still runs." in said
    assert installed.run("readlink", "-f", "/opt/webfarm") == before
    said = installed.run(*INSTALL)
    assert f"for unit in {' '.join(map(name, ports))}; do systemctl restart $unit || break; done" in said
    after = installed.run("readlink", "-f", "/opt/webfarm")
    assert after != before
    assert installed.run("ls", "-d", before, after) == f"{before}\n{after}"  # and not what was left half-done
    assert len(installed.run("ls", "/opt/webfarm-releases").split()) == 2
    assert installed.run("cat", SETTINGS) == settings
    assert get_units(installed) == units
    assert [installed.get(name(port), "MainPID") for port in ports] == masters
    installed.run("systemctl", "restart", name(ports[0]))
    cwd = installed.run("readlink", f"/proc/{installed.get(name(ports[0]), 'MainPID')}/cwd")
    assert cwd == after


def test_one_unit_for_the_whole_machine(installed, ports):
    """``webfarm.service`` and ``webfarm.target`` are never up together; what one had, the other can serve."""
    with_count = f"WEBFARM_WORKERS=2\nWEBFARM_BASE_PORT={ports[0]}\n"
    installed.write(SETTINGS, installed.run("cat", SETTINGS) + f"\n{with_count}")
    installed.run("systemctl", "start", "webfarm.service")
    assert [installed.get(unit, "ActiveState") for unit in ("webfarm.target", *map(name, ports))] == ["inactive"] * 4
    wait_until(lambda: all(map(is_ready, ports[:2])), "both workers")
    assert not is_ready(ports[2])
    installed.run("systemctl", "start", "webfarm.target")
    assert installed.get("webfarm.service", "ActiveState") == "inactive"
    assert all(map(is_ready, ports))


def test_what_was_installed_is_taken_away_but_for_the_settings(installed, ports, files_before):
    for _ in range(2):  # the second time there is nothing to do
        said = installed.run("make", "-C", "/tmp/clone", "uninstall")
        assert f"{SETTINGS} stays" in said
    drop_ins = {
        f"/etc/systemd/system/{unit}.d{path}"
        for unit in ("webfarm@.service", "webfarm.service")
        for path in ("", "/override.conf")
    }
    assert list_files(installed) - files_before == {"/etc/webfarm", SETTINGS} | drop_ins
    assert files_before <= list_files(installed)
    assert not any(map(is_ready, ports))


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_without_root_it_is_one_sentence(machine, command):
    script = (ROOT / f"systemd/{command}.sh").read_text()
    said = machine.run("setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", script, code=1)
    assert re.fullmatch(rf"{command}: it .*: run it as root \(sudo make {command}\)\.", said)
