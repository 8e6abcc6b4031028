"""Whether the workers answer, and HAProxy keeps each session on its worker."""

import http.client
import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from webfarm.addresses import bracket, get_reachable
from webfarm.doctor.finding import Finding, fault, ok, warning
from webfarm.haproxy import Server, parse_ranges
from webfarm.settings import Settings, parse_origin

_TIMEOUT_S = 5
_SESSIONS, _REQUESTS = 16, 16
_USERS = 8
_MAX_SKEW_S = 2.5  # a Date header is whole seconds
_FEW_FILES = 4096
_PONG, _CLOSE = b"3", b"1"  # packets of Engine.IO that need no answer
_OPEN = "/socket.io/?EIO=4&transport=polling"
_REASONS = {
    "redis": "Redis does not answer it, or takes no writes: see the findings about Redis here, and the worker's log.",
    "draining": "It is about to end; systemctl status, or the worker's log, says why.",
}


class _Answer(NamedTuple):
    status: int
    text: str
    date: str


def examine(settings: Settings, servers: Sequence[Server], url: str | None) -> Iterator[Finding]:
    """Yield what there is to say about each worker, and about HAProxy at ``url``."""
    first = settings.port or settings.base_port
    last = first if settings.port else first + settings.workers - 1
    servers = servers or parse_ranges([f"{bracket(get_reachable(settings.host))}:{first}-{last}"])
    for server in servers:
        yield from _check_worker(f"http://{server.address}", f"worker {server.address}")
    if url is not None:
        yield from _check_balancer(url, len(servers))
        if url.startswith("https:") and settings.allowed_origins is None:
            yield from _check_origin(url)


def _check_worker(url: str, subject: str) -> Iterator[Finding]:
    try:
        alive = _request(url, "/healthz")
        ready = _request(url, "/readyz")
        metrics = _request(url, "/metrics").text
    except TimeoutError:
        text = "It accepts connections and does not answer: it is stalled, or starting."
        yield fault(subject, text, "If that stays, restart it; its log may say why.")
        return
    except (OSError, http.client.HTTPException) as error:
        text = f"Nothing answers there: {error}."
        yield fault(
            subject,
            text,
            "Start it (systemctl start webfarm.target, or webfarm run), or name the right ones: --server.",
        )
        return
    if alive.text != "ok\n":
        yield fault(subject, "Something else answers there.", "Stop it, or choose other ports (WEBFARM_BASE_PORT).")
        return
    yield from _check_clock(alive, subject)
    if ready.status != 200:
        reason = ready.text.strip().removeprefix("not ready: ")
        yield fault(subject, f"It is not ready: {reason}.", _REASONS.get(reason, "Its log says more."))
        return
    yield _check_files(metrics, subject)
    try:
        _, lost = _try_sessions(url, [_OPEN] * _SESSIONS)
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield fault(subject, f"It says that it is ready, and opens no session: {error}.", "Its log may say why.")
        return
    if lost:
        text = f"Several processes answer there ({lost}): clients meet 'Invalid session'."
        yield fault(
            subject, text, "One worker per port: gunicorn -c python:webfarm.gunicorn, without -k; no reuse_port."
        )
    else:
        yield ok(subject, "It is ready, one process.")


def _check_clock(answer: _Answer, subject: str) -> Iterator[Finding]:
    try:
        ahead = parsedate_to_datetime(answer.date).timestamp() + 0.5 - time.time()
    except (TypeError, ValueError):
        return
    if abs(ahead) > _MAX_SKEW_S:
        text = f"Its clock and this machine's differ by {abs(ahead):.0f} s."
        yield fault(subject, text, "Let all machines follow NTP (systemd-timesyncd, chrony).")


def _check_files(metrics: str, subject: str) -> Finding:
    found = {name: float(value) for name, value in re.findall(r"^process_(\w+_fds) (\S+)$", metrics, re.MULTILINE)}
    most, used = int(found.get("max_fds", 0)), int(found.get("open_fds", 0))
    if most and used > 0.8 * most:
        return fault(subject, f"{used} of {most} files are open.", "Add a worker, or raise the limit (LimitNOFILE=).")
    if most and most < _FEW_FILES:
        text = f"It may open {most} files: it carries fewer clients than that."
        return warning(subject, text, "Raise the limit (ulimit -n, LimitNOFILE= in the unit).")
    return ok(subject, f"{used} of {most} files are open.")


def _check_balancer(url: str, workers: int) -> Iterator[Finding]:
    subject = f"HAProxy at {url}"
    try:
        status = _request(url, "/healthz").status
        names, lost = _try_sessions(url, [f"{_OPEN}&userId={user}" for user in range(_USERS)])
        if lost:
            text = f"A session's requests do not stay on its worker ({lost}): clients meet 'Invalid session'."
            yield fault(subject, text, "Use what webfarm haproxy-config prints; nothing else may balance in between.")
            return
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield fault(
            subject,
            f"It does not serve the farm: {error}.",
            "Start it, or name --url as browsers do: https://chat.example.org.",
        )
        return
    if status != 200 or not all(re.fullmatch(r"webserver\d+", name) for name in names):
        text = "The proxy there does not tell the workers their names."
        yield fault(subject, text, "Use what webfarm haproxy-config prints.")
    elif len(names) == 1 and workers > 1:
        text = f"All of {_USERS} users came to {names.pop()}."
        yield warning(subject, text, "Is there a --server for each machine? Do the other workers answer (/readyz)?")
    else:
        yield ok(subject, f"Each session stays on its worker; {_USERS} users came to {len(names)} of {workers}.")
    yield _check_websocket(url, subject)


def _check_origin(url: str) -> Iterator[Finding]:
    """Look whether a page of this very site may connect: workers that do not believe HAProxy see it come by HTTP."""
    try:
        origin = parse_origin(url)
        status = _request(url, _OPEN, origin=origin).status
    except (OSError, http.client.HTTPException, ValueError):
        return  # which has been said
    if status == HTTPStatus.BAD_REQUEST:
        remedy = f"Set WEBFARM_TRUSTED_PROXIES to HAProxy's address, or WEBFARM_ALLOWED_ORIGINS to {origin}."
        yield fault(f"HAProxy at {url}", f"The workers refuse pages of {origin}.", remedy)


def _check_websocket(url: str, subject: str) -> Finding:
    address = f"{url.replace('http', 'ws', 1).rstrip('/')}/socket.io/?EIO=4&transport=websocket"
    try:
        with connect(address, open_timeout=_TIMEOUT_S, close_timeout=1, proxy=None) as websocket:
            websocket.recv(_TIMEOUT_S)
    except (OSError, WebSocketException) as error:
        text = f"No websocket comes through: {error}."
        return fault(subject, text, "Use what webfarm haproxy-config prints; a proxy in front must pass upgrades on.")
    return ok(subject, "A websocket comes through.")


def _open_session(url: str, path: str) -> str:
    """Return the sid of a new Engine.IO session. Raises ``ValueError`` if it is none."""
    answer = _request(url, path)
    if answer.status != 200 or not answer.text.startswith("0"):
        raise ValueError(f"it answers {answer.status} to a new session")
    opened = json.loads(answer.text[1:])
    if not isinstance(opened, dict) or "sid" not in opened:
        raise ValueError("it answers to a new session without a sid")
    return str(opened["sid"])


def _try_sessions(url: str, paths: Sequence[str]) -> tuple[set[str], str]:
    """Return HAProxy's names of the workers that new sessions came to, and how many of their requests were refused.

    Each is made over a connection of its own. If none was refused, that text is empty.

    They are made side by side: while one process is busy, another one behind the same port takes the next connection.
    """

    def run(path: str) -> tuple[str, int]:
        sid = _open_session(url, path)
        session = f"{path}&sid={sid}"
        lost = sum(_request(url, session, _PONG).status != 200 for _ in range(_REQUESTS))
        _request(url, session, _CLOSE)
        return sid.partition(".")[0], lost

    with ThreadPoolExecutor(len(paths)) as pool:
        names, refused = zip(*pool.map(run, paths), strict=True)
    lost = sum(refused)
    return set(names), f"{lost} of {len(paths) * _REQUESTS} requests were refused" if lost else ""


def _request(url: str, path: str, body: bytes | None = None, origin: str = "") -> _Answer:
    """Ask over a connection of its own. Raises ``OSError`` or ``HTTPException``."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_TIMEOUT_S)
    try:
        headers = {"Connection": "close"} | ({"Origin": origin} if origin else {})
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return _Answer(answer.status, answer.read().decode(errors="replace"), answer.headers.get("Date", ""))
    finally:
        connection.close()
