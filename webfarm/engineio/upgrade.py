"""The way of a session from polling to a websocket: a probe, its answer, then the switch."""

from typing import TYPE_CHECKING, Any

from webfarm.http.websocket import WebSocket
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.protocol.engine_packet import NOOP, PING, PONG, UPGRADE, EnginePacket

if TYPE_CHECKING:
    from webfarm.engineio.connection import Connection

_NOOP = EnginePacket(NOOP)
_PROBED = EnginePacket(PONG + "probe")


class Upgrade:
    """A websocket that wants to take over a polling session; until then polling goes on.

    Raises:
        HandshakeError: the request is no proper opening handshake.
    """

    __slots__ = ("_connection", "_websocket", "is_probed")

    def __init__(self, connection: "Connection", environ: dict[str, Any]) -> None:
        self.is_probed = False
        self._connection = connection
        self._websocket: WebSocket = connection.server.websockets.accept(environ, self)
        connection.upgrading = self
        connection.server.upgrade_timeouts.add(self)

    def on_message(self, data: str | bytes) -> None:
        if data == PING + "probe" and not self.is_probed:
            self.is_probed = True
            self._websocket.send(_PROBED.frame)
            self._websocket.flush()  # before any answer to what the client asks next
            polling = self._connection.polling
            if polling is not None and polling.is_polled:
                polling.add(_NOOP)  # the client switches when its poll has been answered
        elif data == UPGRADE and self.is_probed:
            self._connection.upgrading = None
            self._connection.switch_to(self._websocket)
        else:
            self.cancel()

    def on_close(self, reason: CloseReason) -> None:
        self._connection.upgrading = None

    def end(self) -> None:
        """The session has ended. A client that is about to switch is told by its poll, or once it has switched.

        Were its websocket closed just then, the stock client would neither poll nor switch, until its ping timeout.
        """
        if not self.is_probed:
            self.cancel()

    def cancel(self) -> None:
        """Close the websocket; the session goes on as it was. Nothing happens once it has switched."""
        if self._connection.upgrading is self:
            self._connection.upgrading = None
            self._websocket.close()
