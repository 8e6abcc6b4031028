"""The engine: Socket.IO over several gunicorn workers, each on its own port, tied together by Redis.

It knows nothing of the chat and serves any Socket.IO app::

    from chat.realtime import RedisManager, Server, WSGIApp

    sio = Server(client_manager=RedisManager("redis://localhost:6379/0"))

    @sio.event
    def message(sid, data):
        sio.emit("message", data, room="lobby")

    app = WSGIApp(sio)

run by gunicorn with ``worker_class = "chat.realtime.Worker"`` and the hooks of ``gunicorn.conf.py``.

The names are imported when they are first asked for: gunicorn's master loads the worker class before
gevent has patched anything, and must load nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chat.realtime.manager import Manager, RedisManager
    from chat.realtime.server import Server
    from chat.realtime.transport import EngineServer
    from chat.realtime.websocket import HandshakeError, WebSockets, encode_frame
    from chat.realtime.worker import Worker
    from chat.realtime.wsgi import WSGIApp

__all__ = [
    "EngineServer",
    "HandshakeError",
    "Manager",
    "RedisManager",
    "Server",
    "WSGIApp",
    "WebSockets",
    "Worker",
    "encode_frame",
]

_MODULES = {
    "EngineServer": "transport",
    "HandshakeError": "websocket",
    "Manager": "manager",
    "RedisManager": "manager",
    "Server": "server",
    "WSGIApp": "wsgi",
    "WebSockets": "websocket",
    "Worker": "worker",
    "encode_frame": "websocket",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
