"""A message to clients, framed at most once, whatever the number of websockets that get it."""

import base64

from chat.realtime.websocket import encode_frame

#: The types of Engine.IO packets.
OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"


class Message:
    """One Engine.IO packet.

    Args:
        packet: ``"<type><data>"``, or bytes for a binary message.
    """

    __slots__ = ("_frame", "packet")

    def __init__(self, packet: str | bytes) -> None:
        self.packet = packet
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The packet as a websocket frame."""
        if self._frame is None:
            self._frame = encode_frame(self.packet)
        return self._frame

    @property
    def text(self) -> str:
        """The packet as it stands in a payload."""
        return self.packet if isinstance(self.packet, str) else "b" + base64.b64encode(self.packet).decode()

    def __len__(self) -> int:
        return len(self.packet)
