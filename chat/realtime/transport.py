"""The Engine.IO server.

Overridden of ``engineio.Server``: ``_handle_connect`` (the name of the server stands in front of each
sid, fractions of a second are advertised exactly, no JSONP) and ``disconnect`` (does not wait for a client that
may never read again). A polling client's POST may hold more than stock's 16 packets: its size is bounded already,
and a stock client that emits a burst before its upgrade sends them all at once.
"""

import re
from typing import Any

import engineio
from engineio import packet, payload, socket

_MAX_PACKETS_PER_POST = 10_000
_SERVER_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class EngineServer(engineio.Server):
    """An Engine.IO server whose sids say which worker they belong to."""

    start_service_task: bool

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        payload.Payload.max_decode_packets = _MAX_PACKETS_PER_POST

    def disconnect(self, sid: str | None = None) -> None:
        """Close the connection ``sid``, or all; the stock client then comes back by itself."""
        for session in [self.sockets.pop(sid, None)] if sid else list(self.sockets.values()):
            if session is not None:
                session.close(wait=False, reason=self.reason.SERVER_DISCONNECT)

    def _handle_connect(
        self, environ: dict[str, Any], start_response: Any, transport: str, jsonp_index: int | None = None
    ) -> Any:
        """Open a session: send OPEN, then serve the websocket or answer the first poll."""
        self._start_service_task()
        sid = sid_prefix(environ) + self.generate_id()
        session = self.sockets[sid] = socket.Socket(self, sid)
        handshake = {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": round(self.ping_timeout * 1000),
            "pingInterval": round(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        session.send(packet.Packet(packet.OPEN, handshake))
        self._trigger_event("connect", sid, environ, run_async=False)
        session.schedule_ping()
        if transport == "websocket":
            try:
                return session.handle_get_request(environ, start_response)
            finally:
                if session.closed:
                    self.sockets.pop(sid, None)
        session.connected = True
        return self._ok(session.poll())

    def _start_service_task(self) -> None:
        if self.start_service_task:
            self.start_service_task = False
            self.service_task_handle = self.start_background_task(self._service_task)


def sid_prefix(environ: dict[str, Any]) -> str:
    """Return ``"<server>."`` with the name that HAProxy gave this worker, or ``""`` without one.

    HAProxy tells it in ``X-Webfarm-Server`` (``http-send-name-header``) and routes each later request by
    what stands before the dot of its sid. A name that is not ``[A-Za-z0-9_-]{1,32}`` counts as none.
    """
    name = environ.get("HTTP_X_WEBFARM_SERVER", "")
    return f"{name}." if _SERVER_NAME.fullmatch(name) else ""
