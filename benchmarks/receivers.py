"""Clients that only receive: the lightest there can be, so that what is measured is the server.

A process of them, told by JSON lines on stdin what to do, like ``benchmarks.load``. They are plain sockets in one epoll
loop, at the lowest priority. The kernel says when a message has arrived (``SO_TIMESTAMPNS``), not the process with a
thousand sockets to read: its own delay is in no figure.
"""

import contextlib
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.load import summarize

_SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h
_UPGRADE = (
    "GET /socket.io/?EIO=4&transport=websocket&userId={} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_PING = b"\x81\x012"


def mask(text: bytes) -> bytes:
    """Return a short text frame, masked with zeros."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


def connect(client: socket.socket, number: int) -> None:
    """Open a websocket on ``client`` and join the default namespace."""
    client.sendall(_UPGRADE.format(number).encode())
    _expect(client, b'0{"sid"')
    client.sendall(mask(b"40"))
    _expect(client, b'40{"sid"')


def _expect(client: socket.socket, packet: bytes) -> None:
    received = b""
    while packet not in received:
        data = client.recv(65536)
        if not data:
            raise ConnectionError(f"closed before {packet!r}")
        received += data


class Receivers:
    """All clients of this process. Its public methods are the commands that the harness gives."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._latencies: list[int] = []
        self._deliveries = self._bytes = 0
        self._gone = 0

    def connect(self, ports: Sequence[int], count: int) -> None:
        """Connect ``count`` clients, to one port after the other, and begin to receive."""
        for number in range(count):
            self._connect(ports[number % len(ports)], number)
        os.nice(19)
        threading.Thread(target=self._receive_all, daemon=True).start()

    def forget_latencies(self) -> None:
        self._latencies = []

    def count(self) -> dict[str, int]:
        """Return how many deliveries came, in how many bytes, and how many clients are gone."""
        return {"deliveries": self._deliveries, "bytes": self._bytes, "gone": self._gone}

    def get_latencies(self) -> dict[str, float]:
        """Return the latencies of all deliveries, in milliseconds."""
        return summarize(self._latencies)

    def _connect(self, port: int, number: int) -> None:
        client = socket.create_connection(("127.0.0.1", port), 30)
        connect(client, number)
        client.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        client.setblocking(False)
        self._sockets[client.fileno()] = client

    def _receive_all(self) -> None:
        poll = select.epoll()
        for fileno in self._sockets:
            poll.register(fileno, select.EPOLLIN)
        offset_ns = time.time_ns() - time.monotonic_ns()
        while True:
            for fileno, _ in poll.poll():
                data, ancillary, _, _ = self._sockets[fileno].recvmsg(65536, 64)
                if not data:
                    self._gone += 1
                    poll.unregister(fileno)
                    continue
                if data.endswith(_PING):
                    with contextlib.suppress(OSError):
                        self._sockets[fileno].send(mask(b"3"))
                self._bytes += len(data)
                seconds, ns = struct.unpack("qq", ancillary[0][2])
                arrived_us = (seconds * 1_000_000_000 + ns - offset_ns) // 1000
                at = data.find(b"@")
                while 0 <= at <= len(data) - 17:
                    self._deliveries += 1
                    self._latencies.append(arrived_us - int(data[at + 1 : at + 17]))
                    at = data.find(b"@", at + 1)


def main() -> None:
    """Carry out one command after the other; end with stdin."""
    receivers = Receivers()
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        try:
            answer = {"result": getattr(receivers, command.pop("command"))(**command)}
        except Exception as error:  # noqa: BLE001 - the harness raises it
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
