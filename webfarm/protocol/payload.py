"""Payloads: several Engine.IO packets in one body of HTTP.

https://github.com/socketio/engine.io-protocol (revision 4)
"""

import base64
import binascii
from collections.abc import Iterable, Iterator

from webfarm.protocol.engine_packet import EnginePacket

_SEPARATOR = "\x1e"
_SEPARATING = _SEPARATOR.encode()


def encode_payload(packets: Iterable[EnginePacket]) -> bytes:
    """Return the body that answers a poll."""
    return _SEPARATING.join([packet.payload for packet in packets])


def decode_payload(body: bytes) -> Iterator[str | bytes]:
    """Yield the packets of a POST's body. Raises ``ValueError`` at the first one that is none."""
    yield from map(_decode_packet, str(body, "utf-8").split(_SEPARATOR))


def _decode_packet(text: str) -> str | bytes:
    if not text.startswith("b"):
        return text
    try:
        return base64.b64decode(text[1:], validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None
