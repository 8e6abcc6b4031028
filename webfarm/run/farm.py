"""``webfarm run``: the whole farm of an app in the foreground.

It starts Redis, the workers and HAProxy, each when the one before answers. It watches them, and stops them in reverse
order. Each has a session of its own, so that Ctrl-C reaches only this process, which then stops the others.
"""

import contextlib
import errno
import http.client
import queue
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from webfarm import haproxy
from webfarm.addresses import bracket, check_free, get_reachable
from webfarm.errors import Error, SettingsError
from webfarm.run import redis_cluster
from webfarm.run.app import check_app, has_config
from webfarm.run.processes import Part
from webfarm.run.programs import check_redis, choose_redis, find_haproxy, find_redis, make_folder
from webfarm.run.redis_cluster import Node
from webfarm.settings import Settings

_STATE = ".run"  # of the current folder
_IGNORED = ("PORT", "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS")

_START_S = 30.0
_STOP_S = 20.0  # above gunicorn's graceful_timeout
_POLL_S = 0.1


class _Stopped(Exception):
    """Ctrl-C, SIGTERM or SIGHUP came."""


def run(
    environ: Mapping[str, str],
    *,
    bind: str | None,
    app: str | None = None,
    reload: bool = False,
    cluster: int | None = None,
) -> int:
    """Run the farm until Ctrl-C, SIGTERM, or the end of one of its parts; return the exit code.

    Args:
        environ: the environment; ``PORT`` is ignored.
        bind: ``HOST:PORT`` of HAProxy, ``None`` for a farm without it.
        app: ``MODULE:APP`` of the current folder; by default ``WEBFARM_APP``.
        reload: restart the workers when a source file changes.
        cluster: the number of primaries of a Redis Cluster; ``None`` for a single Redis.

    Raises:
        Error: a setting is bad, the app can't be served, a port is taken, a program is missing, or a part does not
            start.
    """
    environ = {name: value for name, value in environ.items() if name != "PORT"}
    environ |= {"WEBFARM_APP": app} if app else {}
    state = Path.cwd() / _STATE
    nodes = _prepare_cluster(environ, cluster, state) if cluster else []
    if nodes:
        environ["REDIS_URL"] = redis_cluster.get_url(nodes)
    settings = Settings.from_env(environ)
    front = haproxy.parse_bind(bind) if bind else None
    _check_ports(settings, front, nodes)
    environ = {name: value for name, value in environ.items() if name not in _IGNORED}
    config = [] if has_config(Path.cwd()) else ["-c", "python:webfarm.gunicorn"]
    farm = _Farm(state)
    with farm.stopping_on_signals():
        try:
            check_app(settings.app, environ, farm.raise_if_stopped)
            farm.start_redis(settings, environ, nodes)
            farm.start(settings, environ, front, [*config, *(["--reload"] if reload else [])])
            farm.watch()
        except _Stopped:
            pass
        finally:
            farm.stop()
    return 0


def _prepare_cluster(environ: Mapping[str, str], size: int, state: Path) -> list[Node]:
    if "REDIS_URL" in environ:
        raise SettingsError("--cluster starts a Redis Cluster, and REDIS_URL names a Redis: leave one of them out.")
    program = find_redis()
    return redis_cluster.prepare(program, state / f"{Path(program).name}-cluster-{size}", size)


class _Farm:
    """The running parts, in the order in which they were started."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._parts: list[Part] = []
        self._messages: queue.Queue[Message] = queue.Queue()
        self._colours = get_colours()
        self._printer = Printer(sys.stdout, time_format="", width=len("haproxy"))
        self._signals = 0
        self._is_ready = False

    @contextlib.contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        def count(signum: int, frame: Any) -> None:
            self._signals += 1

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {signum: signal.signal(signum, count) for signum in signals}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def raise_if_stopped(self) -> None:
        """End the start, or the watch, if a signal has come."""
        if self._signals:
            raise _Stopped

    def start_redis(self, settings: Settings, environ: Mapping[str, str], nodes: Sequence[Node]) -> None:
        """Start a Redis, or the cluster of ``nodes``, unless one answers; check that the farm can use it."""
        make_folder(self._state)
        if nodes:
            self._start_cluster(settings.redis_url, environ, nodes)
        else:
            redis = choose_redis(settings.redis_url, is_set="REDIS_URL" in environ, state=self._state)
            self._say(redis.description)
            if redis.argv:
                self._start("redis", redis.argv, environ)
                self._wait(redis.answers, "Redis")
        check_redis(settings)

    def _start_cluster(self, url: str, environ: Mapping[str, str], nodes: Sequence[Node]) -> None:
        folder, ports = nodes[0].folder.parent, f"{nodes[0].port} to {nodes[-1].port}"
        for node in nodes:
            self._start(f"redis-{node.port}", node.argv, environ, is_replaceable=True)
        self._say(f"Redis Cluster: starting {nodes[0].argv[0]} on ports {ports}, its data in {folder}")
        self._wait(lambda: redis_cluster.advance(nodes), f"the cluster in {folder}")
        self._say(f"Redis Cluster: {redis_cluster.describe(nodes)}; REDIS_URL={url}")

    def start(
        self, settings: Settings, environ: Mapping[str, str], front: tuple[str, int] | None, options: Sequence[str]
    ) -> None:
        """Start the workers, with gunicorn's ``options``, and HAProxy at ``front``."""
        ports = range(settings.base_port, settings.base_port + settings.workers)
        host = get_reachable(settings.host)
        authority = bracket(host)
        argv = [sys.executable, "-m", "gunicorn", *options, settings.app]
        numbers = {"WEBFARM_WORKERS": str(settings.workers), "WEBFARM_BASE_PORT": str(settings.base_port)}
        key = secrets.token_urlsafe()  # an app of this farm may know that webfarm run has started it
        environ_of_workers = {**environ, **numbers, "REDIS_URL": settings.redis_url, "WEBFARM_RUN_KEY": key}
        self._start("workers", argv, environ_of_workers, stop_signal=signal.SIGQUIT)  # without a drain
        self._wait(lambda: all(_is_ready(host, port) for port in ports), "the workers")
        if front:
            self._start_haproxy(settings, front, f"{authority}:{ports[0]}-{ports[-1]}", environ)
            self._say(f"webfarm is ready: http://{bracket(get_reachable(front[0]))}:{front[1]}  (Ctrl-C stops it)")
        else:
            urls = " ".join(f"http://{authority}:{port}" for port in ports)
            self._say(f"webfarm is ready, without HAProxy: {urls}  (Ctrl-C stops it)")
        self._is_ready = True

    def _start_haproxy(
        self, settings: Settings, front: tuple[str, int], workers: str, environ: Mapping[str, str]
    ) -> None:
        program = find_haproxy()
        host, port = front
        config = self._state / f"haproxy-{port}.cfg"
        text = haproxy.render(
            haproxy.parse_ranges([workers]),
            bind=f"{bracket(host)}:{port}",
            heartbeat_s=settings.ping_interval_s + settings.ping_timeout_s,
            source_rate=0,  # all come from this machine
            source_connections=0,
            admin_password=settings.admin_password,
        )
        try:
            config.write_text(text)
        except OSError as error:
            raise Error(f"{config} can't be written ({error.strerror}): remove it, or change its owner.") from None
        self._start("haproxy", [program, "-db", "-f", str(config)], environ)
        self._wait(lambda: _is_ready(get_reachable(host), port), "HAProxy")

    def watch(self) -> None:
        """Print the parts' lines until a signal comes; raise ``Error`` if a part ends."""
        while True:
            self._pump()

    def stop(self) -> None:
        """Stop the parts, the last one first. A second signal kills them, and so does a stop of 20 s."""
        signals = self._signals
        for part in reversed(self._parts):
            part.signal(part.stop_signal)
            deadline = time.monotonic() + _STOP_S
            while part.is_running:
                self._print_messages(_POLL_S)
                if time.monotonic() > deadline or self._signals > signals:
                    part.kill()
        self._print_messages(0)

    def _start(self, name: str, argv: Sequence[str], environ: Mapping[str, str], **options: Any) -> None:
        self._printer.width = max(self._printer.width, len(name))
        self._parts.append(Part(name, argv, environ, next(self._colours), self._messages, **options))

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _START_S
        while not condition():
            self._pump()
            if time.monotonic() > deadline:
                raise Error(f"{what} did not answer within {_START_S:.0f} s; the lines above say why.")

    def _pump(self) -> None:
        self._print_messages(_POLL_S)
        self.raise_if_stopped()
        for part in [part for part in self._parts if not part.is_running]:
            if not (part.is_replaceable and self._is_ready):
                raise Error(f"the part {part.name} ended by itself; the lines above say why. The rest was stopped.")
            self._parts.remove(part)
            self._say(f"{part.name} ended by itself; the farm goes on, and the next webfarm run starts it again.")

    def _print_messages(self, timeout_s: float) -> None:
        with contextlib.suppress(queue.Empty):
            message = self._messages.get(timeout=timeout_s) if timeout_s else self._messages.get_nowait()
            while True:
                if message.type == "line":
                    self._print(message)
                message = self._messages.get_nowait()

    def _say(self, text: str) -> None:
        self._print(Message("line", text, datetime.now(), "webfarm", None))

    def _print(self, message: Message) -> None:
        with contextlib.suppress(OSError):  # the reader has closed the pipe; the farm goes on
            self._printer.write(message)


def _check_ports(settings: Settings, front: tuple[str, int] | None, nodes: Sequence[Node]) -> None:
    option = "Else choose another with"
    wanted = [(settings.host, settings.base_port + i, f" {option} --base-port.") for i in range(settings.workers)]
    if front:
        wanted.append((*front, f" {option} --bind."))
    wanted += [(redis_cluster.HOST, port, "") for node in nodes for port in (node.port, node.bus_port)]
    ports = [port for _, port, _ in wanted]
    for host, port, hint in wanted:
        if ports.count(port) > 1:
            raise Error(f"port {port} is meant for two parts; choose another with --bind or --base-port.")
        _check_port(host, port, hint)


def _check_port(host: str, port: int, hint: str) -> None:
    try:
        check_free(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise Error(f"{host}:{port} can't be bound: {error.strerror}.") from None
        raise Error(f"port {port} on {host} is in use: is a farm running already?{hint}") from None


def _is_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
