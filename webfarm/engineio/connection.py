"""One Engine.IO connection: a session over polling, over a websocket, or on its way from one to the other.

https://github.com/socketio/engine.io-protocol (revision 4)

Packets of the client are received in the hub, in order. Handlers run in a greenlet that lives only while there is
work: one job after the other, the end of the connection last.
"""

import logging
from typing import Any, Protocol

from webfarm.engineio.join_buffer import JoinBuffer, Replay
from webfarm.engineio.pending_calls import PendingCalls
from webfarm.engineio.polling import Polling
from webfarm.engineio.upgrade import Upgrade
from webfarm.http.websocket import WebSocket, WebSockets
from webfarm.loop.deadlines import Deadlines
from webfarm.loop.job_queue import JobQueue
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.throttle import Throttled
from webfarm.protocol.engine_packet import CLOSE, MESSAGE, PONG, EnginePacket

log = Throttled(logging.getLogger(__name__))


class PongReceiver(Protocol):
    """A server's heartbeats."""

    def on_pong(self, connection: "Connection") -> None: ...


class ConnectionServer(Protocol):
    """The server of connections, as far as they call it."""

    max_outbox_bytes: int
    max_http_buffer_size: int
    logs_packets: bool
    websockets: WebSockets
    upgrade_timeouts: Deadlines[Upgrade]
    calls: PendingCalls

    @property
    def heartbeats(self) -> PongReceiver: ...

    def deliver(self, connection: "Connection", data: str | bytes) -> None:
        """Take a message of the client's, in the hub; it must not block."""

    def log_packet(self, sid: str, verb: str, data: str | bytes) -> None: ...

    def on_upgraded(self, connection: "Connection") -> None:
        """The connection has become a websocket."""

    def on_closed(self, connection: "Connection", reason: CloseReason) -> None:
        """The connection has ended; its jobs are still to be done."""


class Connection(JobQueue):
    """A client's Engine.IO session."""

    __slots__ = (
        "_held",
        "_session",
        "closed",
        "is_finished",
        "pinged_at",
        "polling",
        "ponged_at",
        "probed_at",
        "server",
        "sid",
        "upgrading",
        "websocket",
    )

    def __init__(self, server: ConnectionServer, sid: str) -> None:
        super().__init__()
        self.server = server
        self.sid = sid
        self.websocket: WebSocket | None = None
        self.polling: Polling | None = Polling()
        self.upgrading: Upgrade | None = None
        self.closed: CloseReason | None = None  # why, once it is
        self.is_finished = False  # once its disconnect handler has run
        self.pinged_at: float | None = None  # until the pong comes
        self.ponged_at = 0.0
        self.probed_at: float | None = None
        self._held: JoinBuffer | None = None  # messages that are not sent yet
        self._session: dict[str, Any] | None = None

    @property
    def upgraded(self) -> bool:
        """Whether it is a websocket (python-engineio's name)."""
        return self.websocket is not None

    @property
    def session(self) -> dict[str, Any]:
        """The values of ``save_session``."""
        if self._session is None:
            self._session = {}
        return self._session

    @session.setter
    def session(self, session: dict[str, Any]) -> None:
        self._session = session

    @property
    def is_over(self) -> bool:
        """Whether it has ended, its disconnect handler has run, and nothing waits to be polled."""
        return self.is_finished and not (self.polling and self.polling.messages)

    @property
    def is_joining(self) -> bool:
        """Whether messages are held until the client has joined their namespace."""
        return self._held is not None

    # To the client

    def send(self, message: EnginePacket, *, is_paced: bool = False, namespace: str | None = None) -> None:
        """Send ``message``, of ``namespace`` if it has one, without waiting; dropped once the connection is closed.

        ``is_paced``: it may wait some milliseconds for others (``webfarm.http.outbox``). A client that leaves
        ``max_outbox_bytes`` unread is closed as a ``slow client``.
        """
        if self._held is None or namespace != self._held.namespace:
            self.send_at_once(message, is_paced=is_paced)
        elif self._held.unsent < self.server.max_outbox_bytes:
            self._held.add(message)
        else:
            self.close(CloseReason.SLOW_CLIENT)

    def send_at_once(self, message: EnginePacket, *, is_paced: bool = False) -> None:
        """Send ``message`` before all held messages."""
        if self.closed:
            return
        if self.server.logs_packets:
            self.server.log_packet(self.sid, "Sending", message.packet)
        if self.websocket is not None:
            self.websocket.send(message.frame, is_paced=is_paced)
        elif self.polling is not None and not self.closed:
            if self.polling.has_room(self.server.max_outbox_bytes):
                self.polling.add(message)
            else:
                self.close(CloseReason.SLOW_CLIENT)

    def hold(self, namespace: str) -> None:
        """Hold the messages of ``namespace`` from now on, until ``release``."""
        self._held = JoinBuffer(namespace)

    def release(self, replay: Replay | None) -> None:
        """Send ``replay`` and the held messages, however many; drop them if the client was refused (``None``)."""
        held, self._held = self._held, None
        if held is None or replay is None or self.closed:
            return
        messages = replay.merge(held.messages)
        if self.websocket is not None:
            self.websocket.allow(sum(len(message.frame) for message in messages))
        elif self.polling is not None:
            self.polling.allow(sum(len(message.payload) for message in messages))
        for message in messages:
            self.send_at_once(message)

    def switch_to(self, websocket: WebSocket) -> None:
        """Go on over ``websocket``, beginning with the messages that were not polled."""
        polling, self.polling = self.polling, None
        self.websocket = websocket
        websocket.receiver = self
        self.server.on_upgraded(self)
        if self.is_paused:
            websocket.pause()
        for message in polling.take() if polling is not None else ():
            websocket.send(message.frame)
        if self.closed:  # before there was a websocket to close
            websocket.close()

    # From the client, in the hub

    def on_message(self, data: str | bytes) -> None:
        """Take one packet. A malformed packet closes the connection."""
        if self.closed:
            return
        if self.server.logs_packets:
            self.server.log_packet(self.sid, "Received", data)
        if isinstance(data, bytes):
            self.server.deliver(self, data)
        elif data[:1] == MESSAGE:
            self.server.deliver(self, data[1:])
        elif data == PONG:
            self.server.heartbeats.on_pong(self)
        elif data == CLOSE:
            self.close(CloseReason.CLIENT_DISCONNECT)
        else:
            self.refuse(f"a packet that is none: {data[:20]!r}")

    def on_close(self, reason: CloseReason) -> None:
        """The websocket has ended."""
        self.close(reason)

    def refuse(self, why: str) -> None:
        """Close the connection: its client broke the protocol."""
        if not self.closed:
            log.info("closed: it broke the protocol", extra={"connection": self.sid, "reason": why})
            self.close(CloseReason.TRANSPORT_ERROR)

    def close(self, reason: CloseReason) -> None:
        """End the connection. Queued messages are still sent, and waiting jobs are still done."""
        if self.closed:
            return
        self.closed = reason
        if self.upgrading is not None:
            self.upgrading.end()
        if self.websocket is not None:
            self.websocket.close()
        elif self.polling is not None:
            self.polling.close(reason)
            self.stop_waiting()
        self.server.calls.fail(self)
        self.server.on_closed(self, reason)

    # Handlers

    def get_max_job_bytes(self) -> int:
        return int(self.server.max_http_buffer_size)

    def on_paused(self) -> None:
        if self.websocket is not None:
            self.websocket.pause()

    def on_resumed(self) -> None:
        if self.websocket is not None:
            self.websocket.resume()

    def __repr__(self) -> str:
        return f"connection {self.sid}"
