"""The ``webfarm`` command: help that helps, one sentence for a fault, exit codes."""

from importlib.metadata import version

import jwt
import pytest

from tests.kit.commands import run_webfarm
from webfarm.redis.keys import FORMAT

COMMANDS = (
    "run", "haproxy-config", "systemd-units", "token", "emit", "kick", "erase", "clients", "rooms", "nodes", "migrate", "doctor",
)  # fmt: skip


def test_a_token_names_the_private_rooms_of_its_user():
    secret = "s" * 32
    done = run_webfarm("token", "anna", "--room", "private:a", "--room", "private:b", WEBFARM_SECRET=secret)
    claims = jwt.decode(done.stdout.strip(), secret, algorithms=["HS256"])
    assert (claims["sub"], claims["rooms"]) == ("anna", ["private:a", "private:b"])


@pytest.mark.parametrize("command", [[], *([one] for one in COMMANDS)])
def test_help(command):
    done = run_webfarm(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    assert f"webfarm {command}" in run_webfarm(command, "--help").stdout.partition("\n")[2]


def test_the_version_names_the_format_in_redis():
    assert run_webfarm("--version").stdout == f"webfarm {version('webfarm')}, Redis format {FORMAT}\n"


def test_haproxy_config_prints_the_configuration():
    done = run_webfarm(
        "haproxy-config", "--server", "10.0.0.1:3001-3002", "--server", "10.0.0.2:3001", "--bind", "*:80"
    )
    assert done.returncode == 0
    assert "bind *:80\n" in done.stdout
    assert "server webserver03 10.0.0.2:3001 check tcp-ut 3s\n" in done.stdout
    assert "sc0_conn_rate(sources) gt 1000" in done.stdout


def test_token_is_signed_for_the_user():
    done = run_webfarm("token", "anna", "--ttl", "60", WEBFARM_SECRET="s" * 32)
    claims = jwt.decode(done.stdout.strip(), "s" * 32, algorithms=["HS256"])
    assert claims["sub"] == "anna"
    assert claims["exp"] - claims["iat"] == 60


@pytest.mark.parametrize(
    ("command", "env", "code", "sentence"),
    [
        (["token", "anna"], {}, 2, "webfarm: WEBFARM_SECRET is not set: it is the key that tokens are signed with."),
        (["token", ""], {"WEBFARM_SECRET": "s" * 32}, 2, "webfarm: USER must be 1 to 128 characters, none of them a control character."),
        (["haproxy-config"], {"WEBFARM_PING_TIMEOUT_S": "x"}, 2,
         "webfarm: WEBFARM_PING_TIMEOUT_S has value 'x': expected a number of seconds above 0."),
        (["haproxy-config", "--server", "x"], {}, 2, "webfarm: 'x' is no HOST:FIRST-LAST, like 127.0.0.1:3001-3002."),
        (["haproxy-config", "--bind", "x"], {}, 2, "webfarm: 'x' is no HOST:PORT, like 127.0.0.1:3000 or *:3000."),
        (["haproxy-config", "--tls-cert", "/no/cert.pem"], {}, 2,
         "webfarm: the certificate /no/cert.pem can't be read: No such file or directory."),
        (["haproxy-config", "--tls-cert", "/etc"], {}, 2, "webfarm: the certificate /etc can't be read: Is a directory."),
        (["run"], {"WEBFARM_WORKERS": "0"}, 2, "webfarm: WEBFARM_WORKERS has value '0': expected a whole number from 1 to 1024."),
        (["run", "poll"], {}, 2, "webfarm: WEBFARM_APP has value 'poll': expected a module and its WSGI application like wsgi:app."),
        (["systemd-units", "--app", "poll"], {}, 2, "webfarm: 'poll' is no MODULE:APP, like poll:app."),
        (["systemd-units", "--directory", "/home/anna/poll"], {}, 2,
         "webfarm: the units can't reach /home/anna/poll in a home directory: choose another, like /opt/poll."),
        (["run", "--bind", "x"], {}, 2, "webfarm: 'x' is no HOST:PORT, like 127.0.0.1:3000 or *:3000."),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_on_stderr(command, env, code, sentence):
    done = run_webfarm(*command, **env)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", sentence + "\n")


def test_wrong_usage_exits_with_2():
    assert run_webfarm("run", "--workers", "none").returncode == 2
    assert run_webfarm("dance").returncode == 2
