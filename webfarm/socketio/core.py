"""What the parts of a ``Server`` use of it."""

from collections.abc import Collection
from typing import Any, Protocol

from webfarm.engineio.server import EngineServer
from webfarm.http.environ import Environs
from webfarm.manager.local_manager import LocalManager
from webfarm.manager.redis_manager import RedisManager
from webfarm.protocol.engine_packet import EnginePacket
from webfarm.protocol.packet import Packet
from webfarm.socketio.hooks import Hooks

Manager = LocalManager | RedisManager


class ServerCore(Protocol):
    """A ``Server`` as its parts see it; most names are python-socketio's."""

    name: str
    manager: Manager
    eio: EngineServer
    environ: Environs
    hooks: Hooks
    packet_class: type[Packet]
    handlers: dict[str, Any]  # by namespace
    namespace_handlers: dict[str, Any]
    namespaces: Collection[str]  # or "*"
    always_connect: bool
    not_handled: object

    def encode(self, pkt: Packet) -> list[EnginePacket]: ...

    def send_packet(self, eio_sid: str, pkt: Packet) -> None: ...

    def get_user(self, sid: str, namespace: str | None = None) -> str | None: ...

    def transport(self, sid: str, namespace: str | None = None) -> str: ...

    def emit(self, event: str, data: Any = None, to: Any = None, **options: Any) -> None: ...

    def call(self, event: str, data: Any = None, to: str | None = None, **options: Any) -> Any: ...

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None: ...

    def _get_event_handler(self, event: str, namespace: str, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]: ...

    def _get_namespace_handler(self, namespace: str, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]: ...


def has_user_rooms(server: ServerCore, namespace: str) -> bool:
    """Return whether the clients of ``namespace`` are in their users' rooms."""
    of_namespace = getattr(server.namespace_handlers.get(namespace), "has_user_rooms", None)
    return server.hooks.has_user_rooms if of_namespace is None else bool(of_namespace)
