"""A plain websocket app on the transport's frame layer: it sends back each message, on any path."""

import os
from collections.abc import Iterable
from typing import Any

from webfarm import HandshakeError, WebSockets, encode_frame
from webfarm.settings import Settings

settings = Settings.from_env(os.environ)
websockets = WebSockets(
    max_message_bytes=settings.max_message_bytes,
    max_outbox_bytes=settings.max_outbox_bytes,
    ping_interval_s=settings.ping_interval_s,
    ping_timeout_s=settings.ping_timeout_s,
)


class Echo:
    """One client. It is called by the event loop, so it must not wait for anything."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.websocket = websockets.accept(environ, self)

    def on_message(self, data: str | bytes) -> None:
        self.websocket.send(encode_frame(data))

    def on_close(self, reason: str) -> None:
        pass


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    try:
        Echo(environ)
    except HandshakeError as error:
        start_response(error.status, [("Content-Type", "text/plain"), *error.headers])
        return [str(error).encode()]
    return []
