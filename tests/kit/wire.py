"""A TCP connection on which a test writes bytes of its choice, and websocket frames."""

import contextlib
import socket
import struct

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
