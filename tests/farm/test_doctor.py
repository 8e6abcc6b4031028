"""``webfarm doctor``: it finds what is wrong, says what to do, and finds nothing where all is well."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
import requests

from tests.kit.front import Front
from tests.kit.paths import ROOT
from webfarm.commands.systemd_units import render_units
from webfarm.doctor import examine, machine
from webfarm.errors import Error
from webfarm.haproxy import parse_ranges, render
from webfarm.run.programs import find_haproxy
from webfarm.testing import (
    Process,
    RedisServer,
    get_free_ports,
    get_status,
    starting_farm,
    starting_processes,
    wait_until,
)

NOWHERE = "/nowhere"  # a machine without any file of ours, whatever this one has


@pytest.fixture(scope="module")
def site(redis_server, tmp_path_factory):
    with starting_farm(redis_server.url, tmp_path_factory.mktemp("haproxy")) as start_farm:
        yield start_farm(2)


@pytest.fixture
def redis_options(redis_server):
    """Sets options of the session's Redis; undone at the end."""

    with redis.Redis.from_url(redis_server.url) as client:
        before = {}

        def set_option(name, value):
            before.setdefault(name, client.config_get(name)[name])
            client.config_set(name, value)

        yield set_option
        for name, value in before.items():
            client.config_set(name, value)


def run(site, *flags, **env):
    command = [sys.executable, "-m", "webfarm", "doctor", "--root", NOWHERE, "--json", "--url", site.url, *flags]
    ports = {"WEBFARM_BASE_PORT": str(site.workers.ports[0]), "WEBFARM_WORKERS": "2"}
    return subprocess.run(command, env=os.environ | ports | env, capture_output=True, text=True, check=False, cwd=ROOT)


def find(redis_url, *, servers=("127.0.0.1:1",), url=None, **env):
    """Return what is found, by subject, but for what is good."""
    found = examine(
        {"REDIS_URL": redis_url, "WEBFARM_SECRET": "x" * 32} | env, parse_ranges(servers), url, Path(NOWHERE)
    )
    return {one.subject: one for one in found if one.level != "ok"}


def test_a_farm_that_is_well(site, redis_server):
    done = run(site, REDIS_URL=redis_server.url, WEBFARM_SECRET="x" * 32)
    found = json.loads(done.stdout)
    assert [one for one in found if one["level"] != "ok"] == []
    assert done.returncode == 0
    for url in site.workers.urls:  # of its own sessions none is left
        assert 'webfarm_connections{transport="polling"} 0.0' in requests.get(f"{url}/metrics", timeout=5).text
    subjects = {one["subject"] for one in found}
    assert {"settings", "packages", "Redis", "persistence", "memory", "clocks", f"HAProxy at {site.url}"} <= subjects
    assert {f"worker 127.0.0.1:{port}" for port in site.workers.ports} <= subjects


def test_a_proxy_for_the_web_is_not_asked(site, redis_server):
    nowhere = f"http://127.0.0.1:{get_free_ports()}"
    found = json.loads(run(site, REDIS_URL=redis_server.url, http_proxy=nowhere, no_proxy="", NO_PROXY="").stdout)
    assert [one["level"] for one in found if one["subject"] == f"HAProxy at {site.url}"] == ["ok", "ok"]


def test_people_read_lines(site, redis_server):
    command = [sys.executable, "-m", "webfarm", "doctor", "--root", NOWHERE, "--no-haproxy"]
    env = {"REDIS_URL": redis_server.url, "WEBFARM_BASE_PORT": str(get_free_ports()), "WEBFARM_WORKERS": "1"}
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("1 fault, 1 warning, ")
    [number] = [i for i, line in enumerate(lines) if line.startswith("✗ worker 127.0.0.1:")]
    assert "Nothing answers there" in lines[number] and "webfarm run" in lines[number + 1]


def test_a_url_without_its_scheme_is_wrong_usage(site):
    done = run(site, "--url", "127.0.0.1:3000")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "webfarm: '127.0.0.1:3000' is no URL, like https://chat.example.org.\n"


def test_haproxy_is_not_missed_where_nobody_looks_at_it(redis_server, monkeypatch):
    """Workers may have a machine of their own."""
    monkeypatch.setattr(machine, "find_haproxy", find_none)
    assert "HAProxy" not in find(redis_server.url)
    url = f"http://127.0.0.1:{get_free_ports()}"
    assert "is not on PATH" in find(redis_server.url, url=url)["HAProxy"].text


def find_none():
    raise Error("HAProxy is not on PATH.")


def test_a_bad_setting_is_the_only_thing_to_say(redis_server):
    [finding] = examine({"REDIS_URL": redis_server.url, "WEBFARM_WORKERS": "many"}, [], None)
    assert finding.level == "fault" and "WEBFARM_WORKERS" in finding.text


@pytest.mark.parametrize(
    ("option", "value", "subject", "text"),
    [
        ("appendonly", "no", "persistence", "append-only file is off"),
        ("appendfsync", "no", "persistence", "half a minute"),
        ("maxmemory-policy", "allkeys-lru", "memory", "throws messages and sessions away"),
        ("maxmemory", "1000000000kb", "", ""),
        ("maxmemory", "1mb", "memory", "It is full"),
    ],
)
def test_a_redis_that_does_not_keep_everything(redis_server, redis_options, option, value, subject, text):
    redis_options(option, value)
    found = find(redis_server.url)
    if subject:
        assert text in found[subject].text and found[subject].remedy
    else:
        assert "memory" not in found


def test_a_redis_that_is_nearly_full(redis_server, redis_options):
    with redis.Redis.from_url(redis_server.url) as client:
        redis_options("maxmemory", int(client.info("memory")["used_memory"] / 0.9))
    finding = find(redis_server.url)["memory"]
    assert finding.level == "warning" and "of maxmemory is used" in finding.text


def test_a_redis_that_wants_a_password_or_is_not_there(redis_server, redis_options):
    assert "does not answer" in find(f"redis://127.0.0.1:{get_free_ports()}/0")["Redis"].text
    redis_options("requirepass", "secret")
    try:
        assert "wants a password" in find(redis_server.url)["Redis"].text
        wrong = find(redis_server.url.replace("//", "//:wrong@"))["Redis"]
        assert "wants a password, or another one" in wrong.text and "wrong" not in wrong.text.partition(":")[0]
        assert "Redis" not in find(redis_server.url.replace("//", "//:secret@"))
    finally:
        with redis.Redis.from_url(redis_server.url.replace("//", "//:secret@")) as client:
            client.config_set("requirepass", "")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_redis_whose_disk_is_full(small_disk):
    server = RedisServer(small_disk)
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            with pytest.raises(redis.RedisError, match="MISCONF"):
                for number in range(1000):
                    client.set(number, "x" * 100_000)
                    time.sleep(0.01)  # it notices once a second
            assert "disk may be full" in find(server.url)["persistence"].text
    finally:
        server.close()


def test_replicas_that_are_missing(redis_server):
    found = find(redis_server.url, WEBFARM_WAIT_REPLICAS="1")
    assert "0 are connected" in found["replicas"].text


def test_a_worker_that_is_not_ready(workers, own_redis):
    process = workers(1, url=own_redis.url, ready=False)
    address = f"127.0.0.1:{process.ports[0]}"
    wait_until(lambda: get_status(f"http://{address}/healthz") == 200, "the worker")
    finding = find(own_redis.url, servers=[address])[f"worker {address}"]
    assert "not ready: redis" in finding.text and "Redis does not answer it" in finding.remedy


SEVERAL = """
import os
bind = os.environ["BIND"]
reuse_port = True
worker_class = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
wsgi_app = "benchmarks.servers.stock:app"
control_socket_disable = True
"""
ANSWERS = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [{"/healthz": b"ok\\n", "/readyz": b"ready\\n"}.get(environ["PATH_INFO"], b"")]
import socketio
from benchmarks.servers.stock import sio
app = socketio.WSGIApp(sio, app)
"""


def test_several_processes_on_one_port_are_seen(redis_server, tmp_path):
    """Two stock gunicorns, between which the kernel shares the connections out."""
    (tmp_path / "several.py").write_text(SEVERAL.replace("benchmarks.servers.stock:app", "answers:app"))
    (tmp_path / "answers.py").write_text(ANSWERS.strip())
    address = f"127.0.0.1:{get_free_ports()}"
    env = {"BIND": address, "REDIS_URL": redis_server.url, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with starting_processes() as start:
        for _ in range(2):
            process = start(sys.executable, "-m", "gunicorn", "-c", str(tmp_path / "several.py"), env=env)
            process.wait_for_line("Booting worker")
        wait_until(lambda: get_status(f"http://{address}/healthz") == 200, "the first worker")
        finding = find(redis_server.url, servers=[address])[f"worker {address}"]
        assert "Several processes answer there" in finding.text


FULL = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_new = self.path.startswith("/socket.io/")
        self.send_response(503 if is_new else 200)
        self.end_headers()
        self.wfile.write({"/healthz": b"ok\\n", "/readyz": b"ready\\n"}.get(self.path, b""))
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_worker_that_is_ready_and_opens_no_session(redis_server):
    address = f"127.0.0.1:{get_free_ports()}"
    with starting_processes() as start:
        start(sys.executable, "-c", FULL, address.rpartition(":")[2])
        wait_until(lambda: get_status(f"http://{address}/healthz") == 200, "the server")
        finding = find(redis_server.url, servers=[address])[f"worker {address}"]
        assert (finding.level, "it answers 503 to a new session" in finding.text) == ("fault", True)


PLAIN_HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
frontend any
    bind {bind}
    default_backend workers
backend workers
    balance roundrobin
{servers}
"""


def test_a_balancer_that_keeps_no_session_is_seen(site, redis_server, tmp_path):
    bind = f"127.0.0.1:{get_free_ports()}"
    servers = [f"    server one{port} 127.0.0.1:{port}" for port in site.workers.ports]
    (tmp_path / "haproxy.cfg").write_text(PLAIN_HAPROXY.format(bind=bind, servers="\n".join(servers)))
    with starting_processes() as start:
        process: Process = start(find_haproxy(), "-db", "-f", str(tmp_path / "haproxy.cfg"))
        wait_until(lambda: get_status(f"http://{bind}/healthz") == 200, "HAProxy")
        finding = find(redis_server.url, url=f"http://{bind}")[f"HAProxy at http://{bind}"]
        assert "do not stay on its worker" in finding.text
        assert process.popen.poll() is None


def test_an_haproxy_that_the_workers_do_not_believe_is_seen(workers, redis_server, pem, tmp_path, monkeypatch):
    """Its site's own pages are strangers to them: HTTPS is what the browser sees, and not what they do."""
    monkeypatch.setenv("SSL_CERT_FILE", pem)
    with starting_processes(Front) as start_front:
        for trusted, subjects in (("192.0.2.1", 1), ("127.0.0.1", 0)):
            servers = [f"127.0.0.1:{port}" for port in workers(1, WEBFARM_TRUSTED_PROXIES=trusted).ports]
            front = start_front(tmp_path, servers, tls_cert=pem)
            found = find(redis_server.url, servers=servers, url=front.url)
            assert len(found) == subjects, found
            assert all("WEBFARM_TRUSTED_PROXIES" in one.remedy for one in found.values())
        assert not find(
            redis_server.url, servers=servers, url=front.url, WEBFARM_ALLOWED_ORIGINS="https://chat.example.org"
        )


def test_a_port_where_something_else_answers(redis_server, tmp_path):
    port = get_free_ports()
    with starting_processes() as start:
        start(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path))
        wait_until(lambda: get_status(f"http://127.0.0.1:{port}/"), "the server")
        finding = find(redis_server.url, servers=[f"127.0.0.1:{port}"])[f"worker 127.0.0.1:{port}"]
        assert "Something else answers" in finding.text


@pytest.fixture
def installed(tmp_path):
    """A whole installation under a root of its own; the farm's user may look at it."""
    for path in ("opt/webfarm/.venv/bin/webfarm", "opt/webfarm/.venv/bin/gunicorn", *UNIT_FILES):
        (file := tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "etc/webfarm").mkdir(parents=True)
    (tmp_path / "etc/webfarm/webfarm.env").write_text("WEBFARM_SECRET=...\n")
    (tmp_path / "etc/webfarm/webfarm.env").chmod(0o640)
    return tmp_path


UNIT_FILES = ("etc/systemd/system/webfarm@.service", "etc/systemd/system/webfarm.target")


def look(root, environ=(), folder="opt/webfarm"):
    """Return what is found on a machine, by somebody in a folder of it."""
    return list(machine.examine(dict(environ), root, places=[root / folder]))


def get_faults(root, **options):
    return {finding.subject: finding for finding in look(root, **options) if finding.level == "fault"}


def test_a_whole_installation_is_well(installed):
    assert get_faults(installed) == {}


def test_an_installation_half_done_is_named_by_what_is_missing(installed):
    (installed / "opt/webfarm/.venv/bin/gunicorn").unlink()
    finding = get_faults(installed)["installation"]
    assert "/opt/webfarm/.venv/bin/gunicorn is missing" in finding.text and "make install" in finding.remedy


def test_an_environment_file_that_all_may_read_or_that_sets_port(installed):
    env = installed / "etc/webfarm/webfarm.env"
    env.chmod(0o644)
    assert "Everybody may read it" in get_faults(installed)[str(env)].text
    env.chmod(0o640)
    env.write_text("WEBFARM_WORKERS=2\nexport PORT=3001\n")
    assert "sets PORT" in get_faults(installed)[str(env)].text


def test_settings_of_systemd_that_the_shell_does_not_have(installed):
    """Not read into the shell, or read in part, as of ``&`` without quotes: the doctor looks at another farm."""
    (installed / "etc/webfarm/webfarm.env").write_text(
        "# A=0\nWEBFARM_SECRET='a b'\nWEBFARM_API_KEY=a&b\nWEBFARM_WORKERS=2\nREDIS_URL=\n"
    )
    environ = {"WEBFARM_SECRET": "a b", "WEBFARM_API_KEY": "a"}
    [finding] = [one for one in look(installed, environ) if one.subject.endswith("webfarm.env") and one.remedy]
    assert finding.level == "warning" and finding.text.endswith(": WEBFARM_API_KEY, WEBFARM_WORKERS.")


@pytest.mark.parametrize(
    ("said", "code", "subjects"),
    [
        ("Failed to list units: Connection timed out", 1, {"systemd"}),
        ("webfarm@3001.service loaded failed failed chat\nWarning: one two three four", 0, {"webfarm@3001.service"}),
        (
            "webfarm.service loaded active running chat\nwebfarm@3001.service loaded inactive dead chat",
            0,
            {"webfarm.service"},
        ),
        (
            "webfarm@3001.service loaded active running chat\nwebfarm.service loaded inactive dead chat",
            0,
            {"webfarm@3001.service"},
        ),
        ("", 0, set()),
    ],
)
def test_what_systemctl_says_is_a_unit_or_why_there_is_none(installed, monkeypatch, said, code, subjects):
    (installed / "run/systemd/system").mkdir(parents=True)
    (program := installed / "systemctl").write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{installed}:{os.environ['PATH']}")
    found = {one.subject for one in look(installed) if one.subject.startswith(("webfarm", "systemd", "Failed", "Warn"))}
    assert found == subjects


def test_files_that_another_farm_or_another_service_uses_are_not_spoken_of(installed):
    """Debian's own haproxy.cfg; an installation that has half gone, while this app is elsewhere."""
    (installed / "etc/haproxy").mkdir()
    (installed / "etc/haproxy/haproxy.cfg").write_text("defaults\n    mode http\n")
    (installed / "opt/webfarm/.venv/bin/gunicorn").unlink()
    (installed / "etc/webfarm/webfarm.env").chmod(0o644)
    (installed / "srv/poll").mkdir(parents=True)
    assert {one.subject for one in look(installed, folder="srv/poll")} == {"packages", "browser client", "file limit"}


def test_an_installation_of_another_app_is_found_by_its_units(installed):
    units = installed / "etc/systemd/system"
    (units / "webfarm@.service").write_text(render_units("poll:app", Path("/srv/poll"))["webfarm@.service"])
    (installed / "srv/poll").mkdir(parents=True)
    assert "/srv/poll/.venv/bin/webfarm is missing" in get_faults(installed, folder="srv/poll")["installation"].text


def test_a_certificate_that_is_missing(monkeypatch, tmp_path):
    config = tmp_path / "etc/haproxy/haproxy.cfg"
    config.parent.mkdir(parents=True)
    text = render(parse_ranges(["127.0.0.1:3001"]), bind="127.0.0.1:8443", heartbeat_s=45)
    config.write_text(text.replace("bind 127.0.0.1:8443", f"bind 127.0.0.1:8443 ssl crt {tmp_path}/none.pem"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "none.pem" in get_faults(tmp_path)["HAProxy"].text
    monkeypatch.setattr(os, "geteuid", lambda: 1)  # who may not look at a certificate does not know what root sees
    finding = next(one for one in look(tmp_path) if one.subject == "HAProxy")
    assert (finding.level, finding.remedy) == ("warning", "Run webfarm doctor as root.")
    config.write_text(text)
    found = [one for one in look(tmp_path) if one.subject == "HAProxy" and one.remedy]
    assert [(one.level, one.text) for one in found] == [("warning", "Started by root, it stays root.")]
    config.write_text("")
    assert "is empty" in get_faults(tmp_path)["HAProxy"].text
