"""Socket.IO packets, put together from the messages of Engine.IO connections."""

from webfarm.protocol.packet import Packet


class Assembler:
    """Puts packets and the attachments that follow them together.

    Args:
        packet_class: reads a packet.
        max_bytes: of all attachments of a packet together.
    """

    def __init__(self, packet_class: type[Packet], max_bytes: int) -> None:
        self._packet_class = packet_class
        self._max_bytes = max_bytes
        self._pending: dict[str, Packet] = {}  # by Engine.IO sid, until their attachments have come

    def add(self, eio_sid: str, data: str | bytes) -> Packet | None:
        """Return the packet that ``data`` is or completes; ``None`` while attachments are missing.

        Raises:
            ValueError, TypeError, LookupError, RecursionError: it is no packet, or not the announced attachment.
        """
        pending = self._pending.get(eio_sid)
        if pending is None:
            pkt = self._packet_class(encoded_packet=data)
            if not pkt.attachment_count:
                return pkt
            self._pending[eio_sid] = pkt
            return None
        if sum(map(len, pending.attachments)) + len(data) > self._max_bytes:
            raise ValueError("its attachments are too large")
        if not pending.add_attachment(data):
            return None
        del self._pending[eio_sid]
        return pending

    def discard(self, eio_sid: str) -> None:
        """Forget an incomplete packet, as its connection has ended."""
        self._pending.pop(eio_sid, None)
