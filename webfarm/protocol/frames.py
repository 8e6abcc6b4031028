"""Websocket frames: RFC 6455 by the ``websockets`` package's Sans-I/O ``Protocol``."""

from websockets.frames import BINARY, CLOSE, PING, TEXT, Frame
from websockets.protocol import OPEN, Protocol, Side
from websockets.streams import StreamReader

_SPARE_PROTOCOLS = 16
_AT_EOF = StreamReader.at_eof.__code__


def encode_frame(data: str | bytes) -> bytes:
    """Return the frame of a message: a text or binary one by its type. Any number of ``WebSocket`` can send it."""
    if isinstance(data, str):
        return Frame(TEXT, data.encode()).serialize(mask=False)
    return Frame(BINARY, data).serialize(mask=False)


PING_FRAME = Frame(PING, b"").serialize(mask=False)


class Protocols:
    """Protocol objects, each lent to a connection while it needs one.

    Args:
        max_message_bytes: the longest message that they read.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._spare: list[Protocol] = []

    def lend(self) -> Protocol:
        """Return a protocol object that stands between two frames."""
        if self._spare:
            return self._spare.pop()
        return _Protocol(Side.SERVER, state=OPEN, max_size=self._max_message_bytes)

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
        if len(self._spare) < _SPARE_PROTOCOLS:
            self._spare.append(protocol)
        return True


class _Protocol(Protocol):
    """A protocol object that lets the other side close within a fragmented message, as RFC 6455 does."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is CLOSE:
            self.current_size = None
        super().recv_frame(frame)
