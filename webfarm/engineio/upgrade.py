"""The upgrade of a session from polling to a websocket: a probe, its answer, then the switch."""

from typing import Any, Protocol

from webfarm.engineio.polling import Polling
from webfarm.http.websocket import WebSocket, WebSockets
from webfarm.loop.deadlines import Deadlines
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.protocol.engine_packet import NOOP, PING, PONG, UPGRADE, EnginePacket

_NOOP = EnginePacket(NOOP)
_PROBED = EnginePacket(PONG + "probe")


class UpgradeServer(Protocol):
    """The server of a session that is upgraded."""

    websockets: WebSockets
    upgrade_timeouts: "Deadlines[Upgrade]"


class Upgradable(Protocol):
    """A session over polling."""

    polling: Polling | None
    upgrading: "Upgrade | None"

    @property
    def server(self) -> UpgradeServer: ...

    def switch_to(self, websocket: WebSocket) -> None: ...


class Upgrade:
    """A websocket that is to take over a polling session; until then polling goes on.

    Raises:
        HandshakeError: the request is no proper opening handshake.
    """

    __slots__ = ("_connection", "_websocket", "is_probed")

    def __init__(self, connection: Upgradable, environ: dict[str, Any]) -> None:
        self.is_probed = False
        self._connection = connection
        self._websocket: WebSocket = connection.server.websockets.accept(environ, self)
        connection.upgrading = self
        connection.server.upgrade_timeouts.add(self)

    def on_message(self, data: str | bytes) -> None:
        if data == PING + "probe" and not self.is_probed:
            self.is_probed = True
            self._websocket.send(_PROBED.frame)
            self._websocket.flush()  # before any answer to the client's next message
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
        """The session has ended. A client that is about to switch learns it from its poll, or after the switch.

        If its websocket closed at this moment, the stock client would neither poll nor switch until its ping timeout.
        """
        if not self.is_probed:
            self.cancel()

    def cancel(self) -> None:
        """Close the websocket; the session goes on as it was. Nothing happens once it has switched."""
        if self._connection.upgrading is self:
            self._connection.upgrading = None
            self._websocket.close()
