"""What is installed on this machine."""

import contextlib
import os
import re
import resource
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson
from packaging.version import Version

from webfarm.doctor.finding import Finding, fault, ok, warning
from webfarm.errors import Error
from webfarm.run.programs import find_haproxy

_ROOT = Path(__file__).parents[2]
_INSTALLED = Path("/opt/webfarm")
_UNITS = Path("/etc/systemd/system")
_ENV = Path("/etc/webfarm/webfarm.env")
_HAPROXY = Path("/etc/haproxy/haproxy.cfg")
_SYSTEMD = Path("/run/systemd/system")  # is there where systemd runs
_SET_UP = "Run make setup (or make install) again."
_MIN_FILES = 4096
_TIMEOUT_S = 10

#: The first versions without known holes; what is older lets strangers in, or takes the worker down.
_SAFE = {
    "python-socketio": "5.16.2",
    "python-engineio": "4.13.2",
    "gevent": "24.10.1",
    "gunicorn": "23.0.0",
    "Werkzeug": "3.1.3",
    "redis": "8.0.1",
}
_SAFE_PARSER = "4.2.7"  # of socket.io-parser, within the browser's client


def examine(environ: Mapping[str, str], *, has_haproxy: bool = True) -> Iterator[Finding]:
    """Yield what there is to say about this machine; of HAProxy only if it should have one.

    ``environ`` is what the other checks take the settings from.
    """
    yield from _check_packages()
    yield _check_browser_client()
    yield from _check_installation()
    yield from _check_environment_file(environ)
    yield from _check_units()
    if has_haproxy:
        yield from _check_haproxy()
    yield _check_files()


def _check_packages() -> Iterator[Finding]:
    old = []
    for name, safe in _SAFE.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield fault("packages", f"{name} is missing.", _SET_UP)
            continue
        if Version(found) < Version(safe):
            old.append(f"{name} {found} (safe from {safe})")
    if old:
        yield fault("packages", f"Versions with known holes: {', '.join(old)}.", _SET_UP)
    else:
        yield ok("packages", "No version with a known hole.")


def _check_browser_client() -> Finding:
    modules, subject = _ROOT / "node_modules", "browser client"
    if not (modules / "socket.io-client/dist/socket.io.js").exists():
        return fault(subject, "It is not installed: the page can't connect.", _SET_UP)
    try:
        found = str(orjson.loads((modules / "socket.io-parser/package.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError):
        return fault(subject, "Its packages are not whole.", "Delete node_modules, and run make setup again.")
    if Version(found) < Version(_SAFE_PARSER):
        text = f"socket.io-parser {found} has a known hole (safe from {_SAFE_PARSER})."
        return fault(subject, text, "Update socket.io-client in package.json.")
    return ok(subject, f"Installed, socket.io-parser {found}.")


def _check_installation() -> Iterator[Finding]:
    if not _INSTALLED.exists():
        return
    needed = [_INSTALLED / ".venv/bin/webfarm", _INSTALLED / ".venv/bin/gunicorn", _INSTALLED / "wsgi.py"]
    needed += [
        _INSTALLED / "node_modules/socket.io-client",
        _UNITS / "webfarm@.service",
        _UNITS / "webfarm.target",
        _ENV,
    ]
    missing = [str(path) for path in needed if not _exists(path)]
    if missing:
        yield fault("installation", f"It is half done: {missing[0]} is missing.", "Run make install again, as root.")
    else:
        yield ok("installation", f"{_INSTALLED} and its units are whole.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # what may not be looked at is there, as far as can be told
        return True


def _check_environment_file(environ: Mapping[str, str]) -> Iterator[Finding]:
    subject = str(_ENV)
    try:
        mode, text = _ENV.stat().st_mode, _ENV.read_text()
    except FileNotFoundError:
        return
    except (OSError, UnicodeError) as error:
        yield warning(subject, f"It can't be read: {error}.", "Run webfarm doctor as root, or as the user webfarm.")
        return
    if mode & stat.S_IRWXO:
        yield fault(
            subject, "Everybody may read it, and it holds secrets.", f"chmod 0640 {_ENV}; chown root:webfarm {_ENV}"
        )
    elif re.search(r"^\s*(export\s+)?PORT=", text, re.MULTILINE):
        yield fault(subject, "It sets PORT, so that all units would share one port.", "Delete that line.")
    else:
        yield ok(subject, "Only root and the farm may read it.")
    if others := [name for name, value in _parse(text) if environ.get(name, "") != value]:
        yield warning(
            subject,
            f"The workers have other settings from it than this shell, which the doctor goes by: {', '.join(others)}.",
            f"set -a; . {_ENV}; set +a; then again. A value with signs like & goes between single quotes there.",
        )


def _parse(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of an ``EnvironmentFile=``, as systemd reads them."""
    for line in text.splitlines():
        name, is_set, value = line.strip().partition("=")
        if is_set and not name.startswith(("#", ";")):
            with contextlib.suppress(ValueError):  # a quote that is not closed
                yield name, "".join(shlex.split(value)[:1])


def _check_units() -> Iterator[Finding]:
    if not shutil.which("systemctl") or not _SYSTEMD.exists():
        return
    code, listed = _ask(
        "systemctl", "list-units", "--all", "--plain", "--no-legend", "webfarm@*.service", "webfarm.service"
    )
    if code:
        yield warning("systemd", f"It does not list the farm's units: {listed}", "Run webfarm doctor as root.")
        return
    units = re.findall(r"^(webfarm\S*) +\S+ +(\S+) +(\S+)", listed, re.MULTILINE)
    kinds = {unit.startswith("webfarm@") for unit, active, _ in units if active == "active"}
    for unit, active, state in units:
        instance = re.fullmatch(r"webfarm@(.*)\.service", unit)
        if instance and not (instance[1].isdecimal() and 1 <= int(instance[1]) <= 65535):
            yield fault(
                unit, f"'{instance[1]}' is no port.", f"systemctl disable --now {unit}; then webfarm@PORT.service."
            )
        elif active == "inactive" and unit.startswith("webfarm@") not in kinds and kinds:
            continue  # one per port, or one for all: who starts one kind stops the other
        elif active == "failed":
            yield fault(unit, "It has failed.", f"journalctl -u {unit} -n 20 says why.")
        elif active != "active":
            yield warning(unit, f"It is {active} ({state}).", f"systemctl start {unit}, unless that is meant.")
        else:
            yield ok(unit, "It runs.")


def _check_haproxy() -> Iterator[Finding]:
    try:
        program = find_haproxy()
    except Error as error:
        yield warning("HAProxy", str(error), "Without it each client must come to one worker's port.")
        return
    found = re.search(r"version (\d+\.\d+)", _ask(program, "-v")[1])
    if found and Version(found[1]) < Version("2.6"):
        yield fault("HAProxy", f"It is version {found[1]}.", "Use 2.6 or later.")
    try:
        config = _HAPROXY.read_text()
    except (OSError, UnicodeError):
        return
    if not config.strip():
        text = f"{_HAPROXY} is empty: webfarm haproxy-config has failed, and HAProxy serves nothing from its next start on."
        yield fault("HAProxy", text, f"webfarm haproxy-config ... > {_HAPROXY} && systemctl reload haproxy")
        return
    if "frontend webfarm" not in config:
        yield warning("HAProxy", f"{_HAPROXY} is not webfarm's.", f"webfarm haproxy-config ... > {_HAPROXY}")
        return
    code, said = _ask(program, "-c", "-f", str(_HAPROXY))
    if code:
        reason = next((line for line in said.splitlines() if "[ALERT]" in line), said.partition("\n")[0])
        reason = re.sub(r"^\[\w+\]\s*\(\d+\)\s*:\s*", "", reason)
        if os.geteuid():  # certificates are root's
            yield warning("HAProxy", f"It can't check {_HAPROXY}: {reason}", "Run webfarm doctor as root.")
        else:
            text = f"It would not start with {_HAPROXY}: {reason}"
            yield fault("HAProxy", text, "webfarm haproxy-config writes it anew.")
    else:
        yield ok("HAProxy", f"{_HAPROXY} is valid.")
    if not re.search(r"^\s+user ", config, re.MULTILINE):
        yield warning("HAProxy", "Started by root, it stays root.", "webfarm haproxy-config --user haproxy ...")


def _check_files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _MIN_FILES:
        text = f"A process may have {hard} open files here: a worker carries fewer clients than that."
        return warning("file limit", text, "Raise it (ulimit -Hn, LimitNOFILE= in a unit).")
    return ok(
        "file limit", f"A process may have {'any number of' if hard == resource.RLIM_INFINITY else hard} open files."
    )


def _ask(*argv: str) -> tuple[int, str]:
    """Return a program's exit code, and what it says; 1 if it can't be asked."""
    environ = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, env=environ)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stdout + done.stderr).strip()
