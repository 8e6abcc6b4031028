"""The load generator: a process full of Socket.IO clients, told by JSON lines on stdin what to do.

It speaks Engine.IO and Socket.IO by hand over picows, and looks at as little as possible of a received frame. A frame
longer than a control packet is a delivery. Only a measurement of latency reads the time of sending out of it. All times
are microseconds of the machine's monotonic clock, the same in every process.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, cycle
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

_LONGEST_CONTROL = 64  # bytes of an acknowledgement, a ping, a namespace's CONNECT
_TEXT = "x" * 60
_BULK = "x" * 10_000
_LARGE = "x" * 900_000
_MANY = ",".join(map(str, range(145_000)))  # 900 KB
_JOIN_TIMEOUT_S = 60.0


def now_us() -> int:
    return time.monotonic_ns() // 1000


class Client(WSListener):
    """One client that has joined the default namespace, or is about to."""

    def __init__(self, before: "Client | None" = None) -> None:
        self.sid = ""
        self.pid = ""
        self.first = b""  # message that it got
        self._before = before  # whose session it comes back to
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.deliveries = 0
        self.acks = 0
        self.latencies: list[int] | None = None
        self.on_ack: Callable[[bytes], None] | None = None
        self.is_gone = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.payload_size > _LONGEST_CONTROL and self.sid:
            self.deliveries += 1
            if not self.first:
                self.first = frame.get_payload_as_bytes()
            if self.latencies is not None:
                payload = frame.get_payload_as_bytes()
                at = payload.index(b"@") + 1
                self.latencies.append(now_us() - int(payload[at : at + 16]))
        else:
            self._take_control(frame.get_payload_as_bytes())

    def _take_control(self, payload: bytes) -> None:
        if payload == b"2":
            self.send(b"3")
        elif payload.startswith(b"43"):
            self.acks += 1
            if self.on_ack:
                self.on_ack(payload)
        elif payload.startswith(b"0"):
            self.send(b"40" + (self._before.describe_session() if self._before else b""))
        elif payload.startswith(b"40"):
            answer = json.loads(payload[2:])
            self.sid, self.pid = answer["sid"], answer.get("pid", "")
            if self._before and self._before.sid != self.sid:
                self.joined.set_exception(RuntimeError("a client was not recovered"))
            else:
                self.joined.set_result(None)

    def describe_session(self) -> bytes:
        """Return what a client shows that comes back."""
        return json.dumps({"pid": self.pid, "offset": json.loads(self.first[2:])[-1]}).encode()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.is_gone = True
        if not self.joined.done():
            self.joined.set_exception(ConnectionError("closed before it had joined"))

    def send(self, packet: bytes) -> None:
        self.transport.send(WSMsgType.TEXT, packet)


class Swarm:
    """All clients of this process. Its public methods are the commands that the harness gives."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self._cut: list[Client] = []
        self._recipients = self._cycle_recipients()
        self.echoes: list[tuple[int, int]] = []  # when sent, how long its acknowledgement took
        self._sending: list[asyncio.Task[None]] = []
        self._is_stopped = False
        self._flood = {"sent": 0, "closed": 0}
        self._pending: dict[int, int] = {}

    async def connect(self, ports: Sequence[int], count: int, concurrency: int = 50) -> None:
        """Connect ``count`` more clients, to one port after the other, ``concurrency`` at a time."""
        numbers = iter(range(len(self.clients), len(self.clients) + count))
        gc.disable()  # a full collection walks over thousands of clients again and again
        await asyncio.gather(*(self._connect_each(numbers, ports) for _ in range(concurrency)))

    async def _connect_each(self, numbers: Iterator[int], ports: Sequence[int]) -> None:
        for number in numbers:
            before = self._cut[number] if self._cut else None
            url = f"ws://127.0.0.1:{ports[number % len(ports)]}/socket.io/?EIO=4&transport=websocket&userId={number}"
            _, client = await ws_connect(partial(Client, before), url, websocket_handshake_timeout=_JOIN_TIMEOUT_S)
            assert isinstance(client, Client)
            self.clients.append(client)
            await asyncio.wait_for(client.joined, _JOIN_TIMEOUT_S)

    async def cut(self) -> None:
        """Cut all connections."""
        for client in self.clients:
            client.transport.disconnect(graceful=False)
        self._cut, self.clients = self.clients, []

    async def leave(self) -> None:
        """Have all clients leave the room that all are in."""
        for client in self.clients:
            client.send(b'421["leave"]')
        while any(not client.acks for client in self.clients):
            await asyncio.sleep(0.01)

    async def reconnect(self, ports: Sequence[int]) -> None:
        """Have those that were cut off come back to their sessions."""
        await self.connect(ports, len(self._cut))

    async def sample(self, every: int) -> None:
        """Take latencies at each ``every``-th client."""
        for client in self.clients[::every]:
            client.latencies = []

    async def send_once(self, event: str) -> None:
        """Send one event, from the client that connected last."""
        self.clients[-1].send(self._packets(event, self.clients[-1])())

    async def send_closed_loop(self, event: str, senders: int) -> None:
        """Let each of the first ``senders`` clients send its next event when the last one is acknowledged."""
        self._is_stopped = False
        for sender in self.clients[:senders]:
            packet = self._packets(event, sender)

            def send_next(_: bytes, sender: Client = sender, packet: Callable[[], bytes] = packet) -> None:
                if not self._is_stopped:
                    sender.send(packet())

            sender.on_ack = send_next
            sender.send(packet())

    async def send_paced(self, event: str, rate: float, senders: int) -> None:
        """Send ``rate`` events a second, evenly, from ``senders`` clients in turn, whatever is answered."""
        turns = cycle([(sender, self._packets(event, sender)) for sender in self.clients[:senders]])

        def send() -> None:
            sender, packet = next(turns)
            sender.send(packet())

        self._pace(rate, send)

    async def send_echoes(self, rate: float) -> None:
        """Send ``rate`` echoes a second, evenly, from all clients in turn, and time each acknowledgement."""
        for client in self.clients:
            client.on_ack = self._take_echo
        turns, numbers = cycle(self.clients), count(1)

        def send() -> None:
            number = next(numbers)
            self._pending[number] = now_us()
            next(turns).send(b'42%d["echo","x"]' % number)

        self._pace(rate, send)

    def _take_echo(self, payload: bytes) -> None:
        sent = self._pending.pop(int(payload[2 : payload.index(b"[")]))
        self.echoes.append((sent, now_us() - sent))

    async def flood(self, port: int, rate: float) -> None:
        """Send ``rate`` private messages a second to itself, without waiting for answers; connect again when closed."""
        self._sending.append(asyncio.create_task(self._run_flood(port, rate)))

    async def _run_flood(self, port: int, rate: float) -> None:
        url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket&userId=flooder"
        start = time.monotonic()
        while True:
            _, client = await ws_connect(Client, url)
            assert isinstance(client, Client)
            await client.joined
            packet = f'42["privateMessage",{{"to":"{client.sid}","text":"{_TEXT}"}}]'.encode()
            while not client.is_gone:
                while self._flood["sent"] < (time.monotonic() - start) * rate:
                    client.send(packet)
                    self._flood["sent"] += 1
                await asyncio.sleep(0.001)
            self._flood["closed"] += 1

    async def count_flood(self) -> dict[str, int]:
        """Return how many messages of the flood were sent, and how often it was closed."""
        return self._flood

    async def list_clients(self) -> int:
        """Ask a server for all clients, by an event; return how many it knows."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.clients[0].on_ack = answer.set_result
        self.clients[0].send(b'421["list"]')
        number = json.loads((await asyncio.wait_for(answer, _JOIN_TIMEOUT_S))[3:])[0]
        assert isinstance(number, int)
        return number

    def _pace(self, rate: float, send: Callable[[], None]) -> None:
        async def run() -> None:
            start = time.monotonic()
            for number in count(1):
                await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
                send()

        self._sending.append(asyncio.create_task(run()))

    async def stop(self) -> None:
        """Send no more."""
        self._is_stopped = True
        for task in self._sending:
            task.cancel()

    async def forget_latencies(self) -> None:
        for client in self.clients:
            if client.latencies is not None:
                client.latencies.clear()

    async def count(self) -> dict[str, int]:
        """Return how many deliveries and acknowledgements came, and how many clients are gone."""
        return {
            "deliveries": sum(client.deliveries for client in self.clients),
            "acks": sum(client.acks for client in self.clients),
            "gone": sum(client.is_gone for client in self.clients),
        }

    async def get_latencies(self) -> dict[str, float]:
        """Return the latencies of deliveries, in milliseconds."""
        return summarize([us for client in self.clients for us in client.latencies or ()])

    async def get_echoes(self, since_us: int, until_us: int) -> dict[str, float]:
        """Return the round trips of the echoes sent in that time, in milliseconds, when all have come back."""
        deadline = time.monotonic() + 30
        while any(since_us <= sent <= until_us for sent in self._pending.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        lost = [now_us() - sent for sent in self._pending.values() if since_us <= sent <= until_us]
        return summarize([us for sent, us in self.echoes if since_us <= sent <= until_us] + lost)

    def _cycle_recipients(self) -> Iterator[Client]:
        """Yield all clients, one after the other, for ever."""
        while True:
            yield from list(self.clients)

    def _packets(self, event: str, sender: Client) -> Callable[[], bytes]:
        """Return what makes the next packet of ``sender``."""
        if event == "sink":
            packet = f'421["sink","{_LARGE}"]'.encode()
            return lambda: packet
        if event == "sinkMany":
            packet = f'421["sink",[{_MANY}]]'.encode()
            return lambda: packet
        if event == "privateLarge":
            packet = f'421["privateMessage",{{"to":"{sender.sid}","text":"{_LARGE}"}}]'.encode()
            return lambda: packet
        if event == "bulk":
            packet = f'421["message","{_BULK}"]'.encode()
            return lambda: packet
        if event == "privateMessage":  # the neighbour is on the other port
            to = f'"to":"{self.clients[self.clients.index(sender) ^ 1].sid}",'
        elif event == "privateToEach":
            return lambda: self._describe_event("privateMessage", f'"to":"{next(self._recipients).sid}",')
        else:
            to = ""
        return lambda: self._describe_event(event, to)

    def _describe_event(self, event: str, to: str) -> bytes:
        return f'421["{event}",{{{to}"at":"@{now_us():016d}","text":"{_TEXT}"}}]'.encode()


def summarize(microseconds: list[int]) -> dict[str, float]:
    """Return count, median, 99th percentile and maximum, in milliseconds."""
    ordered = sorted(microseconds)
    if not ordered:
        raise RuntimeError("nothing was received")
    pick = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": -1}
    return {"count": len(ordered)} | {name: ordered[index] / 1000 for name, index in pick.items()}


async def serve() -> None:
    """Carry out one command after the other; end with stdin."""
    swarm = Swarm()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command: dict[str, Any] = json.loads(line)
        try:
            answer = {"result": await getattr(swarm, command.pop("command"))(**command)}
        except Exception as error:  # noqa: BLE001 - the harness raises it
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve())
