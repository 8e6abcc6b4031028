"""Websockets without greenlets: RFC 6455 on non-blocking sockets that the hub watches.

An idle connection is one small object and one watcher. Nearly all connections are idle at nearly every moment. So a
protocol object (``webfarm.protocol.frames``) is lent to a connection only while a frame or message of it is
incomplete, or while it closes.

You can use this module without Engine.IO: ``examples/echo_websocket.py`` is such an app.
"""

import _socket
import contextlib
from typing import Any, Protocol

import gevent
from websockets.frames import CloseCode
from websockets.protocol import OPEN

from webfarm.defaults import MAX_MESSAGE_BYTES, MAX_OUTBOX_BYTES, PING_TIMEOUT_S
from webfarm.http.outbox import Outbox, Pacer
from webfarm.http.pings import Pings
from webfarm.loop.deadlines import SharedTimer
from webfarm.loop.time_slices import TimeSlices
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.counters import counters
from webfarm.protocol.frames import Protocols, WebSocketProtocol
from webfarm.protocol.handshake import UPGRADE, HandshakeError
from webfarm.service import Service

_SHORT_READ = 2_048  # a read of many tiny frames holds up everybody else
_LONG_READ = 16_384  # within a long frame
_MANY_FRAMES = 8
_READ = 1  # libev's event
_CLOSING_S = 5.0  # to wait for the answer to a close frame
_LINGER_S = 2.0  # to read on after the last frame, or the kernel's reset may overtake it
_MAX_DROPPED_BYTES = 4_194_304  # that still come on a closing connection
_STOP_S = 1.0  # for closing websockets to complete


#: A connection, the answer to its opening handshake, and what the client has sent behind its request.
Accepted = tuple[_socket.socket, bytes, bytes]


class Receiver(Protocol):
    """The part that takes the messages of a ``WebSocket``. It is called in the hub and must not block."""

    def on_message(self, data: str | bytes) -> None:
        """A whole message came: a text, or bytes."""

    def on_close(self, reason: CloseReason) -> None:
        """The other side or a fault has ended the connection; nothing more can be sent."""


class WebSockets(Service):
    """The websockets of one app: their limits, and the parts that they share.

    Args:
        max_message_bytes: a longer message is not read; its connection is closed with 1009.
        max_outbox_bytes: unsent bytes at which the next message to a connection closes it instead.
        ping_interval_s: how long after its last sign of life a connection is pinged, ``None`` for never.
        ping_timeout_s: how long it may then be silent before it ends (``ping timeout``).
    """

    def __init__(
        self,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_outbox_bytes: int = MAX_OUTBOX_BYTES,
        ping_interval_s: float | None = None,
        ping_timeout_s: float = PING_TIMEOUT_S,
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self.max_outbox_bytes = max_outbox_bytes
        self.timer = SharedTimer()
        self.pacer = Pacer()
        self.closing = self.timer.create_deadlines(_CLOSING_S, WebSocket.abort)
        self.lingering = self.timer.create_deadlines(_LINGER_S, WebSocket.abort)
        self.ended: TimeSlices[WebSocket] = TimeSlices(_end)
        self.pings = Pings(self.timer, ping_interval_s, ping_timeout_s)
        self.open: set[WebSocket] = set()
        self.protocols = Protocols(max_message_bytes)
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
        return WebSocket(self, receiver, upgrade())

    def stop(self, *, at_once: bool = False) -> None:
        """Close all open websockets as "going away", and wait for them a little."""
        for websocket in list(self.open):
            websocket.close(CloseCode.GOING_AWAY)
        with gevent.Timeout(_STOP_S, False):  # type: ignore[arg-type]
            while self.open:
                gevent.sleep(0.02)


class WebSocket(Outbox):
    """One websocket connection, made by ``WebSockets.accept``."""

    __slots__ = ("_dropped", "_expects_tiny", "_protocol", "_watcher", "_websockets", "pinged_at", "receiver")

    def __init__(self, websockets: WebSockets, receiver: Receiver, accepted: Accepted) -> None:
        connection, head, rest = accepted
        super().__init__(connection, websockets.pacer, websockets.max_outbox_bytes)
        self.receiver: Receiver | None = receiver  # of messages; None once the connection is closing
        self._websockets = websockets
        self._protocol: WebSocketProtocol | None = None
        self._dropped = 0  # bytes that came after that
        self.pinged_at: float | None = None  # until something comes
        self._expects_tiny = False  # frames, as the last read had many
        self._watcher: Any = gevent.get_hub().loop.io(connection.fileno(), _READ)
        websockets.open.add(self)
        websockets.pings.schedule(self)
        self.queue(head)
        if rest:
            gevent.get_hub().loop.run_callback(self._begin, rest)
        else:
            self._watcher.start(self._on_readable)

    def send(self, frame: bytes, *, is_paced: bool = False) -> None:
        """Send a frame of ``encode_frame``, in order and without waiting; dropped once the connection is closing.

        ``is_paced``: the frame may wait some milliseconds for others. If ``max_outbox_bytes`` are unsent and the kernel
        takes no more, the connection ends as a ``slow client``.
        """
        if self.receiver is not None and (self._queued is None or self.has_room()):
            self.queue(frame, is_paced=is_paced)

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Send what is queued and a close frame; the receiver hears nothing more."""
        if self.receiver is None:
            return
        self.receiver = None
        self.resume()  # to read the answer to the close frame
        protocol = self._protocol = self._protocol or self._websockets.protocols.lend()
        if protocol.state is OPEN:  # else the other side's close frame is being answered already
            protocol.send_close(code, reason)
            for data in protocol.data_to_send():
                self.queue(data)
        self._websockets.closing.add(self)

    def abort(self) -> None:
        """Close at once, without a close frame; the receiver hears nothing more."""
        self._websockets.open.discard(self)
        self.receiver = self._protocol = None
        self._watcher.close()
        super().abort()

    @property
    def is_reading(self) -> bool:
        """Whether it is not paused."""
        return bool(self._watcher.active)

    def pause(self) -> None:
        """Read nothing more until ``resume``: the other side has to wait."""
        self._watcher.stop()

    def resume(self) -> None:
        """Read on."""
        if self._socket is not None:
            self._watcher.start(self._on_readable)

    def on_lost(self, reason: CloseReason) -> None:
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.on_close(reason)

    def on_sent(self) -> None:
        if self._protocol is not None and self._protocol.eof_sent:
            _shut_down(self._socket)

    def _begin(self, rest: bytes) -> None:
        """Take the bytes that came with the handshake before anything else is read."""
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

    def _receive(self, data: bytes) -> None:
        if self._socket is None:
            return
        counters.received_bytes += len(data)
        if self.pinged_at is not None:
            self.pinged_at = None
            self._websockets.pings.schedule(self)
        if self.receiver is None:
            self._dropped += len(data)
            if self._dropped > _MAX_DROPPED_BYTES:
                self.abort()
                return
        protocol = self._protocol = self._protocol or self._websockets.protocols.lend()
        frames = protocol.read(data)
        self._expects_tiny = len(frames) > _MANY_FRAMES
        if protocol.state is OPEN:
            self._send_protocols_own(protocol)  # pongs, before any answer to messages behind the pings
        for frame in frames:
            if self.receiver is None:
                break
            try:
                message = protocol.assemble(frame)
            except UnicodeDecodeError:
                self.on_lost(CloseReason.TRANSPORT_ERROR)
                break
            if message is not None:
                self.receiver.on_message(message)
        self._send_protocols_own(protocol)  # a close frame, after the answers
        if self._socket is None:  # it was aborted meanwhile
            return
        if protocol.eof_sent:
            self.on_lost(CloseReason.TRANSPORT_CLOSE if protocol.parser_exc is None else CloseReason.TRANSPORT_ERROR)
            self._websockets.lingering.add(self)
            if self._queued is None:
                _shut_down(self._socket)
        elif self._websockets.protocols.take_back(protocol):
            self._protocol = None

    def _send_protocols_own(self, protocol: WebSocketProtocol) -> None:
        for data in protocol.data_to_send() if protocol.writes else ():
            if data and self.has_room():
                self.queue(data)


def _end(websocket: WebSocket) -> None:
    """Take the end of a connection by the other side."""
    websocket.lose(CloseReason.TRANSPORT_CLOSE)


def _shut_down(connection: _socket.socket | None) -> None:
    """End this side's direction; the other side's end comes as an empty read."""
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(_socket.SHUT_WR)
