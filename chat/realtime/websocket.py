"""Websockets without greenlets: RFC 6455 on non-blocking sockets that the hub watches.

An idle connection is one small object and one watcher. Frames are read and written by the ``websockets`` package's
Sans-I/O ``Protocol``. As nearly all connections are idle at nearly every moment, one is lent to a connection only
while a frame or a message of it is incomplete, or while it closes.

It can be used without Engine.IO; ``examples/echo_websocket.py`` is such an app.
"""

import _socket
import contextlib
from typing import Any
from typing import Protocol as Interface

import gevent
from websockets.frames import BINARY, CLOSE, CONT, TEXT, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.streams import StreamReader

from chat.realtime.clock import Clock
from chat.realtime.outbox import TRANSPORT_CLOSE, Outbox, Pacer
from chat.realtime.service import Service
from chat.realtime.slices import Slices

#: The WSGI environment's key for what turns the request into a websocket (``chat.realtime.http``).
UPGRADE = "webfarm.upgrade"

_SHORT_READ = 2_048  # a read of many tiny frames holds up everybody else
_LONG_READ = 16_384  # within a long frame
_MANY_FRAMES = 8
_READ = 1  # libev's event
_CLOSING_S = 5.0  # to wait for the answer to a close frame
_LINGER_S = 2.0  # to read on after the last frame, or the kernel's reset may overtake it
_STOP_S = 1.0  # for closing websockets to complete
_SPARE_PROTOCOLS = 16
_AT_EOF = StreamReader.at_eof.__code__
_TRANSPORT_ERROR = "transport error"


class HandshakeError(Exception):
    """The request can't become a websocket; ``status`` and ``headers`` are to be answered, the text as the body."""

    def __init__(self, status: str, headers: list[tuple[str, str]], text: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class Receiver(Interface):
    """Whom a ``WebSocket`` tells what happens. It is called in the hub: it must not block."""

    def on_message(self, data: str | bytes) -> None:
        """A whole message came: a text, or bytes."""

    def on_close(self, reason: str) -> None:
        """The connection ended, or is ending, by the other side or by a fault; nothing more can be sent."""


class WebSockets(Service):
    """The websockets of one app: their limits, and what they share.

    Args:
        max_message_bytes: a longer message is not read; its connection is closed with 1009.
        max_outbox_bytes: unsent bytes at which the next message to a connection closes it instead.
    """

    def __init__(self, *, max_message_bytes: int = 1_000_000, max_outbox_bytes: int = 1_048_576) -> None:
        self.max_message_bytes = max_message_bytes
        self.max_outbox_bytes = max_outbox_bytes
        self.clock = Clock()
        self.pacer = Pacer()
        self.closing = self.clock.create_deadlines(_CLOSING_S, WebSocket.abort)
        self.lingering = self.clock.create_deadlines(_LINGER_S, WebSocket.abort)
        self.ended: Slices[WebSocket] = Slices(WebSocket._end)
        self.open: set[WebSocket] = set()
        self._protocols: list[Protocol] = []
        self.register()

    def accept(self, environ: dict[str, Any], receiver: Receiver) -> "WebSocket":
        """Answer a websocket's opening handshake and take its connection over.

        The WSGI application then returns an empty body.

        Raises:
            HandshakeError: the request is no (proper) opening handshake; it is not answered yet.
        """
        upgrade = environ.get(UPGRADE)
        if upgrade is None:
            raise HandshakeError("400 Bad Request", [], "No websocket: the request asks for none.\n")
        connection, head, rest = upgrade()
        return WebSocket(self, connection, receiver, head, rest)

    def lend_protocol(self) -> Protocol:
        """Return a protocol object that stands between two frames."""
        if self._protocols:
            return self._protocols.pop()
        return _Protocol(Side.SERVER, state=OPEN, max_size=self.max_message_bytes)

    def take_back(self, protocol: Protocol) -> bool:
        """Take a lent protocol back if it stands between two messages; return whether it was taken."""
        waits_in = protocol.parser.gi_yieldfrom  # type: ignore[attr-defined]
        if (
            protocol.current_size is not None
            or waits_in is None
            or waits_in.gi_code is not _AT_EOF
            or protocol.state is not OPEN
        ):
            return False
        if len(self._protocols) < _SPARE_PROTOCOLS:
            self._protocols.append(protocol)
        return True

    def stop(self) -> None:
        """Close all that are still open: going away. Wait for them a little."""
        for websocket in list(self.open):
            websocket.close(CloseCode.GOING_AWAY)
        with gevent.Timeout(_STOP_S, False):  # type: ignore[arg-type]
            while self.open:
                gevent.sleep(0.02)


class _Protocol(Protocol):
    """A protocol object that lets the other side close within a fragmented message, as RFC 6455 does."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is CLOSE:
            self.current_size = None
        super().recv_frame(frame)


def encode_frame(data: str | bytes) -> bytes:
    """Return the frame of a message: a text or binary one by its type. Any number of ``WebSocket`` can send it."""
    if isinstance(data, str):
        return Frame(TEXT, data.encode()).serialize(mask=False)
    return Frame(BINARY, data).serialize(mask=False)


class WebSocket(Outbox):
    """One websocket connection, made by ``WebSockets.accept``."""

    __slots__ = ("_expects_tiny", "_fragments", "_kind", "_protocol", "_watcher", "_websockets", "receiver")

    def __init__(
        self, websockets: WebSockets, connection: _socket.socket, receiver: Receiver, head: bytes, rest: bytes
    ) -> None:
        super().__init__(connection, websockets.pacer, websockets.max_outbox_bytes)
        #: Whom messages go to; ``None`` once the connection is closing.
        self.receiver: Receiver | None = receiver
        self._websockets = websockets
        self._protocol: Protocol | None = None
        self._kind: Opcode | None = None
        self._fragments: bytearray | None = None
        self._expects_tiny = False  # frames, as there were many in what was read last
        self._watcher: Any = gevent.get_hub().loop.io(connection.fileno(), _READ)
        websockets.open.add(self)
        self.queue(head)
        if rest:
            gevent.get_hub().loop.run_callback(self._begin, rest)
        else:
            self._watcher.start(self._on_readable)

    def send(self, frame: bytes, *, is_paced: bool = False) -> None:
        """Send a frame of ``encode_frame``: without waiting, in order; dropped once the connection is closing.

        ``is_paced``: it may wait some milliseconds for others. If ``max_outbox_bytes`` are unsent and the kernel takes
        no more, the connection ends as a ``slow client``.
        """
        if self.receiver is not None and (self._queued is None or self.has_room()):
            self.queue(frame, is_paced=is_paced)

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Send what is queued and a close frame; the receiver hears nothing more."""
        if self.receiver is None:
            return
        self.receiver = None
        self.resume()  # the answer to the close frame is to be read
        protocol = self._protocol or self._websockets.lend_protocol()
        self._protocol = protocol
        if protocol.state is OPEN:  # else the other side's close frame is being answered already
            protocol.send_close(code, reason)
            for data in protocol.data_to_send():
                self.queue(data)
        self._websockets.closing.add(self)

    def abort(self) -> None:
        """Close at once, without a close frame; the receiver hears nothing more."""
        self._websockets.open.discard(self)
        self.receiver = self._protocol = self._fragments = None
        self._watcher.close()
        super().abort()

    def pause(self) -> None:
        """Read nothing more until ``resume``: the other side has to wait."""
        self._watcher.stop()

    def resume(self) -> None:
        """Read on."""
        if self._socket is not None:
            self._watcher.start(self._on_readable)

    def on_lost(self, reason: str) -> None:
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.on_close(reason)

    def on_sent(self) -> None:
        if self._protocol is not None and self._protocol.eof_sent:
            self._shut_down()

    def _begin(self, rest: bytes) -> None:
        """Take what came with the handshake before anything else is read."""
        self.resume()
        self._receive(rest)  # which may pause it

    def _on_readable(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_SHORT_READ if self._protocol is None or self._expects_tiny else _LONG_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._receive(data)
        else:  # when thousands end at once, others get their turn in between
            self._watcher.stop()
            self._websockets.ended.add(self)

    def _end(self) -> None:
        self.on_lost(TRANSPORT_CLOSE)
        self.abort()

    def _receive(self, data: bytes) -> None:
        if self._socket is None:
            return
        protocol = self._protocol
        if protocol is None:
            protocol = self._protocol = self._websockets.lend_protocol()
        protocol.receive_data(data)
        frames = protocol.events_received()
        self._expects_tiny = len(frames) > _MANY_FRAMES
        if protocol.state is OPEN:
            self._send_protocols_own(protocol)  # pongs, before any answer to what comes with the pings
        for frame in frames:
            self._on_frame(protocol, frame)
        self._send_protocols_own(protocol)  # a close frame, after the answers
        if self._socket is None:  # it was aborted meanwhile
            return
        if protocol.eof_sent:
            self.on_lost(TRANSPORT_CLOSE if protocol.parser_exc is None else _TRANSPORT_ERROR)
            self._websockets.lingering.add(self)
            if self._queued is None:
                self._shut_down()
        elif self._websockets.take_back(protocol):
            self._protocol = None

    def _send_protocols_own(self, protocol: Protocol) -> None:
        for data in protocol.data_to_send():
            if data and self.has_room():
                self.queue(data)

    def _on_frame(self, protocol: Protocol, frame: Any) -> None:
        if self.receiver is None or frame.opcode not in (TEXT, BINARY, CONT):
            return
        if frame.opcode is not CONT:
            self._kind = frame.opcode
        payload = frame.data
        if self._fragments is not None or not frame.fin:
            self._fragments = self._fragments or bytearray()
            self._fragments += payload
            if not frame.fin:
                return
            payload, self._fragments = self._fragments, None
        try:
            message = str(payload, "utf-8") if self._kind is TEXT else bytes(payload)
        except UnicodeDecodeError as error:
            protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
            protocol.parser_exc = error
            self.on_lost(_TRANSPORT_ERROR)
            return
        self.receiver.on_message(message)

    def _shut_down(self) -> None:
        """End our direction; the other side's end comes as an empty read."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(_socket.SHUT_WR)
