"""Whether this machine has what the farm needs: packages, units, their settings file, HAProxy, open files."""

import contextlib
import os
import re
import resource
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson
from packaging.version import Version

from webfarm.doctor.finding import Finding, fault, ok, warning
from webfarm.errors import Error
from webfarm.run.programs import find_haproxy
from webfarm.web.packages import find_packages

_ENV = "etc/webfarm/webfarm.env"
_UNITS = "etc/systemd/system"
_HAPROXY = "etc/haproxy/haproxy.cfg"
_SYSTEMD = "run/systemd/system"  # is there where systemd runs
_INSTALLED = "/opt/webfarm"
_SET_UP = "Install webfarm again, or run make setup in a clone."
_MIN_FILES = 4096
_TIMEOUT_S = 10

#: The first versions without a known hole; older ones let strangers in, or let a client end the worker.
_SAFE = {
    "python-socketio": "5.16.2",
    "python-engineio": "4.13.2",
    "gevent": "24.10.1",
    "gunicorn": "23.0.0",
    "Werkzeug": "3.1.3",
    "redis": "8.0.1",
}
_SAFE_PARSER = "4.2.7"  # of socket.io-parser, within the browser's client


def examine(
    environ: Mapping[str, str],
    root: Path = Path("/"),
    *,
    has_haproxy: bool = True,
    places: Sequence[Path] | None = None,
) -> Iterator[Finding]:
    """Check this machine, and yield each finding.

    An installation of systemd's units is checked only if it is this farm's: if one of ``places`` lies in its folder.

    Args:
        environ: of the other checks' settings.
        root: of the files that are checked.
        has_haproxy: whether this machine should have HAProxy.
        places: by default the current folder, and the virtual environment of this command.
    """
    yield from _check_packages()
    yield _check_browser_client()
    installation = _find_installation(root)
    if installation and any(_lies_in(place, installation) for place in places or (Path.cwd(), Path(sys.prefix))):
        yield from _check_installation(root, installation)
        yield from _check_environment_file(environ, root / _ENV)
        yield from _check_units(root)
    if has_haproxy:
        yield from _check_haproxy(root / _HAPROXY)
    yield _check_files()


def _find_installation(root: Path) -> Path | None:
    """Return the folder of the app that the units run, if there are any, or that ``make install`` has left."""
    folder = _INSTALLED
    with contextlib.suppress(OSError, UnicodeError):
        text = (root / _UNITS / "webfarm@.service").read_text()
        if found := re.search(r"^WorkingDirectory=(/.*)$", text, re.MULTILINE):
            folder = found[1]
    installation = root / folder.lstrip("/")
    return installation if _exists(installation) else None


def _lies_in(place: Path, folder: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())


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
    subject = "browser client"
    client, parser = (find_packages(f"socket.io-{name}") for name in ("client", "parser"))
    if client is None or not (client / "dist/socket.io.js").exists():
        text = "It is not installed: workers answer 404 to /socket.io/socket.io.js."
        return warning(subject, text, "npm install socket.io-client@4.8.4, unless your pages bring their own.")
    if parser is None:  # the wheel's client is built of checked packages
        return ok(subject, "Installed.")
    try:
        found = str(orjson.loads((parser / "package.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError):
        return fault(subject, "Its packages are incomplete.", "Delete node_modules, and run npm install again.")
    if Version(found) < Version(_SAFE_PARSER):
        text = f"socket.io-parser {found} has a known hole (safe from {_SAFE_PARSER})."
        return fault(subject, text, "Update socket.io-client in package.json.")
    return ok(subject, f"Installed, socket.io-parser {found}.")


def _check_installation(root: Path, installation: Path) -> Iterator[Finding]:
    needed = [installation / ".venv/bin/webfarm", installation / ".venv/bin/gunicorn"]
    needed += [root / _UNITS / "webfarm@.service", root / _UNITS / "webfarm.target", root / _ENV]
    missing = [str(path) for path in needed if not _exists(path)]
    if missing:
        remedy = "Run make install again, as root; for an app of your own, webfarm systemd-units."
        yield fault("installation", f"It is incomplete: {missing[0]} is missing.", remedy)
    else:
        yield ok("installation", f"{installation} and its units are complete.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # it is there, as far as this user can see
        return True


def _check_environment_file(environ: Mapping[str, str], path: Path) -> Iterator[Finding]:
    subject = str(path)
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except FileNotFoundError:
        return
    except (OSError, UnicodeError) as error:
        yield warning(subject, f"It can't be read: {error}.", "Run webfarm doctor as root, or as the user webfarm.")
        return
    if mode & stat.S_IRWXO:
        yield fault(
            subject, "Everybody may read it, and it holds secrets.", f"chmod 0640 {path}; chown root:webfarm {path}"
        )
    elif re.search(r"^\s*(export\s+)?PORT=", text, re.MULTILINE):
        yield fault(subject, "It sets PORT, so that all units would share one port.", "Delete that line.")
    else:
        yield ok(subject, "Only root and the farm may read it.")
    if others := [name for name, value in _parse(text) if environ.get(name, "") != value]:
        yield warning(
            subject,
            f"The workers have other settings from it than this shell, which the doctor reads: {', '.join(others)}.",
            f"set -a; . {path}; set +a; then again. A value with signs like & goes between single quotes there.",
        )


def _parse(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of an ``EnvironmentFile=``, as systemd reads them."""
    for line in text.splitlines():
        name, is_set, value = line.strip().partition("=")
        if is_set and not name.startswith(("#", ";")):
            with contextlib.suppress(ValueError):  # a quote that is not closed
                yield name, "".join(shlex.split(value)[:1])


def _check_units(root: Path) -> Iterator[Finding]:
    if not shutil.which("systemctl") or not (root / _SYSTEMD).exists():
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
            continue  # a unit per port, or one for all: a start of one kind stops the other
        elif active == "failed":
            yield fault(unit, "It has failed.", f"journalctl -u {unit} -n 20 says why.")
        elif active != "active":
            yield warning(unit, f"It is {active} ({state}).", f"systemctl start {unit}, unless you have stopped it.")
        else:
            yield ok(unit, "It runs.")


def _check_haproxy(path: Path) -> Iterator[Finding]:
    try:
        program = find_haproxy()
    except Error as error:
        yield warning("HAProxy", str(error), "Without it each client must come to one worker's port.")
        return
    found = re.search(r"version (\d+\.\d+)", _ask(program, "-v")[1])
    if found and Version(found[1]) < Version("2.6"):
        yield fault("HAProxy", f"It is version {found[1]}.", "Use 2.6 or later.")
    try:
        config = path.read_text()
    except (OSError, UnicodeError):
        return
    if not config.strip():
        text = f"{path} is empty: webfarm haproxy-config has failed, and HAProxy serves nothing after a restart."
        yield fault("HAProxy", text, f"webfarm haproxy-config ... > {path} && systemctl reload haproxy")
        return
    if "frontend webfarm" not in config:
        return  # another service's, or Debian's own: this farm's HAProxy has a file elsewhere
    code, said = _ask(program, "-c", "-f", str(path))
    if code:
        reason = next((line for line in said.splitlines() if "[ALERT]" in line), said.partition("\n")[0])
        reason = re.sub(r"^\[\w+\]\s*\(\d+\)\s*:\s*", "", reason)
        if os.geteuid():  # certificates are root's
            yield warning("HAProxy", f"It can't check {path}: {reason}", "Run webfarm doctor as root.")
        else:
            text = f"It would not start with {path}: {reason}"
            yield fault("HAProxy", text, f"webfarm haproxy-config ... > {path}")
    else:
        yield ok("HAProxy", f"{path} is valid.")
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
    """Run a program; return its exit code and output. The code is 1 if it can't be run."""
    environ = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, env=environ)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stdout + done.stderr).strip()
