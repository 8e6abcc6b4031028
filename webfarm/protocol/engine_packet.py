"""A message to clients, encoded at most once for each transport, however many clients get it."""

import base64

from webfarm.protocol.frames import encode_frame

#: The types of Engine.IO packets.
OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"


class EnginePacket:
    """One Engine.IO packet.

    Args:
        packet: ``"<type><data>"``, or bytes for a binary message.
    """

    __slots__ = ("_frame", "_payload", "id", "packet", "shard")

    def __init__(self, packet: str | bytes) -> None:
        self.packet = packet
        self.shard = self.id = 0  #: where it is in the log, if it is there
        self._frame: bytes | None = None
        self._payload: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The packet as a websocket frame."""
        if self._frame is None:
            self._frame = encode_frame(self.packet)
        return self._frame

    @property
    def payload(self) -> bytes:
        """The packet as it stands in the answer to a poll."""
        if self._payload is None:
            packet = self.packet
            self._payload = packet.encode() if isinstance(packet, str) else b"b" + base64.b64encode(packet)
        return self._payload
