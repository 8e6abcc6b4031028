"""The outbox of a connection: bounded, never waited for, and sent in as few calls as possible.

Queued bytes are sent at the end of the loop's turn. The cost of a delivery is the kernel's ``send``, which costs the
same for one message as for ten. So a message to many clients may be *paced*. If the connection was flushed a few
milliseconds ago, the message waits until the pace is over, or for a message that is not paced. All of them then
leave together. Nothing waits in a connection that was quiet.
"""

import _socket
from time import monotonic
from typing import Any

import gevent

from webfarm.loop.time_slices import TimeSlices
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.counters import counters

_PACE_S = 0.01
_JOIN_BYTES = 16_384  # up to which a copy costs less than a vector
_IOV_MAX = 512
_WRITE = 2  # libev's event


class Pacer:
    """Flushes each scheduled outbox: at the end of the turn, or ``pace_s`` after its last flush at the latest."""

    def __init__(self, pace_s: float = _PACE_S) -> None:
        self._pace_s = pace_s
        self._ready: TimeSlices[Outbox] = TimeSlices(Outbox.flush)
        self._waiting: list[Outbox] = []  # until the timer fires
        self._timer: Any = None

    def schedule(self, outbox: "Outbox", *, is_paced: bool) -> None:
        """Have ``outbox`` flushed soon."""
        outbox.is_paced = is_paced and monotonic() - outbox.flushed_at < self._pace_s
        if not outbox.is_paced:
            self._ready.add(outbox)
            return
        self._waiting.append(outbox)
        if self._timer is None:
            self._timer = gevent.get_hub().loop.timer(self._pace_s)
            self._timer.start(self._flush_waiting)

    def _flush_waiting(self) -> None:
        self._timer.close()
        self._timer = None
        waiting, self._waiting = self._waiting, []
        for outbox in waiting:
            self._ready.add(outbox)


class Outbox:
    """The sending half of a connection on a non-blocking socket.

    Args:
        connection: the socket.
        pacer: decides when it is flushed.
        max_bytes: unsent bytes at which the next message ends the connection instead.
    """

    __slots__ = ("_allowed", "_limit", "_pacer", "_queued", "_socket", "_unsent", "_writer", "flushed_at", "is_paced")

    def __init__(self, connection: _socket.socket, pacer: Pacer, max_bytes: int) -> None:
        self.flushed_at = 0.0
        self.is_paced = False  # it waits for its pace
        self._socket: _socket.socket | None = connection
        self._pacer = pacer
        self._limit = max_bytes
        self._allowed = 0
        self._queued: list[Any] | None = None  # bytes, shared with other outboxes; None: nothing is to be sent
        self._unsent = 0
        self._writer: Any = None

    def on_lost(self, reason: CloseReason) -> None:
        """Nothing can be sent any more: the client is slow, or its connection is lost. Called before the end."""

    def on_sent(self) -> None:
        """The kernel has taken all queued bytes."""

    @property
    def unsent(self) -> int:
        """Bytes that are queued."""
        return self._unsent if self._queued is not None else 0

    def queue(self, data: bytes, *, is_paced: bool = False) -> None:
        """Send ``data`` in its turn, without waiting and however much is unsent already."""
        if self._queued is not None:
            self._queued.append(data)
            self._unsent += len(data)
            if self.is_paced and not is_paced:
                self._pacer.schedule(self, is_paced=False)
        elif self._socket is not None:
            self._queued = [data]
            self._unsent = len(data)
            self._pacer.schedule(self, is_paced=is_paced)

    def allow(self, size: int) -> None:
        """Let ``size`` bytes more be unsent until everything has been sent."""
        self._allowed += size

    def has_room(self) -> bool:
        """Return whether more may be queued; if the client has read too little for that, its connection ends."""
        if self._unsent < self._limit + self._allowed:
            return True
        self._stop_writer()
        self.flush()  # bytes that wait for their pace, or for the loop, are not the client's fault
        if self._socket is not None and self._unsent >= self._limit + self._allowed:
            self.lose(CloseReason.SLOW_CLIENT)
        return self._socket is not None

    def flush(self) -> None:
        """Send queued bytes, as far as the kernel takes them. The pacer calls it."""
        self.is_paced = False
        self.flushed_at = monotonic()
        queued, connection = self._queued, self._socket
        if queued is None or connection is None or self._writer is not None:
            return
        try:
            if len(queued) == 1:
                sent = connection.send(queued[0])
            elif self._unsent <= _JOIN_BYTES:
                sent = connection.send(b"".join(queued))
            else:
                sent = connection.sendmsg(queued[:_IOV_MAX])
        except BlockingIOError:
            sent = 0
        except OSError:  # the other side has closed
            self.lose(CloseReason.TRANSPORT_CLOSE)
            return
        counters.sent_bytes += sent
        self._unsent -= sent
        if self._unsent:
            self._keep_unsent(queued, sent)
        else:
            self._queued, self._allowed = None, 0
            self.on_sent()

    def lose(self, reason: CloseReason) -> None:
        """Close the socket, for a reason that ``on_lost`` tells first."""
        self.on_lost(reason)
        self.abort()

    def abort(self) -> None:
        """Close the socket at once, whatever is unsent."""
        connection, self._socket, self._queued = self._socket, None, None
        self._stop_writer()
        if connection is not None:
            connection.close()

    def _keep_unsent(self, queued: list[Any], sent: int) -> None:
        """Drop the first ``sent`` bytes; send the rest when the kernel takes more."""
        assert self._socket is not None
        _drop(queued, sent)
        self._writer = gevent.get_hub().loop.io(self._socket.fileno(), _WRITE)
        self._writer.start(self._on_writable)

    def _on_writable(self) -> None:
        self._stop_writer()
        self.flush()

    def _stop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _drop(queued: list[Any], size: int) -> None:
    """Drop the first ``size`` bytes; there are more."""
    done = 0
    while size >= len(queued[done]):
        size -= len(queued[done])
        done += 1
    del queued[:done]
    if size:
        queued[0] = memoryview(queued[0])[size:]
