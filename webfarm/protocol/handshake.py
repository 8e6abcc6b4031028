"""A websocket's opening handshake.

https://www.rfc-editor.org/rfc/rfc6455#section-4.2
"""

import base64
from typing import Any

from websockets.utils import accept_key

#: The WSGI environment's key of a function that turns the request into a websocket (``webfarm.http.server``).
UPGRADE = "webfarm.upgrade"

_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
)


class HandshakeError(Exception):
    """The request can't become a websocket: answer ``status`` and ``headers``, with the text as the body."""

    def __init__(self, status: str, headers: list[tuple[str, str]], text: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


def answer_handshake(environ: dict[str, Any]) -> bytes:
    """Return the head that answers a request for a websocket. Raises ``HandshakeError`` if it is no proper one."""
    get = environ.get
    if environ["REQUEST_METHOD"] != "GET" or environ["SERVER_PROTOCOL"] != "HTTP/1.1":
        raise HandshakeError("400 Bad Request", [], "A websocket begins with GET over HTTP/1.1.\n")
    if "upgrade" not in [token.strip() for token in get("HTTP_CONNECTION", "").lower().split(",")]:
        raise HandshakeError("400 Bad Request", [], "Connection: Upgrade is missing.\n")
    if get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        raise HandshakeError("426 Upgrade Required", [("Sec-WebSocket-Version", "13")], "The version is 13.\n")
    key = get("HTTP_SEC_WEBSOCKET_KEY", "")
    if not _is_key(key):
        raise HandshakeError("400 Bad Request", [], "Sec-WebSocket-Key must be 16 bytes in base64.\n")
    return _SWITCHING % accept_key(key).encode()


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except ValueError:
        return False
