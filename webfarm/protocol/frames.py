"""Websocket frames and messages: RFC 6455 by the ``websockets`` package's Sans-I/O ``Protocol``."""

from typing import Any

from websockets.frames import BINARY, CLOSE, CONT, PING, TEXT, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.streams import StreamReader

_SPARE_PROTOCOLS = 16
_DATA = (TEXT, BINARY, CONT)
_AT_EOF = StreamReader.at_eof.__code__


def encode_frame(data: str | bytes) -> bytes:
    """Return the frame of a message: a text or binary one by its type. Any number of connections can send it."""
    if isinstance(data, str):
        return Frame(TEXT, data.encode()).serialize(mask=False)
    return Frame(BINARY, data).serialize(mask=False)


PING_FRAME = Frame(PING, b"").serialize(mask=False)


class WebSocketProtocol(Protocol):
    """The server's side of one connection: it reads frames, answers them, and puts messages together.

    The other side may close within a fragmented message, as RFC 6455 lets it.
    """

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__(Side.SERVER, state=OPEN, max_size=max_message_bytes)
        self._kind: Opcode | None = None
        self._fragments: bytearray | None = None

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is CLOSE:
            self.current_size = None
        super().recv_frame(frame)

    def read(self, data: bytes) -> list[Any]:
        """Take what has come; return the frames that are complete. ``data_to_send`` then has the answers to them."""
        self.receive_data(data)
        return self.events_received()

    def assemble(self, frame: Frame) -> str | bytes | None:
        """Return the message that a frame of ``read`` completes, if it completes one.

        Raises:
            UnicodeDecodeError: it is a text that is none; ``data_to_send`` then has the close frame.
        """
        if frame.opcode not in _DATA:
            return None
        if frame.opcode is not CONT:
            self._kind = frame.opcode
        payload = frame.data
        if self._fragments is not None or not frame.fin:
            self._fragments = self._fragments or bytearray()
            self._fragments += payload
            if not frame.fin:
                return None
            payload, self._fragments = self._fragments, None
        try:
            return str(payload, "utf-8") if self._kind is TEXT else bytes(payload)
        except UnicodeDecodeError as error:
            self.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
            self.parser_exc = error
            raise


class Protocols:
    """Protocol objects, each lent to a connection while it needs one.

    Args:
        max_message_bytes: of the longest message that they read.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._spare: list[WebSocketProtocol] = []

    def lend(self) -> WebSocketProtocol:
        """Return a protocol object that stands between two frames."""
        if self._spare:
            return self._spare.pop()
        return WebSocketProtocol(self._max_message_bytes)

    def take_back(self, protocol: WebSocketProtocol) -> bool:
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
