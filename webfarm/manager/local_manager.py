"""The manager of one process without Redis: nothing is stored, and nothing outlives a connection."""

from typing import Any

import socketio

from webfarm.engineio.connection import Connection
from webfarm.manager.delivery import Delivery
from webfarm.manager.no_recovery import NoRecovery
from webfarm.manager.room_manager import RoomManager
from webfarm.nodes.peers import LocalPeers


class LocalManager(RoomManager, socketio.Manager):
    """The clients of one process, without Redis."""

    is_ready = True

    def __init__(self) -> None:
        super().__init__()
        self.delivery = Delivery(self.clients)
        self.peers = LocalPeers()
        self.recovery = NoRecovery(self)

    def start(self, node: str) -> None:
        """Start nothing: the manager works already."""

    def get_unready_reason(self) -> str | None:
        """Return that clients are served."""
        return None

    def get_lag(self) -> dict[str, float]:
        """Return that there is no shard."""
        return {}

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Return at once that events can be handled."""
        return True

    def wait_until_joinable(self, namespace: str, timeout_s: float) -> bool:
        """Return at once that a client can join."""
        return True

    def wait_until_delivered(self) -> None:
        """Return at once: an emit has delivered before it returns."""

    def on_ping(self, connection: Connection) -> None:
        """A heartbeat is about to be sent."""

    def on_pong(self, connection: Connection) -> None:
        """A heartbeat was answered."""

    def on_upgraded(self, connection: Connection) -> None:
        """A connection has become a websocket."""

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        if callback is None:
            self.delivery.deliver(event, data, namespace, to or room, skip_sid)
        else:
            super().emit(event, data, namespace, room=to or room, skip_sid=skip_sid, callback=callback)
