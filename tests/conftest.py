"""Fixtures: those of the test kit (``webfarm.testing``), and what only this project's own tests need.

Everything that a test starts ends with it; a process that is left over fails the test.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from webfarm.haproxy import parse_ranges, render
from webfarm.log.offset import Ids, decode_offset
from webfarm.redis.keys import Keys, find_shard
from webfarm.run.programs import find_haproxy
from webfarm.testing import (  # noqa: F401 - what tests import from here
    LOCAL,
    SHARDS,
    Farm,
    Host,
    Process,
    RedisServer,
    Workers,
    get_children,
    get_free_ports,
    get_listening_ports,
    get_status,
    is_alive,
    starting_farm,
    starting_processes,
    starting_workers,
    wait_until,
)

pytest_plugins = ["webfarm.testing"]

ROOT = Path(__file__).parent.parent
HERE = Path(__file__).parent
NODE = shutil.which("node") or str(ROOT / ".venv/bin/node")


@pytest.fixture(scope="session")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.kit.redis_cluster import RedisCluster

    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(whole_cluster: Any) -> Iterator[Any]:
    """A cluster, whose nodes a test may stop: the next test has them all again (``tests.kit.redis_cluster``)."""
    yield whole_cluster
    whole_cluster.heal()


def get_keys(prefix: str, name: str | None = None, shards: int = SHARDS) -> Keys:
    """Return the keys of the shard that a room, a socket's own included, or a user is in; ``None``: of the first one."""
    return Keys(prefix, 0 if name is None else find_shard(name, shards), shards)


def read_offset(server: redis.Redis, prefix: str, offset: str, shards: int = SHARDS) -> Ids:
    """Return the ids that an offset shows, by shard."""
    return decode_offset(offset, get_epochs(server, prefix, shards))


def get_epochs(server: redis.Redis, prefix: str, shards: int = SHARDS) -> list[str]:
    """Return the epoch of each shard."""
    clocks: Any = [server.hget(Keys(prefix, number, shards).clock, "epoch") for number in range(shards)]
    return [epoch.decode() for epoch in clocks]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for a module."""
    from playwright.sync_api import sync_playwright  # slow to import, and few need it

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    flags = [
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, site: Farm) -> Iterator[Callable[..., Any]]:
    """Opens pages of the module's ``site``, each in a profile of its own; fails the test on an error in a page's console."""
    contexts: list[Any] = []
    errors: list[str] = []

    def open_page(path: str, url: str = site.url, script: str = "", **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        contexts[-1].add_init_script(script)
        page = contexts[-1].new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


class Front(Process):
    """An HAProxy with our configuration, run as Debian runs it: a master that can be told to reload.

    Args:
        folder: for its configuration.
        ranges: the workers, as ``--server`` takes them.
        edit: what a test changes of the configuration's text.
        options: of ``render``.
    """

    def __init__(
        self, folder: Path, ranges: list[str], edit: Callable[[str], str] = lambda text: text, **options: Any
    ) -> None:
        self.port = get_free_ports()
        self._config = folder / f"haproxy-{self.port}.cfg"
        self._edit, self.options = edit, options
        self._configure(ranges)
        super().__init__(find_haproxy(), "-W", "-db", "-f", str(self._config))
        wait_until(self.find_listening, "HAProxy")

    def _configure(self, ranges: list[str]) -> None:
        text = render(parse_ranges(ranges), bind=f"127.0.0.1:{self.port}", heartbeat_s=45, **self.options)
        self._config.write_text(self._edit(text))

    def find_listening(self) -> set[int]:
        """Return the processes that take new connections."""
        return {pid for pid in get_children(self.pid) if self.port in get_listening_ports(pid)}

    def reload(self, ranges: list[str]) -> None:
        """Go over to a new configuration without closing a connection."""
        old = self.find_listening()
        self._configure(ranges)
        self.kill(signal.SIGUSR2)
        wait_until(lambda: (new := self.find_listening()) and not new & old, "HAProxy's reload")

    @property
    def url(self) -> str:
        return f"{'https' if self.options.get('tls_cert') else 'http'}://127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a certificate for this machine, which vouches for itself, with its key."""
    folder = tmp_path_factory.mktemp("a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    path = folder / "site.pem"
    path.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return str(path)


class NodeClient:
    """The stock JavaScript client, in a Node process of its own (``client.mjs``)."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._number = 0

    def _messages(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self._process.lines) if line.startswith("{")]

    def _send(self, **command: Any) -> int:
        self._number += 1
        assert self._process.popen.stdin
        self._process.popen.stdin.write(json.dumps({"number": self._number, **command}) + "\n")
        self._process.popen.stdin.flush()
        return self._number

    def open(self, name: str, url: str, **options: Any) -> None:
        self._send(do="open", name=name, url=url, options=options)

    def connect(self, name: str, url: str, **options: Any) -> dict[str, Any]:
        """Open a socket; return ``{sid, engine, transport}`` once it is connected."""
        self.open(name, url, **options)
        return self.wait_for(name, "connect")[-1]

    def emit(self, name: str, event: str, *args: Any, binary: bool = False) -> None:
        """Emit without an acknowledgement. ``binary`` turns ``{"hex": ...}`` in ``args`` into Buffers."""
        self._send(do="emit", name=name, event=event, args=list(args), binary=binary)

    def call(self, name: str, event: str, *args: Any, binary: bool = False, timeout_s: float = 5.0) -> Any:
        """Emit and return the acknowledgement's first argument; ``None`` if none came in ``timeout_s``."""
        number = self._send(do="call", name=name, event=event, args=list(args), binary=binary, timeout=timeout_s * 1000)

        def find() -> list[Any] | None:
            return next(([m.get("answer")] for m in self._messages() if m.get("number") == number), None)

        return wait_until(find, f"the acknowledgement of {event}", timeout_s + 5)[0]

    def cut(self, name: str) -> None:
        """End the client's transport without a word."""
        self._send(do="cut", name=name)

    def close(self, name: str) -> None:
        self._send(do="close", name=name)

    def get(self, name: str, event: str) -> list[Any]:
        """Return what ``name`` has received under ``event``, each the list of its arguments."""
        return [m["args"] for m in self._messages() if m.get("name") == name and m.get("event") == event]

    def wait_for(self, name: str, event: str, count: int = 1, timeout_s: float = 20.0) -> list[Any]:
        """Wait until ``name`` has received ``event`` ``count`` times; return the arguments, single ones bare."""
        what = f"{count} x {event} at {name}"
        found = wait_until(lambda: len(self.get(name, event)) >= count and self.get(name, event), what, timeout_s)
        return [args[0] if len(args) == 1 else args for args in found]


@pytest.fixture
def node(start: Any) -> NodeClient:
    """The stock JavaScript client."""
    return start_node(start)


def start_node(start: Callable[..., Process], host: Host = LOCAL) -> NodeClient:
    process = start(*host.command, NODE, str(HERE / "kit" / "client.mjs"))
    process.wait_for_line('{"ready":')
    return NodeClient(process)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fast ones first, then those with a cluster, then the browser's."""
    items.sort(key=lambda item: (bool(item.get_closest_marker("browser")), bool(item.get_closest_marker("cluster"))))


class RawClient:
    """A websocket that speaks Engine.IO by hand, for what no proper client would send."""

    def __init__(self, url: str, join: bool, query: str) -> None:
        self._stack = contextlib.ExitStack()
        self._socket = self._stack.enter_context(
            connect(url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket" + query)
        )
        self.handshake = json.loads(str(self._socket.recv(10))[1:])
        if join:
            self.send("40")
            assert str(self._socket.recv(10)).startswith("40")

    def send(self, data: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed):  # the server may have had enough before
            self._socket.send(data)

    def receive(self) -> str:
        """Return the next frame."""
        return str(self._socket.recv(10))

    def wait_for(self, text: str) -> None:
        """Receive until a frame holds ``text``."""
        while text not in str(self._socket.recv(10)):
            pass

    def receive_until_closed(self, timeout_s: float = 10.0) -> bool:
        """Answer pings until the server closes the connection; return whether it did."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(ConnectionClosed):
            while time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):
                    if self._socket.recv(0.5) == "2":
                        self.send("3")
            return False
        return True

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def opening(kind: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield what opens clients of a kind, each with a ``stack`` that is closed at the end."""
    with contextlib.ExitStack() as opened:

        def open_client(*args: Any, **kwargs: Any) -> Any:
            client = kind(*args, **kwargs)
            opened.callback(_close, client)
            return client

        yield open_client


def _close(client: Any) -> None:
    with contextlib.suppress(OSError):  # its connection was cut
        client.stack.close()


@pytest.fixture
def raw_client() -> Iterator[Callable[..., RawClient]]:
    """Opens websockets without a Socket.IO client; ``join=False`` stops before the namespace's CONNECT."""
    with contextlib.ExitStack() as stack:

        def open_client(url: str, join: bool = True, query: str = "") -> RawClient:
            client = RawClient(url, join, query)
            stack.callback(client.close)
            return client

        yield open_client


class Example(Workers):
    """One of the apps in ``examples/`` under gunicorn, on a port of its own, without Redis."""

    def __init__(self, name: str, **env: str) -> None:
        self.ports = [get_free_ports()]
        self.urls = [f"http://127.0.0.1:{self.ports[0]}"]
        Process.__init__(self, *self.get_argv(name), env={"PORT": str(self.ports[0]), "WEBFARM_DRAIN_S": "0"} | env)
        try:
            wait_until(lambda: get_status(self.url) is not None, f"examples.{name}")
        except BaseException:
            self.close()
            print(self.output)
            raise

    @staticmethod
    def get_argv(name: str) -> list[str]:
        return [sys.executable, "-m", "gunicorn", "-c", "python:webfarm.gunicorn", f"examples.{name}:app"]

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def worker(self) -> int:
        """The process id of its worker."""
        return self.get_worker(self.ports[0])


@pytest.fixture(scope="module")
def example() -> Iterator[Callable[..., Example]]:
    """Starts example apps (name, settings as keywords), which end with the module."""
    with starting_processes(Example) as start_example:
        yield start_example


CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True, announce: int | None = None
) -> bytes:
    """Return a client's websocket frame; ``announce`` is the length its header tells, if not that of ``payload``."""
    length = len(payload) if announce is None else announce
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        head += bytes([mask << 7 | length])
    elif length < 65536:
        head += struct.pack("!BH", mask << 7 | 126, length)
    else:
        head += struct.pack("!BQ", mask << 7 | 127, length)
    if not mask:
        return head + payload
    key = b"\x1f\x80\xa5\x07"
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    return head + key + (int.from_bytes(payload) ^ int.from_bytes(stream)).to_bytes(len(payload))


class Closed(Exception):
    """The other side has closed: ``code`` is that of its close frame, 1005 if that had none, 1006 without a frame."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Wire:
    """A TCP connection on which a test writes what it likes, websocket frames among it."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def upgrade(self, path: str = "/", extra: bytes = b"", **changes: str | None) -> "Wire":
        """Open a websocket. ``changes`` are headers (``None`` leaves one out), ``extra`` goes in the same segment."""
        status, headers, _ = self.request(path, extra, **changes)
        assert status == 101, (status, headers)
        return self

    def request(
        self, path: str = "/", extra: bytes = b"", line: str = "GET {} HTTP/1.1", **changes: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send the request for a websocket, or a broken one; return status, headers and what came of the body."""
        headers = {
            "Host": "localhost",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        lines = [line.format(path), *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
        self.write("\r\n".join([*lines, "", ""]).encode() + extra)
        return self.read_response()

    def read_response(self, timeout_s: float = 10.0) -> tuple[int, dict[str, str], bytes]:
        """Read an HTTP answer and its body; raise ``Closed`` if the connection ends before."""
        head, _, self._buffer = self.read_until(b"\r\n\r\n", timeout_s).partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        body = self.read(int(headers.get("content-length", 0)), timeout_s)
        return int(first.split()[1]), headers, body

    def write(self, data: bytes) -> None:
        self.socket.settimeout(10)
        self.socket.sendall(data)

    def send(self, data: str | bytes) -> None:
        """Send one message in one frame; say nothing if the other side has closed before."""
        with contextlib.suppress(ConnectionError):
            self.write(frame(TEXT, data.encode()) if isinstance(data, str) else frame(BINARY, data))

    def read_until(self, end: bytes, timeout_s: float = 10.0) -> bytes:
        while end not in self._buffer:
            self._read_more(timeout_s)
        return self._buffer

    def read(self, count: int, timeout_s: float = 10.0) -> bytes:
        while len(self._buffer) < count:
            self._read_more(timeout_s)
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _read_more(self, timeout_s: float) -> None:
        self.socket.settimeout(timeout_s)
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed(1006)
        self._buffer += data

    def read_frame(self, timeout_s: float = 10.0) -> tuple[int, bool, bytes]:
        """Return the next frame: opcode, FIN, payload."""
        first, length = self.read(2, timeout_s)
        assert not first & 0x70, "reserved bits"
        assert not length & 0x80, "a server masks nothing"
        if length >= 126:
            length = int.from_bytes(self.read(2 if length == 126 else 8, timeout_s))
        return first & 0x0F, bool(first & 0x80), self.read(length, timeout_s)

    def receive(self, timeout_s: float = 10.0) -> str | bytes:
        """Return the next message, a text or bytes; raise ``Closed`` at the other side's close."""
        kind, data = None, b""
        while True:
            opcode, fin, payload = self.read_frame(timeout_s)
            if opcode == CLOSE:
                raise Closed(int.from_bytes(payload[:2]) if payload else 1005)
            if opcode in (PING, PONG):
                continue
            kind, data = kind or opcode, data + payload
            if fin:
                return data.decode() if kind == TEXT else data

    def receive_close(self, timeout_s: float = 10.0) -> int:
        """Return the code of the other side's close, passing over all messages before it."""
        try:
            while True:
                self.receive(timeout_s)
        except Closed as closed:
            return closed.code

    def wait_for_end(self, timeout_s: float = 10.0) -> bytes:
        """Return what still comes until the other side ends the TCP connection."""
        with contextlib.suppress(Closed):
            while True:
                self._read_more(timeout_s)
        data, self._buffer = self._buffer, b""
        return data

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """Opens TCP connections to a URL, which end with the test."""
    with contextlib.ExitStack() as stack:

        def open_wire(url: str) -> Wire:
            return stack.enter_context(contextlib.closing(Wire(url)))

        yield open_wire
